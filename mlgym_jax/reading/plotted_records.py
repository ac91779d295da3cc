"""Draw curves and matrices of `core.record` by matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlgym_jax.errors import MlgymError

_MOST_NUMBERS = 20  # classes whose counts are written into the squares
_MOST_NAMED = 12  # lines in a legend


def draw_matrix(ax: Any, record: Any, title: str) -> None:
    """Draw a matrix as squares, the darker the more; rows that are summed to 1 tell colours, counts are written in."""
    values = np.asarray(record.values, float)
    totals = values.sum(axis=1, keepdims=True)
    shares = np.divide(values, totals, out=np.zeros_like(values), where=totals > 0)
    ax.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    rows, columns = values.shape
    names = list(record.classes or map(str, range(rows)))
    if max(rows, columns) <= _MOST_NUMBERS:
        for row, column in np.ndindex(rows, columns):
            colour = "white" if shares[row, column] > 0.6 else "black"
            text = f"{values[row, column]:.4g}"
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize="small")
        plain = [name.replace("$", r"\$") for name in names]
        ax.set_xticks(range(columns), plain, rotation=45 if max(map(len, names)) > 3 else 0)
        ax.set_yticks(range(rows), plain)
    ax.set_xlabel(record.x_name)
    ax.set_ylabel(record.y_name)
    ax.set_title(title.replace("$", r"\$"), fontsize="medium")


def draw_curve(ax: Any, record: Any, title: str, *, diagonal: bool) -> None:
    """Draw the lines of a curve; points that are no numbers are left out.

    Raises:
        MlgymError: no line has a point.
    """
    xs, ys = np.asarray(record.x), np.asarray(record.y)
    drawn = 0
    for number, (x, y) in enumerate(zip(xs, ys, strict=True)):
        kept = ~(np.isnan(x) | np.isnan(y))
        if not kept.any():
            continue
        label = None if record.labels is None else str(record.labels[number]).replace("$", r"\$")
        ax.plot(x[kept], y[kept], marker="." if kept.sum() < 30 else None, label=label)
        drawn += 1
    if not drawn:
        raise MlgymError("no line has a point: no class has both examples and others on this split")
    if diagonal:
        ax.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--", zorder=1)
    if record.labels is not None and drawn <= _MOST_NAMED:
        ax.legend(loc="best", fontsize="small")
    ax.set_xlabel(record.x_name)
    ax.set_ylabel(record.y_name)
    ax.set_title(title.replace("$", r"\$"), fontsize="medium")
