"""The state of a run is a pure function of its events."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym_jax import events as ev
from mlgym_jax.errors import MlgymError

RUN = "2026-11-23--17-59-10"


def started(now_ms=1, resumed=False):
    return ev.run_started(
        RUN, name="digits", config_hash="ab", num_experiments=2, num_groups=1, resumed=resumed, now_ms=now_ms
    )


def job(experiment_id, status, now_ms=5, **more):
    return ev.job_status(RUN, experiment_id=experiment_id, job_id="j", status=status, now_ms=now_ms, **more)


def scored(experiment_id, epoch, now_ms=6, seconds=0.5, **scores):
    scores = {name.replace("__", "/"): score for name, score in scores.items()}
    return ev.evaluation_result(
        RUN, experiment_id=experiment_id, epoch=epoch, scores=scores, seconds=seconds, now_ms=now_ms
    )


def failed(experiment_id, epoch=2):
    return ev.experiment_failed(
        RUN, experiment_id=experiment_id, epoch=epoch, error="boom", stacktrace="at x", now_ms=9
    )


def finished(status="DONE", now_ms=20):
    return ev.run_finished(RUN, status=status, num_failed=0, seconds=2.0, now_ms=now_ms)


def experiment(*events) -> ev.ExperimentView:
    view = ev.project(events)
    assert view.num_malformed == 0
    return view.experiments[0]


def test_a_whole_run():
    compiled = ev.group_compiled(
        RUN, group=0, experiments=[0, 1], plan="vmap+scan", reason="small", compile_seconds=0.7, now_ms=3
    )
    compacted = ev.group_compacted(RUN, group=0, epoch=1, rows=[0], now_ms=7)
    saved = ev.checkpoint_saved(RUN, group=0, epoch=2, kept=[[0, 1]], bytes=9, seconds=0.1, now_ms=8)
    skipped = ev.checkpoint_skipped(RUN, group=0, step=1, error="torn", now_ms=8)
    mismatch = ev.resume_mismatch(RUN, experiment_id=0, epoch=1, key="val/f1", logged=0.1, repeated=0.2, now_ms=8)
    view = ev.project(
        [
            ev.job_scheduled(RUN, job_id="j", config={"name": "digits", "num_epochs": 2}, now_ms=1),
            started(now_ms=2),
            ev.experiment_config(
                RUN,
                experiment_id=0,
                job_id="j0",
                config={"seed": 7},
                hyperparameters={"seed": 7, "clip": math.inf},
                fold=1,
                now_ms=3,
            ),
            compiled,
            job(0, "RUNNING", device="cpu:0", starting_time=4),
            scored(0, 1, val__f1=0.25, train__loss=2.0),
            scored(1, 1, val__f1=0.5, train__loss=1.0),
            *(compacted, saved, skipped, mismatch),
            scored(0, 2, val__f1=0.75, train__loss=0.5, now_ms=9, seconds=0.25),
            job(0, "DONE", device="cpu:0", starting_time=4, finishing_time=10),
            finished(),
        ]
    )
    assert (view.run_id, view.name, view.config_hash, view.num_experiments) == (RUN, "digits", "ab", 2)
    assert view.config == {"name": "digits", "num_epochs": 2}
    assert (view.status, view.started_ms, view.finished_ms, view.num_malformed) == ("DONE", 1, 20, 0)
    assert view.groups == [compiled["payload"]]
    assert view.compactions == [compacted["payload"]]
    assert view.checkpoints == [saved["payload"]]
    assert view.checkpoints_skipped == [skipped["payload"]]
    assert view.mismatches == [mismatch["payload"]]
    first, second = view.experiments.values()
    assert (first.experiment_id, first.status, first.fold, first.config) == (0, "DONE", 1, {"seed": 7})
    assert first.hyperparameters == {"seed": 7, "clip": math.inf}
    assert (first.device, first.starting_time, first.finishing_time) == ("cpu:0", 4, 10)
    assert first.epoch_numbers == [1, 2] and first.epochs == 2
    assert first.history == {"val/f1": [0.25, 0.75], "train/loss": [2.0, 0.5]}
    assert first.rows() == [{"val/f1": 0.25, "train/loss": 2.0}, {"val/f1": 0.75, "train/loss": 0.5}]
    assert first.last == {"val/f1": 0.75, "train/loss": 0.5}
    assert (first.epoch_seconds, first.evaluated_ms) == ([0.5, 0.25], [6, 9])
    assert (second.experiment_id, second.status, second.epochs) == (1, "RUNNING", 1)


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], "INIT"),
        ([ev.job_scheduled(RUN, job_id="j", config={}, now_ms=1)], "INIT"),
        ([job(0, "INIT")], "INIT"),
        ([started()], "RUNNING"),
        ([scored(0, 1, val__f1=1.0)], "RUNNING"),
        ([job(0, "RUNNING")], "RUNNING"),
        ([started(), finished("FAILED")], "FAILED"),
        ([started(), finished("INTERRUPTED")], "INTERRUPTED"),
        ([started(), finished("INTERRUPTED"), started(resumed=True)], "RUNNING"),
        ([started(), finished("INTERRUPTED"), started(resumed=True), finished("DONE")], "DONE"),
    ],
)
def test_the_status_of_a_run(events, status):
    assert ev.project(events).status == status


def test_a_resumed_run_started_when_it_first_did_and_is_not_finished():
    view = ev.project([started(now_ms=1), finished("INTERRUPTED", now_ms=2), started(now_ms=3, resumed=True)])
    assert (view.started_ms, view.finished_ms) == (1, None)


@pytest.mark.parametrize(
    ("events", "status", "error"),
    [
        ([job(0, "INIT")], "INIT", None),
        ([job(0, "INIT"), scored(0, 1, val__f1=1.0)], "RUNNING", None),
        ([job(0, "RUNNING")], "RUNNING", None),
        ([job(0, "RUNNING"), job(0, "DONE")], "DONE", None),
        ([job(0, "RUNNING"), job(0, "DONE", error="out of memory")], "FAILED", "out of memory"),
        ([job(0, "RUNNING"), failed(0)], "FAILED", "boom"),
        ([job(0, "RUNNING"), failed(0), job(0, "DONE")], "FAILED", "boom"),
        ([job(0, "RUNNING"), failed(0), job(0, "DONE", error="boom")], "FAILED", "boom"),
        ([failed(0), job(0, "RUNNING")], "RUNNING", None),
        ([failed(0), job(0, "RUNNING"), job(0, "DONE")], "DONE", None),
        ([job(0, "RUNNING"), job(0, "DONE", job_type="TERMINATE")], "RUNNING", None),
    ],
)
def test_the_status_of_an_experiment(events, status, error):
    view = experiment(*events)
    assert (view.status, view.error) == (status, error)
    assert view.stacktrace == ("at x" if error == "boom" else None)


def test_progress_is_the_newest_report():
    reports = [
        ev.experiment_status(
            RUN,
            experiment_id=0,
            status="TRAINING",
            num_epochs=3,
            current_epoch=epoch,
            splits=["train"],
            current_split="train",
            num_batches=9,
            current_batch=4,
            now_ms=4,
        )
        for epoch in (1, 2)
    ]
    view = experiment(*reports)
    assert (view.status, view.progress) == ("RUNNING", reports[1]["payload"])


def test_why_an_experiment_stopped_is_known_until_it_trains_beyond():
    stopped = ev.experiment_stopped(RUN, experiment_id=0, epoch=2, reason="no_improvement", now_ms=7)
    first_run = [scored(0, 1, val__f1=1.0), scored(0, 2, val__f1=1.0), stopped, job(0, "DONE")]
    assert experiment(*first_run).stop_reason == "no_improvement"
    assert experiment(*first_run, job(0, "RUNNING"), scored(0, 2, val__f1=1.0)).stop_reason == "no_improvement"
    assert experiment(*first_run, job(0, "RUNNING"), scored(0, 3, val__f1=1.0)).stop_reason is None


def test_experiments_are_in_the_order_of_their_ids():
    view = ev.project([job(n, "INIT") for n in (3, 0, 10, 2, 1)])
    assert list(view.experiments) == [0, 1, 2, 3, 10]
    assert [experiment.experiment_id for experiment in view.experiments.values()] == [0, 1, 2, 3, 10]


@pytest.mark.parametrize("project", [ev.project, lambda events: lines_applied(map(ev.encode, events))])
def test_a_log_that_counts_experiments_down_is_read_as_fast_as_one_that_counts_up(project):
    def seconds(numbers):
        events = [job(number, "INIT") for number in numbers]
        began = time.thread_time()
        assert list(project(events).experiments) == sorted(numbers)
        return time.thread_time() - began

    assert seconds(range(5_000, 0, -1)) < 20 * seconds(range(5_000))  # ordered for each event anew: 150 times as long


def lines_applied(lines):
    view = ev.RunView()
    ev.apply_lines(view, lines)
    return view


def test_the_first_result_of_an_epoch_wins():
    view = experiment(scored(0, 1, val__f1=0.1), scored(0, 2, val__f1=0.2), scored(0, 1, val__f1=0.9, val__new=1.0))
    assert view.history == {"val/f1": [0.1, 0.2]}
    assert view.epoch_numbers == [1, 2]


def test_missing_scores_are_nan_in_the_history_and_absent_from_the_rows():
    view = experiment(
        scored(0, 1, train__loss=3.0), scored(0, 3, train__loss=1.0, val__f1=math.nan), scored(0, 2, test__f1=0.5)
    )
    assert view.epoch_numbers == [1, 2, 3]
    assert repr(view.history) == repr(
        {
            "train/loss": [3.0, math.nan, 1.0],
            "val/f1": [math.nan, math.nan, math.nan],
            "test/f1": [math.nan, 0.5, math.nan],
        }
    )
    assert [set(row) for row in view.rows()] == [{"train/loss"}, {"test/f1"}, {"train/loss", "val/f1"}]
    assert view.last["train/loss"] == 1.0 and math.isnan(view.last["val/f1"])


def test_best_takes_the_first_of_equals_and_no_score_that_is_not_finite():
    scores = [math.nan, 0.5, math.inf, 0.75, -math.inf, 0.75, 0.25, 0.25]
    view = experiment(*(scored(0, epoch, val__f1=score) for epoch, score in enumerate(scores, start=1)))
    assert view.best("val/f1", "max") == (4, 0.75)
    assert view.best("val/f1", "min") == (7, 0.25)
    assert view.best("val/unknown", "max") is None
    assert experiment(scored(0, 1, val__f1=math.nan)).best("val/f1", "max") is None
    assert experiment(job(0, "INIT")).best("val/f1", "min") is None
    assert experiment(job(0, "INIT")).last == {}
    with pytest.raises(MlgymError, match="found 'maximum'; write 'max' or 'min'"):
        view.best("val/f1", "maximum")


def test_unknown_types_and_fields_are_passed_over():
    newer = scored(0, 1, val__f1=0.5)
    newer["payload"]["colour"] = "blue"
    newer["version"] = 2
    view = ev.project([{"event_type": "party_started", "creation_ts": 0, "payload": {"experiment_id": 9}}, newer])
    assert list(view.experiments) == [0]
    assert (view.num_malformed, view.started_ms) == (0, 6)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"event_type": []},
        {"event_type": "job_status"},
        {"event_type": "job_status", "creation_ts": 1, "payload": None},
        {"event_type": "job_status", "creation_ts": 1, "payload": {"experiment_id": "zero", "status": "DONE"}},
        {"event_type": "evaluation_result", "creation_ts": 1, "payload": {"experiment_id": 0, "epoch": 1}},
        {"event_type": "group_compiled", "creation_ts": 1, "payload": []},
        scored(0, "two", val__f1=0.5),
        {**scored(1, 1), "payload": {**scored(1, 1)["payload"], "seconds": "long"}},
        scored([0], 2, val__f1=0.5),
    ],
)
def test_an_event_that_cannot_be_read_is_counted_and_changes_nothing_else(event):
    good = [started(), scored(0, 1, val__f1=0.5)]
    view = ev.project([*good, event])
    assert view.num_malformed == 1
    view.num_malformed = 0
    assert view == ev.project(good)


EVENTS = st.one_of(
    st.builds(scored, st.integers(0, 3), st.integers(1, 4), val__f1=st.floats(), train__loss=st.floats()),
    st.builds(scored, st.integers(0, 3), st.integers(1, 4), test__f1=st.floats()),
    st.builds(job, st.integers(0, 3), st.sampled_from(["INIT", "RUNNING", "DONE"])),
    st.builds(failed, st.integers(0, 3)),
    st.builds(started),
    st.builds(finished, st.sampled_from(["DONE", "FAILED", "INTERRUPTED"])),
)


@given(st.lists(EVENTS, max_size=30))
def test_a_view_kept_up_to_date_is_the_view_of_the_whole_log_also_over_the_wire(events):
    kept = ev.RunView()
    for event in events:
        ev.apply(kept, event)
    over_the_wire = ev.project(ev.decode(ev.encode(event)) for event in events)
    assert repr(kept) == repr(over_the_wire)
    assert kept.num_malformed == 0
    for view in kept.experiments.values():
        assert view.epoch_numbers == sorted(set(view.epoch_numbers))
        assert {len(values) for values in view.history.values()} <= {view.epochs}
        logged = {}
        for event in events:
            payload = event["payload"]
            if event["event_type"] == "evaluation_result" and payload["experiment_id"] == view.experiment_id:
                logged.setdefault(payload["epoch"], ev.scores_of(payload))
        assert [sorted(row.items()).__repr__() for row in view.rows()] == [
            sorted(logged[epoch].items()).__repr__() for epoch in sorted(logged)
        ]


def test_a_refit_is_no_candidate_and_the_newest_counts():
    fields = {"job_id": "j", "config": {}, "hyperparameters": {}, "now_ms": 0}
    origin = {"monitor": "val/loss", "mode": "min", "experiments": [0]}
    written = [ev.experiment_config(RUN, experiment_id=0, **fields)]
    for number, round_number in ((1, 1), (2, 2), (3, 2)):
        written.append(ev.experiment_config(RUN, experiment_id=number, round=round_number, refit=origin, **fields))
    view = ev.project(written)
    assert [item.experiment_id for item in view.candidates] == [0]
    assert [(item.experiment_id, item.refit) for item in view.refits] == [(2, origin), (3, origin)]
    assert "refit" not in written[0]["payload"]


# --- lines ---------------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.floats(), st.integers(-(2**70), 2**70), st.sampled_from(["NaN", "-Infinity", "x", None, True, [1]])
)
SCORES = st.lists(
    st.fixed_dictionaries(
        {"split": st.sampled_from(["train", "val", 7]), "score": NUMBERS},
        optional={
            "metric": st.sampled_from(["a", "b/1"]),
            "loss": st.sampled_from(["loss", "loss/x"]),
            "more": st.none(),
        },
    ),
    max_size=3,
)
RESULTS = st.fixed_dictionaries(
    {"experiment_id": st.sampled_from([0, 1, 2**63, "0", True]), "epoch": st.integers(-1, 6) | NUMBERS},
    optional={
        "metric_scores": SCORES,
        "loss_scores": SCORES,
        "seconds": NUMBERS,
        "grid_search_id": NUMBERS,
        "x": st.none(),
    },
)


@given(
    st.lists(st.tuples(RESULTS, st.sampled_from([1, 10**15, 10**17, -5, 1.5, None])), max_size=8),
    st.lists(st.integers(0, 300), max_size=3),
)
def test_lines_say_what_their_events_say(results, damages):
    """Whatever stands in them, and however they are damaged."""
    lines = []
    for payload, now_ms in results:
        line = bytearray(ev.encode({"event_type": "evaluation_result", "creation_ts": now_ms, "payload": payload}))
        for place in damages:
            if place < len(line):
                line[place] ^= 1 << place % 7
        lines.append(bytes(line))
    assert_same(lines)


def assert_same(lines):
    by_line, by_event, num_damaged = ev.RunView(), ev.RunView(), 0
    ev.apply_lines(by_line, lines)
    for line in lines:
        try:
            ev.apply(by_event, ev.decode(line))
        except ValueError:
            num_damaged += 1
    by_event.num_malformed += num_damaged
    assert repr(by_line) == repr(by_event)
    return by_line


def test_a_log_read_by_lines_is_the_log():
    """With scores that come and go, epochs out of order and again, other experiments, an end and a resumption."""
    names = [["val/a", "train/loss"], ["val/a"], ["val/b", "train/loss"]]
    lines = [
        ev.encode(
            ev.run_started("run", name="n", config_hash="c", num_experiments=3, num_groups=1, resumed=False, now_ms=1)
        )
    ]
    for number in range(200):
        few = names[0] if number < 90 else names[number % 3]
        scores = {name: (math.nan, math.inf, number / 7)[number % 3] for name in few}
        epoch = number // 3 + (5 if number % 50 == 49 else 0) - (3 if number % 70 == 69 else 0)
        fields = {"experiment_id": number % 3, "epoch": max(epoch, 0), "seconds": 0.1, "now_ms": number}
        lines.append(ev.encode(ev.evaluation_result("run", scores=scores, **fields)))
        if number == 120:
            lines.append(ev.encode(ev.experiment_stopped("run", experiment_id=1, epoch=40, reason="early", now_ms=2)))
            lines.append(ev.encode(ev.job_status("run", experiment_id=1, job_id="1", status="DONE", now_ms=2)))
    view = assert_same(lines)
    assert view.num_malformed == 0 and view.experiments[0].epochs > 40
