"""By which score a run's experiments are ranked where nobody says: read from its config and its scores' names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# The sections that may say it, the one that selects before those that merely watch.
_SECTIONS = ("refit", "validation", "checkpointing", "early_stopping", "search")
_LOWER_IS_BETTER = re.compile("loss|error|perplexity|brier|calibration|mse|mae|nll", re.IGNORECASE | re.ASCII)

_HIGHER_IS_BETTER = re.compile(
    "accuracy|precision|recall|specificity|f1|fbeta|auroc|aupr|auc|kappa|matthews|corr|r2|variance|top_k|score|likelihood"
    "|reward|iou|dice|bleu|psnr|ssim",
    re.IGNORECASE | re.ASCII,
)


def default_monitor(names: Sequence[str], config: Any) -> tuple[str | None, str]:
    """Return the score to rank by, and which of its values are better: (monitor, `max` or `min`).

    That is what the config monitors; else a metric of validation, one of a single number first; else its loss; else the
    loss of training. What the split `test` says is for the end: it ranks only where there is nothing else.

    The page chooses alike (`board_server/page/src/monitor.ts`).

    Args:
        names: the scores that there are, such as `val/accuracy`.
        config: the run's config, or whatever a log has in its place.
    """
    for name in _SECTIONS:
        section = _mapping(_mapping(config).get(name))
        monitor = section.get("monitor")
        if isinstance(monitor, str) and monitor in names:
            mode = section.get("mode")
            return monitor, mode if mode in ("min", "max") else default_mode(monitor, config)
    val, train = ([name for name in names if name.startswith(f"{split}/")] for split in ("val", "train"))
    metrics = [name for name in val if name.split("/")[1] != "loss"]
    single = [name for name in metrics if name.count("/") == 1]
    ranking = [*single, *metrics, "val/loss", *val, "train/loss", *train, *names]
    monitor = next((name for name in ranking if name in names), None)
    return monitor, "max" if monitor is None else default_mode(monitor, config)


def default_mode(name: str, config: Any) -> str:
    """Return which values of a score are better, `max` or `min`.

    It is what the config says where it monitors this score, in any split; else `min` for a loss or an error, by the
    name of the score or of the metric's component.
    """
    name = str(name)
    return _said_mode(name, config) or ("min" if _LOWER_IS_BETTER.search(_words_of(name, config)) else "max")


def is_guess(name: str, config: Any) -> bool:
    """Tell whether nothing says that `default_mode` is right: neither the config nor the names of score and metric."""
    words = _words_of(name, config)
    return not (_said_mode(name, config) or _LOWER_IS_BETTER.search(words) or _HIGHER_IS_BETTER.search(words))


def _said_mode(name: str, config: Any) -> str | None:
    for section in (_mapping(_mapping(config).get(one)) for one in _SECTIONS):
        monitor, mode = section.get("monitor"), section.get("mode")
        if isinstance(monitor, str) and mode in ("min", "max") and _metric_of(monitor) == _metric_of(name):
            return mode
    return None


def _words_of(name: str, config: Any) -> str:
    metric = _mapping(_mapping(_mapping(config).get("metrics")).get("".join(name.split("/")[1:2])))
    component = metric.get("component")
    return f"{name} {component if isinstance(component, str) else ''}"


def _metric_of(name: str) -> str:
    return name.partition("/")[2] or name


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
