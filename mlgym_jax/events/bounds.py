"""Between which numbers the scores of a metric lie, so that an interval of their mean ends there, too.

Synopsis:

>>> from mlgym_jax.events.bounds import bounds_of
>>> bounds_of("val/acc", {"metrics": {"acc": {"component": "accuracy"}}})
(0.0, 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)
_SHARES = (
    "accuracy balanced_accuracy precision recall f1 fbeta specificity auroc aupr retrieval_recall_at_k recall_at_k "
    "top_k area_under_retrieval_recall_at_k area_under_recall_at_k expected_calibration_error "
    "class_wise_calibration_error"
)
_DISTANCES = (
    "softmax_cross_entropy softmax_cross_entropy_with_integer_labels safe_softmax_cross_entropy "
    "sigmoid_binary_cross_entropy squared_error l2_loss huber_loss log_cosh hinge_loss perceptron_loss"
)
# By the component of the metric, or of the loss; what is not here, such as one's own, has no known ends.
_BOUNDS: dict[str, Bounds] = {
    **dict.fromkeys(_SHARES.split(), (0.0, 1.0)),
    **dict.fromkeys(("matthews_corrcoef", "cohen_kappa"), (-1.0, 1.0)),
    **dict.fromkeys(("mse", "mae", "rmse"), (0.0, math.inf)),
    **dict.fromkeys(("r2", "explained_variance"), (-math.inf, 1.0)),
    **dict.fromkeys(_DISTANCES.split(), (0.0, math.inf)),
    "brier_score": (0.0, 2.0),
    "perplexity": (1.0, math.inf),
}


def bounds_of(name: str, config: Any) -> Bounds:
    """Return the least and the greatest value that a score can have; infinite where that is not known.

    Args:
        name: of the score, such as `val/accuracy`.
        config: the run's config, or whatever a log has in its place.
    """
    metric: Any = config
    of = "".join(str(name).split("/")[1:])
    for key in ("loss",) if of == "loss" else ("metrics", "".join(str(name).split("/")[1:2])):
        metric = metric.get(key) if isinstance(metric, Mapping) else None
    component = metric.get("component") if isinstance(metric, Mapping) else None
    if not isinstance(metric, Mapping) or not isinstance(component, str):
        return UNBOUNDED
    component = component.rpartition("/")[2]
    if component == "balanced_accuracy" and metric.get("adjusted"):
        return (-1.0, 1.0)
    return _BOUNDS.get(component, UNBOUNDED)
