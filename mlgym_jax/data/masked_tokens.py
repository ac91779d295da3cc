"""`mask_tokens`: a dataset for masked language models, whose splits have tokens to tell from the others."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset, array_type, split_arrays
from mlgym_jax.data.validation import random_numbers
from mlgym_jax.errors import ConfigError, listed

_STREAM = 1 << 16  # of random numbers: those of the rows of a `shuffle` come before


def _uniform(count: int, seed: int, stream: int) -> np.ndarray:
    """Return float64[count] in [0, 1)."""
    return (random_numbers(count, seed, stream=stream) >> np.uint64(11)) * 2.0**-53


@register("dataset", "mask_tokens")
def mask_tokens(
    *,
    dataset: Any,
    rate: float = 0.15,
    masked: float = 0.8,
    random: float = 0.1,
    mask_token: int | None = None,
    special_tokens: tuple[int, ...] = (),
    seed: int = 0,
) -> Dataset:
    """Choose tokens of every split to be told from the others: a masked language model (Devlin et al. 2018).

    `inputs` int[n, length] are the tokens, of which the chosen ones became the mask token (a share `masked`), another
    one (`random`), or stayed; `targets` and `unmasked` are the tokens as they were, and `where`, bool[n, length], the
    chosen places, which losses and metrics count alone. The choice is of the seed alone, so that scores compare from
    epoch to epoch; config.augmentation = component("mask_tokens") chooses anew in each step of training. Targets that
    the dataset has, such as the bytes that follow, give way.

    Args:
        dataset: one of tokens, which says how many there are (`num_classes`).
        rate: the probability with which a token is chosen; masked, random: parts of these, of the sum 1 at most.
        mask_token: by default the dataset's own, or, where it has none, a new one after all others.
        special_tokens: which are never chosen, nor put in the place of others, such as those of padding. What a field
            `where` of the dataset leaves out is never chosen either.

    Raises:
        ConfigError: inputs that are no tokens, an unknown number of them, or numbers out of their range.
    """
    for name, share in {"rate": rate, "masked": masked, "random": random}.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"dataset.{name}", f"a number in [0, 1] is expected, found {share}")
    if masked + random > 1 + 1e-6:
        raise ConfigError("dataset.random", f"masked={masked} and random={random} are more than 1 together")
    if seed < 0:
        raise ConfigError("dataset.seed", f"found {seed}; at least 0 is expected")
    size = dataset.num_classes
    if size is None:
        raise ConfigError("dataset.dataset", "it does not say how many tokens there are: num_classes=… in the Dataset")
    mask = mask_token if mask_token is not None else dataset.mask_token
    mask = size if mask is None else mask
    if not 0 <= mask <= size:
        raise ConfigError("dataset.mask_token", f"found {mask}; tokens are 0 … {size - 1}, and {size} is a new one")
    for place, token in enumerate(special_tokens):
        if not 0 <= token < size:
            raise ConfigError(f"dataset.special_tokens.{place}", f"found {token}; tokens are 0 … {size - 1}")
    others = np.setdiff1d(np.arange(size), [mask, *special_tokens])
    if not len(others):
        raise ConfigError("dataset.special_tokens", "there is no token left to choose")
    splits = {}
    for number, (name, split) in enumerate(dataset.splits.items()):
        arrays = split_arrays(split, name)
        tokens = arrays.get("inputs")
        if tokens is None or tokens.dtype.kind not in "iu" or tokens.ndim < 2:
            found = array_type(tokens) if tokens is not None else f"no one array but {listed(arrays)}"
            raise ConfigError("dataset.dataset", f"tokens int[n, length] are expected; split {name!r} has {found}")
        choice, change, other = (
            _uniform(tokens.size, seed, _STREAM + 3 * number + draw).reshape(tokens.shape) for draw in range(3)
        )
        may = ~np.isin(tokens, [mask, *special_tokens])
        if "where" in arrays:
            may &= arrays["where"].astype(bool)
        chosen = may & (choice < rate)
        replaced = np.where(change < masked, mask, others[(other * len(others)).astype(np.int64)])
        inputs = np.where(chosen & (change < masked + random), replaced, tokens).astype(np.int32)
        tokens = tokens.astype(np.int32)
        splits[name] = {**arrays, "inputs": inputs, "targets": tokens, "unmasked": tokens, "where": chosen}
    names = dataset.class_names
    if mask == size and names is not None:
        names = (*names, "[MASK]")
    return dataclasses.replace(
        dataset, splits=splits, num_classes=max(size, mask + 1), mask_token=mask, class_names=names
    )
