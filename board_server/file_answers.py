"""A run's files as answers: whole, or one range of them, read in the run's own threads."""

from __future__ import annotations

import os
import re
from typing import BinaryIO
from zlib import adler32

from quart import Response, request
from quart.wrappers.response import ResponseBody

from board_server.errors import NoSuchRange, NotFound
from board_server.file_work import Lane
from board_server.run import Run

_READ_BYTES = 1 << 18


class FileBody(ResponseBody):
    """A part of a file, sent piece by piece."""

    def __init__(self, lane: Lane, file: BinaryIO, size: int):
        self._lane, self._file, self._size = lane, file, size
        self.begin, self.end = 0, size

    async def make_conditional(self, begin: int, end: int | None) -> int:
        """Narrow it to a range, as Quart asks for; return the size of the whole."""
        self.begin, self.end = begin, min(self._size, self._size if end is None else end)
        return self._size

    async def __aenter__(self) -> FileBody:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._file.close()

    def __aiter__(self) -> FileBody:
        return self

    async def __anext__(self) -> bytes:
        length = min(_READ_BYTES, self.end - self.begin)
        piece = await self._lane.do(os.pread, self._file.fileno(), length, self.begin) if length > 0 else b""
        if not piece:
            raise StopAsyncIteration
        self.begin += len(piece)
        return piece


async def file_of(run: Run, name: str, experiment_id: int | None = None) -> Response:
    """Send one of a run's files.

    Raises:
        NotFound: it has none of that name.
    """

    def found() -> str:
        path = run.path_of(name, experiment_id)
        if not os.path.isfile(path):
            raise NotFound(f"{name} is not there (yet)")
        return path

    return await sent(run, await run.files.do(found), "application/json" if name.endswith(".json") else "text/plain")


async def sent(run: Run, path: str, kind: str, *, digest: str | None = None, name: str | None = None) -> Response:
    """Send a file, or the one range of it that is asked for.

    Args:
        digest: its SHA-256, if that is known; name: what it is called where it is saved.
    """
    file, status = await run.files.do(_opened, path)
    try:
        return await _answer(run, path, kind, file, status, digest, name)
    except BaseException:
        file.close()
        raise


def _opened(path: str) -> tuple[BinaryIO, os.stat_result]:
    file = open(path, "rb", buffering=0)  # noqa: SIM115  (closed by who sends it)
    return file, os.fstat(file.fileno())


async def _answer(
    run: Run, path: str, kind: str, file: BinaryIO, status: os.stat_result, digest: str | None, name: str | None
) -> Response:
    _tidy_range(status.st_size)
    response = Response(FileBody(run.files, file, status.st_size), mimetype=kind)
    response.content_length = status.st_size
    response.last_modified = status.st_mtime  # type: ignore[assignment]
    response.headers["Accept-Ranges"] = "bytes"
    if name is not None:
        response.headers.add("Content-Disposition", "attachment", filename=name)
    response.set_etag(digest or f"{status.st_mtime}-{status.st_size}-{adler32(os.fsencode(path))}")
    await response.make_conditional(request, accept_ranges=True, complete_length=status.st_size)
    if not isinstance(response.response, FileBody):  # the client has it already
        file.close()
    return response


def _tidy_range(size: int) -> None:
    """Let the header Range be one range from a first byte on, or nothing.

    Raises:
        NoSuchRange: it begins behind the end.
    """
    text = request.headers.get("Range")
    if text is None:
        return
    match = re.fullmatch(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", text)
    if not match or (match[2] and int(match[2]) < int(match[1])):
        del request.headers["Range"]  # several ranges, or no range: the whole is an answer to that
        return
    if match[3]:
        request.headers["Range"] = f"bytes={max(size - int(match[3]), 0)}-"
    if size <= int(match[1] or 0) or match[3] == "0":
        raise NoSuchRange(f"the file has {size} bytes", size=size)
