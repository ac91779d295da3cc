"""A group's training in the middle of an epoch, in one file that is written whole: JSON, and arrays behind it."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlgym_jax.checkpoint.step_record import checksums
from mlgym_jax.errors import DiskError, MlgymError
from mlgym_jax.events.files import write_whole

_MAGIC = b"mlgym_jax middle of an epoch, 1\n"


def write_middle(path: str, fields: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> None:
    """Write a file in place of the one before.

    Args:
        fields: JSON that `read_middle` returns.

    Raises:
        DiskError: the system refuses; what was there before is there still.
    """
    parts = [np.ascontiguousarray(array) for array in arrays]
    described = [[part.dtype.name, part.shape, crc32] for part, crc32 in zip(parts, checksums(parts), strict=True)]
    header = json.dumps({"fields": dict(fields), "arrays": described}).encode()
    head = _MAGIC + b"%d %d\n" % (len(header), zlib.crc32(header)) + header
    try:
        write_whole(path, b"".join((head, *(part.reshape(-1).view(np.uint8).data for part in parts))))
    except OSError as error:
        raise DiskError(
            f"{path}: where an epoch stands could not be written: {error.strerror}. What was saved before is whole."
        ) from error


def read_middle(path: str) -> tuple[dict[str, Any], list[np.ndarray]] | None:
    """Return the fields and arrays of a file; None where there is none.

    Raises:
        MlgymError: it is damaged. DiskError: the system refuses.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiskError(f"{path}: it cannot be read: {error.strerror}") from error
    try:
        magic, sizes, rest = data[: len(_MAGIC)], *data[len(_MAGIC) :].split(b"\n", 1)
        size, checksum = map(int, sizes.split())
        header, at = rest[:size], size
        if magic != _MAGIC or zlib.crc32(header) != checksum:
            raise ValueError("its header does not match its checksum")
        described = json.loads(header)
        arrays = []
        for name, shape, expected in described["arrays"]:
            dtype, length = np.dtype(name), int(np.prod(shape, dtype=np.int64))
            part = rest[at : at + length * dtype.itemsize]
            if zlib.crc32(part) != expected:
                raise ValueError("its contents do not match their checksums")
            arrays.append(np.frombuffer(part, dtype).reshape(shape))
            at += len(part)
        return described["fields"], arrays
    except (ValueError, KeyError, TypeError) as error:
        raise MlgymError(f"{path}: {error}") from error


def remove_middle(path: str) -> None:
    """Remove a file that a checkpoint has overtaken, if it is there."""
    with contextlib.suppress(OSError):
        os.unlink(path)
