"""How many values a line of JSON may have, found by counting signs: who decodes more keeps all others waiting.

Decoding 16 MiB of `[],` takes a board's interpreter 1.5 s, in which it does nothing else, and 370 MB.

Synopsis:

    >>> from mlgym_jax.events.values import MAX_VALUES, has_too_many_values
    >>> has_too_many_values(b'{"a": [1, 2, 3]}'), has_too_many_values(b"[" + MAX_VALUES * b"1," + b"1,1]")
    (False, True)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MAX_VALUES = 1 << 20
MAX_NESTED = 1 << 16  # lists, objects and fields of objects, which cost more
MAX_LINE_BYTES = 1 << 25  # what is longer is damaged
TOO_MANY = f"an event has at most {MAX_VALUES:,} values, and {MAX_NESTED:,} lists, objects and fields"


def has_too_many_values(line: bytes) -> bool:
    """Tell whether an event has more values than are decoded; what stands in its strings does not count."""
    if len(line) <= MAX_NESTED or _fits(line):
        return False
    if line.count(b'"') > 4 * MAX_NESTED:
        return True
    outside, is_inside = [], False
    for part in line.split(b'"'):
        if not is_inside:
            outside.append(part)
        elif (len(part) - len(part.rstrip(b"\\"))) % 2:
            continue  # a quotation mark of the string itself
        is_inside = not is_inside
    return not _fits(b"".join(outside))


def readable(line: bytes) -> bytes:
    """Return a line for a board to decode; what is no JSON in place of one that is too long, or has too many values."""
    if len(line) > MAX_LINE_BYTES:
        return b"too long"
    return b"too many values" if has_too_many_values(line) else line


def all_readable(lines: Sequence[bytes]) -> Iterable[bytes]:
    """Return what `readable` makes of each line; short ones, which nearly all are, cost next to nothing."""
    return lines if max(map(len, lines), default=0) <= MAX_NESTED else map(readable, lines)


def _fits(line: bytes) -> bool:
    return line.count(b",") <= MAX_VALUES and sum(map(line.count, (b"[", b"{", b":"))) <= MAX_NESTED
