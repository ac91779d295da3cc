"""How much of a request is there: one whose short body is still missing costs nothing before it is whole."""

from __future__ import annotations

import re

MAX_HELD_BYTES = 1 << 16  # with the head; what is longer is taken as it comes
# Of one head: what reads it takes time for each of its fields, and for each letter of those and of the path.
MAX_PATH_BYTES = 1 << 12
MAX_FIELDS, MAX_FIELD_BYTES, MAX_FIELDS_BYTES = 100, 1 << 13, 1 << 14
HELD_SECONDS = 4.0  # then the application hears of it, and what it still waits for is its to bound

_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*([0-9]{1,20})[ \t]*\r?\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_EXPECT = re.compile(rb"\nexpect[ \t]*:", re.IGNORECASE)
_SHOWN = re.compile(rb"\n(authorization|cookie)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"
_NO_BEGINNING = frozenset(bytes([one]) for one in range(0x21)) - {b""}  # with which no request begins, as h11 says, too


def head_of(data: bytes) -> bytes | None:
    """Return the head of a request, with the empty line; None where its end is not there."""
    end = _end_of_head(data)
    return None if end < 0 else data[:end]


def is_head_missing(data: bytes) -> bool:
    """Tell whether the end of the head is still to come, of what may become one."""
    return (
        len(data) < MAX_HELD_BYTES
        and data[:1] not in _NO_BEGINNING
        and not is_head_too_large(data)
        and _end_of_head(data) < 0
    )


def is_head_too_large(data: bytes) -> bool:
    """Tell whether a head, whose end need not be there, has more or longer fields, or a longer path, than is read.

    Args:
        data: a head, and what follows it.
    """
    first = data.find(b"\n")  # with which an empty line may begin
    if len(data[: first if first >= 0 else None].partition(b"?")[0]) > MAX_PATH_BYTES:
        return True
    fields = data[first : first + MAX_FIELDS_BYTES + 1] if first >= 0 else b""
    if len(fields) <= MAX_FIELDS:
        return False
    end = _end_of_head(fields)
    if end < 0 and len(fields) > MAX_FIELDS_BYTES:
        return True
    lines = (fields if end < 0 else fields[:end]).split(b"\n")
    return len(lines) > MAX_FIELDS + 3 or max(map(len, lines)) > MAX_FIELD_BYTES


def is_body_missing(data: bytes) -> bool:
    """Tell whether a short body is still to come, of which a client need not be told to send it.

    Args:
        data: a whole head, and what follows it.
    """
    end = _end_of_head(data)
    if end < 0 or len(data) >= MAX_HELD_BYTES or _EXPECT.search(data, 0, end):
        return False
    if _CHUNKED.search(data, 0, end):
        return not data.endswith(_LAST_CHUNK)
    return len(data) < _whole_length(data, end) <= MAX_HELD_BYTES


def is_coming(data: bytes) -> bool:
    """Tell whether any of a body is still to come, however long it is.

    Args:
        data: a head, whole or not, and what follows it.
    """
    end = _end_of_head(data)
    if end < 0 or _EXPECT.search(data, 0, end):
        return True
    if _CHUNKED.search(data, 0, end):
        return not data.endswith(_LAST_CHUNK)
    return len(data) < _whole_length(data, end)


def is_more(data: bytes) -> bool:
    """Tell whether there is more than one request.

    Args:
        data: a whole head, and what follows it.
    """
    end = _end_of_head(data)
    if end < 0 or _CHUNKED.search(data, 0, end):
        return False
    return len(data) > _whole_length(data, end)


def _end_of_head(data: bytes) -> int:
    """Return where what follows the empty line begins, as h11 takes it; -1 where there is no such line yet."""
    first = data.find(b"\n")  # which is found sooner than two of them
    ends = [at + len(end) for end in (b"\n\r\n", b"\n\n") if first >= 0 and (at := data.find(end, first)) >= 0]
    return min(ends, default=-1)


def _whole_length(data: bytes, end_of_head: int) -> int:
    length = _LENGTH.search(data, 0, end_of_head)
    return end_of_head + (int(length[1]) if length else 0)


def what_is_shown(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers by which a request may show a token.

    Args:
        data: a whole head, and what follows it.
    """
    end = _end_of_head(data)
    return [(name.lower(), value.strip()) for name, value in _SHOWN.findall(data, 0, end if end >= 0 else len(data))]
