"""The dataset `tfds`: whatever TFDS prepared, from its folder, without TensorFlow or network."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.sources import Unread
from mlgym_jax.data.split_names import SPLIT_NAMES
from mlgym_jax.data.tfds_builders import cache_folder
from mlgym_jax.errors import ConfigError, listed, nearest

_DESCRIPTION = "dataset_info.json"  # what TFDS writes last into the folder of a prepared data set


@register("dataset", "tfds")
def tfds(
    *,
    name: str,
    data_dir: str | None = None,
    splits: Mapping[str, str] | None = None,
    inputs: str | None = None,
    targets: str | None = None,
    scale: bool = True,
) -> Dataset:
    """Read a data set that TFDS has prepared as ArrayRecord files.

    Nothing is downloaded. Prepare it once, where there is a network, and copy the folder:

        python -c "import tensorflow_datasets as tfds; tfds.data_source('mnist', data_dir='datasets')"

    Args:
        name: a name, `mnist`, `glue/cola`, with a version if you mind, `mnist:3.0.1`; or the path of a prepared folder,
            the one that holds `dataset_info.json`.
        data_dir: the folder that holds prepared data sets by name; by default those of `digits`, then TFDS's own
            ($TFDS_DATA_DIR, else ~/tensorflow_datasets).
        splits: split -> TFDS's name for it, slices included: `dict(train="train[:1000]", test="test")`. By default
            those of the data set's that are named train, validation (or val, valid, dev) or test.
        inputs: the feature that becomes the field `inputs`; by default the first of the data set's supervised pair.
            The other numeric features keep their names.
        targets: the feature that becomes `targets`; by default the second of that pair.
        scale: divide images of bytes by 255.

    Raises:
        ConfigError: at `dataset.name`: nothing is prepared there, or in another file format; at `dataset.splits`,
            `dataset.inputs`, `dataset.targets`: not in the data set.
    """
    import tensorflow_datasets

    folder = _prepared_folder(name, data_dir)
    try:
        builder = tensorflow_datasets.builder_from_directory(folder)
        info: Any = builder.info
        file_format = info.file_format.value if info.file_format else "unknown"
    except Exception as error:  # JSON, protobuf and features each have their own way to say "damaged"
        raise ConfigError(
            "dataset.name", f"{os.fspath(folder)!r} is no whole prepared data set: {_first_line(error)}"
        ) from None
    if file_format != "array_record":
        raise ConfigError(
            "dataset.name",
            f"{os.fspath(folder)!r} holds {file_format} files, which only TensorFlow reads; prepare array_record: "
            + _command(info.name, folder),
        )
    pair = info.supervised_keys or (None, None)
    roles = {"inputs": inputs or pair[0], "targets": targets or pair[1]}
    if roles["inputs"] is None:
        raise ConfigError(
            "dataset.inputs",
            f"{info.name} does not say which of its features are inputs and targets; write inputs='…', targets='…'"
            f"{_as_named(info.features)}. Features: {listed(sorted(info.features))}",
        )
    for role, feature in roles.items():
        if feature not in info.features and feature is not None:
            raise ConfigError(
                f"dataset.{role}",
                f"{info.name} has no feature {feature!r}{nearest(feature, info.features)} "
                f"Features: {listed(sorted(info.features))}",
            )
    chosen = _chosen_splits(splits, info)
    fields = {role: feature for role, feature in roles.items() if feature is not None}
    fields |= {key: key for key in info.features if key not in roles.values() and _is_numeric(info.features[key])}
    read = {split: Unread(_Records(builder, source, split, fields, info, scale)) for split, source in chosen.items()}
    for split in read.values():
        split.source.read(np.zeros(1, np.int64))  # files that are missing or damaged are told of here
    label: Any = info.features[roles["targets"]] if roles["targets"] is not None else None
    if isinstance(label, tensorflow_datasets.features.ClassLabel):
        return Dataset(read, label.num_classes, class_names=tuple(label.names))
    return Dataset(read)


def _as_named(features: Any) -> str:
    """Say what to write where the features have the names of the fields."""
    named = [f"{role}={role!r}" for role in ("inputs", "targets") if role in features]
    return f", here {', '.join(named)}" if named else ""


def _prepared_folder(name: str, data_dir: str | None) -> Path:
    given = Path(os.path.expanduser(name))
    if (given / _DESCRIPTION).is_file():
        return given
    plain, _, version = name.partition(":")
    own = [os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"] if data_dir is None else []
    places = [cache_folder(data_dir), *(Path(os.path.expanduser(place)) for place in own)]
    for place in places:
        versions = [path.parent for path in (place / plain).glob(f"{version or '*'}/{_DESCRIPTION}")]
        if versions:
            return max(versions, key=_version_number)
    there = sorted({_name_in(path, place) for place in places for path in place.glob(f"**/{_DESCRIPTION}")})
    raise ConfigError(
        "dataset.name",
        f"{name!r} is not prepared{nearest(plain, there)} Looked in: {listed(places)}; prepared there: {listed(there)}."
        f" Prepare it where there is a network, and copy the folder {plain!r} to one of these: "
        + _command(name, places[0]),
    )


def _name_in(description: Path, place: Path) -> str:
    return description.parent.parent.relative_to(place).as_posix()


def _version_number(folder: Path) -> tuple[int, ...]:
    parts = folder.name.split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in parts)


def _command(name: str, data_dir: Path) -> str:
    return (
        f'python -c "import tensorflow_datasets as tfds; tfds.data_source({name!r}, data_dir={os.fspath(data_dir)!r})"'
    )


def _chosen_splits(splits: Mapping[str, str] | None, info: Any) -> dict[str, str]:
    chosen = splits or {name: name for name in SPLIT_NAMES if name in info.splits}
    for split, source in chosen.items():
        try:
            length = info.splits[source].num_examples
        except Exception as error:
            raise ConfigError(
                f"dataset.splits.{split}",
                f"{info.name} has no split {source!r} ({_first_line(error)}){nearest(source, info.splits)} "
                f"Splits: {listed(info.splits)}",
            ) from None
        if not length:
            raise ConfigError(f"dataset.splits.{split}", f"{source!r} of {info.name} is empty")
    if "train" not in chosen:
        raise ConfigError(
            "dataset.splits",
            f"{info.name} has the splits {listed(info.splits)}; say which to train on: splits=dict(train='…')",
        )
    return dict(chosen)


def _is_numeric(feature: Any) -> bool:
    dtype = getattr(feature, "np_dtype", None)
    shape = getattr(feature, "shape", None)
    return dtype is not None and shape is not None and None not in shape and np.dtype(dtype).kind in "biuf"


class _Records:
    """One of TFDS's splits as a source (`data.sources`)."""

    def __init__(self, builder: Any, name: str, split: str, fields: Mapping[str, str], info: Any, scale: bool):
        self._builder, self._name, self._split, self._info = builder, name, split, info
        self.fields, self._scale = dict(fields), scale

    @functools.cached_property
    def _opened(self) -> Any:
        return self._builder.as_data_source(split=self._name)

    def __len__(self) -> int:
        return self._info.splits[self._name].num_examples

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        import tensorflow_datasets

        order = np.argsort(rows, kind="stable")  # neighbours in a file are read together
        try:
            records = self._opened.__getitems__(rows[order].tolist())
        except Exception as error:  # ArrayRecord, protobuf and the image decoders each have their own
            raise ConfigError(
                "dataset.name", f"split {self._name!r} of {self._info.name} cannot be read: {_first_line(error)}"
            ) from None
        found = {}
        for field, feature in self.fields.items():
            values = [np.asarray(record[feature]) for record in records]
            shapes = {value.shape for value in values}
            if len(shapes) > 1:
                raise ConfigError(
                    f"dataset.{field if field in ('inputs', 'targets') else 'name'}",
                    f"the examples of {feature!r} in split {self._split!r} differ in shape "
                    f"({listed(sorted(shapes), 3)}); prepare a data set whose examples have one shape, or register a "
                    "dataset that crops or pads them",
                )
            stacked = np.stack(values)
            array = np.empty_like(stacked)
            array[order] = stacked
            is_image = isinstance(self._info.features[feature], tensorflow_datasets.features.Image)
            found[field] = (
                array.astype(np.float32) / 255 if self._scale and is_image and array.dtype == np.uint8 else array
            )
        return found


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
