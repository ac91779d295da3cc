"""Two runs side by side, from their folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.events import layout, project_log
from mlgym_jax.events.comparison import compared, side
from mlgym_jax.managing.lineage import record_of


def compare(run_dirs: Sequence[str], monitor: str | None = None) -> dict[str, Any]:
    """Compare runs, the first with each of the others.

    Of each run that candidate counts which is the best by the mean, over its seeds and folds, of the score at each
    experiment's best epoch. Its scores are those at these epochs, a score a fold and seed.

    Args:
        monitor: the score to select by; by default each run's own.

    Returns:
        {"runs": [run ids], …}, as `events.comparison.compared` has it.

    Raises:
        MlgymError: a log cannot be read, or no run has such a score.
    """
    views = [project_log(os.path.join(run_dir, layout.LOG))[0] for run_dir in run_dirs]
    known = list(dict.fromkeys(name for view in views for name in view.scores))
    if monitor is not None and monitor not in known:
        raise MlgymError(f"--monitor={monitor}: no such score{nearest(monitor, known)} Scores: {listed(known, 40)}")
    names = [os.path.basename(os.path.abspath(run_dir)) for run_dir in run_dirs]
    sides = [side(view, record_of(run_dir), monitor) for view, run_dir in zip(views, run_dirs, strict=True)]
    return {"runs": names, **compared(names, sides, monitor)}
