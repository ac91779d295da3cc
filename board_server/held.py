"""How much of a request is there: one whose short body is still missing costs nothing before it is whole."""

from __future__ import annotations

import re

MAX_HELD_BYTES = 1 << 16  # with the head; what is longer is taken as it comes
HELD_SECONDS = 4.0  # then the application hears of it, and what it still waits for is its to bound

_END_OF_HEAD = re.compile(rb"\n\r?\n")  # as h11 takes it
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*([0-9]{1,20})[ \t]*\r?\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_EXPECT = re.compile(rb"\nexpect[ \t]*:", re.IGNORECASE)
_SHOWN = re.compile(rb"\n(authorization|cookie)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"
_NO_BEGINNING = frozenset(bytes([one]) for one in range(0x21)) - {b""}  # with which no request begins, as h11 says, too


def head_of(data: bytes) -> bytes | None:
    """Return the head of a request, with the empty line; None where its end is not there."""
    end = _END_OF_HEAD.search(data)
    return None if end is None else data[: end.end()]


def is_head_missing(data: bytes) -> bool:
    """Tell whether the end of the head is still to come, of what may become one."""
    return len(data) < MAX_HELD_BYTES and data[:1] not in _NO_BEGINNING and _END_OF_HEAD.search(data) is None


def is_body_missing(data: bytes) -> bool:
    """Tell whether a short body is still to come, of which a client need not be told to send it.

    Args:
        data: a whole head, and what follows it.
    """
    end = _END_OF_HEAD.search(data)
    if end is None or len(data) >= MAX_HELD_BYTES or _EXPECT.search(data, 0, end.end()):
        return False
    if _CHUNKED.search(data, 0, end.end()):
        return not data.endswith(_LAST_CHUNK)
    return len(data) < _whole_length(data, end.end()) <= MAX_HELD_BYTES


def is_coming(data: bytes) -> bool:
    """Tell whether any of a body is still to come, however long it is.

    Args:
        data: a head, whole or not, and what follows it.
    """
    end = _END_OF_HEAD.search(data)
    if end is None or _EXPECT.search(data, 0, end.end()):
        return True
    if _CHUNKED.search(data, 0, end.end()):
        return not data.endswith(_LAST_CHUNK)
    return len(data) < _whole_length(data, end.end())


def is_more(data: bytes) -> bool:
    """Tell whether there is more than one request.

    Args:
        data: a whole head, and what follows it.
    """
    end = _END_OF_HEAD.search(data)
    if end is None or _CHUNKED.search(data, 0, end.end()):
        return False
    return len(data) > _whole_length(data, end.end())


def _whole_length(data: bytes, end_of_head: int) -> int:
    length = _LENGTH.search(data, 0, end_of_head)
    return end_of_head + (int(length[1]) if length else 0)


def what_is_shown(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers by which a request may show a token.

    Args:
        data: a whole head, and what follows it.
    """
    end = _END_OF_HEAD.search(data)
    return [(name.lower(), value.strip()) for name, value in _SHOWN.findall(data, 0, end.end() if end else len(data))]
