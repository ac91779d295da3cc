"""What NumPy computes of traced functions is what JAX does, and common schedules are computed without compiling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlgym_jax.components.registry import lookup
from mlgym_jax.study.in_numpy import in_numpy

SCHEDULES = {
    "cosine_decay_schedule": {"init_value": 0.1, "decay_steps": 40, "alpha": 0.1},
    "exponential_decay": {"init_value": 0.1, "transition_steps": 7, "decay_rate": 0.5, "staircase": True},
    "piecewise_constant_schedule": {"init_value": 0.1, "boundaries_and_scales": ((10, 0.5), (30, 0.1))},
    "polynomial_schedule": {"init_value": 0.1, "end_value": 0.01, "power": 2.0, "transition_steps": 40},
    "warmup_cosine_decay_schedule": {"init_value": 0.0, "peak_value": 0.1, "warmup_steps": 9, "decay_steps": 50},
}
STEPS = np.arange(64)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_jax_and_nothing_is_compiled(name, monkeypatch):
    schedule = lookup("schedule", name).factory(**SCHEDULES[name])
    expected = np.asarray(jax.jit(jax.vmap(schedule))(STEPS))
    with monkeypatch.context() as patched:
        patched.setattr(jax, "jit", None)
        found = in_numpy(schedule, STEPS)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_what_numpy_does_not_know_is_compiled():
    found = in_numpy(lambda step: jax.lax.fori_loop(0, step, lambda _, total: total + 0.5, jnp.float32(0)), STEPS[:5])
    np.testing.assert_array_equal(found, [0.0, 0.5, 1.0, 1.5, 2.0])
