"""Sequences of tokens, int32[batch, length]: mask_tokens, drop_words."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.augmentations.fields import Augmentation, shape_in_words, value_of, with_values
from mlgym_jax.augmentations.strengths import check_classes, check_share, number
from mlgym_jax.components.registry import register
from mlgym_jax.core.inputs import INPUTS, fields_of
from mlgym_jax.core.state import Batch
from mlgym_jax.errors import ConfigError

# Fields in which component("mask_tokens", dataset=…) keeps the tokens as they were, by a name that no model asks for,
# and tells which of them count.
UNMASKED, WHERE = "unmasked", "where"


def _tokens_of(name: str, batch: Batch, field: str) -> jax.Array:
    found = value_of(name, batch, field)
    if not jnp.issubdtype(found.dtype, jnp.integer) or found.ndim < 2:
        raise ConfigError(
            "augmentation",
            f"{name} takes tokens int32[batch, length], the field {field!r} is {shape_in_words(found)}",
        )
    return found


def _vocabulary(dataset: Any, vocabulary_size: int | None) -> int:
    found = vocabulary_size if vocabulary_size is not None else getattr(dataset, "num_classes", None)
    if found is None:
        raise ConfigError(
            "augmentation.vocabulary_size",
            "missing; how many tokens there are is not said by the dataset (num_classes) either",
        )
    return check_classes("vocabulary_size", found)


def _token(dataset: Any, token: int | None, parameter: str, size: int) -> int:
    found = token if token is not None else getattr(dataset, "mask_token", None)
    if found is None:
        raise ConfigError(
            f"augmentation.{parameter}",
            "the dataset says no mask_token; write its number, or give the dataset one: "
            "component('mask_tokens', dataset=…)",
        )
    if not 0 <= found < size:
        raise ConfigError(f"augmentation.{parameter}", f"found {found}; tokens are 0 … {size - 1}")
    return found


def _check_special(special_tokens: tuple[int, ...], size: int) -> None:
    for place, token in enumerate(special_tokens):
        if not 0 <= token < size:
            raise ConfigError(f"augmentation.special_tokens.{place}", f"found {token}; tokens are 0 … {size - 1}")


def _is_one_of(tokens: jax.Array, special: tuple[int, ...]) -> jax.Array:
    found = jnp.zeros(tokens.shape, jnp.bool_)
    for token in special:
        found |= tokens == token
    return found


@register("augmentation", "mask_tokens", needs=("dataset",), dynamic=("rate", "masked", "random"))
def mask_tokens(
    dataset: Any = None,
    *,
    rate: float = 0.15,
    masked: float = 0.8,
    random: float = 0.1,
    mask_token: int | None = None,
    vocabulary_size: int | None = None,
    special_tokens: tuple[int, ...] = (),
) -> Augmentation:
    """Choose tokens to be told from the others, as BERT's masked language model does (Devlin et al. 2018, section 3.1).

    Of the chosen ones a share `masked` becomes the mask token, a share `random` any other token, and the rest stays.
    The field `targets` becomes the tokens as they were, and `where` the chosen places, so that losses and metrics count
    these alone. Evaluation needs both, too: `config.dataset = component("mask_tokens", dataset=…)` chooses once for
    each split; this augmentation chooses anew in each step of training, from the tokens that it keeps.

    Args:
        rate: the probability with which a token is chosen; masked, random: parts of these, of the sum 1 at most.
        mask_token: by default the dataset's; vocabulary_size: by default the dataset's number of classes.
        special_tokens: which are never chosen, nor put in the place of others, such as those of padding. What the
            dataset's own field `where` leaves out is never chosen either.

    Raises:
        ConfigError: shares outside of [0, 1], tokens that are none, or a dataset that does not say which there are.
    """
    check_share(rate=rate, masked=masked, random=random)
    if isinstance(masked, int | float) and isinstance(random, int | float) and masked + random > 1 + 1e-6:
        raise ConfigError("augmentation.random", f"masked={masked} and random={random} are more than 1 together")
    size = _vocabulary(dataset, vocabulary_size)
    mask = _token(dataset, mask_token, "mask_token", size)
    _check_special(special_tokens, size)
    others = np.setdiff1d(np.arange(size, dtype=np.int32), [mask, *special_tokens])
    if not len(others):
        raise ConfigError("augmentation.special_tokens", "there is no token left to choose")

    def augment(key: jax.Array, batch: Batch) -> Batch:
        kept = UNMASKED in fields_of(batch)
        tokens = _tokens_of("mask_tokens", batch, UNMASKED if kept else INPUTS)
        may = ~_is_one_of(tokens, (mask, *special_tokens))
        if not kept and WHERE in batch:
            may &= jnp.asarray(batch[WHERE]).astype(jnp.bool_)
        of_choice, of_change, of_token = jax.random.split(key, 3)
        chosen = may & (jax.random.uniform(of_choice, tokens.shape) < number(rate))
        drawn = jax.random.uniform(of_change, tokens.shape)
        other = jnp.asarray(others)[jax.random.randint(of_token, tokens.shape, 0, len(others))].astype(tokens.dtype)
        changed = jnp.where(drawn < number(masked), jnp.asarray(mask, tokens.dtype), other)
        stays = drawn >= number(masked) + number(random)
        inputs = jnp.where(chosen & ~stays, changed, tokens)
        return with_values(batch, {INPUTS: inputs, "targets": tokens, WHERE: chosen})

    return augment


@register("augmentation", "drop_words", needs=("dataset",), dynamic=("rate",))
def drop_words(
    dataset: Any = None, *, rate: float = 0.1, token: int | None = None, special_tokens: tuple[int, ...] = ()
) -> Augmentation:
    """Replace tokens of `inputs`, each with the probability `rate`, by one that says nothing: word dropout.

    As Bowman et al. 2015 (arXiv:1511.06349) do with the inputs of a decoder; the targets stay.

    Args:
        token: such as that of unknown words; by default the dataset's mask token.
        special_tokens: which are never replaced, such as those of padding.

    Raises:
        ConfigError: a rate outside of [0, 1], or no token; when traced, inputs that are no tokens.
    """
    check_share(rate=rate)
    size = getattr(dataset, "num_classes", None) or 2**31 - 1
    nothing = _token(dataset, token, "token", size)
    _check_special(special_tokens, 2**31 - 1)

    def augment(key: jax.Array, batch: Batch) -> Batch:
        tokens = _tokens_of("drop_words", batch, INPUTS)
        dropped = (jax.random.uniform(key, tokens.shape) < number(rate)) & ~_is_one_of(tokens, special_tokens)
        return with_values(batch, {INPUTS: jnp.where(dropped, jnp.asarray(nothing, tokens.dtype), tokens)})

    return augment
