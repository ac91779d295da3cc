"""One event to one line of JSON and back.

JSON has no NaN and no infinities: they are written as the strings "NaN", "Infinity" and "-Infinity". Every other float
comes back to the same bits, and `encode(decode(line)) == line` for every line that `encode` wrote, so that a log can be
replicated event by event and stay byte-identical.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mlgym_jax.events.layout import spell_number

Event = dict[str, Any]


def _plain(value: Any) -> Any:
    """Turn what msgspec does not know into a JSON value: arrays and their scalars, subclasses of int, float and str."""
    if hasattr(value, "tolist"):
        return value.tolist()
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"an event holds plain JSON values, not {type(value).__name__}: {value!r}")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
_DECODER = msgspec.json.Decoder(dict[str, Any])


def encode(event: Event) -> bytes:
    """Return `event` as one line of JSON, without the newline.

    Raises:
        TypeError: a value that JSON cannot hold.
    """
    try:
        line = _ENCODER.encode(event)
    except UnicodeEncodeError:  # lone surrogates, as in the file names and error texts of a broken locale
        return _ENCODER.encode(_spelled(event))
    # msgspec writes non-finite floats as null: only a line with a null in it can hide one, so others cost nothing more.
    return _ENCODER.encode(_spelled(event)) if b"null" in line else line


def decode(line: bytes | str) -> Event:
    """Return the event of one line; non-finite floats stay the strings that they were written as (`decode_number`).

    Raises:
        ValueError: the line is not one whole JSON object.
    """
    try:
        return _DECODER.decode(line)
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error


def _spelled(value: Any) -> Any:
    """Copy `value` with non-finite floats spelled out and lone surrogates escaped."""
    if value is None or type(value) is int:
        return value
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return spell_number(value)
    if isinstance(value, dict):
        return {_spelled(key): _spelled(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_spelled(item) for item in value]
    return _spelled(value.tolist()) if hasattr(value, "tolist") else value
