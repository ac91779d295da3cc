"""What data a run trained on: recorded with each round of a search, compared when the run goes on."""

import json
import signal

import numpy as np
import pytest
from test_halving import config_of

import mlgym_jax as mg
from mlgym_jax import component, grid, register, uniform

pytestmark = pytest.mark.usefixtures("own_registry")
OPTUNA = {"num_trials": 2, "num_parallel": 1, "monitor": "val/loss", "mode": "min", "sampler": "RandomSampler"}
HALVING = {"eta": 2, "min_epochs": 1, "monitor": "val/loss", "mode": "min"}
FEW = {"num_examples": 60, "num_features": 4, "num_classes": 3}


def swept(dataset, search, **sections):
    loader = component("in_memory", batch_size=6)  # which all parts of 60 examples are multiples of
    plain = {"optimizer": component("sgd", learning_rate=0.1), "num_epochs": 2, "metrics": {}, "loader": loader}
    return config_of(**{"dataset": dataset, "search": search, **plain, **sections})


def interrupted(config, folder, experiment):
    """Run until the first scores of an experiment are logged."""

    def interrupt(_first, events):
        if any(e["event_type"] == "evaluation_result" and e["payload"]["experiment_id"] == experiment for e in events):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        mg.run(config, folder.parent, run_id=folder.name, sinks=[interrupt])


def recorded(folder):
    return json.loads((folder / "run.json").read_text())["data_fingerprint"]


TWO = grid(*(component("synthetic", **FEW, seed=seed) for seed in (1, 2)))


def a_parameter():
    return swept(component("synthetic", **FEW, noise=uniform(0.1, 2.0)), component("optuna", **OPTUNA))


def a_component():
    rate = component("sgd", learning_rate=uniform(0.1, 1.0))
    return swept(TWO, component("optuna", **{**OPTUNA, "num_trials": 4}), optimizer=rate)


def halving():
    return swept(component("synthetic", **FEW, seed=grid(1, 2)), component("successive_halving", **HALVING))


def refit():
    return swept(TWO, component("grid"), validation=component("cross_validation", folds=2), refit=component("selected"))


@pytest.mark.parametrize(
    ("config", "experiment", "num_tables"), [(a_parameter, 1, 2), (a_component, 3, 2), (halving, 1, 2), (refit, 4, 2)]
)
def test_a_run_that_sweeps_its_data_goes_on(tmp_path, config, experiment, num_tables):
    interrupted(config(), tmp_path / "cut", experiment)
    before = recorded(tmp_path / "cut")
    assert len(before) == num_tables  # what two rounds have in common is read once
    assert mg.resume(tmp_path / "cut").status == "DONE"
    again = mg.resume(tmp_path / "cut")  # what is finished goes on, too
    assert (again.status, again.mismatches, len(again.view.experiments)) == ("DONE", [], experiment + 1)
    assert recorded(tmp_path / "cut") == before


def test_data_that_changed_is_refused_in_any_round(tmp_path):
    shift = {0: 0.0, 1: 0.0}

    @register("dataset", "shifted")
    def shifted(*, part):
        inputs = np.arange(48, dtype=np.float32).reshape(24, 2) + part + shift[part]
        return mg.Dataset({"train": {"inputs": inputs, "targets": np.arange(24) % 3}}, num_classes=3)

    space = {"sampler": "GridSampler", "sampler_parameters": {"search_space": {"dataset.part": [0, 1]}}}
    config = swept(component("shifted", part=grid(0, 1)), component("optuna", **{**OPTUNA, **space}))
    interrupted(config, tmp_path / "cut", 1)
    for item in mg.load_run(tmp_path / "cut").experiments:
        part = item.hyperparameters["dataset.part"]
        shift[part] = 1.0
        with pytest.raises(mg.MlgymError, match=f"the data is not what experiment {item.experiment_id} was trained on"):
            mg.resume(tmp_path / "cut")
        shift[part] = 0.0
    assert mg.resume(tmp_path / "cut").status == "DONE"
