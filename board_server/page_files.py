"""The files of the page, as they were built: kept in memory, also packed, so that sending one costs next to nothing."""

from __future__ import annotations

import errno
import gzip
import mimetypes
import os
import zlib
from typing import NamedTuple

from board_server.file_work import Lane

_PACKED_LESS = 0.9  # what does not become shorter than so much of it is sent as it is


class PageFile(NamedTuple):
    """One of them; `packed` by gzip, None where that is not worth it."""

    data: bytes
    packed: bytes | None
    kind: str
    tag: str


class PageFiles:
    """The files of a folder, read anew when they change."""

    def __init__(self, folder: str):
        self._folder = folder
        self._lane = Lane()
        self._kept: dict[str, tuple[tuple[int, int, int], PageFile]] = {}

    async def get(self, name: str) -> PageFile | None:
        """Return a file of this folder; None where there is none of that name.

        Args:
            name: without a way out of the folder.
        """
        return await self._lane.do(self._get, name)

    def _get(self, name: str) -> PageFile | None:
        path = os.path.join(self._folder, name)
        try:
            status = os.stat(path)
            key = status.st_ino, status.st_size, status.st_mtime_ns
            kept = self._kept.get(name)
            if kept is None or kept[0] != key:
                with open(path, "rb") as file:
                    kept = self._kept[name] = key, _page_file(name, file.read())
            return kept[1]
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise


def _page_file(name: str, data: bytes) -> PageFile:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    packed = gzip.compress(data, 9, mtime=0)
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    worth_it = len(packed) < _PACKED_LESS * len(data)
    return PageFile(data, packed if worth_it else None, kind, f"{zlib.crc32(data):08x}-{len(data):x}")
