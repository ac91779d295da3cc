"""Sinks write what the log holds, to the last digit, once: read back by the trackers' own readers."""

import contextlib
import ctypes
import json
import math
import random
import subprocess
import sys
import threading
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.context import RequestContext
from tensorboard.data import grpc_provider, server_ingester
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.scalar.metadata import create_summary_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import grpc_util

import mlgym_jax as mg
from mlgym_jax import export_logs
from mlgym_jax.command_line import guarded
from mlgym_jax.events import EventLog, evaluation_result, project_log, schema
from mlgym_jax.sinks.export import Export, Outlet, opened

RUN = "2026-11-23--17-59-10"
BEGAN = 1_795_456_750_000
NAMES = ["train/loss", "val/loss", "val/acc <b>ü</b>"]
SPECIAL = [math.nan, math.inf, -math.inf, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 0.1 + 0.2]


def scores(number, epoch):
    """Values with all their digits, special ones among them; the accuracy only of every other epoch."""
    draw = random.Random(1000 * number + epoch)
    found = {"train/loss": draw.random() * 10 ** draw.randint(-30, 30), "val/loss": SPECIAL[epoch % len(SPECIAL)]}
    return found | ({NAMES[2]: draw.random()} if epoch % 2 else {})


def beginning(numbers):
    yield schema.run_started(
        RUN, name="a/b <i>", config_hash="c0ffee", num_experiments=3, num_groups=1, resumed=False, now_ms=BEGAN
    )
    for number in numbers:
        given = {"lr": 0.1 + 0.2, "layers": (8, 8), "optimizer": {"component": "adam", "b1": 0.9}, "flag": True}
        told = {"experiment_id": number, "job_id": f"{RUN}-{number}"}
        config = {"num_epochs": 5}
        yield schema.experiment_config(RUN, **told, config=config, hyperparameters=given, fold=number, now_ms=BEGAN)
        yield schema.job_status(RUN, **told, status="RUNNING", starting_time=BEGAN + 1, now_ms=BEGAN + 1)


def evaluated(number, epochs):
    for epoch in epochs:
        at = BEGAN + 1000 * epoch + number
        yield evaluation_result(
            RUN,
            experiment_id=number,
            epoch=epoch,
            scores=scores(number, epoch),
            seconds=0.1,
            step=epoch * 29,
            now_ms=at,
        )


def ended(number, error=None):
    told = {"experiment_id": number, "job_id": f"{RUN}-{number}", "status": "DONE", "starting_time": BEGAN + 1}
    yield schema.job_status(RUN, **told, finishing_time=BEGAN + 99_999, error=error, now_ms=BEGAN + 99_999)


def finished():
    yield schema.run_finished(RUN, status="DONE", num_failed=1, seconds=100.0, now_ms=BEGAN + 100_000)


def everything():
    for part in (beginning(range(3)), *(evaluated(number, range(1, 21)) for number in range(3))):
        yield from part
    yield from ended(0)
    yield from ended(1, "ValueError: a bad day")
    yield from ended(2)
    yield from finished()


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "event_storage" / RUN
    folder.mkdir(parents=True)
    return folder


def log(run_dir, events):
    with EventLog.open(run_dir / "event_storage.log") as file:
        file.append(events)


def export(run_dir, out, to="tensorboard", *more):
    return guarded(export_logs._main, [str(run_dir), f"--to={to}", f"--out={out}", *more])


def until(found):
    """Wait for another process; a minute is far more than it needs."""
    for _ in range(1200):
        if found():
            return
        time.sleep(0.05)
    raise AssertionError("never")


def same(one, other):
    return one == other or (math.isnan(one) and math.isnan(other))


def from_tensorboard(folder):
    """Return {score: [(epoch, unix milliseconds, value)]}, and the plugin's data of hyperparameters."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    found = {}
    for tag in events.Tags()["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            found[tag] = [
                (event.step, round(event.wall_time * 1000), event.tensor_proto.double_val[0])
                for event in events.Tensors(tag)
            ]
    return found, events


def assert_equal(run_dir, number, read):
    """Compare {score: [(epoch, ms, value)]} with the log's projection, every digit and millisecond."""
    view = project_log(run_dir / "event_storage.log")[0].experiments[number]
    assert set(read) - {"step"} == set(view.history)
    for name, values in view.history.items():
        told = view.logged(name) or bytes([1]) * len(values)
        points = zip(view.epoch_numbers, view.evaluated_ms, values, strict=True)
        expected = [point for point, is_there in zip(points, told, strict=True) if is_there]
        assert [tuple(point[:2]) for point in read[name]] == [point[:2] for point in expected]
        assert all(map(same, [point[2] for point in read[name]], [point[2] for point in expected]))
    assert [point[2] for point in read["step"]] == view.epoch_steps


def test_tensorboard_reads_what_the_log_holds_to_the_last_digit(run_dir, tmp_path, capsys):
    log(run_dir, everything())
    assert export(run_dir, tmp_path / "logs") == 0
    assert "3 experiments, 60 new epochs" in capsys.readouterr().out
    for number in range(3):
        read, events = from_tensorboard(tmp_path / "logs" / "tensorboard" / RUN / str(number))
        assert_equal(run_dir, number, read)
        told = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        given = plugin_data_pb2.HParamsPluginData.FromString(told).session_start_info.hparams
        assert given["lr"].number_value == 0.1 + 0.2 and given["flag"].bool_value is True
        assert (given["layers"].string_value, given["optimizer"].string_value) == ("(8, 8)", "adam(b1=0.9)")
        told = events.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
        ending = plugin_data_pb2.HParamsPluginData.FromString(told).session_end_info
        assert (ending.status == api_pb2.STATUS_FAILURE) is (number == 1)
        about = json.loads(events.Tensors("mlgym_jax/experiment")[0].tensor_proto.string_val[0])
        assert about["error" if number == 1 else "status"] == ("ValueError: a bad day" if number == 1 else "DONE")
        assert (about["fold"], about["run_id"]) == (str(number), RUN)


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_loader_that_tensorboard_starts_with_shows_the_scores(run_dir, tmp_path):
    log(run_dir, everything())
    assert export(run_dir, tmp_path / "logs") == 0
    try:
        binary = server_ingester.get_server_binary().path
    except server_ingester.NoDataServerError:
        pytest.skip("this machine has no such loader, and TensorBoard uses Python's")
    port = tmp_path / "port"
    words = [binary, f"--logdir={tmp_path / 'logs'}", "--reload=once", "--port=0", f"--port-file={port}"]
    with subprocess.Popen([*words, "--die-after-stdin"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            until(lambda: port.exists() and port.read_text().endswith("\n"))
            address = f"localhost:{port.read_text().strip()}"
            provider = grpc_provider.GrpcDataProvider(
                address, server_ingester._make_stub(address, grpc_util.ChannelCredsType.LOCAL)
            )
            asked = {"experiment_id": "", "plugin_name": "scalars"}
            until(lambda: len(provider.list_scalars(RequestContext(), **asked)) == 3)
            shown = provider.read_scalars(RequestContext(), **asked, downsample=100)
        finally:
            server.stdin.close()  # by which it ends
    for number in range(3):
        values = [point.value for point in shown[f"tensorboard/{RUN}/{number}"]["train/loss"]]
        expected = [scores(number, epoch)["train/loss"] for epoch in range(1, 21)]
        assert values == [ctypes.c_float(one).value for one in expected]


def test_files_that_tensorboard_does_not_show_are_written_anew(run_dir, tmp_path):
    log(run_dir, everything())
    assert export(run_dir, tmp_path / "logs") == 0
    folder = tmp_path / "logs" / "tensorboard" / RUN / "0"
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    double = tensor_pb2.TensorProto(dtype=types_pb2.DT_DOUBLE, double_val=[0.5])
    value = summary_pb2.Summary.Value(tag="val/loss", tensor=double, metadata=create_summary_metadata("", ""))
    with open(file, "wb") as out:
        RecordWriter(out).write(event_pb2.Event(step=1, summary=summary_pb2.Summary(value=[value])).SerializeToString())
    assert export(run_dir, tmp_path / "logs") == 0
    assert file.read_bytes() == whole


def test_exported_twice_is_exported_once(run_dir, tmp_path, capsys):
    log(run_dir, everything())
    export(run_dir, tmp_path / "logs")
    once = files_of(tmp_path / "logs")
    export(run_dir, tmp_path / "logs")
    assert files_of(tmp_path / "logs") == once
    assert "0 new epochs" in capsys.readouterr().out.splitlines()[-1]


def test_an_export_that_was_killed_at_any_byte_goes_on(run_dir, tmp_path):
    log(run_dir, everything())
    export(run_dir, tmp_path / "logs")
    once = files_of(tmp_path / "logs")
    path = next((tmp_path / "logs").rglob("1/*tfevents*"))
    whole = path.read_bytes()
    draw = random.Random(0)
    for size in [0, 1, 11, 12, *(draw.randrange(len(whole)) for _ in range(20)), len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert export(run_dir, tmp_path / "logs") == 0
        assert files_of(tmp_path / "logs") == once, size


def test_two_exports_at_once_write_what_one_does(run_dir, tmp_path):
    """Such as that beside a training, and one that somebody types meanwhile."""
    with contextlib.ExitStack() as stack:
        one, other = (
            Export(
                str(run_dir), stack.enter_context(opened(["tensorboard"], str(run_dir), str(tmp_path / name), print))
            )
            for name in ("both", "both")
        )
        log(run_dir, beginning(range(2)))
        for export_of in (one, other):
            export_of.catch_up()
        log(run_dir, [*evaluated(0, range(1, 9)), *evaluated(1, range(1, 9))])
        for export_of in (other, one):
            export_of.catch_up()
        log(run_dir, [*evaluated(0, range(9, 12)), *ended(0), *ended(1), *finished()])
        for export_of in (one, other):
            export_of.catch_up(is_over=True)
    for number in range(2):
        assert_equal(run_dir, number, from_tensorboard(tmp_path / "both" / "tensorboard" / RUN / str(number))[0])
    export(run_dir, tmp_path / "one")
    assert [*files_of(tmp_path / "both").values()] == [*files_of(tmp_path / "one").values()]


def followed(run_dir, out):
    with opened(["tensorboard"], str(run_dir), str(out), print) as outlets:
        Export(str(run_dir), outlets).follow()


def test_a_run_that_grows_is_followed_and_a_resumed_one_gone_on_with(run_dir, tmp_path):
    out = tmp_path / "logs"
    with EventLog.open(run_dir / "event_storage.log") as file:
        file.append(beginning(range(3)))
        follower = threading.Thread(target=followed, args=(run_dir, out))
        follower.start()
        for epoch in range(1, 9):
            file.append([event for number in range(3) for event in evaluated(number, [epoch])])
            time.sleep(0.1)
        deadline = time.monotonic() + 60
        while not list(out.rglob("2/*tfevents*")) or len(from_tensorboard(out / f"tensorboard/{RUN}/2")[0]) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert follower.is_alive()
        file.append([*evaluated(0, range(9, 21)), *ended(0), *finished()])
    follower.join(60)
    assert_equal(run_dir, 0, from_tensorboard(out / f"tensorboard/{RUN}/0")[0])
    log(run_dir, [*beginning([]), *evaluated(0, range(15, 31)), *ended(0), *finished()])  # repeats six epochs
    export(run_dir, out)
    for number in range(3):
        assert_equal(run_dir, number, from_tensorboard(out / f"tensorboard/{RUN}/{number}")[0])


def test_a_log_whose_damaged_end_is_cut_off_is_read_anew(run_dir, tmp_path):
    path = run_dir / "event_storage.log"
    log(run_dir, [*beginning([0]), *evaluated(0, range(1, 4))])
    with opened(["tensorboard"], str(run_dir), str(tmp_path / "logs"), print) as outlets:
        run = Export(str(run_dir), outlets)
        with open(path, "ab") as file:
            file.write(b"x" * 5000 + b"\n")
        run.catch_up()
        log(run_dir, evaluated(0, [4]))  # opening it cuts the damage off
        run.catch_up(is_over=True)
    assert_equal(run_dir, 0, from_tensorboard(tmp_path / f"logs/tensorboard/{RUN}/0")[0])


def test_a_sink_that_fails_is_told_once_and_the_others_go_on(run_dir, tmp_path, capsys):
    log(run_dir, everything())

    class Full:
        place = "nowhere"

        def write(self, run, experiment, *, is_over):
            raise OSError(28, "No space left on device")

        def close(self):
            raise AssertionError("is not used any more")

    told, seen = [], []

    class Good(Full):
        def write(self, run, experiment, *, is_over):
            seen.append(experiment.experiment_id)
            return experiment.epochs

        def close(self):
            seen.append("closed")

    outlets = [Outlet("full", Full, told.append), Outlet("good", Good, told.append)]
    Export(str(run_dir), outlets).follow()
    for outlet in outlets:
        outlet.close()
    assert told == ["full: OSError: [Errno 28] No space left on device; nothing more is written there"]
    assert {*seen} == {0, 1, 2, "closed"}


def test_a_read_only_place_is_an_error_in_words(run_dir, tmp_path, capsys):
    log(run_dir, everything())
    (tmp_path / "file").write_text("")
    assert export(run_dir, tmp_path / "file") == 2
    assert export(run_dir, tmp_path / "file" / "below") == 1
    assert "error: tensorboard: NotADirectoryError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--to is missing; write --to=tensorboard"),
        (["--to=tensorbord"], "did you mean 'tensorboard'? Allowed: tensorboard, wandb, mlflow, aim"),
        (["--to=aim"], 'aim is not installed; type: pip install "mlgym-jax[aim]"'),
    ],
)
def test_a_wrong_request_says_what_to_type(arguments, said, run_dir, monkeypatch, capsys):
    log(run_dir, everything())
    find = export_logs.wanted.__globals__["importlib"].util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "aim" else find(name, *more))
    assert guarded(export_logs._main, [str(run_dir), *arguments]) == 2
    assert said in capsys.readouterr().err


# --- live ----------------------------------------------------------------------------------------------------------


def small():
    config = mg.load_config("configs/gs.py", overrides={"num_epochs": 2, "seed": 0})
    config.model.features = (8,)
    return config


def test_a_run_writes_to_tensorboard_beside_its_training(tmp_path):
    result = mg.run(small(), tmp_path / "event_storage", log_to="tensorboard", log_out=tmp_path / "logs")
    deadline = time.monotonic() + 60  # on a busy machine it may go on behind the run
    folder = tmp_path / "logs" / "tensorboard" / result.run_id
    while len(list(folder.rglob("*tfevents*"))) < 4 or not all(
        "mlgym_jax/experiment" in from_tensorboard(one)[1].Tags()["tensors"] for one in folder.iterdir()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for experiment in result.experiments:
        read, _ = from_tensorboard(folder / str(experiment.experiment_id))
        for name, values in experiment.history.items():
            assert [point[2] for point in read[name]] == values


def test_a_sink_that_cannot_be_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(mg.MlgymError, match="log_to=tensorbord: unknown; did you mean 'tensorboard'"):
        mg.run(small(), tmp_path / "event_storage", log_to="tensorbord")
    assert not (tmp_path / "event_storage").exists()


def test_a_sink_that_fails_does_not_fail_the_run(tmp_path, capfd):
    (tmp_path / "file").write_text("")
    result = mg.run(small(), tmp_path / "event_storage", log_to="tensorboard", log_out=tmp_path / "file" / "below")
    assert result.status == "DONE"
    said = capfd.readouterr().err
    assert said.count("error: tensorboard: NotADirectoryError") == 1
    assert "tensorboard: not all is written. Write it later with:\n  python -m mlgym_jax.export_logs" in said


# --- the heavy ones, where they are installed ----------------------------------------------------------------------


def read_twice(run_dir, out, to, read):
    """Export twice, with a resume between, and compare each time."""
    log(run_dir, [*beginning(range(3)), *evaluated(0, range(1, 5)), *evaluated(1, range(1, 5)), *ended(1, "bad")])
    assert export(run_dir, out, to) == 0
    log(run_dir, [*evaluated(0, range(3, 21)), *ended(0), *evaluated(2, range(1, 3)), *ended(2), *finished()])
    for _ in range(2):
        assert export(run_dir, out, to) == 0
        found = read()
        assert sorted(found) == [0, 1, 2]
        for number, points in found.items():
            assert_equal(run_dir, number, points)


def test_mlflow_reads_what_the_log_holds(run_dir, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code = f"""
import json
from mlflow.tracking import MlflowClient
client = MlflowClient("sqlite:///{tmp_path}/logs/mlflow.db")
study = client.get_experiment_by_name("a/b <i>")
found = {{}}
for run in client.search_runs([study.experiment_id]):
    points = {{
        name: [(p.step, p.timestamp, p.value) for p in sorted(
            client.get_metric_history(run.info.run_id, name), key=lambda p: p.step)]
        for name in run.data.metrics
    }}
    number = run.data.tags["mlgym_jax.experiment_id"]
    assert number not in found
    found[number] = [points, run.data.params, run.info.status, run.info.start_time, run.data.tags["mlgym_jax.fold"]]
print("FOUND" + json.dumps(found))
"""

    def read():
        found = in_own_process(code)
        assert {number: one[2] for number, one in found.items()} == {"0": "FINISHED", "1": "FAILED", "2": "FINISHED"}
        for number, (_, params, _, began, fold) in found.items():
            assert params["lr"] == repr(0.1 + 0.2) and params["optimizer"] == "adam(b1=0.9)"
            assert (began, fold) == (BEGAN + 1, number)
        return {int(number): renamed(one[0], "val/acc _b_ü_/b_") for number, one in found.items()}

    # An infinity is the largest number there, as the page says.
    monkeypatch.setitem(globals(), "SPECIAL", [1.7976931348623157e308 if x == math.inf else x for x in SPECIAL[:2]])
    read_twice(run_dir, tmp_path / "logs", "mlflow", read)


def test_aim_reads_what_the_log_holds(run_dir, tmp_path):
    pytest.importorskip("aim")
    code = f"""
import json
from aim import Repo
found = {{}}
repo = Repo.from_path("{tmp_path}/logs/aim")
for run in map(repo.get_run, repo.list_all_runs()):
    points = {{}}
    for metric in run.metrics():
        context = metric.context.to_dict()
        name = "/".join([*context.values(), metric.name])
        steps, (values, _, times) = metric.data.numpy()
        points[name] = [(int(s), round(t * 1000), float(v)) for s, t, v in zip(steps, times, values)]
    number = run["mlgym_jax"]["experiment_id"]
    assert number not in found
    found[number] = [points, run["hparams"]]
print("FOUND" + json.dumps(found))
"""

    def read():
        index = f"from aim import Repo; Repo.from_path('{tmp_path}/logs/aim')._recreate_index()"  # as `aim up` does
        subprocess.run([sys.executable, "-c", index], check=True, capture_output=True, timeout=300)
        found = in_own_process(code)
        assert all(one[1]["lr"] == 0.1 + 0.2 for one in found.values())
        return {int(number): one[0] for number, one in found.items()}

    read_twice(run_dir, tmp_path / "logs", "aim", read)


def test_wandb_holds_what_the_log_holds(run_dir, tmp_path):
    pytest.importorskip("wandb")
    code = f"""
import glob, json, struct
from wandb.proto import wandb_internal_pb2 as pb

def records(path):  # a log of LevelDB's form, in blocks of 32 KiB behind 7 bytes
    data, at, whole = open(path, "rb").read(), 7, b""
    while at + 7 <= len(data):
        rest = 32768 - at % 32768
        if rest < 7:
            at += rest
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield pb.Record.FromString(whole)
            whole = b""

found = {{}}
for path in glob.glob("{tmp_path}/logs/wandb/offline-run-*/*.wandb"):
    points, config, code = {{}}, {{}}, None
    for record in records(path):
        if record.WhichOneof("record_type") == "run":
            config |= {{item.key: json.loads(item.value_json) for item in record.run.config.update}}
        if record.WhichOneof("record_type") == "exit":
            code = record.exit.exit_code
        if record.WhichOneof("record_type") == "history":
            row = {{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}}
            for name in row.keys() - {{"epoch", "_timestamp", "_step", "_runtime"}}:
                point = row["epoch"], round(row["_timestamp"] * 1000), float(row[name])
                points.setdefault(name, []).append(point)
    number = config["mlgym_jax"]["experiment_id"]
    assert number not in found
    found[number] = [points, config, code]
print("FOUND" + json.dumps(found))
"""

    def read():
        found = in_own_process(code)
        assert {number: one[2] for number, one in found.items()} == {"0": 0, "1": 1, "2": 0}
        assert all(one[1]["lr"] == 0.1 + 0.2 for one in found.values())
        return {int(number): one[0] for number, one in found.items()}

    read_twice(run_dir, tmp_path / "logs", "wandb", read)


def renamed(points, spelled):
    return {NAMES[2] if name == spelled else name: value for name, value in points.items()}


def in_own_process(code):
    """Run what reads a tracker back, with that tracker's own warnings, and return what it found."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.partition("FOUND")[2])
