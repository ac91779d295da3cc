"""Logged scores as tables: lines of CSV, one an experiment and epoch, of one run or of several."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from werkzeug.datastructures import MultiDict

from board_server.errors import WrongRequest
from board_server.projected import Columns
from board_server.scores import Choice, choice, chosen, id_ranges, part
from mlgym_jax.events import RunView

MAX_RUNS = 50
_MAX_CELLS = 1 << 25  # of a table, which is made whole


class Head(NamedTuple):
    """The columns of a table besides those that each has, and how many lines it gets."""

    hyperparameters: list[str]
    scores: list[str]
    num_rows: int
    num_experiments: int


def runs_asked(arguments: MultiDict[str, str]) -> dict[str, Choice]:
    """Read `runs=ID` and `runs=ID:0-9`, repeated: of each run which of its scores are asked for.

    Raises:
        WrongRequest: none, too many, one twice, or a value that does not fit.
    """
    whole, found = choice(arguments), {}
    asked = list(dict.fromkeys(arguments.getlist("runs")))
    if not 1 <= len(asked) <= MAX_RUNS:
        raise WrongRequest(f"runs: found {len(asked)}; write runs=ID for each, from 1 to {MAX_RUNS}")
    for text in asked:
        run_id, colon, ids = text.partition(":")
        if run_id in found:
            raise WrongRequest(f"runs: {run_id[:140]!r} is there twice; write its experiments at once: runs=ID:0,3,5-9")
        found[run_id] = whole._replace(experiments=id_ranges(ids)) if colon else whole
    return found


def head(view: RunView, columns: Columns, choice: Choice) -> Head:
    """Return what a table of the chosen scores of one run has."""
    experiments = list(chosen(view, choice))
    hyperparameters = list(dict.fromkeys(name for one in experiments for name in one.hyperparameters))
    scores = list(dict.fromkeys(name for one in experiments for name in one.history if choice.names(name)))
    num_rows = sum(len(range(*part(columns.epochs(one), choice).indices(one.epochs))) for one in experiments)
    return Head(hyperparameters, scores, num_rows, len(experiments))


def joined(heads: Iterable[Head]) -> Head:
    """Return what one table of several runs has.

    Raises:
        WrongRequest: too many cells.
    """
    heads = list(heads)
    hyperparameters = list(dict.fromkeys(name for one in heads for name in one.hyperparameters))
    scores = list(dict.fromkeys(name for one in heads for name in one.scores))
    num_rows, num_experiments = sum(one.num_rows for one in heads), sum(one.num_experiments for one in heads)
    num_columns = len(hyperparameters) + len(scores) + 3
    if (num_rows + num_experiments) * num_columns > _MAX_CELLS:
        raise WrongRequest(
            f"csv: {num_rows:,} rows of {num_columns:,} columns; a table has at most {_MAX_CELLS:,} cells: choose by "
            "names=val/*, experiments=0-99 or epochs=1-100, or take format=binary of each run"
        )
    return Head(hyperparameters, scores, num_rows, num_experiments)


def first_line(head: Head, *before: str) -> str:
    """Return the names of the columns; `before` stand before those of an experiment."""
    return "".join(_written([[*before, "experiment_id", "fold", *head.hyperparameters, "epoch", *head.scores]]))


def lines(view: RunView, columns: Columns, choice: Choice, head: Head, *before: Any) -> str:
    """Return the chosen scores of one run by the columns of `head`; `points` thins nothing here."""

    def rows() -> Iterator[list[Any]]:
        for one in chosen(view, choice):
            values = [one.hyperparameters.get(name) for name in head.hyperparameters]
            fixed = [*before, one.experiment_id, one.fold, *values]
            logged = one.rows()
            for index in range(*part(columns.epochs(one), choice).indices(one.epochs)):
                epoch = one.epoch_numbers[index]
                if epoch % choice.every == 0:
                    yield [*fixed, epoch, *(logged[index].get(name) for name in head.scores)]

    return "".join(_written(rows()))


def as_csv(view: RunView, columns: Columns, choice: Choice) -> str:
    """Return the chosen scores of one run as CSV.

    Raises:
        WrongRequest: a table of too many cells.
    """
    found = joined([head(view, columns, choice)])
    return first_line(found) + lines(view, columns, choice, found)


def _written(rows: Iterable[list[Any]]) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")  # what it ends lines by, either half, it quotes
    for row in rows:
        writer.writerow([_harmless(value) for value in row])
        yield line.getvalue().removesuffix("\r\n") + "\n"
        line.seek(0)
        line.truncate()


def _harmless(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
