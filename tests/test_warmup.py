"""A warm-up in front of a schedule: Optax's joined schedules, in epochs, with accumulation, swept; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.components.registry import lookup
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare

pytestmark = pytest.mark.usefixtures("own_registry")

COSINE = component("cosine_decay_schedule", init_value=1.0, decay_steps=10)
FLAT = component("constant_schedule", value=1.0)


class _Weight(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.broadcast_to(self.param("w", nn.initializers.zeros, ()), (len(x),))


def study(learning_rate=None, **fields):
    """The gradient is 1, so the only parameter ends at minus the sum of all learning rates; 5 steps an epoch."""
    mg.register("model", "weight_from_zero")(lambda: _Weight())
    mg.register("loss", "output_as_loss")(lambda: lambda outputs, batch: outputs)
    return {
        "num_epochs": 4,
        "dataset": component("synthetic", num_examples=50, num_features=2, num_classes=2),
        "validation": None,
        "loader": component("in_memory", batch_size=10),
        "model": component("weight_from_zero"),
        "loss": component("output_as_loss"),
        "optimizer": component("sgd", learning_rate=learning_rate),
    } | fields


def sum_of_rates(config, folder, plan="auto"):
    return [-float(item.restore().params["w"]) for item in mg.run(config, folder, plan=plan).experiments]


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize(
    "schedule", [optax.cosine_decay_schedule(0.3, 8), optax.exponential_decay(0.3, 2, 0.5, staircase=True)]
)
def test_it_is_optax_s_joined_schedules(steps, schedule):
    found = lookup("schedule", "warmup").factory(steps_per_epoch=5, schedule=schedule, steps=steps, start=0.01)
    with jax.numpy_dtype_promotion("standard"):
        line = optax.linear_schedule(0.01, schedule(0), steps)
        expected = [optax.join_schedules([line, schedule], [steps])(jnp.int32(n)) for n in range(16)]
    np.testing.assert_allclose([found(jnp.int32(n)) for n in range(16)], expected, rtol=1e-5)


def test_lengths_are_swept_in_one_program(tmp_path):
    config = study(component("warmup", schedule=FLAT, steps=grid(0, 5, 10)))
    assert [job.group.dynamic for job in prepare(config).jobs] == [("optimizer.learning_rate.steps",)]
    # Of 20 steps w are on the line, of which the rates add up to (w - 1) / 2.
    np.testing.assert_allclose(sum_of_rates(config, tmp_path), [20, 15 + 2, 10 + 4.5], rtol=1e-5)


@pytest.mark.parametrize("plan", ["vmap+scan", "none+step"])
def test_epochs(tmp_path, plan):
    config = study(component("warmup", schedule=FLAT, epochs=grid(2.0, 0.4)))
    np.testing.assert_allclose(sum_of_rates(config, tmp_path, plan), [10 + 4.5, 18 + 0.5], rtol=1e-5)


def test_epochs_of_an_optimizer_that_gathers_the_gradients_of_two_steps(tmp_path):
    # 10 updates in 4 epochs: 5 on the line, then 5.
    sgd = component("sgd", learning_rate=component("warmup", schedule=FLAT, epochs=2))
    config = study(optimizer=component("MultiSteps", opt=sgd, every_k_schedule=2))
    np.testing.assert_allclose(sum_of_rates(config, tmp_path), [5 + 2], rtol=1e-5)


def test_schedules_of_epochs_inside_and_around(tmp_path):
    """Both warm up for an epoch, and fall on a line over the two that follow: 2 + (1 + 0.9 + … + 0.1)."""
    line = component("linear_schedule", init_value=1.0, end_value=0.0, transition_steps=2)
    inside = component("warmup", epochs=1, schedule=component("in_epochs", schedule=line))
    around = component("in_epochs", schedule=component("warmup", steps=1, schedule=line))
    for number, schedule in enumerate((inside, around)):
        np.testing.assert_allclose(sum_of_rates(study(schedule), tmp_path / str(number)), [2 + 5.5], rtol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "say how long the warm-up is, by steps=… or epochs=…; found none of them"),
        ({"steps": 3, "epochs": 1}, "found both"),
        ({"steps": -1}, "learning_rate.steps: at least 0 is expected, found -1"),
        ({"epochs": grid(1.0, -1.0)}, "learning_rate.epochs: at least 0 is expected, found -1.0"),
        ({"steps": 3, "start": -0.1}, "learning_rate.start: at least 0 is expected, found -0.1"),
        ({"steps": True}, "wrong type"),
        ({"steps": 2.5}, "learning_rate.steps: found 2.5, but steps are counted here"),
        ({"steps": 3, "schedule": 0.1}, "a component of kind 'schedule' is expected, found 0.1"),
        (
            {"steps": 3, "schedule": component("linear_schedule", init_value=1, end_value=0, transition_steps=2.5)},
            "learning_rate.schedule.transition_steps: found 2.5, but steps are counted here",
        ),
    ],
)
def test_wrong_words_are_refused(parameters, said):
    with pytest.raises(ConfigError) as raised:
        prepare(study(component("warmup", **{"schedule": COSINE, **parameters})))
    assert said in str(raised.value)
    assert str(raised.value).startswith("config.optimizer.learning_rate")
