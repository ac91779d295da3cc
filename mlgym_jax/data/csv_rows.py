"""The rows of a csv file, with the place of each cell for messages."""

from __future__ import annotations

import collections
import csv
from pathlib import Path
from typing import NamedTuple

from mlgym_jax.data.npz_files import unreadable
from mlgym_jax.errors import ConfigError


class Rows(NamedTuple):
    """The rows of one file, with the line that each begins at."""

    path: Path
    rows: list[list[str]]
    lines: list[int]

    def place(self, row: int, column: str) -> str:
        return f"{self.path}, line {self.lines[row]}, column {column!r}"


def read_rows(path: Path, parameter: str, delimiter: str, header: bool) -> tuple[list[str], Rows]:
    """Return the names of the columns and the rows below them; empty lines are no rows.

    Raises:
        ConfigError: at `dataset.<parameter>`: it cannot be read, rows differ in length, or names are there twice.
    """
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            before = 0
            for row in reader:
                if row and row != [""]:  # an empty line is no row
                    rows.append(row)
                    lines.append(before + 1)
                before = reader.line_num
    except csv.Error as error:
        raise ConfigError(f"dataset.{parameter}", f"{path}, line {before + 1}: {error}") from None
    except UnicodeDecodeError as error:
        raise unreadable(path, ValueError(f"it is not UTF-8 ({error}); save it as UTF-8"), parameter) from None
    except OSError as error:
        raise unreadable(path, error, parameter) from None
    width = len(rows[0]) if rows else 0
    for row, line in zip(rows, lines, strict=True):
        if len(row) != width:
            hint = f"; is {delimiter!r} the delimiter?" if width == 1 else ""
            if width == 1 and (other := next((mark for mark in ";\t|" if mark in rows[0][0]), None)):
                hint = f", as {other!r} delimits it: delimiter={other!r}"
            raise ConfigError(
                f"dataset.{parameter}",
                f"{path}, line {line}: found {len(row)} fields, the first line has {width}{hint}",
            )
    names = [name.strip() for name in rows[0]] if header and rows else [str(number) for number in range(width)]
    twice = [name for name, times in collections.Counter(names).items() if times > 1]
    if twice:
        raise ConfigError(f"dataset.{parameter}", f"{path}, line {lines[0]}: two columns are named {twice[0]!r}")
    lines_read = len(lines)
    if header:
        rows, lines = rows[1:], lines[1:]
    if not rows:
        found = "has no rows below its header" if lines_read else "is empty"
        raise ConfigError(f"dataset.{parameter}", f"{path} {found}")
    return names, Rows(path, rows, lines)
