"""What a run records besides scores, over HTTP: curves and media of an epoch, the machine, messages, image files.

The projection holds none of it, as it may be large. Where the lines of such events lie in the log is noted once, and
they are read from there.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from quart import Blueprint, Response, request

from board_server.addresses import checked_number
from board_server.errors import NotFound, WrongRequest
from board_server.file_answers import sent
from board_server.run import Run
from board_server.run_log import Cursor
from board_server.state import board
from mlgym_jax.events import layout
from mlgym_jax.events.values import readable

observed = Blueprint("observed", __name__)
_BLOCK_BYTES = 1 << 20
_MOST_SAMPLES = 2_000
_MOST_MESSAGES = 1_000
_MOST_BYTES = 1 << 24  # of an epoch's records, of samples, of messages
# As `events.codec` writes lines: the type comes first.
_KIND = re.compile(rb'\{\s*"event_type"\s*:\s*"(evaluation_curves|recorded|system|message)"')


class _Place(NamedTuple):
    """Where a line lies, and whose it is."""

    offset: int
    size: int
    epoch: int


class _Of(msgspec.Struct):
    experiment_id: int
    epoch: int


class _Line(msgspec.Struct):
    payload: _Of


_DECODER = msgspec.json.Decoder(_Line)


class Places:
    """Where the lines of a log lie that say what is observed; brought up to date by what was added."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation = -1
        self._forget(-1)

    def _forget(self, generation: int) -> None:
        self._generation, self._cursor = generation, Cursor(0, 0)
        self.records: dict[int, list[_Place]] = {}  # by experiment
        self.samples: list[_Place] = []
        self.messages: list[_Place] = []

    def epochs(self, run: Run, experiment_id: int, epoch: int | None) -> tuple[list[int], int | None, list[bytes]]:
        """Return an experiment's epochs with records, the one that is meant (the newest by default), and its lines."""
        with self._lock:
            self._catch_up(run)
            found = self.records.get(experiment_id, [])
            epochs = sorted({one.epoch for one in found})
            wanted = epoch if epoch is not None else epochs[-1] if epochs else None
            lines, left = [], _MOST_BYTES
            for line in _read(run, [one for one in found if one.epoch == wanted]):
                left -= len(line)
                if left < 0:
                    break
                lines.append(line)
            return epochs, wanted, lines

    def machine(self, run: Run) -> tuple[int, list[bytes], list[bytes]]:
        """Return how many samples there are, some of them at equal distances, and the newest messages."""
        with self._lock:
            self._catch_up(run)
            every = -(-len(self.samples) // _MOST_SAMPLES) or 1
            some = self.samples[::-1][::every][::-1]
            newest = self.messages[-_MOST_MESSAGES:]
            return len(self.samples), [*_read(run, _newest(some))], [*_read(run, _newest(newest))]

    def _catch_up(self, run: Run) -> None:
        if self._generation != run.log.generation:
            self._forget(run.log.generation)
        while self._cursor.event_id < run.log.head.event_id:
            offset = self._cursor.offset
            lines, cursor = run.log.read(self._cursor, max_bytes=_BLOCK_BYTES)
            if not lines:
                break
            for line in lines:
                kind = _KIND.match(line)
                if kind:
                    self._note(kind[1], line, offset)
                offset += len(line) + 1
            self._cursor = cursor

    def _note(self, kind: bytes, line: bytes, offset: int) -> None:
        if kind == b"system":
            self.samples.append(_Place(offset, len(line), 0))
        elif kind == b"message":
            self.messages.append(_Place(offset, len(line), 0))
        else:
            try:
                of = _DECODER.decode(line).payload
            except (ValueError, RecursionError):
                return
            self.records.setdefault(of.experiment_id, []).append(_Place(offset, len(line), of.epoch))


def _newest(places: list[_Place]) -> list[_Place]:
    """Return the last of them, as many as are not too large together."""
    left, first = _MOST_BYTES, len(places)
    while first and (left := left - places[first - 1].size) >= 0:
        first -= 1
    return places[first:]


def _read(run: Run, places: Iterable[_Place]) -> Iterable[bytes]:
    """Yield lines that are JSON; what is none, or too heavy, is passed over, as it is anywhere else."""
    if not (places := list(places)):
        return  # there may be no log yet
    with open(run.log.path, "rb", buffering=0) as file:
        for offset, size, _ in places:
            line = os.pread(file.fileno(), size, offset)
            try:
                msgspec.json.decode(readable(line))
            except (ValueError, RecursionError):
                continue
            yield line


_PLACES: WeakKeyDictionary[Run, Places] = WeakKeyDictionary()


def _places(run: Run) -> Places:
    return _PLACES.setdefault(run, Places())


@observed.get("/grid_searches/<run_id>/recorded")
async def recorded(run_id: str) -> Response:
    """Return what metrics recorded of an experiment after an epoch, and which epochs there are."""
    if "experiment" not in request.args:
        raise WrongRequest("experiment: an experiment's id is needed, such as ?experiment=3")
    experiment_id = checked_number(request.args["experiment"], "experiment")
    epoch = checked_number(request.args["epoch"], "epoch") if "epoch" in request.args else None
    run = await board().store.opened(run_id)
    epochs, at, lines = await run.files.do(_places(run).epochs, run, experiment_id, epoch)
    head = msgspec.json.encode(
        {"grid_search_id": run_id, "experiment_id": experiment_id, "epochs": epochs, "epoch": at}
    )
    return Response(b'%s,"events":[%s]}' % (head[:-1], b",".join(lines)), content_type="application/json")


@observed.get("/grid_searches/<run_id>/machine")
async def machine(run_id: str) -> Response:
    """Return what the machine did, and the run's messages, as events."""
    run = await board().store.opened(run_id)
    number, samples, messages = await run.files.do(_places(run).machine, run)
    data = b'{"num_samples":%d,"samples":[%s],"messages":[%s]}' % (number, b",".join(samples), b",".join(messages))
    return Response(data, content_type="application/json")


@observed.get("/grid_searches/<run_id>/<experiment_id>/media/<name>")
async def media(run_id: str, experiment_id: str, name: str) -> Response:
    """Return an image that a metric recorded; its name is the SHA-256 of what it holds."""
    number = checked_number(experiment_id, "experiment_id")
    run = await board().store.opened(run_id)

    def found() -> str:
        path = media_path(run, number, name)
        if not os.path.isfile(path):
            raise NotFound(f"{name} is not there (yet)")
        return path

    return await sent(run, await run.files.do(found), "image/png", digest=name[:64])


def media_path(run: Run, experiment_id: int, name: str) -> str:
    """Return the path of an experiment's image.

    Raises:
        NotFound: that is no image's name.
    """
    if not re.fullmatch(r"[0-9a-f]{64}\.png", name):
        raise NotFound(f"no image {name[:140]!r}; their names are 64 hexadecimal digits and .png")
    return run.checked_inside(os.path.join(run.folder, str(experiment_id), layout.MEDIA, name))
