"""The model of an earlier experiment as a function of a batch, with the weights that a checkpoint kept.

No code that the run recorded is executed: its components are those that this process has registered by their names.
"""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlgym_jax.checkpoint.safetensors_files import Arrays
from mlgym_jax.checkpoint.warm_start import Mode, arrays_of, chosen
from mlgym_jax.components.graph import build_components
from mlgym_jax.components.tree import Node, resolved
from mlgym_jax.config.traversal import walk
from mlgym_jax.config.words import plain
from mlgym_jax.core.modes import unseen
from mlgym_jax.core.paths import Path, map_paths
from mlgym_jax.core.program import make_program
from mlgym_jax.core.state import Batch, TrainState
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.events import layout
from mlgym_jax.run_folder import folder as run_folder

# Weights are constants of the programs, whose serialised form cannot be larger than this.
_LARGEST_BYTES = 1 << 30
# Optimizers that evaluate other parameters than they step with.
_EVALUATED = ("lookahead", "contrib.schedule_free", "contrib.schedule_free_adamw", "contrib.schedule_free_sgd")


class Teacher:
    """A frozen model.

    Attributes:
        experiment_id, epoch: of the checkpoint.
        checksum: CRC-32 of the arrays that it computes with.
    """

    def __init__(self, run_dir: str, experiment_id: int, epoch: int, config: Mapping[str, Any], arrays: Arrays):
        self.run_dir, self.experiment_id, self.epoch = run_dir, experiment_id, epoch
        self._arrays = {f"{part}/{path}": array for part, of_part in arrays.items() for path, array in of_part.items()}
        self._program = make_program(_parts_of(config))
        used = {name: array for name, array in self._arrays.items() if name.startswith(("params/", "model_state/"))}
        self.checksum: int = functools.reduce(_crc, (used[name] for name in sorted(used)), 0)
        if (size := sum(array.nbytes for array in used.values())) > _LARGEST_BYTES:
            raise MlgymError(
                f"its weights are {size / 2**30:.1f} GiB, and at most {_LARGEST_BYTES >> 30} GiB can be constants of a "
                "program; compute its outputs once with `predict`, and add them to the dataset as a field"
            )

    def __call__(self, batch: Batch) -> Any:
        """Return its outputs in evaluation mode for a batch, as the engine predicts; nothing is trained.

        Raises:
            MlgymError: the inputs are others than those that it was trained on.
        """
        # What the engine itself adds is of the training that goes on.
        batch = {name: value for name, value in batch.items() if not name.startswith("_")}
        try:
            with unseen():
                abstract = jax.eval_shape(self._program.init, jax.random.key(0), batch)
                state = self._filled(abstract)
                return jax.lax.stop_gradient(self._program.predict(state, batch))
        except jax.errors.JAXTypeError:
            raise
        except Exception as error:
            raise MlgymError(f"the teacher of {self.run_dir} cannot compute these inputs: {error}") from error

    def _filled(self, abstract: TrainState) -> TrainState:
        def found(part: str) -> Callable[[Path, Any], Any]:
            def of_path(path: Path, leaf: Any) -> Any:
                names = [f"{part}/{name}" for name in {path.name, path.with_boxes, f"{path.name}/value"}]
                array = next((self._arrays[name] for name in names if name in self._arrays), None)
                if array is None or array.shape != leaf.shape:
                    kept = "nothing" if array is None else f"[{', '.join(map(str, array.shape))}]"
                    wanted = f"[{', '.join(map(str, leaf.shape))}]"
                    raise MlgymError(f"its checkpoint holds {kept} as {part}/{path.name}, the model has {wanted} there")
                return jnp.asarray(array.astype(leaf.dtype))

            return of_path

        params, model_state, opt_state = (
            map_paths(found(part), getattr(abstract, part)) for part in ("params", "model_state", "opt_state")
        )
        return TrainState(jnp.zeros((), jnp.int32), params, model_state, opt_state, {}, jax.random.key(0))


def _crc(crc: int, array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, crc)


def _parts_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Build what a prediction of an experiment needs: its model, and what says which parameters are evaluated."""
    evaluates_others = any(
        isinstance(value, Mapping) and str(value.get("component")).rsplit("/", 1)[-1] in _EVALUATED
        for _, value in walk(config.get("optimizer"))
    )
    names = ["model", "precision", "averaging", *(["optimizer"] if evaluates_others else [])]
    sections: dict[str, Any] = {}
    while names:
        name = names.pop()
        if name in sections or name not in config:
            continue
        sections[name] = config[name]
        node = resolved({name: config[name]})[name]
        for holder in (node, *node.inside) if isinstance(node, Node) else ():
            names += [section for section in holder.needs.values() if section in config]
    built = build_components(sections)
    parts = {name: built[name] for name in ("model", "precision", "averaging", "optimizer") if name in built}
    # Nothing is trained: the rest of a program stands for nothing.
    return {"optimizer": optax.identity(), **parts, "loss": lambda outputs, batch: batch["mask"], "metrics": {}}


def teacher_of(
    run_dir: str, experiment_id: int | None, epoch: int | None, monitor: str | None, mode: Mode | None
) -> Teacher:
    """Return the teacher that a kept checkpoint is; it is read once as long as the run's log stays as it is.

    Args: as for the warm start `experiment`.

    Raises:
        ConfigError: at `loss`: no such checkpoint, or a model that this process does not know.
    """
    try:
        folder = run_folder.require(run_dir)
        log = os.stat(os.path.join(folder, layout.LOG))
        return _read(folder, experiment_id, epoch, monitor, mode, (log.st_size, log.st_mtime_ns))
    except MlgymError as error:
        raise ConfigError("loss", f"the teacher of {run_dir}: {error}") from error


@functools.lru_cache(maxsize=4)
def _read(
    folder: str, experiment_id: int | None, epoch: int | None, monitor: str | None, mode: Mode | None, log: Any
) -> Teacher:
    del log  # a run that went on is another key
    found = chosen(folder, experiment_id, epoch, monitor, mode, "distillation")
    config = found.view.experiments[found.experiment_id].config
    if config is None:
        raise MlgymError(f"its log does not hold the config of experiment {found.experiment_id}")
    try:
        return Teacher(folder, found.experiment_id, found.epoch, plain(config), arrays_of(found))
    except ConfigError as error:
        raise MlgymError(
            f"its model cannot be built here: {error} No code of that run is executed; import the module that "
            "registers its components in this config's file"
        ) from error
