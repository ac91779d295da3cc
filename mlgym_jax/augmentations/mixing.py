r"""Examples mixed with others of their batch: mixup, cutmix.

The partner of an example is drawn by a random permutation of the batch's real examples, and the share \(\lambda\) of
the example itself from Beta(alpha, alpha). Targets of classes become distributions over them, the shares \(\lambda\)
and \(1 - \lambda\), which losses such as `softmax_cross_entropy` take; targets that are real numbers are mixed
themselves, and so are weights, a field `where` of one number an example: \(\lambda w_i + (1 - \lambda) w_j\). What does
not count by it is nobody's partner. Of other fields those are mixed that are named; where training reads one that is
not, the study is told of.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from mlgym_jax.augmentations.boxes import inside_box
from mlgym_jax.augmentations.fields import (
    Augmentation,
    floats_of,
    images_of,
    real,
    shape_in_words,
    size_of,
    value_of,
    with_values,
)
from mlgym_jax.augmentations.strengths import check_classes, check_positive, number
from mlgym_jax.components.registry import register
from mlgym_jax.core.inputs import INPUTS, fields_of, is_input
from mlgym_jax.core.modes import note_unmixed
from mlgym_jax.core.state import Batch
from mlgym_jax.errors import ConfigError

Per = Literal["example", "batch"]
_TARGETS = "targets"
_WHERE = "where"


def shuffled_real(key: jax.Array, mask: jax.Array) -> jax.Array:
    """Return int32[batch], a random permutation of the rows whose mask is True; the others stay where they are."""
    size = mask.shape[0]
    order = jnp.argsort(jnp.where(mask, jax.random.uniform(key, (size,)), 2.0))  # real ones first, in random order
    rank = jnp.cumsum(mask.astype(jnp.int32)) - 1
    return jnp.where(mask, jnp.take(order, rank, mode="clip"), jnp.arange(size)).astype(jnp.int32)


def drawn_shares(key: jax.Array, alpha: Any, size: int, per: Per) -> jax.Array:
    """Return float32[size], shares from Beta(alpha, alpha), one for all where they are drawn once a batch.

    G / (G + H) of two gamma variates, from their logarithms, as both are 0 in float32 for a small alpha.
    """
    one, other = jax.random.loggamma(key, number(alpha), (2, size if per == "example" else 1))
    return jnp.broadcast_to(jax.nn.sigmoid(one - other), (size,))


def along(values: jax.Array, like: jax.Array) -> jax.Array:
    """Return [batch] values with as many axes as an array of examples, in its type."""
    return values.reshape(-1, *(1 for _ in like.shape[1:])).astype(like.dtype)


def mixed(array: jax.Array, partner: jax.Array, shares: jax.Array) -> jax.Array:
    """Return shares * array + (1 - shares) * array[partner]."""
    share = along(shares, array)
    return share * array + (1 - share) * jnp.take(array, partner, axis=0, mode="clip")


def mixed_targets(
    name: str, batch: Batch, partner: jax.Array, shares: jax.Array, num_classes: int | None
) -> dict[str, jax.Array]:
    """Return the mixed field `targets`; nothing where the batch has none, as of autoencoders.

    Raises:
        ConfigError: class numbers of nobody knows how many classes.
    """
    if _TARGETS not in fields_of(batch):
        return {}
    targets = value_of(name, batch, _TARGETS)
    if jnp.issubdtype(targets.dtype, jnp.floating):
        return {_TARGETS: mixed(targets, partner, shares)}
    if targets.dtype == jnp.bool_:
        return {_TARGETS: mixed(targets.astype(jnp.float32), partner, shares)}
    if num_classes is None:
        raise ConfigError(
            "augmentation.num_classes",
            f"{name} makes distributions over classes of the targets, {shape_in_words(targets)}, and the dataset does "
            "not say how many there are; write num_classes=…, in the Dataset or here. Targets that are no classes are "
            "given as float32",
        )
    return {_TARGETS: mixed(jax.nn.one_hot(targets, num_classes, dtype=jnp.float32), partner, shares)}


def _mixed_further(
    name: str, batch: Batch, partner: jax.Array, shares: jax.Array, fields: tuple[str, ...]
) -> dict[str, jax.Array]:
    """Return further targets, mixed.

    Raises:
        ConfigError: one is neither of real numbers nor of bool.
    """
    found = {}
    for field in fields:
        value = value_of(name, batch, field)
        if value.dtype == jnp.bool_:
            value = value.astype(jnp.float32)
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ConfigError(
                "augmentation.fields",
                f"{name} mixes real numbers, the field {field!r} is {shape_in_words(value)}; let the dataset give "
                "classes as shares of them, np.eye(num_classes, dtype=np.float32)[classes]",
            )
        found[field] = mixed(value, partner, shares)
    return found


def _classes(dataset: Any, num_classes: int | None) -> int | None:
    if num_classes is not None:
        return check_classes("num_classes", num_classes)
    return getattr(dataset, "num_classes", None)


def _weights_of(name: str, batch: Batch, field: str) -> tuple[jax.Array | None, jax.Array]:
    """Return the field of weights as one number or bool an example, [batch], if there is one, and which may be mixed.

    Raises:
        ConfigError: it is of positions, or another one than `where` that is not there.
    """
    if field not in batch and field == _WHERE:
        return None, real(batch)
    where = value_of(name, batch, field)
    if where.size != size_of(batch):
        raise ConfigError(
            "augmentation",
            f"{name} mixes whole examples, and the field {field!r}, {shape_in_words(where)}, says of positions "
            "whether they count, others in each example; one number an example is mixed as targets are",
        )
    where = where.reshape(-1)
    return where, real(batch) & (where > 0)


def _mixed_weights(
    batch: Batch, weights: jax.Array | None, partner: jax.Array, shares: jax.Array, field: str
) -> dict[str, jax.Array]:
    """Return the mixed field of weights; of bool, those that are mixed all count, and the field stays."""
    if weights is None or weights.dtype == jnp.bool_:
        return {}
    return {field: mixed(weights.astype(jnp.float32), partner, shares).reshape(batch[field].shape)}


def _note_others(name: str, batch: Batch, *mixed_fields: str) -> None:
    engine = ("mask", "class_counts", _TARGETS, *mixed_fields)
    own = [field for field in fields_of(batch) if not is_input(field) and not field.startswith("_")]
    note_unmixed(name, [field for field in own if field not in engine])


@register("augmentation", "mixup", needs=("dataset",), dynamic=("alpha",))
def mixup(
    dataset: Any = None,
    *,
    alpha: float = 0.2,
    per: Per = "example",
    num_classes: int | None = None,
    where: str = _WHERE,
    fields: tuple[str, ...] = (),
) -> Augmentation:
    r"""Mix each example with another one, inputs and targets: Zhang et al. 2017 (arXiv:1710.09412).

    \(\tilde x = \lambda x_i + (1 - \lambda) x_j,\ \tilde y = \lambda y_i + (1 - \lambda) y_j,\ \lambda \sim
    \mathrm{Beta}(\alpha, \alpha)\). All inputs are mixed, where they are several. Metrics see the class with the
    largest share.

    Args:
        alpha: above 0; the smaller, the more examples stay nearly themselves.
        per: whether a share is drawn for each example, or one for a batch, as the authors' program does.
        num_classes: by default the dataset's.
        where: the field of weights, as of losses; it may be missing where it is `where`.
        fields: further targets to mix, of real numbers.

    Raises:
        ConfigError: an alpha that is not above 0; when traced, inputs that are integers, classes of unknown number, or
            a field `where` of positions.
    """
    check_positive(alpha=alpha)
    classes = _classes(dataset, num_classes)

    def augment(key: jax.Array, batch: Batch) -> Batch:
        _note_others("mixup", batch, where, *fields)
        weights, there = _weights_of("mixup", batch, where)
        of_partner, of_share = jax.random.split(key)
        partner, shares = shuffled_real(of_partner, there), drawn_shares(of_share, alpha, size_of(batch), per)
        own = [field for field in fields_of(batch) if is_input(field)]
        inputs = {field: mixed(floats_of("mixup", batch, field), partner, shares) for field in own}
        counting = _mixed_weights(batch, weights, partner, shares, where)
        targets = mixed_targets("mixup", batch, partner, shares, classes)
        further = _mixed_further("mixup", batch, partner, shares, fields)
        return with_values(batch, {**inputs, **counting, **targets, **further})

    return augment


@register("augmentation", "cutmix", needs=("dataset",), dynamic=("alpha",))
def cutmix(
    dataset: Any = None,
    *,
    alpha: float = 1.0,
    per: Per = "example",
    num_classes: int | None = None,
    where: str = _WHERE,
    fields: tuple[str, ...] = (),
) -> Augmentation:
    r"""Replace a box of each image by that of another one: Yun et al. 2019 (arXiv:1905.04899).

    The box has the image's shape, \(\sqrt{1 - \lambda}\) of its sides, and its centre anywhere; what lies outside is
    cut off, and the targets are mixed by the pixels that are left. Maps of classes, one a pixel, are replaced alike.

    Args:
        alpha: above 0; with 1, the shares are uniform.
        per: whether a share and a box are drawn for each example, or one for a batch, as the authors' program does.
        num_classes: by default the dataset's.
        where: the field of weights, as of losses; it may be missing where it is `where`.
        fields: further targets to mix, of real numbers; beside targets that are maps they stay, which is told.

    Raises:
        ConfigError: an alpha that is not above 0; when traced, inputs that are no images, classes of unknown number, or
            a field `where` of positions other than pixels.
    """
    check_positive(alpha=alpha)
    classes = _classes(dataset, num_classes)

    def augment(key: jax.Array, batch: Batch) -> Batch:
        images, size = images_of("cutmix", batch), size_of(batch)
        _, height, width, _ = images.shape
        maps = [field for field in (_TARGETS, where) if getattr(batch.get(field), "shape", ())[1:3] == (height, width)]
        maps = maps if _TARGETS in maps else []
        _note_others("cutmix", batch, where, *(() if maps else fields))  # beside maps these alone are mixed
        weights, there = _weights_of("cutmix", batch, where) if where not in maps else (None, real(batch))
        of_partner, of_share, of_place = jax.random.split(key, 3)
        partner = shuffled_real(of_partner, there)
        side = jnp.sqrt(1 - drawn_shares(of_share, alpha, size, per))
        centres = jax.random.uniform(of_place, (size if per == "example" else 1, 2))
        edges = []
        for length, centre in ((height, centres[:, 0]), (width, centres[:, 1])):
            cut, middle = (side * length).astype(jnp.int32), (centre * length).astype(jnp.int32)
            low = middle - cut // 2
            edges.append((jnp.clip(low, 0, length), jnp.clip(low + cut, 0, length)))
        (top, bottom), (left, right) = edges
        box = jax.vmap(lambda *sides: inside_box((height, width), *sides))(top, left, bottom, right)
        shares = 1 - box.sum((1, 2)).astype(jnp.float32) / (height * width)

        def pasted(array: jax.Array) -> jax.Array:
            own = box.reshape(*box.shape, *(1 for _ in array.shape[3:]))
            return jnp.where(own, jnp.take(array, partner, axis=0, mode="clip"), array)

        values = {INPUTS: pasted(images), **{field: pasted(jnp.asarray(batch[field])) for field in maps}}
        if maps:
            return with_values(batch, values)
        counting = _mixed_weights(batch, weights, partner, shares, where)
        targets = mixed_targets("cutmix", batch, partner, shares, classes)
        further = _mixed_further("cutmix", batch, partner, shares, fields)
        return with_values(batch, {**values, **counting, **targets, **further})

    return augment
