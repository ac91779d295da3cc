"""The order of an epoch is that of NumPy's stable sort, also where random bits are equal, and of padded folds."""

import jax
import numpy as np
import pytest

from mlgym_jax.core.shuffling import _by_ranks, _by_sorting, sorted_by


@pytest.mark.parametrize("wide", [False, True], ids=["uint32", "uint64"])  # what JAX draws with 64 bits
@pytest.mark.parametrize("order", [sorted_by, _by_ranks, _by_sorting])
def test_positions_sort_bits_stably_and_leave_padding_behind(order, wide):
    random = np.random.default_rng(0)
    size = 50
    bits = np.stack(
        [
            random.integers(2**32, size=size, dtype=np.uint32),
            random.integers(4, size=size, dtype=np.uint32),  # a dozen of each
            np.full(size, 7, np.uint32),
            np.where(random.random(size) < 0.5, 2**32 - 1, random.integers(2**32, size=size)).astype(np.uint32),
        ]
    )
    bits = np.repeat(bits, 3, axis=0)
    mask = np.arange(size) < np.tile([size, 31, 1], 4)[:, None]
    with jax.enable_x64(wide):
        bits = bits.astype(np.uint64) << 32 if wide else bits
        one_by_one = jax.jit(lambda bits, mask: jax.lax.map(lambda row: order(*row), (bits, mask)))(bits, mask)
        together = jax.jit(jax.vmap(order))(bits, mask)
    for row in range(len(bits)):
        number = mask[row].sum()
        expected = [*np.argsort(bits[row][:number], kind="stable"), *range(number, size)]
        assert one_by_one[row].tolist() == together[row].tolist() == expected
