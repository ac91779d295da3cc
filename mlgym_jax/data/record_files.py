"""Datasets that are larger than memory: .npy files mapped into it, and ArrayRecord files of records of one size."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.array_record_files import ArrayRecordFiles, DecodedRecords, paths_of
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import ConfigError, described, in_words, nearest

_LARGE = 4096  # bytes of a record, for which a call costs less than a second copy
_PIECE = 256  # records that become arrays at once: more no longer fit the caches


@register("dataset", "memmap")
def memmap(*, splits: Mapping[str, Mapping[str, str]], num_classes: int | None = None) -> Dataset:
    """Map arrays of .npy files into memory; with `component("streaming")` only what a batch needs is read of them.

    Args:
        splits: split -> field -> path of a .npy file, `dict(train=dict(inputs="x.npy", targets="y.npy"))`.
        num_classes: of integer targets that are classes; None if they are none.

    Raises:
        ConfigError: at the path: there is no such file, or it holds no array of numbers.
    """
    read: dict[str, dict[str, np.ndarray]] = {}
    for split, fields in splits.items():
        if not isinstance(fields, Mapping):
            raise ConfigError(
                f"dataset.splits.{split}", f"found {described(fields)}; write dict(inputs='x.npy', targets='y.npy')"
            )
        read[split] = {}
        for field, path in fields.items():
            where = f"dataset.splits.{split}.{field}"
            try:
                read[split][field] = np.load(os.path.expanduser(path), mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ConfigError(where, f"{path!r} is no .npy file of numbers: {in_words(error)}") from error
    return Dataset(read, num_classes)


@register("dataset", "array_records")
def array_records(
    *,
    splits: Mapping[str, str | Sequence[str]],
    fields: Mapping[str, tuple[str, Sequence[int]]],
    num_classes: int | None = None,
) -> Dataset:
    """Read ArrayRecord files whose records are the bytes of some arrays, one behind the other.

    Args:
        splits: split -> path or paths, which may hold `*`: `dict(train="train-*.array_record")`; files in order of
            their names.
        fields: field -> (type, shape of one example), in the order of the bytes:
            `dict(inputs=("uint8", (28, 28)), targets=("int32", ()))`. Numbers are little-endian.
        num_classes: of integer targets that are classes; None if they are none.

    Raises:
        ConfigError: at `dataset.splits` or `dataset.fields`: no such file, no type of number, records of another size.
    """
    types = {}
    for field, form in fields.items():
        try:
            name, shape = form
            types[field] = np.dtype(name).newbyteorder("<"), tuple(int(size) for size in shape)
        except (TypeError, ValueError) as error:
            known = ["uint8", "int8", "int32", "int64", "float16", "float32", "float64", "bool"]
            near = nearest(form[0], known) if isinstance(form, Sequence) and form and isinstance(form[0], str) else "."
            raise ConfigError(
                f"dataset.fields.{field}", f"found {described(form)}{near} Write ('float32', (28, 28)), type and shape"
            ) from error
    return Dataset(
        {split: _Records(ArrayRecordFiles(paths_of(paths, split), split), types) for split, paths in splits.items()},
        num_classes,
    )


class _Records(DecodedRecords):
    """Records of one size, as a source (`data.sources`)."""

    def __init__(self, files: ArrayRecordFiles, types: Mapping[str, tuple[np.dtype, tuple[int, ...]]]):
        super().__init__(files)
        self._types = dict(types)
        self.record_bytes = sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in types.values())
        for records, _ in files.read(np.arange(min(1, len(files)))):
            for record in records:
                if len(record) != self.record_bytes:
                    raise ConfigError(
                        "dataset.fields",
                        f"they are {self.record_bytes} bytes a record, and those of {files.name_of(0)} have "
                        f"{len(record)}",
                    )

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        found = {field: np.empty((len(rows), *shape), dtype) for field, (dtype, shape) in self._types.items()}
        put = self._copied if self.record_bytes > _LARGE else self._joined
        for records, places in self._files.read(rows):
            if operator.countOf(map(len, records), self.record_bytes) < len(records):
                wrong = sorted({*map(len, records)} - {self.record_bytes})
                raise ValueError(f"records of {self.record_bytes} bytes are expected, found {wrong}")
            for start in range(0, len(records), _PIECE):
                put(found, records[start : start + _PIECE], places[start : start + _PIECE])
        return found

    def _joined(self, found: dict[str, np.ndarray], records: list[bytes], places: np.ndarray) -> None:
        fields = [(array, array.dtype.itemsize) for array in self._as_items(found)]
        whole = np.dtype([(f"f{place}", f"V{size}") for place, (_, size) in enumerate(fields) if size])
        piece = np.frombuffer(b"".join(records), whole)
        for place, (array, size) in enumerate(fields):
            if size:
                array[places] = piece[f"f{place}"]

    def _copied(self, found: dict[str, np.ndarray], records: list[bytes], places: np.ndarray) -> None:
        """Do the same; each large record is copied once, to its place."""
        at = 0
        for array in self._as_items(found):
            size = array.dtype.itemsize
            target = array.view(np.uint8).data
            for place, record in zip(places.tolist(), records, strict=True):
                target[place * size : (place + 1) * size] = memoryview(record)[at : at + size]
            at += size

    def _as_items(self, found: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
        """Iterate over each field's array, in the order of a record, as one item of bytes an example."""
        for field, (dtype, shape) in self._types.items():
            size = dtype.itemsize * int(np.prod(shape))
            yield found[field].reshape(-1).view(f"V{size}") if size else np.empty(len(found[field]), "V0")
