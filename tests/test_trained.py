"""What a reader of a run makes again of it: the one group that was asked for."""

import numpy as np
import pytest

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.study import expand


def config_of(**sections):
    return {
        "num_epochs": 1,
        "dataset": component("synthetic", num_examples=60, num_features=4, num_classes=3),
        "model": component("mlp", features=grid((3,), (4,), (5,))),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=grid(0.1, 0.2)),
    } | sections


@pytest.fixture
def made(monkeypatch):
    """Groups whose jobs are made, by their index."""
    real, made = expand.make_job, []
    monkeypatch.setattr(
        expand, "make_job", lambda group, *rest, **named: made.append(group.index) or real(group, *rest, **named)
    )
    return made


def test_a_model_is_made_again_without_the_other_groups(tmp_path, made):
    run = mg.run(config_of(), tmp_path)
    del made[:]
    again, x = mg.load_run(run.run_dir), np.eye(4, dtype=np.float32)
    outputs = {number: again.experiments[number].predict(x) for number in (3, 2, 4)}
    assert made == [1, 2]
    states = [again.experiments[number].restore() for number in (3, 4)]
    assert made == [1, 2] and [int(state.step) for state in states] == [2, 2]
    assert len(again._trained.study.jobs) == 3
    assert made == [1, 2, 0, 1, 2]
    for number, found in outputs.items():
        np.testing.assert_array_equal(again.experiments[number].predict(x), found)


def test_groups_that_only_tracing_all_of_them_tells_apart_are_those_of_the_run(tmp_path, made, own_registry):
    @mg.register("optimizer", "told_by_its_model", dynamic=("rate",), needs={"steps": "steps_per_epoch"})
    def told(*, rate, rounds, steps):
        import optax

        return optax.sgd(float(rate) if rounds else rate)

    options = grid(
        component("told_by_its_model", rate=grid(0.1, 0.2), rounds=False),
        component("told_by_its_model", rate=grid(0.1, 0.2), rounds=True),
    )
    run = mg.run(config_of(model=component("linear"), optimizer=options), tmp_path)
    groups = [group["experiments"] for group in run.view.groups]
    assert groups == [[0], [1], [2], [3]]
    again = mg.load_run(run.run_dir)
    for number in range(4):
        [job] = again._trained.study_of(number).jobs
        assert job.group.ids in groups
        assert int(again.experiments[number].restore().step) == 2
