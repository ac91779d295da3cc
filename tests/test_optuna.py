"""The bridge to Optuna: proposals are its own samplers' and pruners', a group at a time, repeated by a resumed run."""

import signal

import optuna
import pytest
from test_halving import config_of

import mlgym_jax as mg
from mlgym_jax import component, grid, int_uniform, log_uniform
from mlgym_jax.recording.launch import repeat

SEARCH = {"num_trials": 6, "num_parallel": 2, "monitor": "val/loss", "mode": "min"}


def searched(**parameters):
    sections = parameters.pop("sections", {})
    rate = {"optimizer": component("sgd", learning_rate=log_uniform(1e-4, 1.0))}
    return config_of(**{"num_epochs": 3, "search": component("optuna", **{**SEARCH, **parameters}), **rate, **sections})


def rates(result):
    return [item.hyperparameters["optimizer.learning_rate"] for item in result.experiments]


def by_hand(result, sampler, num_trials=6, num_parallel=2):
    """Ask and tell as Optuna's documentation shows, with the scores that the run recorded."""
    trials = optuna.create_study(direction="minimize", sampler=sampler)
    losses = dict(zip(rates(result), [min(item.history["val/loss"]) for item in result.experiments], strict=True))
    space = {"optimizer.learning_rate": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)}
    for _ in range(num_trials // num_parallel):
        asked = [trials.ask(space) for _ in range(num_parallel)]
        for trial in asked:
            trials.tell(trial, losses[trial.params["optimizer.learning_rate"]])
    return [trial.params["optimizer.learning_rate"] for trial in trials.trials]


FROM_THE_THIRD = {"sampler_parameters": {"n_startup_trials": 2}}  # on, trials are not drawn without looking


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the run that nobody interrupts."""
    return mg.run(searched(**FROM_THE_THIRD), tmp_path_factory.mktemp("whole"), run_id="whole")


def test_proposals_are_those_of_optuna_by_hand(whole):
    assert rates(whole) == by_hand(whole, optuna.samplers.TPESampler(seed=0, n_startup_trials=2))
    assert [group["experiments"] for group in whole.view.groups] == [[0, 1], [2, 3], [4, 5]]
    assert all(item.status == "DONE" for item in whole.experiments)


@pytest.mark.parametrize("experiment", [0, 3, 5])
def test_an_interrupted_run_proposes_the_same(whole, tmp_path, experiment):

    def interrupt(_first, events):
        if any(e["event_type"] == "evaluation_result" and e["payload"]["experiment_id"] == experiment for e in events):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        mg.run(searched(**FROM_THE_THIRD), tmp_path, run_id="cut", sinks=[interrupt])
    resumed = mg.resume(tmp_path / "cut")
    assert rates(resumed) == rates(whole)
    assert [item.history for item in resumed.experiments] == [item.history for item in whole.experiments]
    assert resumed.experiments[5].restore() is not None


def test_a_later_round_can_be_reproduced(whole, tmp_path):
    again = repeat(str(whole.run_dir), str(tmp_path / "again"), experiment_id=4)
    assert [item.experiment_id for item in again.experiments] == [4, 5]
    assert [item.history for item in again.experiments] == [item.history for item in whole.experiments[4:]]


def test_seeds_and_folds_belong_to_a_trial(tmp_path):
    sections = {"seed": grid(0, 1), "validation": component("cross_validation", folds=2)}
    result = mg.run(searched(num_trials=2, sections=sections), tmp_path)
    assert len(result.experiments) == 2 * 2 * 2
    assert len(set(rates(result))) == 2
    assert {item.hyperparameters["seed"] for item in result.experiments} == {0, 1}


def test_static_and_whole_numbers_and_choices_are_proposed(tmp_path):
    sections = {
        "loader": component("in_memory", batch_size=int_uniform(60, 64)),
        "model": grid(component("linear"), component("mlp", features=(4,))),
    }
    result = mg.run(searched(num_trials=4, num_parallel=4, sampler="RandomSampler", sections=sections), tmp_path)
    sizes = [item.hyperparameters["loader.batch_size"] for item in result.experiments]
    assert all(isinstance(size, int) and 60 <= size <= 64 for size in sizes) and len(set(sizes)) > 1
    assert {item.hyperparameters["model"]["component"] for item in result.experiments} == {"linear", "mlp"}


def test_the_pruner_is_optunas(tmp_path):
    result = mg.run(
        searched(
            num_trials=4,
            pruner="ThresholdPruner",
            pruner_parameters={"upper": 1.0},
            sections={"optimizer": component("sgd", learning_rate=grid(1e-5, 0.3, 2e-5, 0.2))},
            sampler="GridSampler",
            sampler_parameters={"search_space": {"optimizer.learning_rate": [0, 1, 2, 3]}},
        ),
        tmp_path,
    )
    assert len(result.experiments) == 4
    for item in result.experiments:
        above = [epoch for epoch, loss in enumerate(item.history["val/loss"], 1) if loss > 1.0]
        assert (item.num_epochs == above[0]) if above else (item.num_epochs == 3)
        assert (item._view.stop_reason == "pruned by Optuna's ThresholdPruner") == bool(above and above[0] < 3)
    assert {item.num_epochs for item in result.experiments} == {1, 3}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(sampler="TPESampel"), "config.search.sampler: Optuna has no 'TPESampel'; did you mean 'TPESampler'"),
        (dict(pruner="Median"), "config.search.pruner: Optuna has no 'Median'"),
        (dict(sampler_parameters={"x": 1}), "config.search.sampler_parameters: optuna.samplers.TPESampler: "),
        (dict(num_trials=0), "config.search.num_trials: found 0"),
        (dict(monitor="val/los"), "config.search.monitor: no score 'val/los' will exist"),
    ],
)
def test_what_is_wrong_is_named(parameters, message, tmp_path):
    with pytest.raises(mg.ConfigError) as error:
        mg.run(searched(**parameters), tmp_path)
    assert str(error.value).startswith(message)
