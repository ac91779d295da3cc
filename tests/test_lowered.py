"""Programs that are taken from files are those that JAX lowers; programs that differ have files of their own."""

import zlib

import jax
import jax.numpy as jnp
import lowered
import numpy as np
import pytest
from jax._src.interpreters import mlir
from jax.sharding import PartitionSpec

pytestmark = pytest.mark.skipif(not jax.__version__.startswith("0.10."), reason="looks into JAX")

ROW = np.arange(4, dtype=np.float32)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder of its own for what is lowered."""
    real = mlir.lower_jaxpr_to_module
    while hasattr(real, "__wrapped__"):
        real = real.__wrapped__
    monkeypatch.setattr(mlir, "lower_jaxpr_to_module", real)
    lowered.keep(tmp_path)
    return tmp_path


def both_ways(branch, x):
    return jax.lax.cond(branch, jnp.sin, jnp.cos, x)


def of_many(key, x):
    """A program with a loop, a branch, a gradient of one's own, random numbers, a constant and another program."""

    def step(carry, row):
        return jax.nn.relu(carry + row) * 0.5, jax.jit(both_ways)(carry.sum() > 0, row)

    def loss(x):
        return jax.lax.scan(step, x * ROW, jax.random.normal(key, (3, 4)))[1].sum()

    return jax.grad(loss)(x)


def test_a_program_is_taken_as_it_was_lowered(key, files):
    first, again = (jax.jit(lambda *given: of_many(*given)) for _ in range(2))
    expected = first.lower(key, ROW)
    [file] = files.iterdir()
    before = file.stat().st_mtime_ns
    found = again.lower(key, ROW)
    assert [*files.iterdir()] == [file] and file.stat().st_mtime_ns == before
    assert found.as_text() == expected.as_text()
    np.testing.assert_array_equal(*(one.compile()(key, ROW) for one in (found, expected)))


def variants():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, PartitionSpec("data"))
    other = np.float32([0, 1, 2, 4])
    return {
        "times": (jax.jit(lambda x: x * 2.0), ROW),
        "times more": (jax.jit(lambda x: x * 2.0000002), ROW),
        "integers": (jax.jit(lambda x: x * 2), ROW.astype(np.int32)),
        "the other way round": (jax.jit(lambda x, y: x - y), ROW, ROW),
        "minus": (jax.jit(lambda x, y: y - x), ROW, ROW),
        "a constant": (jax.jit(lambda x: x * ROW), ROW),
        "another constant": (jax.jit(lambda x: x * other), ROW),
        "a longer one": (jax.jit(lambda x: x * 2.0), np.ones(5, np.float32)),
        "donated": (jax.jit(lambda x: x * 2.0, donate_argnums=0), ROW),
        "split": (jax.jit(lambda x: x * 2.0, in_shardings=split, out_shardings=split), ROW),
        "three times": (jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda _, y: y * 2.0, x)), ROW),
        "four times": (jax.jit(lambda x: jax.lax.fori_loop(0, 4, lambda _, y: y * 2.0, x)), ROW),
        "in its loop": (jax.jit(lambda x: jax.lax.fori_loop(0, 4, lambda _, y: y * 3.0, x)), ROW),
        "in full": (jax.jit(lambda x: jnp.dot(x, x, precision="highest")), ROW),
        "in short": (jax.jit(lambda x: jnp.dot(x, x, precision="default")), ROW),
        "named": (jax.jit(lambda x: {"a": x * 2.0}), ROW),
    }


def test_programs_that_differ_have_files_of_their_own(files):
    texts = [program.lower(*given).as_text() for program, *given in variants().values()]
    assert len({*texts}) == len(texts) == len([*files.iterdir()])
    again = [program.lower(*given).as_text() for program, *given in variants().values()]
    assert again == texts and len(texts) == len([*files.iterdir()])


def test_what_calls_python_or_a_library_is_lowered_each_time(files):
    def called(x):
        return jax.pure_callback(lambda x: np.asarray(x) + 1, jax.ShapeDtypeStruct((4,), np.float32), x)

    np.testing.assert_array_equal(jax.jit(called)(ROW), ROW + 1)
    factors = jax.jit(lambda x: jnp.linalg.qr(x))(np.eye(2, dtype=np.float32) * 3)  # LAPACK is made ready by lowering
    np.testing.assert_allclose(factors[0] @ factors[1], np.eye(2) * 3, rtol=1e-6)
    assert not [file for file in files.iterdir() if b"custom_call" in zlib.decompress(file.read_bytes())]
