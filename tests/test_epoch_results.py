"""An epoch's results in one are the same events, lines and view as one by one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym_jax import events as ev
from mlgym_jax.errors import MlgymError
from mlgym_jax.events.epoch_results import Appended, EpochResults
from mlgym_jax.events.fast_lines import apply_results

NAMES = st.lists(
    st.tuples(
        st.sampled_from(["train", "val", "täst"]), st.sampled_from(["loss", "loss/own", "f1", "a%d%b", 'q"\\/1'])
    ),
    min_size=1,
    unique=True,
).map(lambda names: ["/".join(name) for name in names])
SCORES = st.floats() | st.sampled_from([math.nan, -math.inf, 1e-7, 5e-324, 1e22, -0.0, 3.0])


@st.composite
def results(draw):
    names = draw(NAMES)
    numbers = draw(st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True))
    rows = {number: {name: draw(SCORES) for name in names} for number in numbers}
    steps = [draw(st.integers(1, 10**9)) for _ in numbers]
    return EpochResults(
        "r%s", draw(st.integers(1, 3)), rows, draw(st.floats(0, 1e6)), steps, draw(st.integers(0, 2**50))
    )


@given(results())
def test_lines_are_those_of_the_events_one_by_one(found):
    assert found.lines() == [
        ev.encode(
            ev.evaluation_result(
                found.run_id,
                experiment_id=number,
                epoch=found.epoch,
                scores=scores,
                seconds=found.seconds,
                step=step,
                now_ms=found.now_ms,
            )
        )
        + b"\n"
        for (number, scores), step in zip(found.scores.items(), found.steps, strict=True)
    ]
    assert len(found) == len(found.events()) == len(found.lines())


def running_view(experiments, ended):
    """A run of experiments that train, but those that have ended or of which it knows nothing."""
    view = ev.RunView()
    ev.apply(
        view, ev.run_started("r%s", name="n", config_hash="c", num_experiments=9, num_groups=1, resumed=False, now_ms=1)
    )
    for number in experiments:
        config = {"experiment_id": number, "job_id": str(number), "config": {}, "hyperparameters": {}}
        ev.apply(view, ev.experiment_config("r%s", **config, now_ms=2))
        status = {"experiment_id": number, "job_id": str(number), "status": "DONE" if number in ended else "RUNNING"}
        ev.apply(view, ev.job_status("r%s", **status, now_ms=3))
    return view


@given(st.data(), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9), max_size=2))
def test_a_view_takes_them_in_as_it_does_their_events(data, known, ended):
    """Also of experiments that nobody announced, epochs twice or in another order, and scores that come and go."""
    at_once, one_by_one = running_view(known, ended), running_view(known, ended)
    usual = data.draw(NAMES)
    for epoch in range(1, 6):
        names = data.draw(st.sampled_from([usual, usual, usual[1:] or usual, [*usual, "test/new"]]))
        numbers = data.draw(st.lists(st.integers(0, 9), min_size=1, unique=True))
        rows = {number: {name: data.draw(SCORES) for name in names} for number in numbers}
        at = data.draw(st.sampled_from([epoch, epoch, epoch, 2, 7]))
        found = EpochResults("r%s", at, rows, 0.5, [8 * epoch] * len(rows), 10 * epoch)
        apply_results(at_once, found)
        for event in found.events():
            ev.apply(one_by_one, event)
        assert repr(at_once) == repr(one_by_one)


def test_a_view_of_experiments_that_train_takes_epochs_in_one_after_the_other():
    view = running_view({0, 1}, ())
    for epoch in (1, 2, 3):
        scores = {number: {"train/loss": 1 / epoch, "val/f1": number + epoch} for number in (0, 1)}
        apply_results(view, EpochResults("r%s", epoch, scores, 0.5, [4 * epoch, 5 * epoch], 100 * epoch))
    one = view.experiments[1]
    assert one.history == {"val/f1": [2, 3, 4], "train/loss": [1, 1 / 2, 1 / 3]}
    assert (one.epoch_numbers, one.epoch_steps, one.evaluated_ms) == ([1, 2, 3], [5, 10, 15], [100, 200, 300])
    assert one.epoch_seconds == [0.5] * 3 and view.num_malformed == 0


def test_a_log_writes_them_among_other_events_and_its_sinks_see_all(tmp_path):
    live, seen = ev.LiveView(), []
    scores = {3: {"train/loss": 0.5, "val/f1": math.nan}, 1: {"train/loss": 0.25, "val/f1": 1.0}}
    found = EpochResults("r", 1, scores, 0.1, [4, 4], 5)
    started = ev.run_started("r", name="n", config_hash="c", num_experiments=2, num_groups=1, resumed=False, now_ms=1)
    ended = ev.run_finished("r", status="DONE", num_failed=0, seconds=1.0, now_ms=9)
    with ev.EventLog.open(tmp_path / "log", follower=live.take, sinks=[lambda *told: seen.append(told)]) as log:
        assert log.append([started]) == 0
        assert log.append([found, ended]) == 1
        assert log.next_event_id == 4
    assert [(first, len(events)) for first, events in seen] == [(0, 1), (1, 3)]
    events = [event for _, appended in seen for event in appended]
    assert (tmp_path / "log").read_bytes() == b"".join(ev.encode(event) + b"\n" for event in events)
    assert repr(events) == repr([started, *found.events(), ended])  # a NaN is not equal to itself
    assert seen[1][1][0]["payload"]["experiment_id"] == 3 and seen[1][1][-1] == ended
    assert repr(live.view) == repr(ev.project_log(tmp_path / "log")[0])
    assert live.view.experiments[1].history == {"val/f1": [1.0], "train/loss": [0.25]}


def test_a_name_without_a_split_is_refused_and_nothing_is_written(tmp_path):
    with ev.EventLog.open(tmp_path / "log") as log:
        with pytest.raises(MlgymError, match="names no split"):
            log.append([EpochResults("r", 1, {0: {"loss": 0.5}}, 0.1, [4], 5)])
        assert log.next_event_id == 0


def test_what_was_put_together_by_hand_is_taken_as_what_a_log_appended():
    events = [{"event_type": "a"}, {"event_type": "b"}]
    appended = Appended.of(events)
    assert appended.others == events and [*appended] == events and not appended.results
    assert Appended.of(appended) is appended
