"""Contrastive losses, which compare the examples of a batch with each other: those of a whole batch, without padding.

Synopsis, of a model that returns {"image": float[batch, features], "text": float[batch, features]}:

    config.loss = component("clip_loss", first="image", second="text", temperature=0.07)

Examples count by a field `where` of one bool or number each; what has none of it is still compared with.

Embeddings are divided by their Euclidean norms. The temperature may be swept in one program, or be learnt: the path of
an output of the model that holds its logarithm, `temperature="log_temperature"`. Examples that `mask` calls padding are
compared with nothing. As no example stands by itself, the last batch of an epoch is computed in its true size.
Label smoothing is not defined of them: they tell the examples of a batch apart, and predict no classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.outputs import one_array, pick
from mlgym_jax.core.state import Batch, Outputs
from mlgym_jax.core.weighted import LossValues, of_examples
from mlgym_jax.errors import ConfigError, MlgymError

Loss = Callable[[Outputs, Batch], LossValues]
_LEAST = 1e-12  # of a squared norm, below which an embedding has no direction


@register("loss", "nt_xent", dynamic=("temperature",))
def nt_xent(*, first: str = "0", second: str = "1", views: str | None = None, temperature: float | str = 0.5) -> Loss:
    """Recognise an example's other view among all views of the batch: SimCLR's loss (Chen et al., 2020, equation 1).

    Of 2n views with cosine similarities s, the view i of an example whose other view is j pays
    -log(exp(s_ij / t) / sum_{k != i} exp(s_ik / t)); an example pays the mean of its two views.

    Args:
        first: path of the output with the first views' embeddings, float[batch, features]; second: of the others.
        views: path of one output with both, float[batch, 2, features], in place of these.
        temperature: t, above 0; or the path of an output that holds its logarithm, float[].

    Raises:
        ConfigError: a temperature that is not above 0.
    """
    check_temperature(temperature)

    def loss(outputs: Outputs, batch: Batch) -> LossValues:
        one, two = _views(outputs, batch, first, second, views, "nt_xent")
        every = jnp.concatenate([one, two])
        scores = every @ every.T / _temperature(temperature, outputs, one.dtype)
        size, number = one.shape[0], every.shape[0]
        seen = jnp.tile(batch["mask"], 2)
        others = seen[None, :] & ~jnp.eye(number, dtype=jnp.bool_)
        own = jnp.take_along_axis(scores, ((jnp.arange(number) + size) % number)[:, None], axis=1)[:, 0]
        paid = _log_sum(scores, others) - own
        return of_examples(paid.reshape(2, size).mean(axis=0), batch)

    return loss


@register("loss", "clip_loss", dynamic=("temperature",))
def clip_loss(
    *, first: str = "0", second: str = "1", temperature: float | str = 0.07, logit_scale: str | None = None
) -> Loss:
    """Match the pairs of a batch in both directions (Radford et al., 2021, figure 3).

    Of cosine similarities s of n pairs, a pair i pays the mean of -log softmax_k(s_ik / t)_i and the same with s_ki.

    Args:
        first: path of the output with the embeddings of the one kind, float[batch, features]; second: of the other.
        temperature: t, above 0; or the path of an output that holds its logarithm, float[].
        logit_scale: in its place the path of an output that holds the logarithm of 1 / t, one number, which is what the
            programs of CLIP and of big_vision learn.

    Raises:
        ConfigError: a temperature that is not above 0.
    """
    check_temperature(temperature)

    def loss(outputs: Outputs, batch: Batch) -> LossValues:
        scores, seen = _pairs(outputs, batch, first, second, temperature, "clip_loss", logit_scale)
        return of_examples((_log_sum(scores, seen) + _log_sum(scores.T, seen)) / 2 - jnp.diagonal(scores), batch)

    return loss


@register("loss", "info_nce", dynamic=("temperature",))
def info_nce(*, first: str = "0", second: str = "1", temperature: float | str = 0.07) -> Loss:
    """Find the partner of each first embedding among the second ones of the batch (van den Oord et al., 2018).

    Of cosine similarities s, a pair i pays -log softmax_k(s_ik / t)_i: one of the two directions of `clip_loss`.

    Args:
        first: path of the output with the embeddings that ask, float[batch, features]; second: of those that answer.
        temperature: t, above 0; or the path of an output that holds its logarithm, float[].

    Raises:
        ConfigError: a temperature that is not above 0.
    """
    check_temperature(temperature)

    def loss(outputs: Outputs, batch: Batch) -> LossValues:
        scores, seen = _pairs(outputs, batch, first, second, temperature, "info_nce")
        return of_examples(_log_sum(scores, seen) - jnp.diagonal(scores), batch)

    return loss


@register("loss", "supervised_contrastive", dynamic=("temperature",))
def supervised_contrastive(
    *, embedding: str | None = None, views: str | None = None, temperature: float | str = 0.1
) -> Loss:
    """Draw examples of one class together, and apart from all others (Khosla et al., 2020, equation 2).

    With cosine similarities s and the set P(i) of the other examples of i's class, an example i pays the mean over p
    in P(i) of -log(exp(s_ip / t) / sum_{k != i} exp(s_ik / t)). One without another of its class in the batch counts
    nowhere. Targets are class numbers, int[batch].

    Args:
        embedding: path of the output, float[batch, features]; all of the model's by default.
        views: path of an output with several views of each example, float[batch, views, features], in its place;
            each of them is an example then, and an example pays the mean of its views.
        temperature: t, above 0; or the path of an output that holds its logarithm, float[].

    Raises:
        ConfigError: a temperature that is not above 0.
    """
    check_temperature(temperature)

    def loss(outputs: Outputs, batch: Batch) -> LossValues:
        classes = jnp.asarray(batch["targets"])
        if classes.ndim != 1 or not jnp.issubdtype(classes.dtype, jnp.integer):
            found = f"{classes.dtype.name}[{', '.join(map(str, classes.shape))}]"
            raise MlgymError(f"loss 'supervised_contrastive': targets are class numbers, int[batch]; found {found}")
        found = _embedding(outputs, embedding if views is None else views, batch, "supervised_contrastive", 3)
        if views is None and found.ndim != 2:
            raise _unfit("supervised_contrastive", embedding, found, "float[batch, features]")
        if views is not None and found.ndim != 3:
            raise _unfit("supervised_contrastive", views, found, "float[batch, views, features]")
        number = 1 if views is None else found.shape[1]
        every = found.reshape(-1, found.shape[-1])
        classes, seen = jnp.repeat(classes, number), jnp.repeat(batch["mask"], number)
        scores = every @ every.T / _temperature(temperature, outputs, every.dtype)
        others = seen[None, :] & ~jnp.eye(every.shape[0], dtype=jnp.bool_)
        alike = others & (classes[:, None] == classes[None, :])
        count = alike.sum(axis=1)
        mean = jnp.where(alike, scores, 0).sum(axis=1) / jnp.maximum(count, 1).astype(scores.dtype)
        counts = (count > 0).astype(scores.dtype)
        paid = jnp.where(count > 0, _log_sum(scores, others) - mean, 0)
        of_views = [values.reshape(-1, number).sum(axis=1) for values in (paid, counts)]
        return of_examples((of_views[0] / number, of_views[1] / number), batch)

    return loss


def check_temperature(temperature: Any) -> None:
    """Refuse a temperature that is known and not above 0.

    Raises:
        ConfigError: at `loss.temperature`.
    """
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ConfigError("loss.temperature", f"a number above 0 is expected, found {temperature}")


def _temperature(temperature: Any, outputs: Outputs, dtype: Any, logit_scale: str | None = None) -> jax.Array:
    path = temperature if logit_scale is None else logit_scale
    if not isinstance(path, str):
        return jnp.asarray(path, dtype)
    found = jnp.asarray(one_array(pick(outputs, path)))
    if found.size != 1:
        raise _unfit("with a learnt temperature", path, found, "its logarithm, float[]")
    found = found.reshape(())
    return jnp.exp(found if logit_scale is None else -found).astype(dtype)


def _views(
    outputs: Outputs, batch: Batch, first: str, second: str, views: str | None, name: str
) -> tuple[jax.Array, jax.Array]:
    if views is not None:
        both = _embedding(outputs, views, batch, name, 3)
        if both.ndim != 3 or both.shape[1] != 2:
            raise _unfit(name, views, both, "float[batch, 2, features]")
        return both[:, 0], both[:, 1]
    one, two = (_embedding(outputs, path, batch, name, 2) for path in (first, second))
    for path, found in ((first, one), (second, two)):
        if found.ndim != 2 or found.shape != one.shape:
            wanted = f"float[{one.shape[0]}, {one.shape[-1]}], as of {first!r}"
            raise _unfit(name, path, found, wanted if one.ndim == 2 else "float[batch, features]")
    return one, two


def _pairs(
    outputs: Outputs, batch: Batch, first: str, second: str, temperature: Any, name: str, logit_scale: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """Return the scores of each first embedding with each second one, float[batch, batch], and which are compared."""
    one, two = _views(outputs, batch, first, second, None, name)
    scores = one @ two.T / _temperature(temperature, outputs, one.dtype, logit_scale)
    return scores, jnp.broadcast_to(batch["mask"][None, :], scores.shape)


def _embedding(outputs: Outputs, path: str | None, batch: Batch, name: str, ndim: int) -> jax.Array:
    """Return float[batch, …, features], whose last axis has length 1."""
    found = jnp.asarray(one_array(pick(outputs, path)))
    if found.ndim < 2 or found.shape[0] != batch["mask"].shape[0]:
        raise _unfit(name, path, found, "float[batch, features]" if ndim == 2 else "float[batch, views, features]")
    squares = jnp.square(found).sum(axis=-1, keepdims=True)
    return found / jnp.sqrt(jnp.maximum(squares, jnp.asarray(_LEAST, found.dtype)))


def _log_sum(scores: jax.Array, counted: jax.Array) -> jax.Array:
    """Return log(sum(exp(scores))) of each row, of what counts there; 0 where nothing does."""
    counted_scores = jnp.where(counted, scores, -jnp.inf)
    some = counted.any(axis=1)
    safe = jnp.where(some[:, None], counted_scores, 0)
    return jnp.where(some, jax.nn.logsumexp(safe, axis=1), 0)


def _unfit(name: str, path: str | None, found: jax.Array, wanted: str) -> MlgymError:
    which = f"output {path!r}" if path else "the model's output"
    shape = f"{found.dtype.name}[{', '.join(map(str, found.shape))}]"
    return MlgymError(f"loss {name!r}: {which} is {shape}; {wanted} is expected")
