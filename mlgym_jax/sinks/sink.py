"""What a sink is, which there are, and what to type where a tracker's package is missing."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.events.views import ExperimentView, RunView

OUT = "logs"  # the folder beneath which sinks write where none is named


class Sink(Protocol):
    """Writes experiments to a tracker.

    Attributes:
        place: where, and how one looks at it, for people.
    """

    place: str

    def write(self, run: RunView, experiment: ExperimentView, *, is_over: bool) -> int:
        """Write of an experiment what is not there yet, and return how many epochs that was.

        Args:
            is_over: whether nobody goes on with the run, so that a log that takes no later additions can be ended.
        """
        ...

    def close(self) -> None:
        """Bring everything out."""
        ...


class Target(NamedTuple):
    """A tracker: the module here that writes to it, and the package that it needs."""

    module: str
    package: str


TARGETS = {
    "tensorboard": Target("tensorboard_files", "tensorboard"),
    "wandb": Target("wandb_runs", "wandb"),
    "mlflow": Target("mlflow_runs", "mlflow"),
    "aim": Target("aim_runs", "aim"),
}


def wanted(texts: str | Iterable[str] | None, option: str) -> tuple[str, ...]:
    """Read the names of trackers, also several with commas between them; each is installed.

    Raises:
        MlgymError: an unknown name, or a package that is missing.
    """
    given = [texts] if isinstance(texts, str) else list(texts or ())
    if not all(isinstance(text, str) for text in given):
        raise MlgymError(f"{option}: names of trackers are expected, found {texts!r}; write {option}=tensorboard")
    names = list(dict.fromkeys(name.strip() for text in given for name in text.split(",")))
    for name in names:
        if name not in TARGETS:
            raise MlgymError(f"{option}={name}: unknown{nearest(name, TARGETS)} Allowed: {listed(TARGETS)}")
        require(TARGETS[name].package, f"{option}={name}")
    return tuple(names)


def require(package: str, option: str) -> None:
    """Refuse what needs a package that is not installed, without importing it.

    Raises:
        MlgymError: see there.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:  # a folder of that name, which holds somebody's logs, is no package
        raise MlgymError(f'{option}: {package} is not installed; type: pip install "mlgym-jax[{package}]"')


def open_sink(name: str, run_dir: str, out: str) -> Sink:
    """Make a sink that writes one run beneath the folder `out`.

    Raises:
        Exception: whatever the tracker's package raises.
    """
    module = importlib.import_module(f"mlgym_jax.sinks.{TARGETS[name].module}")
    os.makedirs(out, exist_ok=True)
    return module.open_sink(os.path.basename(run_dir), out)


def command(run_dir: str, names: Sequence[str], out: str) -> list[str]:
    """Return the words of the command that writes what is missing, behind the interpreter."""
    return ["-m", "mlgym_jax.export_logs", run_dir, f"--to={','.join(names)}", f"--out={out}"]
