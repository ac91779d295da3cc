"""Copies of rows are, whatever was added and forgotten in between, those of a plain dict of rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym_jax.checkpoint.copies import Copies


def state_of(who):
    """A stacked state that says in all its leaves whose it is."""
    numbers = np.array([100 * experiment + epoch for experiment, epoch in who], np.float32)
    return {"step": numbers.astype(np.int32), "params": (numbers[:, None] + np.arange(3, dtype=np.float32), {})}


CHANGES = st.lists(st.tuples(st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7))), max_size=6)


@given(CHANGES, st.randoms(use_true_random=False))
def test_they_hold_what_was_added_and_not_forgotten(changes, random):
    copies, expected = Copies(), []
    for epoch, (experiments, forgotten) in enumerate(changes, 1):
        before, held = copies, [*copies]
        expected = [who for who in expected if who[0] not in forgotten]
        copies = copies.only(lambda who, forgotten=forgotten: who[0] not in forgotten)
        new = [(experiment, epoch) for experiment in experiments]
        if new:
            copies, expected = copies.and_of(new, state_of(new)), expected + new
        assert [*before] == held  # what was returned before stays as it was
        assert sorted(copies) == sorted(expected) and len(copies) == len(expected)
    wanted = random.sample(expected, random.randint(0, len(expected)))
    if wanted:
        found = copies.stacked(wanted)
        np.testing.assert_array_equal(found["step"], [100 * experiment + epoch for experiment, epoch in wanted])
        np.testing.assert_array_equal(found["params"][0], state_of(wanted)["params"][0])
        assert found["params"][0].dtype == np.float32


def test_what_is_forgotten_is_not_held_in_memory_for_long():
    who = [(experiment, 1) for experiment in range(100)]
    copies = Copies().and_of(who, {"params": np.zeros((100, 1000))})
    assert [stack.state["params"].shape for stack in copies._stacks] == [(100, 1000)]
    assert [stack.state["params"].shape for stack in copies.only(lambda who: who[0] < 50)._stacks] == [(100, 1000)]
    few = copies.only(lambda who: who[0] < 3)
    assert [stack.state["params"].shape for stack in few._stacks] == [(3, 1000)]
    assert few._stacks[0].state["params"].base is not copies._stacks[0].state["params"]
    assert not copies.only(lambda who: False)._stacks


def test_what_is_not_held_is_not_handed_out():
    copies = Copies().and_of([(0, 1)], state_of([(0, 1)]))
    with pytest.raises(AssertionError, match="not held"):
        copies.stacked([(0, 1), (0, 2)])
