"""Records of TensorBoard's event files, read one at a time: what is torn or damaged ends the reading."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from mlgym_jax.sinks import messages

OUR_TEXT = "mlgym_jax/experiment"  # the tag of what else is known of an experiment
_HEADER, _FOOTER = 12, 4  # the length and its checksum; the checksum of what is between


def records(file: BinaryIO) -> Iterator[tuple[Any, int]]:
    """Yield `(event, offset behind it)` of the whole and undamaged records at the beginning of an event file."""
    end = 0
    while len(header := file.read(_HEADER)) == _HEADER:
        length, checksum = struct.unpack("<QI", header)
        if masked_crc32c(header[:8]) != checksum:
            return
        data, footer = file.read(length), file.read(_FOOTER)
        if len(data) < length or len(footer) < _FOOTER or struct.unpack("<I", footer)[0] != masked_crc32c(data):
            return
        end += _HEADER + length + _FOOTER
        try:
            event = messages.event.Event.FromString(data)
        except Exception:  # of protobuf's, whose classes differ between its implementations
            return
        yield event, end
