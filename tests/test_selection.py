"""Selection over folds and seeds, by hand."""

import numpy as np
import pytest

from mlgym_jax.events import evaluation_result, experiment_config, project
from mlgym_jax.events.selection import cross_validated, nested_cross_validated


def views(entries):
    """Build views of (hyperparameters, fold, history of (val, test) scores)."""
    events = []
    for number, (hyperparameters, fold, history) in enumerate(entries):
        fields = {"job_id": "j", "config": {}, "hyperparameters": hyperparameters, "fold": fold}
        events.append(experiment_config("r", experiment_id=number, **fields, now_ms=0))
        for epoch, (val, test) in enumerate(history, 1):
            scores = {"val/accuracy": val, "test/accuracy": test}
            events.append(
                evaluation_result("r", experiment_id=number, epoch=epoch, scores=scores, seconds=0.1, now_ms=0)
            )
    return list(project(events).experiments.values())


def test_the_best_mean_over_folds_is_selected_not_the_best_fold():
    entries = [
        ({"lr": 1}, 0, [(0.2, 0), (0.9, 0)]),
        ({"lr": 1}, 1, [(0.1, 0), (0.3, 0)]),
        ({"lr": 2}, 0, [(0.7, 0), (0.6, 0)]),
        ({"lr": 2}, 1, [(0.5, 0), (0.65, 0)]),
    ]
    found = cross_validated(views(entries), "val/accuracy", "max")
    assert found["selected"] == {"lr": 2}
    assert found["scores"] == [0.7, 0.65]
    assert found["mean"] == pytest.approx(np.mean([0.7, 0.65]))
    assert found["std"] == pytest.approx(np.std([0.7, 0.65], ddof=1))
    assert cross_validated(views(entries), "val/accuracy", "min")["scores"] == [0.2, 0.1]


def test_seeds_are_averaged_and_a_candidate_without_a_score_on_a_fold_is_left_out():
    entries = [
        ({"lr": 1, "seed": 0}, 0, [(0.5, 0)]),
        ({"lr": 1, "seed": 1}, 0, [(0.7, 0)]),
        ({"lr": 1, "seed": 0}, 1, [(0.1, 0)]),
        ({"lr": 1, "seed": 1}, 1, [(0.3, 0)]),
        ({"lr": 2, "seed": 0}, 0, [(0.9, 0)]),
        ({"lr": 2, "seed": 0}, 1, [(float("nan"), 0)]),
    ]
    found = cross_validated(views(entries), "val/accuracy", "max")
    assert found["selected"] == {"lr": 1}
    assert found["scores"] == pytest.approx([0.6, 0.2])
    assert cross_validated(views(entries[4:]), "val/accuracy", "max") is None


def test_the_outer_score_is_that_of_the_selected_at_the_epochs_that_were_best_inside():
    entries = [
        # outer fold 0, inner folds 0 and 1: lr 1 wins inside, though lr 2 is better on the outer part
        ({"lr": 1}, 0, [(0.8, 0.50), (0.7, 0.99)]),
        ({"lr": 1}, 1, [(0.6, 0.99), (0.9, 0.60)]),
        ({"lr": 2}, 0, [(0.5, 1.00), (0.4, 1.00)]),
        ({"lr": 2}, 1, [(0.5, 1.00), (0.4, 1.00)]),
        # outer fold 1: lr 2 wins inside
        ({"lr": 1}, 2, [(0.1, 0.9)]),
        ({"lr": 1}, 3, [(0.1, 0.9)]),
        ({"lr": 2}, 2, [(0.2, 0.3)]),
        ({"lr": 2}, 3, [(0.2, 0.5)]),
    ]
    found = nested_cross_validated(views(entries), lambda fold: fold // 2, "val/accuracy", "max")
    assert found["selected"] == [{"lr": 1}, {"lr": 2}]
    assert found["scores"] == pytest.approx([0.55, 0.4])
    assert found["mean"] == pytest.approx(0.475)
    assert found["std"] == pytest.approx(np.std([0.55, 0.4], ddof=1))
