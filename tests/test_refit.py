"""The refit of what was selected over folds: against plain runs, scikit-learn and arithmetic; interrupted; misasked."""

import json
import pathlib
import shutil
import signal
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from flax import linen as nn
from forks import run
from ml_collections import ConfigDict
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from study_files import assert_same_bits, assert_same_outcome, events, here, outcome, small

import mlgym_jax as mg
from mlgym_jax import component, grid, register
from mlgym_jax.command_line import guarded
from mlgym_jax.data.cross_validation import cross_validation
from mlgym_jax.recording.launch import repeat
from mlgym_jax.report import _main
from mlgym_jax.reproduce import reproduce
from mlgym_jax.study.expand import prepare

pytestmark = pytest.mark.usefixtures("own_registry")


def report(words):
    """Run the command, as the command line does."""
    return guarded(_main, words)


NESTED = {"outer_folds": 2, "inner_folds": 2, "monitor": "val/accuracy", "mode": "max"}


def study(validation="cross_validation", parameters=None, **sections):
    config = ConfigDict(type_safe=False)
    config.seed = grid(0, 1)
    config.num_epochs = 5
    config.checkpoint_interval_seconds = 0.0
    config.dataset = component("synthetic", num_examples=150, num_features=6, num_classes=3, noise=0.7)
    config.validation = component(validation, **(parameters or {"folds": 3}))
    config.loader = component("in_memory", batch_size=20)
    config.model = component("mlp", features=(8,), dropout_rate=0.1)
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=grid(1e-3, 3e-2))
    config.metrics = dict(accuracy=component("accuracy"))
    config.early_stopping = component("no_improvement", monitor="val/loss", mode="min", window_epochs=2)
    config.checkpointing = component("best", monitor="val/accuracy", mode="max")
    config.refit = component("selected")
    for name, value in sections.items():
        config[name] = value
    return config


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A cross-validated run with its refit: 12 experiments on folds, 2 seeds of the selected refitted."""
    return mg.run(study(), tmp_path_factory.mktemp("refit"), run_id="whole")


@pytest.fixture(scope="module")
def outcome_of_whole(whole):
    return outcome(whole.run_dir)


@pytest.fixture
def copied(whole, tmp_path):
    return pathlib.Path(shutil.copytree(whole.run_dir, tmp_path / "whole"))


def selected_by_hand(result, monitor="val/accuracy"):
    """Return the trainings of the candidate with the best mean, over its folds and seeds, of their best scores."""
    candidates = {}
    for item in result.experiments:
        candidates.setdefault(item.hyperparameters["optimizer.learning_rate"], []).append(item)
    return max(candidates.values(), key=lambda items: np.mean([max(item.history[monitor]) for item in items]))


# -- what it trains ----------------------------------------------------------------------------------------------------


def test_it_is_a_plain_run_of_the_selected_hyperparameters_on_all_training_data_to_the_bit(whole, tmp_path):
    members = selected_by_hand(whole)
    epochs = sorted(1 + int(np.argmax(item.history["val/accuracy"])) for item in members)
    assert len(epochs) == 6
    rate = members[0].hyperparameters["optimizer.learning_rate"]
    plain = study("holdout", {"val": 0.0}, num_epochs=epochs[3])
    plain.optimizer.learning_rate = grid(rate)
    for section in ("refit", "early_stopping", "checkpointing"):
        plain[section] = None
    expected = mg.run(plain, tmp_path)
    assert len(whole.refit) == 2
    for refit, other in zip(whole.refit, expected.experiments, strict=True):
        assert refit.hyperparameters == {"optimizer.learning_rate": rate, "seed": other.hyperparameters["seed"]}
        assert refit.selected_by["experiments"] == [item.experiment_id for item in members]
        assert refit.history == other.history
        assert_same_bits(refit.restore(), other.restore())
        assert (refit.status, refit.stop_reason, refit.fold) == ("DONE", None, None)


def test_every_training_example_trains_once_an_epoch_and_no_other(tmp_path):
    """Example i lights input i alone and the loss is the output, so each pass moves weight i by -rate / batch_size."""
    identity = np.eye(16, dtype=np.float32)

    @register("dataset", "one_light")
    def one_light():
        parts = {"train": identity[:12], "test": identity[12:]}
        return mg.Dataset({name: {"inputs": x, "targets": np.zeros(len(x), np.float32)} for name, x in parts.items()})

    @register("model", "weights")
    def weights():
        return nn.Dense(1, use_bias=False, kernel_init=nn.initializers.zeros)

    @register("loss", "output")
    def output():
        return lambda outputs, batch: outputs[:, 0]

    for validation, parameters in (
        ("cross_validation", {"folds": 3}),
        ("nested_cross_validation", {**NESTED, "monitor": "val/loss", "mode": "min"}),
    ):
        sections = dict(dataset=component("one_light"), model=component("weights"), loss=component("output"))
        sections |= dict(optimizer=component("sgd", learning_rate=0.5), loader=component("in_memory", batch_size=4))
        sections |= dict(metrics={}, checkpointing=None, early_stopping=None, seed=0, checkpoint_interval_seconds=30.0)
        config = study(validation, parameters, **sections, refit=component("selected", num_epochs=3))
        [refit] = mg.run(config, tmp_path).refit
        [kernel] = jax.tree.leaves(refit.restore().params)
        moved = np.concatenate([np.full(12, -3 * 0.5 / 4), np.zeros(4)]).astype(np.float32)
        np.testing.assert_array_equal(np.asarray(kernel)[:, 0], moved)
        assert "test/loss" in refit.history and "val/loss" not in refit.history


class MeanRidge(RegressorMixin, BaseEstimator):
    """Ridge regression whose penalty is per example, as that of a loss which is a mean."""

    def __init__(self, decay=0.0):
        self.decay = decay

    def fit(self, inputs, targets):
        self.coef_ = Ridge(alpha=self.decay * len(inputs), fit_intercept=False).fit(inputs, targets).coef_
        return self

    def predict(self, inputs):
        return inputs @ self.coef_


def test_it_ends_where_the_grid_search_of_scikit_learn_ends(tmp_path):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(60, 3)).astype(np.float32)
    targets = (inputs @ [1.0, -2.0, 0.5] + 0.3 * random.normal(size=60)).astype(np.float32)
    dataset = mg.Dataset({"train": {"inputs": inputs, "targets": targets}})
    register("dataset", "line")(lambda: dataset)
    register("model", "line")(lambda: nn.Dense(1, use_bias=False))
    register("loss", "half_square")(lambda: lambda outputs, batch: 0.5 * jnp.square(outputs[:, 0] - batch["targets"]))
    decays = (3.0, 0.1, 1.0)
    decayed = component("add_decayed_weights", weight_decay=grid(*decays))
    sections = dict(dataset=component("line"), model=component("line"), loss=component("half_square"), metrics={})
    sections |= dict(optimizer=component("chain", transforms=(decayed, component("sgd", learning_rate=0.2))))
    sections |= dict(loader=component("in_memory", batch_size=60), num_epochs=60, seed=0)
    sections |= dict(checkpointing=component("last"), early_stopping=None, checkpoint_interval_seconds=30.0)
    refit = component("selected", num_epochs=200, monitor="val/loss", mode="min")
    [found] = mg.run(study(**sections, refit=refit), tmp_path).refit
    folds = [(fold["train"], fold["val"]) for fold in cross_validation(folds=3)(dataset, 0)]
    search = GridSearchCV(MeanRidge(), {"decay": decays}, cv=folds, scoring="neg_mean_squared_error")
    search.fit(inputs, targets)
    assert list(found.hyperparameters.values()) == list(search.best_params_.values())
    np.testing.assert_allclose(found.predict(inputs)[:, 0], search.predict(inputs), atol=1e-5)


def test_nested_pools_the_inner_folds_and_leaves_the_outer_scores_alone(tmp_path):
    seldom = dict(checkpoint_interval_seconds=30.0)
    without = mg.run(study("nested_cross_validation", NESTED, refit=None, **seldom), tmp_path)
    result = mg.run(study("nested_cross_validation", NESTED, **seldom), tmp_path)
    assert [item.history for item in result.experiments] == [item.history for item in without.experiments]
    assert result.selection() == without.selection()
    members = selected_by_hand(result)
    best = sorted(1 + int(np.argmax(item.history["val/accuracy"])) for item in members)
    for refit in result.refit:
        assert refit.selected_by["experiments"] == [item.experiment_id for item in members]
        assert refit.num_epochs == statistics.median_high(best)
        card = json.loads(pathlib.Path(result.run_dir, str(refit.experiment_id), "model_card.json").read_text())
        assert card["data"]["splits"].keys() == {"train"}
        assert card["data"]["splits"]["train"]["num_examples"] == 150
        assert card["refit"]["estimate"]["score"] == "test/accuracy"
        assert card["refit"]["estimate"]["mean"] == result.selection()[1]["mean"]


@pytest.mark.parametrize("search", ["successive_halving", "optuna"])
def test_it_follows_a_search_and_is_none_of_its_contenders(search, tmp_path):
    if search == "optuna":
        pytest.importorskip("optuna")
    parameters = {"successive_halving": {"min_epochs": 1}, "optuna": {"num_trials": 3, "num_parallel": 2}}[search]
    section = component(search, monitor="val/accuracy", mode="max", **parameters)
    rates = component("adam", learning_rate=grid(1e-3, 1e-2, 3e-2))
    sections = dict(search=section, optimizer=rates, early_stopping=None, checkpoint_interval_seconds=30.0)
    result = mg.run(study(**sections), tmp_path, run_id="whole")
    without = mg.run(study(**sections, refit=None), tmp_path)
    assert [item.history for item in result.experiments] == [item.history for item in without.experiments]
    assert [item.status for item in result.refit] == ["DONE", "DONE"]
    resumed = mg.resume(result.run_dir)
    assert [item.history for item in resumed.refit] == [item.history for item in result.refit]
    assert len(resumed.experiments) == len(without.experiments)


# -- who sees it -------------------------------------------------------------------------------------------------------


def test_it_is_no_candidate_and_is_reported_apart(whole, capsys):
    assert len(whole.experiments) == 12 and [item.experiment_id for item in whole.refit] == [12, 13]
    assert whole.best("train/loss", mode="min").experiment_id < 12
    assert whole.to_dataframe()["experiment_id"].max() == 11
    report([whole.run_dir, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["num_experiments"] == 12
    assert [entry["experiment_id"] for entry in found["experiments"]] == list(range(12))
    selected = found["cross_validation"]["selected"]
    for entry, seed in zip(found["refit"], (0, 1), strict=True):
        assert entry["hyperparameters"] == {**selected, "seed": seed}
        assert entry["last"].keys() == {"train/loss", "train/accuracy"}
        assert len(entry["selected_by"]["experiments"]) == 6
    report([whole.run_dir])
    out = " ".join(capsys.readouterr().out.split())
    assert "refit on all training data: experiment 12, seed 0, optimizer.learning_rate=0.03, selected by" in out


def test_its_card_says_that_nothing_was_held_out(whole):
    text = pathlib.Path(whole.run_dir, "12/model_card.md").read_text()
    assert "A refit: selected by val/accuracy from experiments 6, 7, 8, 9, 10, 11, and trained once more on all" in text
    assert "Nothing was held out" in text and "optimistic" in text
    assert json.loads(pathlib.Path(whole.run_dir, "0/model_card.json").read_text())["refit"] is None


def test_it_is_reproduced(whole, tmp_path):
    assert reproduce(whole.run_dir)[0] == []
    differences, num_scores, num_experiments = reproduce(whole.run_dir, 13)
    assert (differences, num_experiments) == ([], 1) and num_scores > 0
    again = repeat(whole.run_dir, str(tmp_path), 13)
    assert [item.history for item in again.refit] == [item.history for item in whole.refit]


def test_a_warm_start_may_begin_with_it(whole, tmp_path):
    start = component("experiment", run_dir=whole.run_dir, experiment_id=12)
    result = mg.run(study("holdout", {"val": 0.2}, refit=None, seed=0, warm_start=start, num_epochs=1), tmp_path)
    assert result.status == "DONE"


# -- interrupted -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("experiment", [0, 12])
def test_an_interrupted_run_ends_in_the_same_bits(outcome_of_whole, tmp_path, experiment):
    def interrupt(_first, written):
        if any(e["event_type"] == "evaluation_result" and e["payload"]["experiment_id"] == experiment for e in written):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        mg.run(study(), tmp_path, run_id="cut", sinks=[interrupt])
    assert len(mg.load_run(tmp_path / "cut").refit) == (2 if experiment == 12 else 0)
    assert mg.resume(tmp_path / "cut").status == "DONE"
    assert_same_outcome(outcome(tmp_path / "cut"), outcome_of_whole)


def test_a_run_that_is_killed_in_its_refit_ends_in_the_same_bits(outcome_of_whole, tmp_path):
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import mlgym_jax as mg
from test_refit import study

def kill(_first, written):
    for event in written:
        if event["event_type"] == "evaluation_result" and event["payload"]["experiment_id"] == 12:
            if event["payload"]["epoch"] == 2:
                os.kill(os.getpid(), signal.SIGKILL)

mg.run(study(), {str(tmp_path)!r}, run_id="cut", sinks=[kill])
"""
    done = run("engine", code=code)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert mg.load_run(tmp_path / "cut").refit[0].num_epochs == 2
    assert mg.resume(tmp_path / "cut").status == "DONE"
    assert_same_outcome(outcome(tmp_path / "cut"), outcome_of_whole)


@pytest.mark.parametrize("lines", [0, 1, 2, 3])
def test_a_log_that_ends_where_the_refit_begins_goes_on(outcome_of_whole, copied, lines):
    """The last lines that were written are lost: all of the refit, or all but its first config, and so on."""
    path = copied / "event_storage.log"
    text = path.read_bytes().splitlines(keepends=True)
    first = next(number for number, line in enumerate(text) if b'"refit":{"monitor"' in line)
    path.write_bytes(b"".join(text[: first + lines]) + text[first + lines][:-20])
    if lines % 2:
        shutil.rmtree(copied / "checkpoints/group_1")
    assert mg.resume(copied).status == "DONE"
    assert_same_outcome(outcome(copied), outcome_of_whole)


def test_resuming_what_is_finished_adds_nothing(outcome_of_whole, copied):
    before = len(events(copied))
    assert mg.resume(copied).status == "DONE"
    assert len(events(copied)) == before + 2  # run_started, run_finished
    assert_same_outcome(outcome(copied), outcome_of_whole)


def test_more_epochs_are_refitted_as_in_a_run_with_that_many(copied, tmp_path):
    more = mg.resume(copied, num_epochs=8)
    expected = mg.run(study(num_epochs=8), tmp_path, run_id="expected")
    assert [item.history for item in more.experiments] == [item.history for item in expected.experiments]
    assert [item.history for item in more.refit] == [item.history for item in expected.refit]
    for mine, its in zip(more.refit, expected.refit, strict=True):
        assert_same_bits(mine.restore(), its.restore())


# -- misasked ----------------------------------------------------------------------------------------------------------


def test_where_nothing_can_be_selected_the_run_says_so(tmp_path, capsys):
    zero = {"init": lambda: jnp.zeros(()), "update": lambda s, o, b: s, "merge": lambda a, b: a}
    register("metric", "undefined")(lambda: mg.Metric(**zero, compute=lambda state: state / state))
    config = study(metrics=dict(mine=component("undefined")), checkpointing=None, num_epochs=1)
    config.refit = component("selected", monitor="val/mine", mode="max")
    result = mg.run(config, tmp_path)
    assert (result.status, result.refit) == ("FAILED", [])
    report([result.run_dir])
    assert "refit: none, as no candidate has a finite score on every fold" in capsys.readouterr().out


FOLDED, OUTER = "cross_validation", "nested_cross_validation"


@pytest.mark.parametrize(
    ("validation", "refit", "message"),
    [
        ("holdout", {}, r"refit: it needs folds to select over, and config\.validation is 'holdout'; write "),
        (FOLDED, {"num_epochs": 0}, r"refit\.num_epochs: found 0; at least 1 is needed"),
        (FOLDED, {"epochs": 3}, r"refit\.epochs: unknown parameter .*; did you mean 'num_epochs'\?"),
        (FOLDED, {"num_epochs": grid(1, 2)}, r"refit\.num_epochs: a refit .* cannot be swept itself"),
        (FOLDED, {"monitor": "val/loss"}, r"refit\.mode: missing; .* write mode='max' or mode='min'"),
        (FOLDED, {"mode": "min"}, r"refit\.monitor: missing; mode='min' goes with it"),
        (
            FOLDED,
            {"monitor": "val/acuracy", "mode": "max"},
            r"refit\.monitor: found 'val/acuracy'; no such score will exist; did you mean 'val/accuracy'\?",
        ),
        (
            FOLDED,
            {"monitor": "train/loss", "mode": "min"},
            r"refit\.monitor: found 'train/loss'; selection reads a validation score .* Scores: val/",
        ),
        (
            OUTER,
            {"monitor": "val/loss", "mode": "min"},
            r"refit\.monitor: found 'val/loss', .* config\.validation\.monitor, 'val/accuracy', mode 'max'; leave",
        ),
    ],
)
def test_what_is_wrong_is_named_before_anything_trains(validation, refit, message):
    parameters = {"holdout": {"val": 0.2}, FOLDED: {"folds": 3}, OUTER: NESTED}[validation]
    with pytest.raises(mg.ConfigError, match=r"config\." + message):
        prepare(study(validation, parameters, refit=component("selected", **refit)))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (True, r"config\.refit: a component is expected, found True; write config\.refit = component\('selected'\)"),
        (component("selcted"), r"config\.refit: unknown refit 'selcted'; did you mean 'selected'\?"),
        (grid(component("selected")), r"config\.refit: a refit trains what was selected and cannot be swept itself"),
    ],
)
def test_a_section_that_is_no_refit_is_named(section, message):
    with pytest.raises(mg.ConfigError, match=message):
        prepare(study(refit=section))


def test_a_component_that_needs_what_a_refit_leaves_out_is_named_before_anything_trains():
    register("gadget", "needy", needs=("early_stopping",))(lambda early_stopping: early_stopping)
    with pytest.raises(mg.ConfigError, match=r"config\.gadget: .* needs the section 'early_stopping', .* missing"):
        prepare(study(gadget=component("needy")))


def test_the_command_line_asks_for_it_too(tmp_path):
    path = small(tmp_path, edit="config.validation = component('cross_validation', folds=2)")
    words = [f"--config={path}", f"--event_storage={tmp_path}/storage", "--run_id=asked", "--config.refit=selected"]
    status, out, err = here("run", *words)
    assert status == 0, err
    assert "refit on all training data: experiment 2" in out
