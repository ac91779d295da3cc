"""Dates as numbers that say something: year, month, day, day of the week, hour, and the circles that these turn in.

Synopsis:

    >>> import numpy as np
    >>> found = date_features("sold", [np.array(["2026-11-26"], "datetime64[D]")])
    >>> [found[f"sold.{part}"][0].item() for part in ("year", "month", "day", "day_of_week")]
    [2026.0, 11.0, 26.0, 3.0]
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np


def date_of(text: str) -> datetime.datetime:
    """Return a date of a text in the form of ISO 8601, without its time zone, which is taken into account.

    Raises:
        ValueError: another form.
    """
    value = datetime.datetime.fromisoformat(text)
    return value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value


_ALWAYS = ("year", "month", "day", "day_of_week")


def date_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns of dates, of which a table has the features."""
    known = {*names}
    starts = [name.removesuffix(".year") for name in names if name.endswith(".year")]
    return tuple(start for start in starts if all(f"{start}.{part}" in known for part in _ALWAYS))


def features_of(name: str, dates: np.ndarray, known: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the features of a column of dates, datetime64[n], that a table has, by their names."""
    found = _features(dates, with_time=f"{name}.hour" in known)
    return {f"{name}.{part}": values for part, values in found.items() if f"{name}.{part}" in known}


def has_times(dates: np.ndarray) -> bool:
    """Tell whether any date of datetime64[n] has a time of day."""
    there = dates[~np.isnat(dates)]
    return bool((there != there.astype("datetime64[D]")).any())


def date_features(name: str, parts: Sequence[np.ndarray], with_time: bool | None = None) -> dict[str, list[np.ndarray]]:
    r"""Return a column of dates as columns of float64, a list of one array a split, NaN where a date is missing.

    `name.year`, `name.month` (1 … 12), `name.day` (1 … 31) and `name.day_of_week` (Monday is 0), as pandas's `dt` has
    them, `name.hour` (with its fraction) if any date has a time of day, and of month, day of the week and hour the sine
    and cosine of \(2\pi\) times the part of its period that is over (`name.month_sin`, …), so that December is next to
    January.

    Args:
        parts: datetime64[n] of each split.
        with_time: whether there are hours; None: if any date of these has a time of day.
    """
    with_time = any(map(has_times, parts)) if with_time is None else with_time
    found: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for column, values in _features(part, with_time).items():
            found.setdefault(f"{name}.{column}", []).append(values)
    return found


def _features(dates: np.ndarray, with_time: bool) -> dict[str, np.ndarray]:
    absent = np.isnat(dates)
    dates = np.where(absent, np.datetime64(0, "us"), dates.astype("datetime64[us]"))
    days, months = dates.astype("datetime64[D]"), dates.astype("datetime64[M]")
    month = months.astype(np.int64) % 12
    day_of_week = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    hour = (dates - days).astype(np.int64) / 3.6e9
    columns = {
        "year": dates.astype("datetime64[Y]").astype(np.int64) + 1970,
        "month": month + 1,
        "day": (days - months.astype("datetime64[D]")).astype(np.int64) + 1,
        "day_of_week": day_of_week,
        **({"hour": hour} if with_time else {}),
    }
    circles = {"month": month / 12, "day_of_week": day_of_week / 7, **({"hour": hour / 24} if with_time else {})}
    for name, turn in circles.items():
        columns[f"{name}_sin"], columns[f"{name}_cos"] = np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)
    return {name: np.where(absent, np.nan, values.astype(np.float64)) for name, values in columns.items()}
