"""TensorBoard and MLflow on the points of benchmarks.board: 100,000 taken in, one chart of 20 x 1,000 given back."""

import contextlib
import json
import tempfile
import time
import urllib.request


def compare(runs, steps, tags):
    """Print what each peer takes; one that is not installed is passed over with a word."""
    floor = _lines(runs, steps, tags)
    print(f"{runs * steps * tags:,} points; appending JSON lines {floor:.2f} s")
    for name, peer in (("TensorBoard", _tensorboard), ("MLflow on SQLite", _mlflow)):
        try:
            wrote, chart = peer(runs, steps, tags)
        except ImportError as error:
            print(f"  {name}: passed over ({error})")
            continue
        chart = f"a chart of {runs} x {steps:,} in {1000 * chart:.0f} ms"
        print(f"  {name}: taken in {wrote:.2f} s ({wrote / floor:.0f}x), {chart}")


def _points(runs, steps, tags):
    for run in range(runs):
        for step in range(steps):
            for tag in range(tags):
                yield run, step, f"score_{tag}", 1 / (1 + step) + run


def _lines(runs, steps, tags):
    with tempfile.NamedTemporaryFile("w") as file:
        before = time.perf_counter()
        for run, step, tag, value in _points(runs, steps, tags):
            file.write(json.dumps({"run": run, "step": step, "tag": tag, "value": value}) + "\n")
            file.flush()
        return time.perf_counter() - before


def _tensorboard(runs, steps, tags):
    from tensorboard import program
    from tensorboard.summary import Writer

    with tempfile.TemporaryDirectory() as folder:
        before = time.perf_counter()
        writers = [Writer(f"{folder}/run_{run}") for run in range(runs)]
        for run, step, tag, value in _points(runs, steps, tags):
            writers[run].add_scalar(tag, value, step)
        for writer in writers:
            writer.close()
        wrote = time.perf_counter() - before
        board = program.TensorBoard()
        board.configure(argv=[None, "--logdir", folder, "--port", "0", "--samples_per_plugin", "scalars=100000"])
        url = board.launch()
        page = f"{url}data/plugin/scalars/scalars_multirun"
        form = "&".join(["tag=score_0", *(f"runs=run_{run}" for run in range(runs))]).encode()
        for _ in range(200):  # until it has read what was written
            with contextlib.suppress(OSError), urllib.request.urlopen(page, form) as answer:
                found = json.loads(answer.read())
                if len(found) == runs and all(len(points) == steps for points in found.values()):
                    break
            time.sleep(0.1)
        before = time.perf_counter()
        with urllib.request.urlopen(page, form) as answer:
            answer.read()
        return wrote, time.perf_counter() - before


def _mlflow(runs, steps, tags):
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        experiment = client.create_experiment("points", artifact_location=f"{folder}/artifacts")
        before = time.perf_counter()
        ids = [client.create_run(experiment).info.run_id for _ in range(runs)]
        batch, current = [], 0
        for run, step, tag, value in _points(runs, steps, tags):
            if batch and (run != current or len(batch) == 1_000):
                client.log_batch(ids[current], metrics=batch)
                batch = []
            current = run
            batch.append(Metric(tag, value, 1_000 + step, step))
        client.log_batch(ids[current], metrics=batch)
        wrote = time.perf_counter() - before
        before = time.perf_counter()
        for run_id in ids:
            client.get_metric_history(run_id, "score_0")
        return wrote, time.perf_counter() - before
