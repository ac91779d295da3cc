"""A view that is kept up to date while a log is written says what the log says, at any moment."""

import math
import threading

import pytest

from mlgym_jax import events as ev

RUN = "r"


def events():
    """Yield batches of what a run logs; a NaN, an experiment that comes late, an end."""
    config = {"num_epochs": 2, "features": (8, 4), "clip": math.inf}
    yield [ev.run_started(RUN, name="n", config_hash="c", num_experiments=2, num_groups=1, resumed=False, now_ms=1)]
    yield [
        ev.job_scheduled(RUN, job_id=RUN, config=config, now_ms=1),
        ev.experiment_config(
            RUN, experiment_id=1, job_id="1", config=config, hyperparameters={"a": math.inf}, now_ms=2
        ),
    ]
    for epoch in (1, 2):
        scores = {"val/f1": epoch / 7, "train/loss": math.nan}
        yield [
            ev.evaluation_result(RUN, experiment_id=number, epoch=epoch, scores=scores, seconds=0.1, now_ms=3 + epoch)
            for number in (1, 0)
        ]
    yield [ev.resume_mismatch(RUN, experiment_id=1, epoch=1, key="val/f1", logged=math.nan, repeated=0.5, now_ms=8)]
    yield []
    yield [ev.run_finished(RUN, status="DONE", num_failed=0, seconds=1.0, now_ms=9)]


@pytest.mark.parametrize("num_before", range(8))
def test_it_is_the_view_of_the_log_after_every_append(tmp_path, num_before):
    """Also where a log goes on that has a damaged line."""
    path, batches = tmp_path / "event_storage.log", [*events()]
    with ev.EventLog.open(path) as log:
        for batch in batches[:num_before]:
            log.append(batch)
            log.append_lines([b"damaged"] if num_before % 2 else [])
        log.append([ev.checkpoint_skipped(RUN, group=0, step=1, error="torn", now_ms=7)])  # lest the end is cut off
    live = ev.LiveView()
    with ev.EventLog.open(path, follower=live.take) as log:
        live.load(path)
        assert len(live.damaged_lines) == (num_before if num_before % 2 else 0)
        for batch in batches[num_before:]:
            log.append(batch)
            assert repr((live.view, live.damaged_lines)) == repr(ev.project_log(path))
    assert repr((live.view, live.damaged_lines)) == repr(ev.project_log(path))


def test_sinks_find_it_up_to_date(tmp_path):
    live, seen = ev.LiveView(), []
    with ev.EventLog.open(
        tmp_path / "log", follower=live.take, sinks=[lambda first, events: seen.append(live.view.status)]
    ) as log:
        for batch in events():
            log.append(batch)
    assert seen == ["RUNNING"] * 5 + ["DONE"]


def test_a_copy_stays_as_the_view_was():
    batches = [[ev.encode(event) for event in batch] for batch in events()]
    for cut in range(len(batches)):
        view = ev.RunView()
        ev.apply_lines(view, [line for batch in batches[:cut] for line in batch])
        before, copied = repr(view), view.copy()
        assert repr(copied) == before
        ev.apply_lines(view, [line for batch in batches[cut:] for line in batch])
        assert repr(copied) == before


def test_who_holds_the_lock_sees_no_change(tmp_path):
    live, first, *others = ev.LiveView(), *events()
    with ev.EventLog.open(tmp_path / "log", follower=live.take) as log:
        log.append(first)
        with live.lock:
            writer = threading.Thread(target=lambda: [log.append(batch) for batch in others])
            writer.start()
            writer.join(0.2)
            assert writer.is_alive() and live.view.experiments == {}
        writer.join(10)
    assert live.view.status == "DONE"
