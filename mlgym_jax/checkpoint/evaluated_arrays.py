"""The parameters that a kept experiment was evaluated with, by the names of its arrays: no program of it is needed.

`core.evaluated` and `core.program` say the same of states.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from mlgym_jax.checkpoint.rows import KeptCheckpoints
from mlgym_jax.checkpoint.safetensors_files import PARTS, Arrays, flat, write_arrays
from mlgym_jax.core.state import TrainState

_LOOKAHEAD, _SCHEDULE_FREE = "1/steps_since_sync", "weight_sum"


def evaluated_arrays(arrays: Arrays) -> Arrays:
    """Return the arrays with `params`, and where they have their own `model_state`, as its scores are of.

    Those are the averages of `config.averaging`, the slow parameters of `lookahead`, the averages of schedule-free
    optimizers; of all others the arrays as they are.

    Args:
        arrays: part of a TrainState, `opt_state` among them -> path -> array.
    """
    kept = arrays.get("opt_state", {})
    if any(path.startswith("averaging/") for path in kept):
        own = {
            part: {path: kept.get(f"{part}/{path}", array) for path, array in arrays.get(part, {}).items()}
            for part in PARTS
        }
        return {**arrays, **own}
    params = dict(arrays.get("params", {}))
    for path in kept:
        if path == _LOOKAHEAD or path.endswith(f"/{_LOOKAHEAD}"):
            slow = f"{path.removesuffix(_LOOKAHEAD)}0/"
            params |= {name: kept[slow + name] for name in params if slow + name in kept}
        elif path == _SCHEDULE_FREE or path.endswith(f"/{_SCHEDULE_FREE}"):
            before = path.removesuffix(_SCHEDULE_FREE)
            b1 = np.asarray(kept.get(f"{before}b1", 1.0))
            own = {name: kept[f"{before}z/{name}"] for name in params if f"{before}z/{name}" in kept}
            params |= {name: ((params[name] - (1 - b1) * z) / b1).astype(params[name].dtype) for name, z in own.items()}
    return {**arrays, "params": params}


def arrays_by_part(kept: KeptCheckpoints, experiment_id: int, epoch: int) -> Arrays:
    """Read parameters, other variables and the optimizer's state of a kept checkpoint.

    Raises:
        MlgymError: it is not kept, or is damaged.
    """
    read: Arrays = {part: {} for part in (*PARTS, "opt_state")}
    for resource in ("model", "optimizer"):
        for name, array in kept.arrays(experiment_id, epoch, resource).items():
            part, _, path = name.partition("/")
            read[part][path] = array
    return read


def write_safetensors(state: TrainState, path: str, metadata: Mapping[str, str]) -> None:
    """Write the parameters and other variables that a state is evaluated with, `params/Dense_0/kernel`, for anywhere.

    Raises:
        MlgymError: the file cannot be written.
    """
    found = evaluated_arrays({part: flat(jax.device_get(getattr(state, part))) for part in (*PARTS, "opt_state")})
    write_arrays(named_arrays(found), path, metadata)


def named_arrays(arrays: Arrays) -> dict[str, np.ndarray]:
    """Return parameters and other variables by the names that files have them by."""
    return {f"{part}/{name}": array for part in PARTS for name, array in arrays.get(part, {}).items()}
