"""Functions traced once: how often their Python code runs, and that programs of them compute the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from mlgym_jax.core.traced import traced_once


def counted(function, **how):
    calls = []

    def noted(*args, **kwargs):
        calls.append(1)
        return function(*args, **kwargs)

    return traced_once(noted, **how), calls


def test_code_runs_once_for_each_form_of_the_arguments():
    once, calls = counted(lambda x, scale: {"y": x["a"] * scale})
    for size in (3, 3, 4, 3):
        found = jax.jit(once)({"a": np.arange(size, dtype=np.float32)}, np.float32(2))
        np.testing.assert_array_equal(found["y"], 2 * np.arange(size))
    assert len(calls) == 2, "two sizes"
    once({"a": np.arange(3, dtype=np.int32)}, np.int32(2))
    once({"a": jnp.arange(3)}, np.int32(2))
    assert len(calls) == 3, "and another type"
    assert jax.eval_shape(once, {"a": jax.ShapeDtypeStruct((3,), np.int32)}, np.int32(1))["y"].dtype == np.int32
    assert len(calls) == 3


def test_it_stands_in_loops_batches_shards_and_gradients_alike():
    once, calls = counted(lambda w, x: jnp.tanh(x @ w))
    w, x = np.float32([[0.5, -1.0], [2.0, 0.25]]), np.float32([1.0, -2.0])

    def three_times(x):
        return jax.lax.scan(lambda x, _: (once(w, x), None), x, None, length=3)[0]

    expected = x
    for _ in range(3):
        expected = np.tanh(expected @ w)
    rows = np.stack([x, x + 1])
    mesh = Mesh(jax.devices()[:2], ("row",))
    sharded = jax.shard_map(
        lambda rows: jax.lax.map(three_times, rows),
        mesh=mesh,
        in_specs=PartitionSpec("row"),
        out_specs=PartitionSpec("row"),
        check_vma=False,
    )
    np.testing.assert_allclose(jax.jit(sharded)(rows)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(three_times))(rows)[0], expected, rtol=1e-6)
    slope = jax.jit(jax.grad(lambda x: once(w, x)[0]))(x)
    np.testing.assert_allclose(slope, (1 - np.tanh(x @ w)[0] ** 2) * w[:, 0], rtol=1e-4)
    assert len(calls) == 1


def test_what_is_static_is_seen_and_keys_are_arrays():
    once, calls = counted(lambda key, *, double: jax.random.normal(key) * (2.0 if double else 1.0), static=("double",))
    key = jax.random.key(3)
    assert once(key, double=True) == 2 * once(key, double=False)
    assert len(calls) == 2


def test_an_error_comes_through_each_time_and_leaves_nothing_behind():
    def fails(x):
        raise ValueError(f"no {x.shape}")

    once, calls = counted(fails)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"no \(2,\)"):
            jax.jit(once)(np.zeros(2))
    assert len(calls) == 2


def test_constants_are_arrays_of_jax():
    once, _ = counted(lambda x: (jnp.zeros(()), jnp.ones(2), 3.0 * x))
    zero, ones, tripled = once(np.float32(1))
    assert all(isinstance(value, jax.Array) for value in (zero, ones, tripled))
    assert np.isnan(zero / zero) and ones.sum() == 2 and tripled == 3
