"""Ensembles: means of probabilities as SciPy and scikit-learn make them, one model exported, what is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from sklearn.metrics import accuracy_score, log_loss
from study_files import here, small

import mlgym_jax as mg
from mlgym_jax.errors import MlgymError
from mlgym_jax.reading.meaning import Meaning

SWEPT = """
    config.seed = grid(0, 1)
    config.model = component("mlp", features=grid((4,), (6, 4)))
    config.optimizer = component("sgd", learning_rate=grid(0.3, 1e-4))
    config.validation = component("cross_validation", folds=2)
    config.dataset = component("ensembled")
    config.checkpointing = component("best", monitor="val/loss", mode="min")
    config.post_processors = dict(probability=component("softmax"), label=component("argmax", output="probability"))
"""
TOP = """
import numpy as np


@register("dataset", "ensembled")
def ensembled():
    random = np.random.default_rng(0)
    split = lambda number: {
        "inputs": random.normal(size=(number, 8)), "targets": random.integers(0, 3, number).astype(np.int32)}
    train, test = split(90), split(41)
    for part in (train, test):
        part["targets"] = (part["inputs"][:, 0] > 0).astype(np.int32) + (part["inputs"][:, 1] > 0)
    return mg.Dataset({"train": train, "test": test}, 3)
"""
X = np.random.default_rng(1).normal(size=(7, 8))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    return mg.run(small(folder, SWEPT, TOP), folder / "runs")


@pytest.fixture(scope="module")
def ensemble(swept):
    return swept.ensemble("top 3 by val/loss where fold = 0")


def probabilities(ensemble, inputs):
    return np.mean([softmax(member.predict(inputs)["outputs"], axis=1) for member in ensemble.members], axis=0)


def test_it_predicts_the_mean_of_its_members_probabilities(ensemble):
    wanted = probabilities(ensemble, X)
    found = ensemble.predict(X, batch_size=4)
    assert {*found} == {"outputs", "probability", "label"}
    np.testing.assert_allclose(found["probability"], wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["label"], wanted.argmax(axis=1))
    np.testing.assert_allclose(ensemble.predict(X, as_frame=True)[["0", "1", "2"]], wanted, rtol=1e-5, atol=1e-6)


def test_members_are_the_best_of_different_architectures(swept, ensemble):
    """The three smallest losses of fold 0, whose experiments are of the larger rate."""
    fold = [item for item in swept.experiments if item.fold == 0]
    best = sorted(fold, key=lambda item: min(item.history["val/loss"]))[:3]
    assert [member.experiment_id for member in ensemble.members] == [item.experiment_id for item in best]
    assert len({member.hyperparameters["model.features"] for member in ensemble.members}) == 2


@pytest.mark.parametrize("split", ["test", "val"])
def test_scores_are_those_of_the_mean_beside_those_of_the_members(swept, ensemble, split):
    job = swept._study.jobs[0]
    rows = job.folds.indices[split][0][job.folds.mask[split][0]]
    inputs, targets = job.table.arrays["inputs"][rows], job.table.arrays["targets"][rows]
    found = ensemble.scores(split)
    wanted = probabilities(ensemble, inputs)
    assert found["ensemble"][f"{split}/loss"] == pytest.approx(log_loss(targets, wanted, labels=[0, 1, 2]), rel=1e-5)
    assert found["ensemble"][f"{split}/accuracy"] == pytest.approx(accuracy_score(targets, wanted.argmax(axis=1)))
    for member in ensemble.members:
        for name, score in found["members"][member.experiment_id].items():
            assert score == pytest.approx(member.history[name][member.best_epoch - 1], rel=1e-5)


def test_a_split_that_members_have_trained_on_is_refused(swept):
    both = swept.ensemble("top 8 by val/loss")
    assert {member.fold for member in both.members} == {0, 1}
    with pytest.raises(MlgymError, match=r"have other examples in the split 'val' .*members of one fold"):
        both.scores("val")
    assert 0 < both.scores("test")["ensemble"]["test/accuracy"] <= 1
    with pytest.raises(MlgymError, match=r"no split 'tset'\. Splits: train, val, test"):
        both.scores("tset")


def test_it_is_exported_as_one_folder(swept, ensemble, tmp_path):
    output = tmp_path / "model"
    rule = f"--ensemble={ensemble.rule}"
    status, _, err = here("export", swept.run_dir, rule, "--format=stablehlo", f"--output={output}")
    assert status == 0 and "the mean of experiment" in err
    np.save(tmp_path / "x.npy", X)
    words = [sys.executable, output / "predict.py", tmp_path / "x.npy", tmp_path / "y.npz"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_NUMPY")}
    subprocess.run(words, check=True, env=environment)
    with np.load(tmp_path / "y.npz") as found:
        for name, array in ensemble.predict(X).items():
            np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6)
    said = json.loads((output / "model.json").read_text())
    assert [member["experiment_id"] for member in said["members"]] == [m.experiment_id for m in ensemble.members]
    assert said["ensemble"] == {"rule": ensemble.rule, "mean_of": "probabilities", "from_logits": True}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ensemble=top 2 by val/loss", "--output=out"], "write --format=stablehlo"),
        (["--ensemble=top 2 by val/loss", "--best", "--output=out", "--format=stablehlo"], "leave --best out"),
        (["--ensemble=top by val/loss", "--output=out", "--format=stablehlo"], "number from 1 on is needed, not 'by'"),
        (["--ensemble=top 2 by val/loss", "--format=stablehlo"], "--output=FILE is missing"),
    ],
)
def test_wrong_requests_say_what_to_type(swept, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, _, err = here("export", swept.run_dir, *arguments)
    assert status == 2 and words in err and err.count("\n") == 1


def test_members_of_other_data_are_refused(tmp_path):
    edit = "config.num_epochs = 1; config.dataset.noise = grid(0.1, 0.5)"
    result = mg.run(small(tmp_path, edit), tmp_path / "runs")
    with pytest.raises(MlgymError, match=r"experiments (0 and 1|1 and 0) have other data"):
        result.ensemble("all by val/loss")


def test_means_of_logits_are_logits_of_mean_probabilities():
    """Of one output by SciPy's functions; also where a probability itself is 0 in float32."""
    one, other = np.array([-3.0, 0.5, 200.0], np.float32), np.array([1.0, 2.0, 210.0], np.float32)
    two = Meaning("two classes", True, None).mean([one, other])
    wide = one.astype(np.float64), other.astype(np.float64)
    np.testing.assert_allclose(two[:2], logit(np.mean([expit(a) for a in wide], axis=0))[:2], rtol=1e-5)
    np.testing.assert_allclose(two[2], -np.log(np.mean(np.exp([-200.0, -210.0]))), rtol=1e-5)
    logits = np.array([[0.0, 200.0, 1.0]], np.float32), np.array([[2.0, 1.0, 0.0]], np.float32)
    wanted = np.mean([softmax(a.astype(np.float64), axis=1) for a in logits], axis=0)
    np.testing.assert_allclose(softmax(Meaning("classes", True, None).mean(logits), axis=1), wanted, rtol=1e-5)
    np.testing.assert_allclose(Meaning("numbers", False, None).mean([one, other]), np.mean([one, other], axis=0))
