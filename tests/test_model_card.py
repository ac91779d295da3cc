"""Model cards of a small run against counts by hand."""

import json
import os

import numpy as np
import pytest
import sklearn.datasets
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = ConfigDict()
    config.name = "cards"
    config.num_epochs = 2
    config.dataset = component("digits")
    config.validation = component("holdout", val=0.2, stratified=True)
    config.model = component("mlp", features=(16,))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=grid(1e-3, 1e-2))
    config.metrics = dict(accuracy=component("accuracy"))
    return mg.run(config, tmp_path_factory.mktemp("cards"))


def card_of(run, number):
    with open(os.path.join(run.run_dir, str(number), "model_card.json")) as file:
        return json.load(file)


def test_parameters_and_labels_are_counted(run):
    card = card_of(run, 1)
    assert card["model"]["num_parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert card["model"]["parameter_bytes"] == 4 * card["model"]["num_parameters"]
    assert card["model"]["outputs"] == "float32[batch, 10]"
    labels = [card["data"]["splits"][split]["labels"] for split in ("train", "val")]
    total = [sum(counts[str(digit)] for counts in labels) for digit in range(10)]
    assert total == np.bincount(sklearn.datasets.load_digits().target).tolist()
    assert card["data"]["splits"]["val"]["num_examples"] == 360


def test_a_card_says_what_was_run_and_how_well_it_does(run):
    for number, rate in enumerate((1e-3, 1e-2)):
        card = card_of(run, number)
        assert card["hyperparameters"] == {"optimizer.learning_rate": rate}
        assert card["pipeline"]["optimizer"] == {"component": "adam", "learning_rate": rate}
        assert card["evaluation"]["last"] == run.experiments[number].last
        history = run.experiments[number].history["val/accuracy"]
        assert card["evaluation"]["best"]["val/accuracy"]["max"]["score"] == max(history)
        assert card["training"]["num_epochs"] == 2
        place = 1 + sum(max(item.history["val/accuracy"]) > max(history) for item in run.experiments)
        rank = "the best" if place == 1 else f"place {place}"
        epoch = 1 + history.index(max(history))
        assert card["headline"] == f"val/accuracy {max(history):.4f} at epoch {epoch}, {rank} of 2 experiments"
        standing = {"monitor": "val/accuracy", "mode": "max", "score": max(history), "epoch": epoch, "place": place}
        standing |= {"num_placed": 2, "mean": max(history), "std": None, "interval": None, "over": "seed", "n": 1}
        assert card["standing"] == standing
        assert card["command"] and card["environment"]["versions"]["jax"]
        assert card["environment"]["processor"] and card["environment"]["memory_bytes"] > 0
    with open(os.path.join(run.run_dir, "run.json")) as file:
        assert card["data"]["fingerprint"] == json.load(file)["data_fingerprint"]


def test_energy_is_measured_or_absent_with_a_reason(run):
    energy = card_of(run, 0)["energy"]
    for name in ("processor", "gpu"):
        measured = energy[f"{name}_joules"]
        assert measured > 0 if measured is not None else energy["reasons"][name]


def test_the_card_for_people_holds_the_same_numbers(run):
    with open(os.path.join(run.run_dir, "0", "model_card.md")) as file:
        text = file.read()
    assert "# Model card: cards, experiment 0" in text
    assert "1,210 parameters" in text
    assert f"| val/accuracy | {run.experiments[0].last['val/accuracy']:.6g} |" in text
