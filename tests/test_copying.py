"""Rows that are packed on a device come back as those that are read array by array, to the bit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from test_plans import grid_job, runner_of

from mlgym_jax.core.state import TrainState
from mlgym_jax.execution import copying, engine, host_copies
from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.copying import _packs, begin_copies
from mlgym_jax.execution.engine import fit
from mlgym_jax.execution.host_copies import Room, Source, begin_copy
from mlgym_jax.execution.plan import Plan
from mlgym_jax.execution.snapshot import Snapshot


def block_of(ids, width, seed=0):
    """A block of rows with arrays of many types and shapes, and padding behind them."""
    random = np.random.default_rng(seed)
    words = random.integers(0, 2**32, (width, 3, 5), dtype=np.uint32)
    params = {
        "kernel": jnp.asarray(random.normal(size=(width, 2, 3)), jnp.float32),
        "bits": jax.lax.bitcast_convert_type(jnp.asarray(words), jnp.float32),  # NaNs with payloads among them
        "half": jnp.asarray(random.normal(size=(width, 4)), jnp.bfloat16),
        "flag": jnp.asarray(random.integers(0, 2, (width, 2)), bool),
        "byte": jnp.asarray(random.integers(-128, 127, (width, 3)), jnp.int8),
        "none": jnp.zeros((width, 0), jnp.float16),
    }
    keys = jax.random.split(jax.random.key(seed), width)
    step = jnp.arange(width, dtype=jnp.int32)
    state = TrainState(step, params, {}, (step, {}), {"lr": jnp.float32(0.1) * step.astype(jnp.float32)}, keys)
    return ids, jnp.zeros(width, jnp.int32), state


def assert_same_bits(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert isinstance(one, np.ndarray) and (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("rows", [[3], [5, 3], [7, 2, 3, 5], list(range(2, 22))])
def test_packed_rows_are_those_that_are_read_one_by_one(rows):
    snapshot = Snapshot(None, [block_of(list(range(2, 22)), 24)], 30)
    copies = begin_copies(snapshot, rows)
    assert copies.rows == rows
    assert_same_bits(copies.read(), snapshot.rows(rows))
    assert_same_bits(copies.read(), snapshot.rows(rows))


def test_rows_of_several_blocks_and_of_types_below_a_byte_are_read_one_by_one():
    one, other = block_of([0, 1], 2), block_of([2, 3], 2, seed=1)
    snapshot = Snapshot(None, [one, other], 4)
    assert_same_bits(begin_copies(snapshot, [3, 0]).read(), snapshot.rows([3, 0]))
    small = dataclasses.replace(one[2], params={"w": jnp.ones((2, 3), jnp.int4)})
    snapshot = Snapshot(None, [(*one[:2], small)], 2)
    assert not _packs(jax.tree.leaves(small.params))
    assert begin_copies(snapshot, [1]).read().params["w"].tolist() == [[1, 1, 1]]


def test_what_is_wanted_of_an_epoch_is_begun_before_the_next_one_is_dispatched(monkeypatch):
    """As on an accelerator, which this host's devices stand for."""
    monkeypatch.setattr(engine, "is_remote", lambda blocks: True)
    job, asked, dispatched = grid_job(), [], []
    real = GroupRunner.epoch
    monkeypatch.setattr(
        GroupRunner, "epoch", lambda self, active, epoch: (dispatched.append(epoch), real(self, active, epoch))[1]
    )

    def kept(epoch, rows):
        asked.append((epoch, max(dispatched)))
        return [row for row in rows if row % 2 == epoch % 2]

    runner = runner_of(job, Plan("vmap", "scan", 1, "test"))
    runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    reports = [*fit(runner, [[] for _ in job.seeds], num_epochs=3, first_epoch=1, early_stopping=None, kept=kept)]
    assert asked == [(1, 1), (2, 2), (3, 3)]
    for report in reports:
        assert report.copies.rows == [row for row in range(len(job.seeds)) if row % 2 == report.epoch % 2]
        assert_same_bits(report.copies.read(), report.snapshot.rows(report.copies.rows))
    assert {*reports[0].copies.read().step.tolist()} == {6}


@pytest.mark.parametrize("when", ["begun", "read"])
def test_rows_are_read_one_by_one_where_there_is_no_memory_to_pack_them(monkeypatch, when):
    full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes")

    class Refused:
        copy_to_host_async = staticmethod(lambda: None)

        def __array__(self, *_, **__):
            raise full

    def refuse(*_):
        if when == "begun":
            raise full
        return Refused()

    snapshot = Snapshot(None, [block_of(list(range(6)), 6)], 6)
    monkeypatch.setattr(copying, "_pack", refuse)
    assert_same_bits(begin_copies(snapshot, [4, 1]).read(), snapshot.rows([4, 1]))


def test_nothing_is_begun_where_no_row_is_wanted():
    assert begin_copies(Snapshot(None, [block_of([0], 1)], 1), []) is None


@pytest.mark.parametrize("where", ["host", "device", "device without memory"])
def test_a_copy_that_is_under_way_sees_nothing_of_what_overwrites_its_arrays(monkeypatch, where):
    monkeypatch.setattr(host_copies, "is_remote", lambda tree: where != "host")
    if where == "device without memory":

        def refused(tree):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 204 bytes")

        monkeypatch.setattr(host_copies, "_on_device", refused)
    rows = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("rows",)), PartitionSpec(None, "rows"))
    block = {
        "split": jax.device_put(jnp.arange(12.0).reshape(3, 4), rows),
        "flags": jax.device_put(jnp.array([True, False, True]), NamedSharding(rows.mesh, PartitionSpec())),
    }
    expected = jax.tree.map(np.array, block)
    sources = [
        Source(np.arange(4), np.arange(4), {"split": np.full((4, 4), -1, np.float32), "flags": np.zeros(4, bool)}),
        Source(np.array([3, 1]), np.array([0, 2]), block),
    ]
    read = begin_copy(sources, 4, Room())
    jax.block_until_ready(jax.jit(lambda tree: {**tree, "split": tree["split"] * 7}, donate_argnums=0)(block))
    found = read()
    np.testing.assert_array_equal(found["split"][[3, 1]], expected["split"][[0, 2]])
    np.testing.assert_array_equal(found["split"][[0, 2]], -1)
    assert found["flags"].tolist() == [False, True, False, True]


def test_room_is_taken_again_once_nobody_refers_to_any_part_of_it():
    room, forms = Room(), [((3,), np.dtype(np.float32)), ((2, 2), np.dtype(jnp.bfloat16)), ((0,), np.dtype(bool))]
    first = room.arrays(forms)
    place, part = first[0].ctypes.data, first[1][:1, 1:]
    del first
    second = room.arrays(forms)
    assert second[0].ctypes.data != place  # a view of a view is there still
    del part
    assert room.arrays(forms)[0].ctypes.data == place
    assert [array.shape for array in second] == [(3,), (2, 2), (0,)]
