"""Logs of runs that never ran, for the board's tests and measurements: large, strange or broken, but valid events.

Synopsis:

    write_run("event_storage", "big", num_experiments=1000, num_epochs=1000)
    write_strange_runs("event_storage")
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from mlgym_jax.events import schema
from mlgym_jax.events.codec import Event, encode
from mlgym_jax.events.scores import evaluation_result

_START_MS = 1_790_000_000_000
_MARKUP = '<img src=x onerror="document.title=1">&amp;<b>bold</b>'


def events(
    run_id: str,
    *,
    num_experiments: int,
    num_epochs: int,
    name: str = "synthetic",
    scores: tuple[str, ...] = ("train/loss", "val/loss", "val/accuracy"),
    folds: int = 0,
    diverged: int = 0,
    failed: int = 0,
    finished: bool = True,
    all_nan: bool = False,
    seed: int = 0,
    start_ms: int = _START_MS,
    batch_ms: int = 100,
) -> Iterator[Event]:
    """Yield a run's events in the order in which a run logs them.

    Args:
        diverged, failed: how many experiments become NaN half-way, or end with an error and a stack trace.
        finished: whether the run ends; a log that just stops is a lost run.
    """
    generator = np.random.default_rng(seed)
    rates = 10 ** generator.uniform(-4, -1, num_experiments)
    widths = generator.choice([32, 64, 128, 256], num_experiments)
    optimizers = generator.choice(["adam", "sgd", "lion"], num_experiments)
    quality = 1 - 0.12 * np.abs(np.log10(rates) + 2.5) - 4 / widths + generator.normal(0, 0.01, num_experiments)
    now = start_ms
    yield schema.run_started(
        run_id,
        name=name,
        config_hash="0" * 64,
        num_experiments=num_experiments,
        num_groups=1,
        resumed=False,
        now_ms=now,
    )
    config = {
        "name": name,
        "num_epochs": num_epochs,
        "dataset": {"component": "digits"},
        "validation": {"component": "cross_validation", "folds": folds}
        if folds
        else {"component": "holdout", "val": 0.2},
        "loader": {"component": "in_memory", "batch_size": 50},
        "model": {"component": "mlp", "features": [128, 128]},
        "loss": {"component": "softmax_cross_entropy"},
        "metrics": {"accuracy": {"component": "accuracy"}},
        "checkpointing": {"component": "best", "monitor": "val/accuracy", "mode": "max", "num_keep": 1},
    }
    yield schema.job_scheduled(run_id, job_id=run_id, config=config, now_ms=now)
    for number in range(num_experiments):
        swept: dict[str, Any] = {
            "optimizer.component": str(optimizers[number]),
            "optimizer.learning_rate": float(f"{rates[number]:.4g}"),
            "model.width": int(widths[number]),
        }
        own = {
            **config,
            "optimizer": {"component": swept["optimizer.component"], "learning_rate": swept["optimizer.learning_rate"]},
            "model": {"component": "mlp", "features": [swept["model.width"]]},
        }
        yield schema.experiment_config(
            run_id,
            experiment_id=number,
            job_id=f"{run_id}-{number}",
            config=own,
            hyperparameters=swept,
            fold=number % folds if folds else None,
            now_ms=now,
        )
        yield schema.job_status(
            run_id,
            experiment_id=number,
            job_id=f"{run_id}-{number}",
            status="RUNNING",
            starting_time=now,
            device="cpu:0",
            now_ms=now,
        )
    yield schema.group_compiled(
        run_id,
        group=0,
        experiments=list(range(num_experiments)),
        plan="map+scanx2",
        reason="synthetic",
        compile_seconds=1.5,
        num_examples=1437,
        now_ms=now,
    )
    broken = set(range(failed))
    nan_from = {number: num_epochs // 2 + number % 7 for number in range(failed, failed + diverged)}
    for epoch in range(1, num_epochs + 1):
        now += batch_ms
        progress = 1 - np.exp(-3 * epoch / num_epochs)
        noise = generator.normal(0, 0.02, (num_experiments, len(scores)))
        for number in range(num_experiments):
            if number in broken and epoch > num_epochs // 3:
                continue
            nan = all_nan or epoch >= nan_from.get(number, num_epochs + 1)
            values = {
                score: float("nan")
                if nan
                else float(
                    abs(
                        (
                            2.3 * (1 - progress * quality[number])
                            if score.endswith("loss")
                            else progress * quality[number]
                        )
                        + noise[number, i]
                    )
                )
                for i, score in enumerate(scores)
            }
            yield evaluation_result(run_id, experiment_id=number, epoch=epoch, scores=values, seconds=0.01, now_ms=now)
        if epoch % max(1, num_epochs // 4) == 0:
            for number in range(failed if epoch > num_epochs // 3 else 0, num_experiments):
                yield schema.experiment_status(
                    run_id,
                    experiment_id=number,
                    status="TRAINING",
                    num_epochs=num_epochs,
                    current_epoch=epoch,
                    splits=["train", "val"],
                    current_split="val",
                    num_batches=29,
                    current_batch=29,
                    now_ms=now,
                )
        for number in sorted(broken) if epoch == num_epochs // 3 else ():
            yield schema.experiment_failed(
                run_id,
                experiment_id=number,
                epoch=epoch,
                error=f"FloatingPointError: overflow in layer {_MARKUP}",
                stacktrace="Traceback (most recent call last):\n"
                + "".join(
                    f'  File "model.py", line {line}, in forward\n    x = self.layer_{line}(x)\n' for line in range(30)
                ),
                now_ms=now,
            )
    if not finished:
        return
    for number in range(num_experiments):
        yield schema.job_status(
            run_id,
            experiment_id=number,
            job_id=f"{run_id}-{number}",
            status="DONE",
            starting_time=start_ms,
            finishing_time=now,
            error="FloatingPointError: overflow" if number in broken else None,
            device="cpu:0",
            now_ms=now,
        )
    status = "FAILED" if broken else "DONE"
    yield schema.run_finished(
        run_id, status=status, num_failed=len(broken), seconds=(now - start_ms) / 1000, now_ms=now
    )


def write_events(event_storage: str, run_id: str, log: Iterable[Event]) -> str:
    """Write a run's log and return the run's folder."""
    folder = os.path.join(event_storage, run_id)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "event_storage.log"), "wb") as file:
        for event in log:
            file.write(encode(event) + b"\n")
    return folder


def write_run(event_storage: str, run_id: str, **options: Any) -> str:
    """Write the log of `events(run_id, **options)` and return the run's folder."""
    return write_events(event_storage, run_id, events(run_id, **options))


def write_strange_runs(event_storage: str) -> list[str]:
    """Write what a page must bear: no results, only NaN, failures, divergence, folds, a lost run, markup in names."""
    write_events(
        event_storage, "no-results", list(events("no-results", num_experiments=3, num_epochs=0, finished=False))[:-1]
    )
    write_run(event_storage, "all-nan", num_experiments=4, num_epochs=6, all_nan=True)
    write_run(event_storage, "failures", num_experiments=20, num_epochs=30, failed=3, diverged=5)
    write_run(event_storage, "folds", num_experiments=20, num_epochs=15, folds=5, name="cross validation")
    write_run(event_storage, "lost", num_experiments=5, num_epochs=9, finished=False)
    write_run(
        event_storage,
        "markup",
        num_experiments=4,
        num_epochs=5,
        name=_MARKUP,
        scores=("val/<script>alert(1)</script>", "val/accuracy", "train/loss"),
    )
    return ["no-results", "all-nan", "failures", "folds", "lost", "markup"]
