"""Runs and experiments as a notebook shows them where a cell ends with one: `_repr_html_`.

No scripts, and no colours of its own: it is read on light and dark pages.
"""

from __future__ import annotations

from typing import Any

from mlgym_jax.config.html_table import html_line, html_table
from mlgym_jax.config.spelling import spelled
from mlgym_jax.events import default_mode, default_monitor

_MOST_ROWS = 20


class RunInHtml:
    """A run that a notebook shows as its headline and the table of its experiments, best first."""

    view: Any

    def verdict(self, monitor: str | None = None, mode: str | None = None) -> dict[str, Any]:
        """Return what the run has come to."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        from mlgym_jax.reading.table import table

        view = self.view
        monitor, mode = default_monitor(view.scores, view.config)
        # What the test split says is for the end: while a run goes on, nobody should choose by it.
        grid = table(view, monitor, mode, _MOST_ROWS, with_test=view.status != "RUNNING")
        number = len(view.candidates)
        words = [f"{view.run_id} {view.name or ''}".strip(), view.status, _counted(number, "experiment")]
        failed = sum(item.status == "FAILED" for item in view.candidates)
        words += [f"{failed} failed"] * bool(failed)
        if number > _MOST_ROWS:
            words.append(f"the {'best' if monitor else 'first'} {_MOST_ROWS} are shown; to_dataframe() has all")
        rows = zip(*(column.cells for column in grid.columns), strict=True)
        head = html_line("; ".join(words)) + html_line(self.verdict()["headline"])
        return head + html_table("", [column.header for column in grid.columns], rows)


class ExperimentInHtml:
    """An experiment that a notebook shows as its hyperparameters and scores."""

    experiment_id: int
    _run: Any
    _view: Any

    def _repr_html_(self) -> str:
        view, config = self._view, self._run.view.config
        stopped = f" ({view.stop_reason})" if view.stop_reason else ""
        words = [f"experiment {view.experiment_id} of {self._run.run_id}", view.status + stopped]
        words += [f"fold {view.fold}"] if view.fold is not None else []
        words.append(_counted(view.epochs, "epoch") + (f" of {view.planned}" if view.planned else ""))
        words += [str(view.error).splitlines()[0]] if view.error else []
        found = html_line("; ".join(words))
        if view.hyperparameters:
            rows = [(name, spelled(value)) for name, value in view.hyperparameters.items()]
            found += html_table("", ("hyperparameter", "value"), rows)
        if view.history:
            rows = [_score(view, name, default_mode(name, config)) for name in view.history]
            found += html_table("", ("score", "last", "best", "epoch of the best"), rows)
        return found


def _score(view: Any, name: str, mode: str) -> tuple[str, ...]:
    """Return the cells of a score: its name, the last value, the best one and the epoch of that."""
    last, best = view.last.get(name), view.best(name, mode)
    return (
        name,
        "-" if last is None else f"{last:.4f}",
        *(("-", "-") if best is None else (f"{best[1]:.4f}", f"{best[0]}")),
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
