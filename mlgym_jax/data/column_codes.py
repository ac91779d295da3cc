"""Say of which columns the codes of their distinct values say little: dates, identifiers, free text, measurements."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlgym_jax.config.traversal import walk
from mlgym_jax.data.dates import date_of
from mlgym_jax.errors import listed

_LOG = logging.getLogger(__name__)
LEADING_ZERO = re.compile(r"0[0-9]+$")  # 01234, a postal code or an identifier, and no number
# A column with more different words than _FEW that hardly come again, or than _MANY, is worth a word.
_FEW, _MANY = 10, 100
# 2026-11-24, 24.11.2026, 11/24/26, 24 Nov 2026, each perhaps with a time behind it, or a time alone.
_DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})"
    r"|\d{1,2}[- ]?[A-Za-z]{3,9}[- ,]*\d{2,4})([T ]\d{1,2}:\d{2}.*)?$|\d{1,2}:\d{2}(:\d{2}.*)?$"
)
# 1,5 and 1.234,5, 1,234.5 and 1 234, 12 %, $5 and 5 €, 1_000 and 0x1f: numbers for people, or for programs.
_WRITTEN = re.compile(
    r"[$€£¥]?\s?[-+−]?(\d{1,3}([.,_'\u00a0\u202f ]\d{3})+([.,]\d+)?|\d+([.,]\d+)?)\s?[%$€£¥]?$|0x[0-9a-fA-F]+$"
)
_BAGS = ("bag_of_words", "encoding/bag_of_words")
_TEXTS: contextvars.ContextVar[frozenset[str]] = contextvars.ContextVar("texts", default=frozenset())


@contextlib.contextmanager
def encoded_by(encoding: Any) -> Iterator[None]:
    """Say nothing, while the context lasts, of columns whose texts a config's section `encoding` reads."""
    bags = [one for _, one in walk(encoding) if isinstance(one, Mapping) and one.get("component") in _BAGS]
    token = _TEXTS.set(frozenset(name for one in bags if isinstance(name := one.get("column"), str)))
    try:
        yield
    finally:
        _TEXTS.reset(token)


def warn_of_codes(
    name: str,
    distinct: Sequence[str],
    rows: int,
    *,
    is_target: bool,
    path: str = "dataset",
    reads_dates: bool = False,
) -> None:
    """Say of which columns the numbers of distinct values say little: dates, identifiers, free text, measurements.

    Args:
        path: `dataset`, whose parameters can be set, or `data`, what is given in Python.
        reads_dates: whether columns can be named that are dates, in the form of ISO 8601.
    """
    if not is_target and name in _TEXTS.get():
        return
    many = len(distinct) > _FEW and 2 * len(distinct) > rows
    last = len(distinct) - 1
    drop, regress = f"ignore=({name!r},)", "task='regression'"
    if path == "data":
        drop, regress = f"frame.drop(columns={name!r})", "give them as floats"
    where = "data" if path == "data" else "config.dataset"
    if path == "dataset" and (zeros := [text for text in distinct if LEADING_ZERO.match(text)]):
        _LOG.warning(
            "%s: the column %r holds whole numbers that begin with 0 (%s), so that its values are names, such as "
            "postal codes, and become %s 0 … %d; if they are numbers, write them without%s",
            *(f"{where}.target" if is_target else where, name, listed(zeros, 3)),
            *("the classes" if is_target else "the codes", last),
            "" if is_target else f"; else say so: categorical=({name!r},)",
        )
    by_letters: dict[str, list[str]] = {}
    for text in distinct:
        by_letters.setdefault(text.casefold(), []).append(text)
    if alike := next((texts for texts in by_letters.values() if len(texts) > 1), None):
        _LOG.warning(
            "%s: %r holds %s, which differ in large and small letters alone and are %d %s; write them alike if they "
            "mean the same",
            *(f"{where}.target" if is_target else where, name, listed(map(repr, alike)), len(alike)),
            "classes" if is_target else "values",
        )
    if is_target and len(distinct) == 1:
        _LOG.warning(
            "%s: %r is %r in all %d rows, one class, and there is nothing to tell apart",
            *(where if path == "data" else f"{where}.target", name, distinct[0], rows),
        )
    elif is_target and many:
        _LOG.warning(
            "%s: %r has %d different values in %d rows, a class each; are they numbers to predict, %s?",
            *(where if path == "data" else f"{where}.target", name, len(distinct), rows, regress),
        )
    elif not is_target and distinct and all(map(_DATE.match, distinct)):
        _LOG.warning(
            "%s: the column %r holds dates or times (%s), which become the codes 0 … %d, in the order of "
            "their letters; %s, or leave them out: %s",
            *(where, name, listed(distinct, 3), last, _as_dates(name, distinct, path, reads_dates), drop),
        )
    elif not is_target and distinct and all(map(_WRITTEN.match, distinct)) and not all(map(str.isdecimal, distinct)):
        _LOG.warning(
            "%s: the column %r holds numbers that are written for people (%s), which become the codes 0 … %d, in the "
            "order of their letters; %s%s",
            *(where, name, listed(distinct, 3), last, _as_numbers(distinct, reads_dates)),
            "" if path == "data" else f"; if they are names, say so: categorical=({name!r},)",
        )
    elif not is_target and (many or len(distinct) > _MANY):
        _LOG.warning(
            "%s: the column %r holds %d different words in %d rows (%s), which become the codes 0 … %d; if "
            "they name nothing that comes again, leave them out: %s%s",
            *(where, name, len(distinct), rows, listed(distinct, 3), last, drop),
            ""
            if path == "data"
            else f"; if they are categories, say so: categorical=({name!r},); if they are texts, "
            f"the encoding component('bag_of_words', column={name!r}) counts their words",
        )


def _as_dates(name: str, distinct: Sequence[str], path: str, reads_dates: bool) -> str:
    if all(re.match(r"\d{1,2}:", text) for text in distinct):
        return "write them as numbers, such as hours"
    is_iso = all(map(_is_iso, distinct))
    if is_iso and reads_dates:
        return f"have them read as dates: dates=({name!r},)"
    made = by_pandas(name, is_iso=is_iso)
    if path == "data":
        return f"have them read as dates: {made}"
    return f"make dates of them, {made}, " + (
        "and give the frame, data=(frame, …)" if reads_dates else "and write the file anew"
    )


def by_pandas(name: str, *, is_iso: bool) -> str:
    """Return the line that makes dates of a column of texts."""
    return f"frame[{name!r}] = pandas.to_datetime(frame[{name!r}]{'' if is_iso else ', dayfirst=…'})"


def _as_numbers(distinct: Sequence[str], is_csv: bool) -> str:
    told = "write them as numbers, with a decimal point and nothing else: 1234.5"
    comma = any("," in text for text in distinct) and not any("." in text for text in distinct)
    return f"if these are decimal commas, decimal=','; else {told}" if is_csv and comma else told


def _is_iso(text: str) -> bool:
    try:
        return bool(date_of(text))
    except ValueError:
        return False
