"""What a metric's `compute` may return besides scalars: curves, matrices, histograms, images, tables, texts.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.core import record
    >>> found = record.histogram(jnp.array([0.1, 0.2, 0.9]), bins=2, low=0.0, high=1.0)
    >>> found.counts.tolist(), found.edges
    ([2, 1], (0.0, 0.5, 1.0))

In user code it is `mg.record`. Each is a tree of arrays of fixed shapes, with words beside them that are no arrays, so
that it is computed in the compiled program, for many experiments at once. What stands in the run's log of it is written
by `recording.records`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.core.metric import shape_of
from mlgym_jax.errors import MlgymError, described

MOST_VALUES = 1 << 16  # numbers of a curve, a matrix, a histogram or a table
MOST_PIXELS = 1 << 22


class Record:
    """What is recorded of a split, and is no score: nothing is selected, stopped or kept by it."""

    kind: ClassVar[str]


_Kind = TypeVar("_Kind", bound=type[Record])


def _tree(*words: str) -> Callable[[_Kind], _Kind]:
    """Register a dataclass as a tree of arrays; the fields `words` are no arrays."""

    def registered(cls: _Kind) -> _Kind:
        arrays = [field.name for field in dataclasses.fields(cls) if field.name not in words]  # pyright: ignore[reportArgumentType]
        return jax.tree_util.register_dataclass(cls, data_fields=arrays, meta_fields=list(words))

    return registered


@_tree("x_name", "y_name", "labels", "thresholds")
@dataclasses.dataclass(frozen=True, eq=False)
class Curve(Record):
    """Lines `y` over `x`, both float32[lines, points]; points that are NaN are none.

    Attributes:
        labels: one a line, or None for the only one.
        thresholds: of each point, the threshold that it is of; None where there is none.
    """

    kind: ClassVar[str] = "curve"

    x: jax.Array
    y: jax.Array
    x_name: str
    y_name: str
    labels: tuple[str, ...] | None = None
    thresholds: tuple[float, ...] | None = None


@_tree("x_name", "y_name", "classes")
@dataclasses.dataclass(frozen=True, eq=False)
class Matrix(Record):
    """`values`, float32 or int32[rows, columns]; rows are named by `y_name`, columns by `x_name`."""

    kind: ClassVar[str] = "matrix"

    values: jax.Array
    x_name: str
    y_name: str
    classes: tuple[str, ...] | None = None


@_tree("edges")
@dataclasses.dataclass(frozen=True, eq=False)
class Histogram(Record):
    """`counts`, int32[bins], of values in [edge, next edge), the last bin with its upper end."""

    kind: ClassVar[str] = "histogram"

    counts: jax.Array
    edges: tuple[float, ...]


@_tree()
@dataclasses.dataclass(frozen=True, eq=False)
class Image(Record):
    """`pixels`, uint8[height, width, 1, 3 or 4]."""

    kind: ClassVar[str] = "image"

    pixels: jax.Array


@_tree()
@dataclasses.dataclass(frozen=True, eq=False)
class Table(Record):
    """`columns`: name -> [rows]; rows where `mask`, bool[rows], is False are none."""

    kind: ClassVar[str] = "table"

    columns: dict[str, jax.Array]
    mask: jax.Array


@_tree("template")
@dataclasses.dataclass(frozen=True, eq=False)
class Text(Record):
    """`template` with `values`, arrays, in the place of its `{}` and `{name}`."""

    kind: ClassVar[str] = "text"

    template: str
    values: dict[str, jax.Array]


def curve(
    x: Any,
    y: Any,
    *,
    x_name: str = "x",
    y_name: str = "y",
    labels: Sequence[str] | None = None,
    thresholds: Sequence[float] | None = None,
) -> Curve:
    """Return lines to record.

    Args:
        x, y: float[points], or [lines, points]; one of them may be [points] for all lines.
        labels: the name of each line.
        thresholds: numbers that the points are of, plain ones.

    Raises:
        MlgymError: shapes that do not fit, or more than 65,536 numbers.
    """
    xs, ys = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    if not (1 <= xs.ndim <= 2 and 1 <= ys.ndim <= 2 and xs.shape[-1] == ys.shape[-1]):
        raise MlgymError(
            "record.curve: x and y are expected as [points] or [lines, points], "
            f"found {shape_of(xs)} and {shape_of(ys)}"
        )
    lines = max(jnp.atleast_2d(xs).shape[0], jnp.atleast_2d(ys).shape[0])
    xs, ys = (jnp.broadcast_to(array, (lines, array.shape[-1])) for array in (xs, ys))
    _check_size("curve", xs.size)
    named = None if labels is None else tuple(map(str, labels))
    if named is not None and len(named) != lines:
        raise MlgymError(f"record.curve: {lines} labels are expected, one a line, found {len(named)}")
    of_points = None if thresholds is None else tuple(map(float, thresholds))
    if of_points is not None and len(of_points) != xs.shape[1]:
        raise MlgymError(f"record.curve: {xs.shape[1]} thresholds are expected, one a point, found {len(of_points)}")
    return Curve(xs, ys, x_name, y_name, named, of_points)


def matrix(values: Any, *, classes: Sequence[str] | None = None, x_name: str = "column", y_name: str = "row") -> Matrix:
    """Return a matrix to record, such as counts by target (rows) and prediction (columns).

    Args:
        values: [rows, columns].
        classes: the names of both rows and columns, where these are the same classes.

    Raises:
        MlgymError: no matrix, more than 65,536 numbers, or another number of names.
    """
    array = jnp.asarray(values)
    if array.ndim != 2:
        raise MlgymError(f"record.matrix: [rows, columns] is expected, found {shape_of(array)}")
    _check_size("matrix", array.size)
    named = None if classes is None else tuple(map(str, classes))
    if named is not None and array.shape != (len(named), len(named)):
        raise MlgymError(f"record.matrix: {len(named)} classes name rows and columns, found {shape_of(array)}")
    return Matrix(array, x_name, y_name, named)


def histogram(values: Any, bins: int = 64, *, low: float, high: float, mask: Any = None) -> Histogram:
    """Count values by `bins` bins of equal width from `low` to `high`; what lies beyond is in the first and the last.

    Args:
        values: an array of any shape; NaN are counted nowhere.
        low, high: plain numbers: bins are fixed before the program runs, so that counts of batches add up.
        mask: bool, of the values' shape, or of their first axes: which of them count.

    Raises:
        MlgymError: no bins, or bounds that are not low < high.
    """
    if not 1 <= bins <= MOST_VALUES or not low < high:
        raise MlgymError(
            f"record.histogram: 1 to {MOST_VALUES:,} bins and low < high are expected, found {bins}, {low}, {high}"
        )
    edges = (*(low + (high - low) * number / bins for number in range(bins)), high)
    array = jnp.asarray(values).astype(jnp.float32)
    counted = jnp.ones(array.shape, bool) if mask is None else jnp.asarray(mask)
    counted = jnp.broadcast_to(counted.reshape(*counted.shape, *(1,) * (array.ndim - counted.ndim)), array.shape)
    counted = (counted & ~jnp.isnan(array)).reshape(-1)
    inner = jnp.asarray(edges[1:-1], jnp.float32)
    place = jnp.searchsorted(inner, array.reshape(-1), side="right", method="scan_unrolled")
    return Histogram(jnp.zeros((bins,), jnp.int32).at[place].add(counted.astype(jnp.int32)), edges)


def image(pixels: Any) -> Image:
    """Return an image to record, which becomes a PNG file.

    Args:
        pixels: [height, width], or [height, width, 1, 3 or 4] with one, three (RGB) or four (RGBA) channels; floats
            from 0 to 1, which are clipped, or uint8 from 0 to 255.

    Raises:
        MlgymError: another shape or type, or more than 4,194,304 pixels.
    """
    array = jnp.asarray(pixels)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise MlgymError(
            "record.image: [height, width] or [height, width, 1, 3 or 4 channels] is expected, "
            f"found {shape_of(jnp.asarray(pixels))}"
        )
    if array.shape[0] * array.shape[1] > MOST_PIXELS:
        raise MlgymError(f"record.image: at most {MOST_PIXELS:,} pixels are recorded, found {shape_of(array)}")
    if array.dtype == jnp.bool_:
        array = array.astype(jnp.float32)
    if jnp.issubdtype(array.dtype, jnp.floating):
        array = jnp.nan_to_num(jnp.clip(array.astype(jnp.float32), 0.0, 1.0))
        return Image(jnp.round(array * 255).astype(jnp.uint8))
    if array.dtype != jnp.uint8:
        raise MlgymError(f"record.image: floats from 0 to 1 or uint8 are expected, found {shape_of(array)}")
    return Image(array)


def table(columns: Mapping[str, Any], *, mask: Any = None) -> Table:
    """Return a table to record.

    Args:
        columns: name -> [rows], numbers.
        mask: bool[rows], which of them are rows; all by default.

    Raises:
        MlgymError: columns of different lengths or with more axes, or more than 65,536 numbers.
    """
    arrays = {str(name): jnp.asarray(column) for name, column in columns.items()}
    sizes = {array.shape for array in arrays.values()}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1:
        found = ", ".join(f"{name} {shape_of(array)}" for name, array in arrays.items())
        raise MlgymError(f"record.table: columns [rows] of one length are expected, found {found or 'none'}")
    rows = next(iter(sizes))[0]
    _check_size("table", rows * len(arrays))
    kept = jnp.ones((rows,), bool) if mask is None else jnp.asarray(mask)
    if kept.shape != (rows,):
        raise MlgymError(f"record.table: mask is expected as bool[{rows}], found {shape_of(kept)}")
    return Table(arrays, kept)


def text(template: str, **values: Any) -> Text:
    """Return a text to record: a template whose `{name}` are replaced by values, as `str.format` does.

    Args:
        template: `"{wrong} of {total} examples are wrong"`; plain text, as no program can compute letters.
        values: a scalar or a small array for each name, computed in the program.

    Raises:
        MlgymError: no text, a name that has no value, or a format that does not suit it.
    """
    if not isinstance(template, str):
        raise MlgymError(f"record.text: a plain text is expected, found {described(template)}")
    arrays = {name: jnp.asarray(value) for name, value in values.items()}
    _check_size("text", sum(array.size for array in arrays.values()))
    try:  # here, before anything trains: with numbers of the same kinds in their places
        template.format(**{name: np.zeros(array.shape, array.dtype).tolist() for name, array in arrays.items()})
    except (KeyError, IndexError) as error:
        raise MlgymError(
            f"record.text: {described(template)} names {error}, which is given no value; a brace itself is written {{{{"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise MlgymError(f"record.text: {described(template)} cannot be filled in: {error}") from None
    return Text(template, arrays)


def _check_size(kind: str, size: int) -> None:
    if size > MOST_VALUES:
        raise MlgymError(f"record.{kind}: at most {MOST_VALUES:,} numbers are recorded, found {size:,}")
