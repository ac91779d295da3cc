"""The experiments of a run as columns, one row an experiment: what every form of a report writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mlgym_jax.config.spelling import columns, spelled
from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.events.layout import spell_number

Where = Literal["everywhere", "people", "csv", "asked"]


@dataclass(frozen=True)
class Column:
    """A column of a report.

    Attributes:
        name: its heading.
        where: which forms have it without being asked: all, those for people, csv, or none.
        shown: one cell a row as people read it, numbers rounded; `-` for what is not there.
        exact: the same with all digits, numbers not finite as JSON spells them here; empty for what is not there.
        is_words: whether it stands on the left of its place, as words do.
        is_swept: whether it is a hyperparameter.
    """

    name: str
    where: Where
    shown: list[str]
    exact: list[str]
    is_words: bool = False
    is_swept: bool = False


def report_columns(
    view: Any, monitor: str | None, mode: str, limit: int | None = None, *, with_test: bool = False
) -> list[Column]:
    """Return all that there is to choose from, its rows best first, those without a score last.

    Args:
        view: a RunView.
        limit: how many rows; None for all.
        with_test: as in `table.table`.
    """
    experiments = view.candidates
    items, places = _ranked(experiments, monitor, mode, limit)
    lasts = [item.last for item in items]
    found = _what_it_is(experiments, items)
    status = [str(item.status) + (f" ({item.stop_reason})" if item.stop_reason else "") for item in items]
    found.append(Column("status", "everywhere", status, [item.status for item in items], is_words=True))
    found.append(Column("stop reason", "csv", *_both([item.stop_reason for item in items], str), is_words=True))
    found.append(Column("epochs", "everywhere", *_both([item.epochs for item in items], str)))
    if monitor:
        shown = [f"{place[1]:.4f} @ {place[0]}" if place else "-" for place in places]
        exact = [str(place[1]) if place else "" for place in places]
        found.append(Column(f"best {monitor}", "everywhere", shown, exact))
        found.append(Column("best epoch", "csv", *_both([place and place[0] for place in places], str)))
    scores = list(dict.fromkeys(name for item in experiments for name in item.history))
    others = [name for name in scores if name != monitor and not name.startswith("test/")]
    usual = [name for name in others if name.endswith("/loss") or name.startswith("val/")][:4]
    rest = [name for name in scores if name not in usual and (not name.startswith("test/") or name == monitor)]
    for name in [*usual, *rest]:
        where = "everywhere" if name in usual else "asked"
        found.append(Column(name, where, *_both([last.get(name) for last in lasts], _rounded)))
    told = [
        item.scores_of(place[0]) if place else {} if monitor else last
        for item, place, last in zip(items, places, lasts, strict=True)
    ]
    tested = [name for name in scores if name.startswith("test/") and name != monitor]
    usual = [name for name in tested if name.count("/") == 1][:4] if with_test else []
    for name in tested:
        where = "everywhere" if name in usual else "asked"
        heading = name + " @ best" * bool(monitor)
        found.append(Column(heading, where, *_both([scores.get(name) for scores in told], _rounded)))
    return found


def epoch_columns(view: Any, monitor: str | None, mode: str, limit: int | None = None) -> list[Column]:
    """Return the columns of a table with one row an epoch of each experiment, the best experiment first.

    Args: as of `report_columns`; `limit` counts experiments.
    """
    experiments = view.candidates
    items, _ = _ranked(experiments, monitor, mode, limit)
    each = [
        (item, epoch, scores) for item in items for epoch, scores in zip(item.epoch_numbers, item.rows(), strict=True)
    ]
    found = _what_it_is(experiments, [item for item, _, _ in each])
    found.append(Column("epoch", "everywhere", *_both([epoch for _, epoch, _ in each], str)))
    for name in dict.fromkeys(name for item in experiments for name in item.history):
        found.append(Column(name, "everywhere", *_both([scores.get(name) for _, _, scores in each], _rounded)))
    return found


def of_runs(tables: Mapping[str, Sequence[Column]]) -> list[Column]:
    """Return the tables of several runs below each other, with the run's id in front; what one has not is empty."""
    sizes = {run: len(own[0].shown) for run, own in tables.items()}
    ids = [run for run, size in sizes.items() for _ in range(size)]
    found = [Column("run", "everywhere", ids, ids, is_words=True)]
    forms: dict[str, Column] = {}
    for own in (own for table in tables.values() for own in table):
        forms.setdefault(own.name, own)
    for name, one in forms.items():
        parts = [
            next((own for own in table if own.name == name), replace(one, shown=["-"] * n, exact=[""] * n))
            for table, n in zip(tables.values(), sizes.values(), strict=True)
        ]
        shown, exact = [cell for own in parts for cell in own.shown], [cell for own in parts for cell in own.exact]
        found.append(replace(one, shown=shown, exact=exact))
    return found


def _ranked(
    experiments: Sequence[Any], monitor: str | None, mode: str, limit: int | None
) -> tuple[list[Any], list[tuple[int, float] | None]]:
    """Return the experiments, best first, and of each its best epoch and score."""
    best = {item.experiment_id: item.best(monitor, mode) if monitor else None for item in experiments}
    sign = -1 if mode == "max" else 1

    def rank(item: Any) -> tuple[bool, float, int]:
        found = best[item.experiment_id]
        return found is None, sign * found[1] if found else 0.0, item.experiment_id

    items = sorted(experiments, key=rank)[:limit]
    return items, [best[item.experiment_id] for item in items]


def _what_it_is(experiments: Sequence[Any], items: Sequence[Any]) -> list[Column]:
    """Return the columns that name the experiment of each row: its id, hyperparameters and fold."""
    swept = columns([item.hyperparameters for item in experiments])
    cells = {item.experiment_id: found for item, found in zip(experiments, swept, strict=True)}
    found = [Column("id", "everywhere", *_both([item.experiment_id for item in items], str))]
    for name in dict.fromkeys(name for own in swept for name in own):
        own = [cells[item.experiment_id] for item in items]
        shown = [spelled(given[name]) if name in given else "-" for given in own]
        exact = [spelled(spell_number(given[name]), exact=True) if name in given else "" for given in own]
        found.append(Column(name, "everywhere", shown, exact, is_swept=True))
    if any(item.fold is not None for item in experiments):
        found.append(Column("fold", "everywhere", *_both([item.fold for item in items], str)))
    return found


def chosen(found: Sequence[Column], form: Literal["people", "csv"], names: Sequence[str] | None = None) -> list[Column]:
    """Return the columns of a form, or those that are named, in the order of their names.

    Raises:
        MlgymError: a name that is no column's, or stands there twice.
    """
    if names is None:
        return [column for column in found if column.where in ("everywhere", form)]
    by_name = {column.name: column for column in found}
    for name in names:
        if name not in by_name:
            raise MlgymError(
                f"--columns: no column {name!r}{nearest(name, by_name)} Columns: {listed(map(quoted, by_name), 40)}"
            )
        if names.count(name) > 1:
            raise MlgymError(f"--columns: {name!r} is given twice; give it once")
    return [by_name[name] for name in names]


def quoted(name: str) -> str:
    """Write a column's name as `--columns` reads it: one with a comma or a quote in quotes."""
    return '"' + name.replace('"', '""') + '"' if "," in name or '"' in name else name


def _both(values: Sequence[Any], shown: Callable[[Any], str]) -> tuple[list[str], list[str]]:
    """Return the cells of values, of which those that are None are not there: as shown, and exact."""
    given = ["-" if value is None else shown(value) for value in values]
    return given, ["" if value is None else str(spell_number(value)) for value in values]


def _rounded(score: float) -> str:
    return f"{score:.4f}"
