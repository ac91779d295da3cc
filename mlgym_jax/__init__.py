"""mlgym_jax: one config file in; a trained, recorded, resumable study out.

Synopsis:

    import mlgym_jax as mg

    config = mg.load_config("configs/gs.py", overrides={"num_epochs": 3})
    result = mg.run(config)
    best = result.best("val/accuracy", mode="max")
    outputs = best.predict(inputs)

Names are loaded when they are first used, so that `import mlgym_jax` does not import jax.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "component": "mlgym_jax.config.words",
    "grid": "mlgym_jax.config.words",
    "uniform": "mlgym_jax.config.words",
    "log_uniform": "mlgym_jax.config.words",
    "int_uniform": "mlgym_jax.config.words",
    "load_config": "mlgym_jax.config.file",
    "register": "mlgym_jax.components.registry",
    "build": "mlgym_jax.study.build",
    "Components": "mlgym_jax.components.graph",
    "make_program": "mlgym_jax.core.program",
    "Program": "mlgym_jax.core.program",
    "Model": "mlgym_jax.core.model",
    "TrainState": "mlgym_jax.core.state",
    "TrainingStep": "mlgym_jax.core.training_step",
    "Metric": "mlgym_jax.core.metric",
    "mean_of": "mlgym_jax.core.metric",
    "record": "mlgym_jax.core",
    "Dataset": "mlgym_jax.data.dataset",
    "run": "mlgym_jax.recording.launch",
    "forecast": "mlgym_jax.recording.forecast",
    "find_learning_rate": "mlgym_jax.recording.learning_rates",
    "resume": "mlgym_jax.recording.launch",
    "reproduce": "mlgym_jax.reproduce",
    "evaluate": "mlgym_jax.recording.evaluation",
    "load_run": "mlgym_jax.reading.results",
    "load_runs": "mlgym_jax.managing.listing",
    "show_board": "mlgym_jax.reading.board_frame",
    "RunResult": "mlgym_jax.reading.results",
    "ExperimentResult": "mlgym_jax.reading.results",
    "MlgymError": "mlgym_jax.errors",
    "ConfigError": "mlgym_jax.errors",
}

__all__ = ["__version__", *sorted(_PUBLIC)]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from mlgym_jax.components.graph import Components as Components
    from mlgym_jax.components.registry import register as register
    from mlgym_jax.config.file import load_config as load_config
    from mlgym_jax.config.words import component as component
    from mlgym_jax.config.words import grid as grid
    from mlgym_jax.config.words import int_uniform as int_uniform
    from mlgym_jax.config.words import log_uniform as log_uniform
    from mlgym_jax.config.words import uniform as uniform
    from mlgym_jax.core import record as record
    from mlgym_jax.core.metric import Metric as Metric
    from mlgym_jax.core.metric import mean_of as mean_of
    from mlgym_jax.core.model import Model as Model
    from mlgym_jax.core.program import Program as Program
    from mlgym_jax.core.program import make_program as make_program
    from mlgym_jax.core.state import TrainState as TrainState
    from mlgym_jax.core.training_step import TrainingStep as TrainingStep
    from mlgym_jax.data.dataset import Dataset as Dataset
    from mlgym_jax.errors import ConfigError as ConfigError
    from mlgym_jax.errors import MlgymError as MlgymError
    from mlgym_jax.managing.listing import load_runs as load_runs
    from mlgym_jax.reading.board_frame import show_board as show_board
    from mlgym_jax.reading.results import ExperimentResult as ExperimentResult
    from mlgym_jax.reading.results import RunResult as RunResult
    from mlgym_jax.reading.results import load_run as load_run
    from mlgym_jax.recording.evaluation import evaluate as evaluate
    from mlgym_jax.recording.forecast import forecast as forecast
    from mlgym_jax.recording.launch import resume as resume
    from mlgym_jax.recording.launch import run as run
    from mlgym_jax.recording.learning_rates import find_learning_rate as find_learning_rate
    from mlgym_jax.reproduce import reproduce as reproduce
    from mlgym_jax.study.build import build as build


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        from mlgym_jax.execution.collecting import seldom_collected

        with seldom_collected():
            module = importlib.import_module(_PUBLIC[name])
        return getattr(module, name, None) or importlib.import_module(f"{_PUBLIC[name]}.{name}")
    raise AttributeError(f"module 'mlgym_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
