"""The verdict on a run: its numbers against scipy's, its words against what the events say."""

import json
import math
import os

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import EventLog, encode, evaluation_result, experiment_config, project, schema
from mlgym_jax.events.chance import p_of_difference
from mlgym_jax.events.influence import binned, share_explained
from mlgym_jax.events.standings import ends_of_mean, standings
from mlgym_jax.events.verdict import verdict
from mlgym_jax.events.verdict_words import duration, rounded, standing
from mlgym_jax.reading.results import load_run

RUN = "r"
CASES = json.loads((ROOT / "board_server/page/tests/influence_cases.json").read_text(encoding="utf-8"))


def started(num_experiments, **config):
    yield schema.run_started(
        RUN, name="n", config_hash="0", num_experiments=num_experiments, num_groups=1, resumed=False, now_ms=0
    )
    yield schema.job_scheduled(RUN, job_id=RUN, config=config, now_ms=0)


def scheduled(number, swept, fold=None, num_epochs=10):
    fields = {"job_id": "j", "config": {"num_epochs": num_epochs}, "hyperparameters": swept, "fold": fold}
    return experiment_config(RUN, experiment_id=number, **fields, now_ms=0)


def scored(number, history, name="val/accuracy", seconds=1.0, **others):
    for epoch, score in enumerate(history, 1):
        scores = {name: score, **{key: values[epoch - 1] for key, values in others.items()}}
        yield evaluation_result(RUN, experiment_id=number, epoch=epoch, scores=scores, seconds=seconds, now_ms=0)


def ended(number, error=None):
    fields = {"job_id": "j", "status": "DONE", "error": error}
    return schema.job_status(RUN, experiment_id=number, **fields, now_ms=0)


def finished(status="DONE"):
    return schema.run_finished(RUN, status=status, num_failed=0, seconds=1.0, now_ms=0)


def of_seeds(scores, **config):
    """Return the events of {learning rate: one score a seed}; those that are None were not evaluated."""
    log = list(started(sum(map(len, scores.values())), **config))
    entries = [(rate, seed, score) for rate, own in scores.items() for seed, score in enumerate(own)]
    for number, (rate, seed, _) in enumerate(entries):
        log.append(scheduled(number, {"optimizer.learning_rate": rate, "seed": seed}))
    for number, (_, _, score) in enumerate(entries):
        log += scored(number, [] if score is None else [score])
    return log


SEEDS = {0.1: [0.91, 0.953, 0.942], 0.01: [0.82, 0.883, 0.861], 0.001: [0.5, 0.77, 0.61]}


def test_mean_deviation_and_interval_are_scipys():
    found = verdict(project([*of_seeds(SEEDS), finished()]))
    assert found["best"]["experiment_id"] == 1 and found["best"]["score"] == 0.953
    own, best = found["candidate"], np.array(SEEDS[0.1])
    assert own["experiments"] == [0, 1, 2] and (own["over"], own["num"], own["num_scored"]) == ("seed", 3, 3)
    assert (own["mean"], own["std"]) == pytest.approx((best.mean(), best.std(ddof=1)), rel=1e-12)
    assert own["interval"] == pytest.approx(stats.t.interval(0.95, 2, best.mean(), stats.sem(best)), rel=1e-9)
    after = found["next"]
    assert after["experiments"] == [3, 4, 5]
    assert after["p"] == pytest.approx(stats.ttest_rel(SEEDS[0.1], SEEDS[0.01]).pvalue, rel=1e-9)
    assert after["is_told_apart"] and not after["is_ahead"]
    share = found["influence"][0]
    assert share["hyperparameter"] == "optimizer.learning_rate"
    assert found["headline"] == (
        f"best val/accuracy 0.9530, experiment 1; {best.mean():.4f} ± {best.std(ddof=1):.4f} over its 3 seeds; "
        f"optimizer.learning_rate explains {100 * share['share']:.0f} %"
    )
    assert "can be told from the next, experiments 3, 4, 5" in found["sentences"]["next"]


@pytest.mark.parametrize("size", [2, 3, 10, 300])
def test_differences_are_those_of_the_tests_of_scipy(size):
    generator = np.random.default_rng(size)
    first, second = generator.normal(0.9, 0.01, size), generator.normal(0.89, 0.03, size + 1)
    one, other = dict(enumerate(first)), dict(enumerate(second))
    welch = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert p_of_difference(one, other) == pytest.approx(welch, rel=1e-8)
    assert p_of_difference(one, dict(enumerate(second[:size]))) == pytest.approx(
        stats.ttest_rel(first, second[:size]).pvalue, rel=1e-8
    )
    wide = stats.sem(first) * math.sqrt(1 + size / (size - 1))  # folds: 1/n + 1/(n - 1), in place of 1/n
    ends = stats.t.interval(0.95, size - 1, first.mean(), wide)
    assert ends_of_mean(first.tolist(), are_folds=True) == pytest.approx(ends, rel=1e-8)


def test_equal_scores_cannot_be_told_apart_and_constant_ones_can():
    assert p_of_difference({0: 0.5, 1: 0.7}, {0: 0.5, 1: 0.7}) == 1.0
    assert p_of_difference({0: 0.5, 1: 0.5}, {2: 0.6, 3: 0.6}) == 0.0
    assert p_of_difference({0: 0.5}, {0: 0.6}) is None and ends_of_mean([0.5]) is None


def test_one_training_each_says_nothing_about_chance():
    found = verdict(project([*of_seeds({0.1: [0.9], 0.01: [0.8]}), finished()]))
    assert found["candidate"]["std"] is None and found["next"]["p"] is None
    assert "a single training of each does not tell" in found["sentences"]["next"]


def test_what_is_better_on_average_is_said_where_the_best_experiment_is_of_others():
    found = verdict(project([*of_seeds({0.1: [0.99, 0.5, 0.6], 0.01: [0.9, 0.91, 0.92]}), finished()]))
    assert found["best"]["experiment_id"] == 0 and found["next"]["is_ahead"]
    assert found["sentences"]["next"].startswith("Beside it, experiments 3, 4, 5 (0.9100 ± 0.0100) are better on")


def test_a_candidate_of_which_a_seed_is_missing_is_behind_and_says_so():
    found = verdict(project(of_seeds({0.1: [0.99, None, 0.98], 0.01: [0.9, 0.91, 0.92], 0.001: [0.95, None, 0.95]})))
    assert found["headline"].startswith("best val/accuracy so far 0.9900, experiment 0; 0.9850 ± 0.0071 over 2 of its")
    assert found["next"]["experiments"] == [3, 4, 5]


def test_which_score_is_better_is_read_from_it_or_given():
    log = [*started(2), scheduled(0, {"a": 1}), scheduled(1, {"a": 2})]
    log += [*scored(0, [0.5], "val/loss"), *scored(1, [0.2], "val/loss"), finished()]
    view = project(log)
    assert verdict(view)["best"]["experiment_id"] == 1 and verdict(view, mode="max")["best"]["experiment_id"] == 0
    assert verdict(view, "val/loss")["mode"] == "min"
    with pytest.raises(MlgymError, match="did you mean 'val/loss'"):
        verdict(view, "val/los")
    with pytest.raises(MlgymError, match="mode"):
        verdict(view, mode="best")


def test_folds_are_averaged_over_their_seeds_and_what_they_estimate_is_told():
    log = list(started(8, validation={"component": "cross_validation", "folds": 2}))
    scores = {
        (rate, seed, fold): 0.5 + rate / 10 + seed / 100 + fold / 5
        for rate in (1, 2)
        for seed in (0, 1)
        for fold in (0, 1)
    }
    for number, (rate, seed, fold) in enumerate(scores):
        log.append(scheduled(number, {"rate": rate, "seed": seed}, fold))
    for number, score in enumerate(scores.values()):
        log += scored(number, [score])
    found = verdict(project([*log, finished()]))
    means = [np.mean([scores[2, 0, fold], scores[2, 1, fold]]) for fold in (0, 1)]
    assert found["candidate"]["over"] == "fold" and found["candidate"]["mean"] == pytest.approx(np.mean(means))
    assert found["estimate"]["mean"] == pytest.approx(np.mean(means)) and found["estimate"]["num_folds"] == 2
    assert f"cross validation: val/accuracy {np.mean(means):.4f} ± {np.std(means, ddof=1):.4f}" in found["headline"]


def test_nested_folds_estimate_by_the_outer_parts():
    validation = {"component": "nested_cross_validation", "outer_folds": 2, "inner_folds": 2}
    log = list(started(4, validation={**validation, "monitor": "val/accuracy", "mode": "max"}))
    log += [scheduled(fold, {"rate": 1}, fold) for fold in range(4)]
    for fold in range(4):
        log += scored(fold, [0.9], **{"test/accuracy": [0.6 + fold / 10]})
    found = verdict(project([*log, finished()]))
    estimate = found["estimate"]
    assert (estimate["score"], estimate["num_folds"]) == ("test/accuracy", 2)
    assert estimate["mean"] == pytest.approx(0.75) and estimate["std"] == pytest.approx(np.std([0.65, 0.85], ddof=1))
    assert found["sentences"]["estimate"].startswith("Nested cross validation estimates test/accuracy 0.7500 ± 0.1414")


@pytest.mark.parametrize(
    ("history", "state"),
    [
        (np.linspace(0.1, 0.9, 20), "improving"),
        ([0.1, 0.5, 0.9, *[0.85] * 17], "levelled off"),
        ([0.1, 0.5, 0.9, *[0.85] * 16, 0.9001], "levelled off"),  # by a ten-thousandth of what was gained
        ([0.1, 0.2], "too early"),
    ],
)
def test_whether_it_still_learns_is_judged_by_its_last_epochs(history, state):
    log = [*started(1), scheduled(0, {}, num_epochs=20), *scored(0, list(history)), finished()]
    found = verdict(project(log))
    assert found["learning"]["state"] == state and found["learning"]["window_epochs"] == 2
    assert found["sentences"]["learning"]


def test_what_is_left_is_reckoned_from_the_last_epochs():
    log = [*started(3), *(scheduled(number, {"a": number}) for number in range(3))]
    log += [*scored(0, [0.1] * 10), ended(0), *scored(1, [0.1] * 4, seconds=2.5)]
    status = {"status": "TRAINING", "num_epochs": 10, "current_epoch": 5, "splits": ["train"], "current_split": "train"}
    log.append(schema.experiment_status(RUN, experiment_id=1, **status, num_batches=10, current_batch=5, now_ms=0))
    found = verdict(project(log))
    # Half of epoch 5 and 5 more, 2.5 s each; of experiment 2 nothing is known: the mean of 1 and 2.5 s.
    assert found["progress"] == {"epochs_done": 14, "epochs_planned": 30, "seconds_left": 5.5 * 2.5 + 10 * 1.75}
    assert "1 of 3 done, 1 running, 1 pending; 14 of 30 epochs, about 31 s left" in found["sentences"]["experiments"]
    assert verdict(project([*log, finished("INTERRUPTED")]))["progress"]["seconds_left"] is None


def test_failures_are_told_by_their_kind():
    errors = ["diverged: train/loss is nan after epoch 3", "diverged: train/loss is inf after epoch 1"]
    errors += ["RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3 bytes", "<b>odd</b>"]
    log = list(started(5))
    for number, error in enumerate([*errors, None]):
        log += [scheduled(number, {"a": number}), *scored(number, [0.5]), ended(number, error)]
    found = verdict(project([*log, finished("FAILED")]))
    told = [(one["kind"], one["number"]) for one in found["failures"]]
    assert told == [("diverged", 2), ("out of memory", 1), ("error", 1)]
    assert found["headline"].endswith("2 failed: diverged; 1 failed: out of memory; 1 failed: error")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ([], "no experiment was scheduled yet"),
        ([*started(2)], "no experiment was evaluated yet"),
        ([*started(1), scheduled(0, {})], "no experiment was evaluated yet"),
        ([*started(1), scheduled(0, {}), *scored(0, [math.nan])], "no experiment has a finite val/accuracy"),
        (
            [*started(1), scheduled(0, {}), *scored(0, [0.5, 0.7])],
            "best val/accuracy so far 0.7000, the only experiment",
        ),
    ],
)
def test_what_is_not_there_is_not_claimed(log, words):
    found = verdict(project(log))
    assert found["headline"] == words
    json.loads(encode(found))


def test_a_lost_run_says_how_to_go_on():
    log = [*started(1), scheduled(0, {}), *scored(0, [0.5])]
    assert verdict(project(log))["resume"] is None
    found = verdict(project(log), lost=True, name="my runs/r")
    assert found["status"] == "LOST" and found["headline"].endswith("the run was lost")
    assert found["resume"] == "python -m mlgym_jax.run --resume='my runs/r'"
    assert verdict(project([*log, finished()]), lost=True)["resume"] is None


def test_the_line_that_loads_the_best_model_says_where_it_was_not_kept():
    log = [*started(2), scheduled(0, {"a": 1}), scheduled(1, {"a": 2})]
    log += [*scored(0, [0.5, 0.4]), *scored(1, [0.3, 0.2])]
    plan = {"plan": "map", "reason": "", "compile_seconds": 1.0, "num_examples": 1}
    log.append(schema.group_compiled(RUN, group=0, experiments=[0, 1], **plan, now_ms=0))
    assert verdict(project(log))["load"] is None
    # A step holds the newest epoch of each, whatever is kept besides.
    for kept, epoch, is_best in (([], 2, False), ([[1, 1]], 2, False), ([[0, 1], [1, 1]], 1, True)):
        saved = schema.checkpoint_saved(RUN, group=0, epoch=2, kept=kept, bytes=1, seconds=0.1, step=2, now_ms=0)
        load = verdict(project([*log, saved]), mode="max")["load"]
        assert load == {"python": 'mg.load_run("r").best("val/accuracy").restore()', "epoch": epoch, "is_best": is_best}


def test_the_split_test_is_silent_while_the_run_goes_on():
    log = [*started(1), scheduled(0, {}), *scored(0, [0.5, 0.9, 0.7], **{"test/accuracy": [0.4, 0.8, 0.9]})]
    assert verdict(project(log))["test"] is None
    assert verdict(project([*log, finished()]))["test"] == {"score": "test/accuracy", "value": 0.8}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["what"])
def test_the_share_explained_is_that_of_the_table_that_the_page_is_held_to(case):
    found = share_explained(case["values"], case["scores"])
    assert math.isnan(found) if case["share"] is None else found == pytest.approx(case["share"], abs=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if case["share"]], ids=lambda case: case["what"])
def test_the_table_is_scipys_analysis_of_variance_of_ranks(case):
    """Epsilon squared from the F of a one-way analysis of variance: 1 - (n - 1) / (F (k - 1) + n - k)."""
    groups = {}
    for place, rank in zip(binned(case["values"]), stats.rankdata(case["scores"]), strict=True):
        groups.setdefault(place, []).append(rank)
    k, n = len(groups), len(case["scores"])
    f = stats.f_oneway(*groups.values()).statistic
    assert case["share"] == pytest.approx(1 - (n - 1) / (f * (k - 1) + n - k), abs=1e-12)


def test_each_experiment_has_its_place():
    stands = standings(project(of_seeds(SEEDS)), "val/accuracy", "max")
    ordered = sorted((score for own in SEEDS.values() for score in own), reverse=True)
    assert [stands.best[number].score for number in stands.order] == ordered
    assert standing(stands, 1).startswith("val/accuracy 0.9530 at epoch 1, the best of 9 experiments; 0.9350 ± ")
    assert "place 2 of 9" in standing(stands, 2) and standing(stands, 99) is None


def test_the_best_is_that_of_all_epochs_however_they_came():
    generator = np.random.default_rng(0)
    view = project([*started(1), scheduled(0, {})]).experiment(0)
    view = project([*started(1), scheduled(0, {})])
    own = view.experiment(0)
    scores = {}
    for epoch in generator.permutation(60).tolist():
        scores[epoch] = float(generator.choice([0.25, 0.5, 0.75, math.nan, math.inf, -math.inf]))
        own._add_epoch(epoch, {"val/accuracy": scores[epoch]}, 1.0, 0, None)
        finite = {at: score for at, score in sorted(scores.items()) if math.isfinite(score)}
        for mode, choose in (("max", max), ("min", min)):
            wanted = choose(finite.values(), default=None)
            at = next((at for at, score in finite.items() if score == wanted), None)
            assert own.best("val/accuracy", mode) == (None if at is None else (at, wanted))


@pytest.mark.parametrize("field", ["config", "hyperparameters", "fold", "num_experiments", "kept", "group", "status"])
def test_a_strange_log_has_a_verdict_too(field):
    for odd in (
        {"a": [1]},
        [[1, 2], "x"],
        "x",
        1e9,
        None,
        True,
        {"validation": {"component": "nested_cross_validation"}},
    ):
        log = [*of_seeds(SEEDS), ended(0)]
        log.append(
            schema.checkpoint_saved(RUN, group=0, epoch=2, kept=[[0, 1]], bytes=1, seconds=0.1, step=2, now_ms=0)
        )
        for event in log:
            if field in event["payload"]:
                event["payload"][field] = odd
        json.loads(encode(verdict(project(log))))


def test_numbers_are_written_as_on_the_page_and_times_are_short():
    numbers = json.loads((ROOT / "board_server/page/tests/number_cases.json").read_text(encoding="utf-8"))
    assert [[value, rounded(value)] for value, _ in numbers] == numbers
    assert [duration(seconds) for seconds in (0.2, 45, 600, 9000, 400_000)] == [
        "1 s",
        "45 s",
        "10 min",
        "2 h 30 min",
        "4.6 days",
    ]


def test_a_run_that_nobody_writes_any_more_is_lost_and_named_as_it_is_found_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "event_storage" / RUN / "event_storage.log"
    path.parent.mkdir(parents=True)
    with EventLog.open(path) as log:
        log.append([*started(1), scheduled(0, {}), *scored(0, [0.5])])
        os.utime(path, (1, 1))  # quiet for long, but held
        assert load_run(path.parent).verdict()["status"] == "RUNNING"
    assert load_run(RUN).verdict()["resume"] == "python -m mlgym_jax.run --resume=r"
    os.utime(path)
    assert load_run(RUN).verdict()["status"] == "RUNNING"  # quiet for a moment
    os.utime(path, (1, 1))
    monkeypatch.chdir(tmp_path / "event_storage")
    assert load_run(RUN).verdict()["resume"] == "python -m mlgym_jax.run --resume=./r"
    monkeypatch.chdir(path.parent)
    assert load_run(path.parent).verdict()["resume"] == f"python -m mlgym_jax.run --resume={path.parent}"
