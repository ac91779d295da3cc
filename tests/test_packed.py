"""Checkpoints of few arrays: trees come back to the bit, older steps are read, and a save waits for no disk."""

import threading
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from study_files import assert_same_outcome, here, outcome, small

from mlgym_jax.checkpoint.copies import Copies
from mlgym_jax.checkpoint.packed import packed, unpacked
from mlgym_jax.checkpoint.step_record import Saved, checksums, to_json
from mlgym_jax.checkpoint.store import CheckpointStore
from mlgym_jax.core.state import TrainState, raw_key
from mlgym_jax.errors import DiskError, MlgymError


class Pair(NamedTuple):
    first: Any
    second: Any


def tree():
    """Arrays of every kind that a state may have, some larger than what is packed."""
    draw = np.random.default_rng(0)
    return {
        "bfloat16": jnp.arange(3, dtype=jnp.bfloat16).__array__(),
        "bool": np.array([True, False, True]),
        "empty": np.zeros((2, 0), np.float32),
        "float8": np.asarray(jnp.ones(3, jnp.float8_e4m3fn)),
        "large": draw.standard_normal((300, 1000)).astype(np.float32),
        "list": [Pair(np.float32(1.5).reshape(()), ()), None, {"5": np.arange(7, dtype=np.int8), "none": {}}],
        "strided": np.arange(24, dtype=np.float64).reshape(4, 6).T,
    }


def assert_same(found, expected):
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    assert [(leaf.dtype, leaf.shape) for leaf in found] == [(leaf.dtype, leaf.shape) for leaf in expected]
    assert [leaf.tobytes() for leaf in found] == [leaf.tobytes() for leaf in expected]


def test_a_tree_comes_back_in_its_form_or_as_dicts_and_lists():
    arrays = packed(tree())
    assert {name: array.nbytes > 1 << 20 for name, array in arrays.items()} == {"4": True, "small": False}
    formed, nested = unpacked(arrays, tree()), unpacked(arrays)
    assert jax.tree.structure(formed) == jax.tree.structure(tree())
    assert_same(formed, tree())
    assert_same(nested, tree())
    assert nested["list"][0]["first"] == 1.5 and nested["list"][1:] == [None, {"5": nested["list"][2]["5"], "none": {}}]


def test_arrays_of_another_program_are_named():
    other = {**tree(), "bool": np.zeros(4, bool)}
    with pytest.raises(ValueError, match=r"other arrays than this program: bool bool\[3\], bool bool\[4\]"):
        unpacked(packed(tree()), other)


# -- a store -----------------------------------------------------------------------------------------------------------


def state_of(rows):
    """A state of an optimizer that keeps a typed key, in its form and stacked with keys as raw words."""
    params = {"Dense_0": {"kernel": jnp.arange(6.0).reshape(2, 3)}}
    optimizer = optax.chain(optax.clip(1.0), optax.noisy_sgd(0.1, key=3))
    key = jax.random.key(1)
    one = TrainState(jnp.int32(2), params, {}, optimizer.init(params), {"lr": jnp.float32(0.5)}, key)
    assert jnp.issubdtype(one.opt_state[1][0].rng_key.dtype, jax.dtypes.prng_key)
    stacked = jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * rows), raw_key(one))
    stacked.step[:] = np.arange(rows)
    return one, stacked


def save(store, state, epoch=1, kept=None):
    ids = list(range(len(state.step)))
    copies = Copies()
    for who, row in (kept or {}).items():
        copies = copies.and_of([who], jax.tree.map(lambda leaf: leaf[None], row))
    wanted = frozenset(kept or ())
    return store.save(state, epoch=epoch, experiments=ids, row_epochs=[epoch] * len(ids), kept=copies, wanted=wanted)


def write_as_before(folder, state, kept):
    """Write a step as versions before packing did: each array by itself."""
    saved = Saved(
        1, (0, 1), (1, 1), ((1, 0),), frozenset({(1, 0)}), {"state": checksums(state), "kept": checksums(kept)}
    )
    meta = {name: value for name, value in to_json(saved).items() if name != "is_packed"}
    with ocp.CheckpointManager(folder, item_names=("state", "kept", "meta")) as manager:
        items = {"state": ocp.args.StandardSave(state), "kept": ocp.args.StandardSave(kept)}
        manager.save(1, args=ocp.args.Composite(meta=ocp.args.JsonSave(meta), **items))


@pytest.mark.parametrize("layout", ["packed", "before"])
def test_every_reader_reads_steps_of_both_layouts(tmp_path, layout):
    one, stacked = state_of(2)
    row = jax.tree.map(lambda leaf: leaf[0] + leaf.dtype.type(1), stacked)
    if layout == "packed":
        store = CheckpointStore(str(tmp_path))
        save(store, stacked, kept={(1, 0): row})
        store.close()
    else:
        write_as_before(tmp_path, stacked, jax.tree.map(lambda leaf: leaf[None], row))
    abstract = jax.eval_shape(lambda: one)
    store, plain = CheckpointStore(str(tmp_path), abstract), CheckpointStore(str(tmp_path))
    saved, newest = store.restore_newest(lambda *damaged: pytest.fail(str(damaged)))
    assert (saved.kept, store.epochs(1)) == (((1, 0),), [0, 1])
    assert jax.tree.structure(newest) == jax.tree.structure(stacked)
    assert_same(newest, stacked)
    assert_same(store.state_of(1, 1), jax.tree.map(lambda leaf: leaf[1], stacked))
    restored = store.restore_row(1, 0)
    assert restored.opt_state[1][0].rng_key.dtype == restored.key.dtype == one.key.dtype
    assert_same(raw_key(restored), row)
    plain.load()
    arrays = plain.arrays_of(1, 0)
    assert arrays["opt_state/1/0/rng_key"].dtype == np.uint32
    np.testing.assert_array_equal(arrays["params/Dense_0/kernel"], row.params["Dense_0"]["kernel"])
    assert sorted(arrays) == [
        "hyperparams/lr",
        "key",
        "opt_state/1/0/count",
        "opt_state/1/0/rng_key",
        "params/Dense_0/kernel",
        "step",
    ]
    unformed = plain.restore_row(1, 0)
    assert unformed.model_state == {} and unformed.opt_state[0] is None
    other = CheckpointStore(str(tmp_path), abstract.replace(params={"Dense_0": {"weight": jnp.zeros((2, 3))}}))
    other.load()
    with pytest.raises(MlgymError, match="Dense_0/weight" if layout == "packed" else "cannot be read"):
        other.restore_row(1, 0)


def test_a_save_waits_for_no_disk_and_tells_later_what_was_refused(tmp_path, monkeypatch):
    real, may_write = ocp.CheckpointManager.save, threading.Event()

    def waiting(self, epoch, *arguments, **keywords):
        assert may_write.wait(60)
        if epoch == 2:
            raise OSError(28, "No space left on device")
        return real(self, epoch, *arguments, **keywords)

    monkeypatch.setattr(ocp.CheckpointManager, "save", waiting)
    store, (_, state) = CheckpointStore(str(tmp_path)), state_of(400)
    began = time.perf_counter()
    size = save(store, state)
    assert time.perf_counter() - began < 1 and not may_write.is_set()
    assert size == sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    may_write.set()
    save(store, state, 2)
    with pytest.raises(DiskError, match="could not be written: No space left on device"):
        store.finish()
    save(store, state, 3)
    store.close()
    assert CheckpointStore(str(tmp_path)).load() == [1, 3]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_as_the_thread_begins_loses_nothing(tmp_path, monkeypatch, when):
    real = threading.Thread.start

    def interrupted(self):
        if self.name != "checkpoint":
            return real(self)
        if when == "after":
            real(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    store, (_, state) = CheckpointStore(str(tmp_path)), state_of(2)
    with pytest.raises(KeyboardInterrupt):
        save(store, state)
    assert save(store, state) == 0  # as it is made good before
    store.close()
    assert CheckpointStore(str(tmp_path)).load() == [1]


def test_a_study_whose_optimizer_keeps_a_key_resumes_to_the_same_bits(tmp_path):
    edit = 'config.optimizer = component("noisy_sgd", learning_rate=0.1); config.checkpoint_interval_seconds = 0.0'
    study = small(tmp_path, edit)
    for run, epochs in (("whole", 3), ("cut", 2)):
        arguments = (f"--event_storage={tmp_path}", f"--run_id={run}", f"--config.num_epochs={epochs}", "--quiet")
        status, _, err = here("run", f"--config={study}", *arguments)
        assert status == 0, err
    status, _, err = here("run", "--resume=cut", f"--event_storage={tmp_path}", "--config.num_epochs=3", "--quiet")
    assert status == 0, err
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))
