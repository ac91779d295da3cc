"""A process that reads for another one: `python -m mlgym_jax.data.reading_process PIPE PLACE`, two file descriptors.

Over the pipe it is sent a pickled table, then rows, and sends back what `StreamedTable.read` returns or raises. `PLACE`
is a file of 32 bytes that both have mapped: what it reads just now, see `data.sources.Place`.
"""

from __future__ import annotations

import contextlib
import mmap
import pickle
import sys
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from mlgym_jax.data.sources import Place
from mlgym_jax.data.streams import StreamedTable, UnreadableRecord
from mlgym_jax.errors import in_words

NOTHING = -1  # in the place of a split's number: it waits


def serve(pipe: Connection) -> None:
    """Answer until the other process has closed the pipe, or is no more."""
    try:
        table: StreamedTable = pickle.loads(pipe.recv_bytes())
    except EOFError:
        return
    except Exception as error:
        return pipe.send(("failed", in_words(error)))
    pipe.send(("ready",))
    while True:
        try:
            rows = np.frombuffer(pipe.recv_bytes(), np.int64)
        except EOFError:
            return
        answer, found = _read(table, rows)
        Place.numbers[0] = NOTHING
        pipe.send(answer)
        for array in found.values():
            if array.nbytes:
                pipe.send_bytes(array.reshape(-1).view(np.uint8).data)


def _read(table: StreamedTable, rows: np.ndarray) -> tuple[tuple[Any, ...], dict[str, np.ndarray]]:
    try:
        found = {field: np.ascontiguousarray(array) for field, array in table.read(rows).items()}
    except UnreadableRecord as error:
        return ("unreadable", str(error), error.rows), {}
    except Exception as error:
        return ("failed", in_words(error)), {}
    return ("read", [(field, array.dtype, array.shape) for field, array in found.items()]), found


def main() -> None:
    """Serve on the descriptors that the command line names."""
    pipe, place = map(int, sys.argv[1:3])
    Place.numbers = np.frombuffer(mmap.mmap(place, Place.numbers.nbytes), np.int64)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked is no more
        serve(Connection(pipe))


if __name__ == "__main__":
    main()
