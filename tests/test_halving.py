"""Successive halving: which experiments go on, which stop, and that a resumed run decides the same."""

import math
import signal

import pytest
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid, log_uniform
from mlgym_jax.recording.launch import repeat
from mlgym_jax.search.contest import Contender
from mlgym_jax.search.halving import successive_halving


def config_of(**sections):
    config = ConfigDict()
    config.num_epochs = 9
    config.checkpoint_interval_seconds = 0.0
    config.dataset = component("synthetic", num_examples=240, num_features=8, num_classes=3, noise=0.7)
    config.loader = component("in_memory", batch_size=48)  # which all parts are multiples of
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=grid(*(10.0**-n for n in range(9))))
    config.metrics = dict(accuracy=component("accuracy"))
    config.search = component("successive_halving", min_epochs=1, monitor="val/loss", mode="min")
    for name, value in sections.items():
        config[name] = value
    return config


def ends(result):
    return {item.experiment_id: (item.num_epochs, item._view.stop_reason) for item in result.experiments}


def trained(halving, losses, num_epochs):
    """Train pretended experiments, whose scores do not change; return how many epochs each got."""
    contenders = [Contender(0, str(number)) for number in range(len(losses))]
    histories = [[] for _ in losses]
    stopped = set()
    for epoch in range(1, num_epochs + 1):
        for number, history in enumerate(histories):
            if number not in stopped:
                history.append({"val/loss": losses[number]})
        stopped |= set(halving.stopped(contenders, histories, epoch))
    return [len(history) for history in histories]


def test_the_rungs_are_those_of_the_paper():
    # Table 1 of Li et al., Hyperband, 2018 (jmlr.org/papers/v18/16-558), R=81, eta=3: the brackets s=4 and s=3.
    halving = successive_halving(min_epochs=1, monitor="val/loss", mode="min")
    epochs = trained(halving, [(7 * n) % 81 for n in range(81)], 81)
    assert [sum(e >= rung for e in epochs) for rung in (1, 2, 4, 10, 28)] == [81, 27, 9, 3, 1]
    assert epochs[0] == 81, "the least loss"
    halving = successive_halving(min_epochs=3, monitor="val/loss", mode="min")
    epochs = trained(halving, list(range(27)), 81)
    assert epochs == [81, 27, 27] + [9] * 6 + [3] * 18


def test_what_has_no_finite_score_goes_first_and_ties_keep_the_order():
    halving = successive_halving(eta=2, min_epochs=1, monitor="val/loss", mode="min")
    assert trained(halving, [math.nan, 0.5, 0.5, math.inf], 2) == [1, 2, 2, 1]
    assert trained(halving, [0.5, 0.5, 0.5, 0.5], 2) == [2, 2, 1, 1]


def test_folds_and_seeds_of_a_candidate_are_averaged_and_stay_together():
    halving = successive_halving(eta=2, min_epochs=1, monitor="val/accuracy", mode="max")
    contenders = [Contender(0, "a"), Contender(0, "a"), Contender(0, "b"), Contender(0, "b")]
    histories = [[{"val/accuracy": score}] for score in (0.9, 0.1, 0.6, 0.6)]
    assert set(halving.stopped(contenders, histories, 1)) == {0, 1}


def test_outer_folds_are_contests_of_their_own():
    halving = successive_halving(eta=2, min_epochs=1, monitor="val/accuracy", mode="max")
    contenders = [Contender(outer, name) for outer in (0, 1) for name in "ab"]
    histories = [[{"val/accuracy": score}] for score in (0.9, 0.8, 0.1, 0.2)]
    assert set(halving.stopped(contenders, histories, 1)) == {1, 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the run that nobody interrupts."""
    return mg.run(config_of(), tmp_path_factory.mktemp("whole"), run_id="whole")


def test_a_run_halves_its_group(whole):
    by_loss = {item.experiment_id: item.history["val/loss"][:1] for item in whole.experiments}
    epochs = {item.experiment_id: item.num_epochs for item in whole.experiments}
    assert sorted(epochs.values()) == [1] * 6 + [3] * 2 + [9]
    assert {number for number, n in epochs.items() if n > 1} == set(sorted(by_loss, key=by_loss.get)[:3])
    assert all(item.status == "DONE" for item in whole.experiments)
    assert {reason for n, reason in ends(whole).values() if n == 3} == {
        "successive halving: 2nd of 3 at epoch 3",
        "successive halving: 3rd of 3 at epoch 3",
    }


@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_an_interrupted_run_drops_the_same(whole, tmp_path, last):

    def interrupt(_first, events):
        if any(e["event_type"] == "evaluation_result" and e["payload"]["epoch"] == last for e in events):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        mg.run(config_of(), tmp_path, run_id="cut", sinks=[interrupt])
    resumed = mg.resume(tmp_path / "cut")
    assert ends(resumed) == ends(whole)
    assert [item.history for item in resumed.experiments] == [item.history for item in whole.experiments]
    assert not resumed.mismatches


def test_more_epochs_go_on_with_those_that_were_not_dropped(tmp_path):
    whole = mg.run(config_of(num_epochs=5), tmp_path, run_id="whole")
    mg.run(config_of(num_epochs=3), tmp_path, run_id="short")  # ends at a rung, at which nobody needs to stop
    assert ends(mg.resume(tmp_path / "short", num_epochs=5)) == ends(whole)


def test_groups_compete_with_those_before_them(tmp_path):
    # Batch sizes make two groups; the second's experiments are far worse, so none of them passes the first rung.
    sections = dict(optimizer=component("sgd", learning_rate=grid(0.1, 0.2)), loader=component("in_memory"))
    sections["loader"].batch_size = grid(8, 180)
    sections["loader"].shuffle = True
    config = config_of(**sections)
    result = mg.run(config, tmp_path, run_id="two")
    epochs = [
        [e.num_epochs for e in result.experiments if e._view.config["loader"]["batch_size"] == b] for b in (8, 180)
    ]
    assert sorted(epochs[0]) == [1, 9]
    assert epochs[1] == [1, 1]
    again = repeat(str(tmp_path / "two"), str(tmp_path / "again"), experiment_id=result.experiments[-1].experiment_id)
    assert [ends(again)[e.experiment_id] for e in again.experiments] == [
        ends(result)[e.experiment_id] for e in again.experiments
    ]


def test_nested_validation_selects_within_each_outer_fold(tmp_path):
    nested = component("nested_cross_validation", outer_folds=2, inner_folds=2, monitor="val/accuracy", mode="max")
    config = config_of(validation=nested, optimizer=component("sgd", learning_rate=grid(1e-6, 1.0, 1e-7)))
    result = mg.run(config, tmp_path)
    best = [e for e in result.experiments if e.hyperparameters["optimizer.learning_rate"] == 1.0]
    assert [e.num_epochs for e in best] == [9] * 4
    assert sorted(e.num_epochs for e in result.experiments) == [1] * 8 + [9] * 4
    _, found = result.selection()
    assert [s["optimizer.learning_rate"] for s in found["selected"]] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(monitor="val/los"), "config.search.monitor: no score 'val/los' will exist; did you mean 'val/loss'"),
        (dict(eta=1), "config.search.eta: found 1"),
        (dict(min_epochs=0), "config.search.min_epochs: found 0"),
        (dict(mode="best"), "config.search.mode: wrong value"),
        (dict(search=component("randm")), "config.search.search: unknown search 'randm'; did you mean 'random'"),
        (dict(search=component("random", num_experiments=0)), "config.search.search.num_experiments: found 0"),
        (dict(search=component("grid", linked=(("x", "y"),))), "config.search.search.linked.0: 'x' is not swept"),
    ],
)
def test_what_is_wrong_is_named(parameters, message, tmp_path):
    parameters = {"min_epochs": 1, "monitor": "val/loss", "mode": "min", **parameters}
    with pytest.raises(mg.ConfigError) as error:
        mg.run(config_of(search=component("successive_halving", **parameters)), tmp_path)
    assert str(error.value).startswith(message)


def test_a_score_that_comes_too_late_is_refused(tmp_path):
    metrics = dict(accuracy=component("accuracy", every_num_epochs=2))
    search = component("successive_halving", min_epochs=1, monitor="val/accuracy", mode="max")
    with pytest.raises(mg.ConfigError, match="found 1, but val/accuracy is computed every 2 epochs"):
        mg.run(config_of(metrics=metrics, search=search), tmp_path)


def test_random_candidates_are_halved(tmp_path):
    random = component("random", num_experiments=4)
    search = component("successive_halving", eta=2, min_epochs=2, monitor="val/loss", mode="min", search=random)
    config = config_of(search=search, optimizer=component("sgd", learning_rate=log_uniform(1e-4, 1.0)))
    assert sorted(item.num_epochs for item in mg.run(config, tmp_path).experiments) == [2, 2, 4, 9]
