"""The texts by which a value is found, as the board's page finds it (`board_server/page/src/filter.ts`).

Synopsis:

    >>> from mlgym_jax.search.cell_texts import texts_of
    >>> texts_of(1e-05), texts_of([64, 32])
    (('0.00001', '1e-5'), ('[64,32]', '[64,32]', '[64, 32]'))
    >>> texts_of({"component": "adam", "learning_rate": 0.1})[1:]
    ('adam(learning_rate=0.1)', 'adam(learning_rate=0.1)', 'adam')
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from mlgym_jax.events.layout import spell_number

NONE_WORDS = ("", "(none)", "none", "null")
_SIX_DIGITS = Context(prec=6, rounding=ROUND_HALF_UP)


def texts_of(value: Any) -> tuple[str, ...]:
    """Return a value's texts: as it is kept, and as it is shown."""
    if value is None:
        return NONE_WORDS
    if isinstance(value, bool):
        return (json.dumps(value),)
    if isinstance(value, int | float):
        return _plain(value), _short(value)
    if not isinstance(value, Mapping | list | tuple):
        return (str(value),)
    shown = _written(value, _short)
    name = value.get("component") if isinstance(value, Mapping) else None
    texts = as_json(value), shown, re.sub(r",\s*", ", ", shown)
    return (*texts, name) if isinstance(name, str) else texts


def as_json(value: Any) -> str:
    """Return JSON as a browser writes it: without spaces, numbers in their shortest form, 1.0 as 1."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_quoted(str(key))}:{as_json(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_json, value))}]"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return _plain(value) if is_number else _quoted(value)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _written(value: Any, number: Callable[[Any], str], *, inside: bool = False) -> str:
    """Write a value as in a config: `format.ts`."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return _quoted(value) if inside else value
    if not isinstance(value, Mapping):
        return f"[{','.join(_written(one, number, inside=True) for one in value)}]"
    name = value.get("component")
    items = [(key, one) for key, one in value.items() if key != "component" or not isinstance(name, str)]
    pairs = ", ".join(f"{key}={_written(one, number, inside=True)}" for key, one in items)
    if not isinstance(name, str):
        return f"dict({pairs})"
    return f"{name}({pairs})" if pairs else name


def _plain(value: float) -> str:
    """Write a number as ECMAScript's `String` does; an integer of any size with all its digits."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return spell_number(value)
    if value and not 1e-6 <= abs(value) < 1e21:
        return _exponent(value, "e+")
    text = format(Decimal(repr(value)), "f").removesuffix(".0")
    return "0" if text == "-0" else text


def _short(value: float) -> str:
    """Write a number with six significant digits, an integer with all."""
    if isinstance(value, int) or not math.isfinite(value) or (value.is_integer() and abs(value) < 2**53):
        return _plain(value)
    rounded = float(_SIX_DIGITS.create_decimal(Decimal(value)))
    return _plain(rounded) if 1e-3 <= abs(rounded) < 1e6 else _exponent(rounded, "e")


def _exponent(value: float, positive: str) -> str:
    return f"{Decimal(repr(value)).normalize():e}".replace("e+", positive)
