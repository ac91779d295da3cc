"""The functional API of a config that sweeps: which value is meant has to be said."""

import jax
import pytest
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid


def program_of(**optimizer):
    config = ConfigDict(type_safe=False)
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=20, num_features=4, num_classes=3)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", **optimizer)
    components = mg.build(config)
    batch = {name: array[:4] for name, array in components["dataset"].splits["train"].items()}
    return components, mg.make_program(components), batch


def test_the_first_value_of_a_grid_is_not_taken_silently():
    components, program, batch = program_of(learning_rate=grid(0.5, 0.25), b1=grid(0.5), b2=grid(0.5, 0.75, 0.5))
    key = jax.random.key(0)
    with pytest.raises(
        mg.MlgymError,
        match=r"which of the swept values of optimizer\.b2 \(0\.5, 0\.75\); optimizer\.learning_rate \(0\.5, 0\.25\): "
        r"init\(key, batch, \{'optimizer\.b2': 0\.5, 'optimizer\.learning_rate': 0\.5\}\)",
    ):
        program.init(key, batch)
    with pytest.raises(mg.MlgymError, match=r"which of the swept values of optimizer\.b2 \(0\.5, 0\.75\): "):
        program.init(key, batch, {"optimizer.learning_rate": 0.25})
    said = {"optimizer.learning_rate": 0.25, "optimizer.b2": 0.75}
    found = program.init(key, batch, said).hyperparams
    assert {name: float(value) for name, value in found.items()} == {**said, "optimizer.b1": 0.5}
    assert float(program.init(key, batch, components.hyperparams).hyperparams["optimizer.learning_rate"]) == 0.5


def test_without_a_sweep_nothing_is_asked():
    _, program, batch = program_of(learning_rate=0.5)
    assert program.init(jax.random.key(0), batch).hyperparams == {}


def test_a_value_that_only_some_components_have(tmp_path):
    config = ConfigDict(type_safe=False)
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=20, num_features=4, num_classes=3)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = grid(component("adam", learning_rate=grid(0.5, 0.25)), component("yogi", learning_rate=0.5))
    assert mg.build(config).choices == {"optimizer.learning_rate": [0.5, 0.25]}
