"""Charts of a run by matplotlib: curves of scores, what hyperparameters explain, parallel coordinates.

Synopsis:

    result = mg.load_run("event_storage/RUN_ID")
    result.plot.curves("val/loss", by="optimizer.learning_rate")
    result.plot.influence("val/accuracy")
    result.plot.parallel("val/accuracy")
    result.plot.confusion(result.best("val/accuracy"), "val")

Each draws into `ax=` where it is given, else into a new figure of pyplot, and returns what it has drawn on. Nothing is
shown or set for the process: that is left to the notebook or the script.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from mlgym_jax.config.spelling import columns, spelled
from mlgym_jax.errors import MlgymError, described, listed, nearest
from mlgym_jax.events import default_mode, default_monitor
from mlgym_jax.events.influence import binned, is_numeric, ranks, share_explained
from mlgym_jax.reading.axes import along_unit, is_log, words_along
from mlgym_jax.reading.plotted_records import draw_curve, draw_matrix

_MOST_NAMED = 12  # lines in a legend
_COLUMNS = 4  # of charts in a figure
_LONGEST = 40  # characters of a value


class Plotted:
    """A run that has charts."""

    @property
    def plot(self) -> Plots:
        """Charts by matplotlib: `curves`, `influence`, `parallel`, `confusion`, `roc`; see `reading.plots`."""
        return Plots(self)


class Plots:
    """The charts of a run.

    A score is one that the run recorded, by default what it is ranked by (`events.default_monitor`). Experiments that
    have no finite value are left out, and the chart says how many. Refits are not drawn.
    """

    def __init__(self, run: Any):
        self._run = run

    def __repr__(self) -> str:
        return f"charts of {self._run.run_id}: curves(), influence(), parallel()"

    def curves(self, score: str | None = None, by: str | None = None, ax: Any = None) -> Any:
        """Draw a score over the epochs, one line an experiment; return the matplotlib Axes.

        The lines are in the order of `result.experiments`; the legend names at most 12.

        Args:
            by: a hyperparameter: experiments of one value have one colour, numbers from dark to bright.
            ax: the Axes to draw on.

        Raises:
            MlgymError: matplotlib is missing, the run has no such score or hyperparameter, or nothing is finite.
        """
        pyplot = _pyplot()
        score, cells = self._score(score), self._cells()
        experiments = self._run.experiments
        curves = [_finite_curve(item._view, score) for item in experiments]
        finite = [[math.isfinite(value) for value in values] for _, values in curves]
        if not any(map(any, finite)):
            raise MlgymError(f"{score} is finite in no epoch of any experiment")
        drawn = [number for number, own in enumerate(finite) if any(own)]
        named = {number: _label(experiments[number], cells[number]) for number in drawn}
        colours, order = {}, drawn
        if by is not None:
            swept = list(dict.fromkeys(name for own in cells for name in own))
            if by not in swept:
                raise MlgymError(f"by: no hyperparameter {by!r}{nearest(by, swept)} Swept: {listed(swept, 40)}")
            values = [cells[number].get(by) for number in drawn]
            named = {number: f"{by}={_text(value)}" for number, value in zip(drawn, values, strict=True)}
            colours = dict(zip(drawn, _colours(pyplot, values), strict=True))
            places = dict(zip(drawn, words_along(values)[0], strict=True))
            order = sorted(drawn, key=lambda number: places[number])
        (ax,) = _axes(pyplot, ax, 1, (9.6, 4.8))
        lines: dict[str, Any] = {}
        for number in drawn:
            alone = "." if sum(finite[number]) == 1 else None  # a line of one point is not seen
            (line,) = ax.plot(*curves[number], label=_plain(named[number]), marker=alone, color=colours.get(number))
            lines.setdefault(named[number], line)
        config = self._run.view.config or {}
        by_steps = config.get("num_steps") or config.get("evaluate_every_steps")
        left = sum(not own or not all(own) for own in finite)
        _name(ax, "evaluation" if by_steps else "epoch", left, f"no finite {score} in some or all epochs", len(curves))
        ax.set_ylabel(_plain(score))
        ax.xaxis.set_major_locator(pyplot.MaxNLocator("auto", integer=True))
        shown = _spread(list(dict.fromkeys(named[number] for number in order)))
        title = f"{len(shown)} of {len(lines)}" if len(lines) > len(shown) else None
        beside = {"loc": "upper left", "bbox_to_anchor": (1, 1), "fontsize": "small"}
        ax.legend([lines[name] for name in shown], list(map(_plain, shown)), title=title, **beside)
        return ax

    def influence(self, score: str | None = None, mode: str | None = None, ax: Any = None) -> list[Any]:
        """Draw each experiment's best score over each hyperparameter, and the means; return the matplotlib Axes.

        The first explains most: titles say the share of the variance of the scores' ranks that the hyperparameter alone
        explains, as on the board (`events.influence`). More than eight different numbers are averaged in eight bins.

        Args:
            mode: `max` or `min`; by default as in `RunResult.best`.
            ax: as many Axes as there are swept hyperparameters, or the one of a single one.

        Raises:
            MlgymError: matplotlib is missing, no such score or mode, nothing is swept or finite, or too few Axes.
        """
        pyplot = _pyplot()
        score, cells, scores, left = self._scored(score, mode)
        found = []
        for name in dict.fromkeys(name for own in cells for name in own):
            values = [own.get(name) for own in cells]
            share = share_explained(values, scores)
            found.append((-1.0 if math.isnan(share) else share, name, values))
        found.sort(key=lambda entry: -entry[0])
        across = min(len(found), _COLUMNS)
        drawn = _axes(pyplot, ax, len(found), (max(6.4, 4 * across), 3.6 * -(-len(found) // across)))
        for axes, (share, name, values) in zip(drawn, found, strict=True):
            _influence_of(pyplot, axes, values, scores)
            axes.set_title("too few to say" if share < 0 else f"explains {share:.0%}", fontsize="medium")
            axes.set_ylabel(_plain(f"best {score}"))
            _name(axes, name, left, f"no finite {score}", left + len(scores))
        drawn[0].legend(fontsize="small")
        return drawn

    def parallel(self, score: str | None = None, mode: str | None = None, ax: Any = None) -> Any:
        """Draw parallel coordinates: a line an experiment, through its values and its best score; return the Axes.

        Colours go by the rank of the score, the best is brightest and on top. Each axis has its own scale, a
        logarithmic one for numbers that span two decades.

        Args:
            mode: `max` or `min`; by default as in `RunResult.best`.
            ax: the Axes to draw on.

        Raises:
            MlgymError: matplotlib is missing, no such score or mode, or nothing is swept or finite.
        """
        pyplot = _pyplot()
        score, cells, scores, left = self._scored(score, mode)
        mode = mode or default_mode(score, self._run.view.config)
        (ax,) = _axes(pyplot, ax, 1, (9.6, 4.8))
        names = list(dict.fromkeys(name for own in cells for name in own))
        along = [*([own.get(name) for own in cells] for name in names), scores]
        axes = [along_unit(values) for values in along]
        order = ranks(scores if mode == "max" else [-score for score in scores])
        shares = [(place - 1) / max(len(scores) - 1, 1) for place in order]
        for number, share in enumerate(shares):
            heights = [places[number] for places, _ in axes]
            colour = pyplot.colormaps["viridis"](0.95 * share)
            ax.plot(range(len(axes)), heights, color=colour, zorder=2 + share, alpha=0.8)
        for x, (_, ticks) in enumerate(axes):
            ax.axvline(x, color="0.5", linewidth=0.8, zorder=1)
            for place, value in ticks:
                text = _plain(_text(value)) if x < len(names) else f"{value:.4g}"
                ax.annotate(text, (x, place), (4, 0), textcoords="offset points", fontsize="small", zorder=4)
        titles = [
            name + " (log)" * is_log(values) for name, values in zip([*names, f"best {score}"], along, strict=True)
        ]
        ax.set_xticks(range(len(titles)), list(map(_plain, titles)), rotation=15, ha="right")
        ax.set_yticks([])
        ax.set_xlim(-0.1, len(axes) - 0.5)
        _name(ax, "", left, f"no finite {score}", left + len(scores))
        return ax

    def confusion(self, experiment: Any = None, split: str = "val", *, epoch: int | None = None, ax: Any = None) -> Any:
        """Draw the confusion matrix of an experiment's kept model; return the Axes.

        Args:
            experiment: one of the run's, or its id; by default the best by the run's monitor.
            epoch: as for its `restore`; ax: the Axes to draw on.

        Raises:
            MlgymError: matplotlib is missing, no such experiment, checkpoint or split, or no single matrix of classes.
        """
        pyplot, found = _pyplot(), self._experiment(experiment)
        record = found.confusion(split, epoch=epoch)
        if isinstance(record, dict):
            raise MlgymError(
                f"plot.confusion: there are {len(record)} labels, of which each has a matrix; draw those of "
                f"experiment.confusion({split!r}), {listed(record)}"
            )
        (ax,) = _axes(pyplot, ax, 1, (6.4, 6.0))
        draw_matrix(ax, record, f"experiment {found.experiment_id}, {split}")
        return ax

    def roc(self, experiment: Any = None, split: str = "val", *, epoch: int | None = None, ax: Any = None) -> Any:
        """Draw the receiver operating characteristic of an experiment's kept model, a line a class; return the Axes.

        The arguments and errors are those of `confusion`.
        """
        pyplot, found = _pyplot(), self._experiment(experiment)
        record = found.roc(split, epoch=epoch)
        (ax,) = _axes(pyplot, ax, 1, (6.0, 6.0))
        draw_curve(ax, record, f"experiment {found.experiment_id}, {split}", diagonal=True)
        return ax

    def _experiment(self, experiment: Any) -> Any:
        if experiment is None:
            return self._run.best(self._score(None))
        return experiment if hasattr(experiment, "restore") else self._run.experiment(experiment)

    def _score(self, score: str | None) -> str:
        """Return the score that is meant.

        Raises:
            MlgymError: the run has none of that name, or none at all.
        """
        view = self._run.view
        found = default_monitor(view.scores, view.config)[0] if score is None else score
        if found is None:
            raise MlgymError(f"{self._run.run_id} has no scores yet")
        if found not in view.scores:
            raise MlgymError(f"no score {found!r}{nearest(found, view.scores)} Scores: {listed(view.scores, 40)}")
        return found

    def _cells(self) -> list[dict[str, Any]]:
        return [dict(own) for own in columns([item.hyperparameters for item in self._run.experiments])]

    def _scored(self, score: str | None, mode: str | None) -> tuple[str, list[dict[str, Any]], list[float], int]:
        """Return a score; of the experiments that have a finite one the swept values and the best; how many have none.

        Raises:
            MlgymError: no such score or mode, nothing is swept, or nothing is finite.
        """
        score, cells = self._score(score), self._cells()
        if not any(cells):
            raise MlgymError(f"nothing is swept in {self._run.run_id}; its scores: result.plot.curves({score!r})")
        best = [item.best_score(score, mode) for item in self._run.experiments]
        kept = [(own, found[1]) for own, found in zip(cells, best, strict=True) if found]
        if not kept:
            raise MlgymError(f"{score} is finite in no epoch of any experiment")
        return score, [own for own, _ in kept], [value for _, value in kept], len(best) - len(kept)


def _influence_of(pyplot: Any, axes: Any, values: Sequence[Any], scores: Sequence[float]) -> None:
    """Draw scores over the values of one hyperparameter, and the mean of each value or bin of values."""
    numeric = is_numeric(values)
    places, different = (values, []) if numeric else words_along(values)
    axes.plot(places, scores, "o", color="0.6", markersize=3, label="experiments")
    groups: dict[Hashable, list[int]] = {}
    for number, group in enumerate(binned(values)):
        groups.setdefault(group, []).append(number)
    means = sorted(
        (sorted(places[i] for i in own)[len(own) // 2], math.fsum(scores[i] for i in own) / len(own))
        for own in groups.values()
    )
    axes.plot(*zip(*means, strict=True), "o-" if numeric else "o", label="mean")
    if is_log(values):
        axes.set_xscale("log")
    elif numeric and all(isinstance(value, int) for value in values):
        axes.xaxis.set_major_locator(pyplot.MaxNLocator("auto", integer=True))
    if not numeric:
        axes.set_xticks(range(len(different)), [_plain(_text(value)) for value in different])
        axes.tick_params(axis="x", labelrotation=20)


def _finite_curve(view: Any, score: str) -> tuple[list[int], list[float]]:
    """Return the epochs that a score was computed in, and its values there, NaN where they are not finite."""
    values, logged = view.history.get(score, []), view.logged(score)
    there = [i for i in range(len(values)) if logged is None or logged[i]]  # lines go on over epochs in between
    finite = [values[i] if math.isfinite(values[i]) else math.nan for i in there]
    return [view.epoch_numbers[i] for i in there], finite


def _spread(names: Sequence[str]) -> list[str]:
    """Return at most as many as a legend names, at equal distances, with the first and the last."""
    last, steps = len(names) - 1, _MOST_NAMED - 1
    return list(names) if last <= steps else [names[round(i * last / steps)] for i in range(_MOST_NAMED)]


def _colours(pyplot: Any, values: Sequence[Any]) -> list[Any]:
    """Return a colour for each value: numbers along a colour map, others one after the other."""
    if is_numeric(values):
        return [pyplot.colormaps["viridis"](0.9 * place) for place in along_unit(values)[0]]
    return [f"C{place % 10}" for place in words_along(values)[0]]


def _label(item: Any, cells: Mapping[str, Any]) -> str:
    words = [f"{name}={_text(value)}" for name, value in cells.items()]
    words += [] if item.fold is None else [f"fold {item.fold}"]
    return f"{item.experiment_id}: {', '.join(words)}" if words else f"experiment {item.experiment_id}"


def _text(value: Any) -> str:
    text = "(none)" if value is None else spelled(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _plain(text: str) -> str:
    """Return a text that matplotlib takes for no formula."""
    return text.replace("$", r"\$")


def _name(axes: Any, label: str, left: int, why: str, of: int) -> None:
    """Name the axis of x, and say below what was left out."""
    axes.set_xlabel(_plain("\n".join([label] * bool(label) + [f"left out, {left} of {of}: {why}"] * bool(left))))


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot
    except ImportError:
        raise MlgymError('charts need matplotlib; type: pip install "mlgym-jax[plot]"') from None
    return matplotlib.pyplot


def _axes(pyplot: Any, ax: Any, number: int, size: tuple[float, float]) -> list[Any]:
    """Return the Axes that were given, or those of a new figure of a size in inches.

    Raises:
        MlgymError: they are something else, or not as many; no figure can be made.
    """
    if ax is None:
        rows, across = -(-number // _COLUMNS), min(number, _COLUMNS)
        try:
            _, grid = pyplot.subplots(rows, across, figsize=size, sharey=True, squeeze=False, layout="constrained")
        except ImportError as error:  # a backend that wants a display
            raise MlgymError(f"matplotlib makes no figure: {error}; set the environment MPLBACKEND=agg") from None
        for unused in grid.ravel()[number:]:
            unused.remove()
        return list(grid.ravel()[:number])
    flat = getattr(ax, "ravel", lambda: ax)()
    given = list(flat) if isinstance(flat, list | tuple) or hasattr(flat, "dtype") else [flat]
    if not all(hasattr(one, "get_xlim") and hasattr(one, "plot") for one in given):
        raise MlgymError(f"ax: Axes of matplotlib are expected, found {described(ax)}")
    if len(given) != number:
        raise MlgymError(f"ax: {number} Axes are expected, found {len(given)}; without ax= a figure is made for them")
    return given
