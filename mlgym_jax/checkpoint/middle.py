"""A group's training in the middle of an epoch, in one file that is written whole: JSON, and arrays behind it.

writer = MiddleWriter(path)
writer.begin({"epoch": 3}, lambda: arrays)  # goes on in a thread
writer.finish()
fields, arrays = read_middle(path)
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlgym_jax.checkpoint.step_record import checksums
from mlgym_jax.errors import DiskError, MlgymError
from mlgym_jax.events.files import write_whole

_MAGIC = b"mlgym_jax middle of an epoch, 1\n"


class MiddleWriter:
    """Writes one middle at a time in a thread, so that training goes on meanwhile.

    A signal may come up between any two lines of the caller. A write that it kept from beginning is left out, as if it
    had come a line earlier: what was there before is there still.
    """

    def __init__(self, path: str):
        self.path = path
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def begin(self, fields: Mapping[str, Any], arrays: Callable[[], Sequence[np.ndarray]]) -> None:
        """Start writing, once the one before is whole.

        Args:
            fields: JSON that `read_middle` returns; arrays: called in the thread; what it returns nobody may change.

        Raises:
            DiskError: the one before was refused.
        """
        self.finish()
        self._thread = threading.Thread(target=self._write, args=(fields, arrays), name="middle")
        self._thread.start()

    @property
    def is_writing(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def finish(self) -> None:
        """Wait for what was begun; may be called again.

        Raises:
            DiskError: it was refused; what was there before is there still.
        """
        thread = self._thread
        if thread is not None and thread.ident is not None:
            thread.join()
        self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def remove(self) -> None:
        """Remove the file, which a checkpoint has overtaken, if it is there."""
        with contextlib.suppress(DiskError):
            self.finish()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _write(self, fields: Mapping[str, Any], arrays: Callable[[], Sequence[np.ndarray]]) -> None:
        try:
            _write_middle(self.path, fields, arrays())
        except BaseException as error:
            self._failure = error


def _write_middle(path: str, fields: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> None:
    parts = [np.ascontiguousarray(array) for array in arrays]
    described = [[part.dtype.name, part.shape, crc32] for part, crc32 in zip(parts, checksums(parts), strict=True)]
    header = json.dumps({"fields": dict(fields), "arrays": described}).encode()
    head = _MAGIC + b"%d %d\n" % (len(header), zlib.crc32(header)) + header
    try:
        write_whole(path, head, *(part.reshape(-1).view(np.uint8).data for part in parts))
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
