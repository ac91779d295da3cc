"""Cross-validated studies from end to end: one program for all folds, and a report of what they select."""

import json
import statistics

import numpy as np
import pytest
import sklearn.metrics
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.command_line import guarded
from mlgym_jax.report import _main


def report(words):
    """Run the command, as the command line does."""
    return guarded(_main, words)


def study(validation, **sections):
    config = ConfigDict()
    config.num_epochs = 3
    config.dataset = component("digits")
    config.validation = validation
    config.loader = component("in_memory", batch_size=100)
    config.model = component("mlp", features=(16,))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=grid(1e-4, 1e-2))
    config.metrics = dict(accuracy=component("accuracy"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max")
    for name, value in sections.items():
        config[name] = value
    return config


def test_nested_cross_validation_is_one_program_and_its_outer_score_is_unbiased(tmp_path, capsys):
    validation = component(
        "nested_cross_validation", outer_folds=3, inner_folds=2, stratified=True, monitor="val/accuracy", mode="max"
    )
    result = mg.run(study(validation), tmp_path)
    assert len(result.experiments) == 3 * 2 * 2
    assert len(result.view.groups) == 1
    report([result.run_dir, "--json"])
    found = json.loads(capsys.readouterr().out)["nested_cross_validation"]
    assert found["selected"] == [{"optimizer.learning_rate": 1e-2}] * 3
    assert len(found["scores"]) == 3
    assert found["mean"] == pytest.approx(statistics.fmean(found["scores"]))
    assert found["std"] == pytest.approx(statistics.stdev(found["scores"]))
    folds, arrays = result._study.jobs[0].folds, result._study.jobs[0].table.arrays
    for outer in range(3):  # the outer score again, by predicting the outer part with the kept models
        scores = []
        for item in result.experiments:
            if item.fold // 2 == outer and item.hyperparameters["optimizer.learning_rate"] == 1e-2:
                epoch = item.best_score("val/accuracy")[0]
                rows = folds.indices["test"][item.fold][folds.mask["test"][item.fold]]
                predicted = item.predict(arrays["inputs"][rows], epoch=epoch).argmax(axis=1)
                scores.append(sklearn.metrics.accuracy_score(arrays["targets"][rows], predicted))
        assert found["scores"][outer] == pytest.approx(np.mean(scores), abs=1e-6)
    report([result.run_dir])
    assert f"nested cross validation: test/accuracy {found['mean']:.4f} ±" in capsys.readouterr().out


def test_cross_validation_reports_mean_and_deviation_over_the_folds(tmp_path, capsys):
    result = mg.run(study(component("cross_validation", folds=3), num_epochs=2), tmp_path)
    report([result.run_dir, "--json"])
    found = json.loads(capsys.readouterr().out)["cross_validation"]
    best = [
        max(item.history["val/accuracy"])
        for item in result.experiments
        if item.hyperparameters["optimizer.learning_rate"] == 1e-2
    ]
    assert found["scores"] == best
    assert found["mean"] == pytest.approx(np.mean(best))
    assert found["std"] == pytest.approx(np.std(best, ddof=1))
    assert found["monitor"] == "val/accuracy"
    assert found["selected"] == {"optimizer.learning_rate": 1e-2}


def test_a_run_without_folds_reports_none(tmp_path, capsys):
    result = mg.run(study(component("holdout"), num_epochs=1), tmp_path)
    report([result.run_dir, "--json"])
    assert not {"cross_validation", "nested_cross_validation"} & set(json.loads(capsys.readouterr().out))
