"""What a request can be answered when it cannot be done: a status, and one sentence that says what to do."""

from __future__ import annotations

import errno
import re
from typing import Any


class RequestError(Exception):
    """An answer other than success; `details` stand beside the message in the JSON body."""

    status = 500
    close_code = 1011

    def __init__(self, message: str, **details: Any):
        super().__init__(message)
        self.details = details


class WrongRequest(RequestError):
    """The request itself is wrong."""

    status, close_code = 400, 1008


class Unauthorized(RequestError):
    """No token, or a wrong one."""

    status, close_code = 401, 1008


class Forbidden(RequestError):
    """A token that may not do this, or an origin that may not ask."""

    status, close_code = 403, 1008


class NotFound(RequestError):
    """There is no such thing."""

    status, close_code = 404, 1008


class Conflict(RequestError):
    """What is there already contradicts the request."""

    status, close_code = 409, 1008


class TooSlow(RequestError):
    """What was to come did not come in time."""

    status = 408


class TooLarge(RequestError):
    """More than the board takes."""

    status, close_code = 413, 1009


class NoSuchRange(RequestError):
    """A range of bytes that a file does not have."""

    status = 416


class TryLater(RequestError):
    """The disk is full, or the server is busy or ending: the same request may be taken later."""

    status, close_code = 503, 1013


_OUT_OF = {
    errno.EMFILE: "the board has as many files and connections open as it may",
    errno.ENFILE: "the board's machine has as many files open as it can",
    errno.ENOMEM: "the board's machine has no memory left",
}


def disk_refuses(error: BaseException) -> TryLater:
    """Return what to answer when the system refuses to read or write a file; not all of that is the disk's fault."""
    number = getattr(error, "errno", None)
    if number in _OUT_OF:
        return TryLater(f"{_OUT_OF[number]}; try again later")
    if isinstance(error, MemoryError):
        return TryLater(f"{_OUT_OF[errno.ENOMEM]}; try again later")
    return TryLater(f"the board's disk refuses: {getattr(error, 'strerror', None) or without_folders(str(error))}")


def cannot_read(error: BaseException) -> RequestError:
    """Return what to answer when a file cannot be read; one that was there a moment ago was removed meanwhile."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound("it is not there any more: it was removed, or moved, while this was asked")
    return disk_refuses(error)


def without_folders(text: str) -> str:
    """Return a message in which files are called by their names alone: where they lie is nobody else's business."""
    return re.sub(r"(?<![\w.:/])(?:[A-Za-z]:)?/(?:[^/\n'\"]*/)*(?=[^/\s])", "", text)
