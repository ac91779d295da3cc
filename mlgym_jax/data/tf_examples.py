"""The dataset `tf_examples`: ArrayRecord files of `tf.train.Example` messages, also of images, without TensorFlow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.array_record_files import ArrayRecordFiles, DecodedRecords, paths_of
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.images import Fit, Form
from mlgym_jax.data.sources import Place
from mlgym_jax.errors import ConfigError, described, listed, nearest

_IMAGE = "image"
_TYPES = ("uint8", "int8", "int32", "int64", "float16", "float32", "float64", "bool")
_FORM = "('float32', (28, 28), 'feature'), or ('image', (height, width, channels), 'feature')"


class _Field(NamedTuple):
    """What a field is made of: a feature's numbers, or the image that it encodes."""

    feature: str
    dtype: np.dtype
    shape: tuple[int, ...]
    image: Form | None


@register("dataset", "tf_examples")
def tf_examples(
    *,
    splits: Mapping[str, str | Sequence[str]],
    fields: Mapping[str, tuple[Any, ...]],
    num_classes: int | None = None,
    fit: Fit = "crop",
    scale: bool = True,
) -> Dataset:
    """Read ArrayRecord files of `tf.train.Example` messages, as TFDS and most converters write them.

        fields=dict(inputs=("image", (64, 64, 3), "image/encoded"), targets=("int32", (), "image/class/label"))

    Images are decoded by Pillow. With `component("streaming")` records are read and decoded while training goes on, in
    its threads, or in processes (`workers="processes"`) where decoding takes longer than training.

    Args:
        splits: split -> path or paths, which may hold `*`; files in order of their names.
        fields: field -> (type, shape of one example, feature); the feature has the field's name where it is left out.
            A feature of bytes that is no image holds the numbers themselves, little-endian, as `tobytes` writes them.
        num_classes: of integer targets that are classes; None if they are none.
        fit: what becomes of images of another aspect ratio: "crop" the middle, "pad" with black, or "stretch".
        scale: divide images by 255; else bytes stay bytes.

    Raises:
        ConfigError: at `dataset.splits` or `dataset.fields`: no such file, no type; the first record is no message, or
            lacks a feature. Others are told of where they are read.
    """
    made = {field: _field(field, form, fit, scale) for field, form in fields.items()}
    read = {name: _Examples(ArrayRecordFiles(paths_of(paths, name), name), made) for name, paths in splits.items()}
    for split, source in read.items():
        source.check(split)
    return Dataset(read, num_classes)


def _field(field: str, form: Any, fit: Fit, scale: bool) -> _Field:
    try:
        name, shape, *feature = form
        shape = tuple(int(size) for size in shape)
        (feature,) = feature or [field]
        if not isinstance(feature, str):
            raise TypeError
        if name == _IMAGE:
            height, width, channels = shape
            dtype = np.dtype(np.float32 if scale else np.uint8)
            return _Field(feature, dtype, shape, Form((height, width), True, channels, fit, scale))
        dtype = np.dtype(name)
        if dtype.kind not in "biuf":
            raise TypeError
    except (TypeError, ValueError) as error:
        first = form[0] if isinstance(form, Sequence) and form else None
        near = nearest(first, (_IMAGE, *_TYPES)) if isinstance(first, str) and first != _IMAGE else "."
        raise ConfigError(f"dataset.fields.{field}", f"found {described(form)}{near} Write {_FORM}") from error
    return _Field(feature, dtype, shape, None)


class _Examples(DecodedRecords):
    """Messages as a source (`data.sources`)."""

    def __init__(self, files: ArrayRecordFiles, fields: Mapping[str, _Field]):
        super().__init__(files)
        self._fields = dict(fields)
        self._wanted = {one.feature for one in fields.values()}

    def check(self, split: str) -> None:
        """Refuse a split whose first record lacks a feature, and say which there are."""
        for (record, *_), _ in self._files.read(np.arange(min(1, len(self._files)))):
            try:
                there = features_of(record)
            except ValueError as error:
                raise ConfigError(f"dataset.splits.{split}", f"{self.name_of(0)}: {error}") from None
            for field, one in self._fields.items():
                if one.feature not in there:
                    raise ConfigError(
                        f"dataset.fields.{field}",
                        f"there is no feature {one.feature!r}{nearest(one.feature, there)} "
                        f"Features of {self.name_of(0)}: {listed(sorted(there), 40)}",
                    )

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        found = {field: np.empty((len(rows), *one.shape), one.dtype) for field, one in self._fields.items()}
        for records, places in self._files.read(rows):
            for record, place in zip(records, places.tolist(), strict=True):
                Place.numbers[2:] = rows[place], 1
                features = features_of(record, self._wanted)
                for field, one in self._fields.items():
                    if one.feature not in features:
                        raise ValueError(f"it has no feature {one.feature!r}")
                    found[field][place] = _value(features[one.feature], one)
        return found


def _value(feature: list[bytes] | np.ndarray, field: _Field) -> np.ndarray:
    """Return a field of one example, in its type and shape."""
    name = f"its feature {field.feature!r}"
    if isinstance(feature, list):
        if len(feature) != 1:
            raise ValueError(f"{name} holds {len(feature)} strings of bytes, one is expected")
        if field.image is not None:
            try:
                return field.image.read(feature[0])
            except ValueError as error:
                raise ValueError(f"{name} {error}") from error
        if len(feature[0]) % field.dtype.itemsize:
            raise ValueError(f"{name} has {len(feature[0])} bytes, which are no numbers of type {field.dtype}")
        feature = np.frombuffer(feature[0], field.dtype.newbyteorder("<"))
    elif field.image is not None:
        raise ValueError(f"{name} holds numbers, and the bytes of an image are expected")
    if feature.size != int(np.prod(field.shape)):
        raise ValueError(f"{name} has {feature.size} numbers, and {field.shape} is expected")
    if field.dtype.kind in "biu":
        with np.errstate(invalid="ignore"):
            whole = feature.astype(field.dtype)
        if not (whole == feature).all():
            raise ValueError(f"{name} has numbers that are no {field.dtype}")
        feature = whole
    return feature.reshape(field.shape)


def features_of(message: bytes, wanted: Collection[str] | None = None) -> dict[str, list[bytes] | np.ndarray]:
    """Return the features of a `tf.train.Example`: bytes as they are, numbers as float32[n] or int64[n].

    Args:
        wanted: the names of those to take; None: all.

    Raises:
        ValueError: it is none, or cut short.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    messages: Any = tf_example_pb2
    try:
        features = messages.Example.FromString(message).features.feature
    except Exception as error:  # protobuf has an error of its own in each of its implementations
        raise ValueError("it is no tf.train.Example, or cut short") from error
    found: dict[str, list[bytes] | np.ndarray] = {}
    for name in features if wanted is None else [name for name in wanted if name in features]:
        feature = features[name]
        kind = feature.WhichOneof("kind")
        if kind == "bytes_list":
            found[name] = [*feature.bytes_list.value]
        elif kind == "float_list":
            found[name] = np.array(feature.float_list.value, np.float32)
        else:
            found[name] = np.array(feature.int64_list.value, np.int64)
    return found
