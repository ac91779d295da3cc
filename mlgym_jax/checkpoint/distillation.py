"""Distillation: a student learns what a frozen model, the teacher, says of the same inputs (Hinton et al., 2015).

Synopsis, in a config:

    config.loss = component(
        "distillation",
        run_dir="event_storage/2026-11-23--17-59-10",
        monitor="val/accuracy",
        temperature=grid(1.0, 4.0),
        loss=component("softmax_cross_entropy"),
    )
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.checkpoint.teacher import teacher_of
from mlgym_jax.checkpoint.warm_start import Mode
from mlgym_jax.components.registry import register
from mlgym_jax.components.tree import Node
from mlgym_jax.config.words import dotted
from mlgym_jax.core.metric import shape_of
from mlgym_jax.core.outputs import one_array, parts, paths, pick
from mlgym_jax.core.scoring import Given, call_loss, taken_by
from mlgym_jax.core.state import Batch, Outputs
from mlgym_jax.core.weighted import LossValues, added, kept_of, over_positions, scaled
from mlgym_jax.errors import ConfigError, MlgymError, listed

_WHERE: tuple[str, ...] = ("run_dir", "experiment_id", "epoch", "monitor", "mode")


@dataclasses.dataclass(frozen=True)
class _Distillation:
    where: Mapping[str, Any]
    output: str | None
    temperature: Any
    alpha: Any
    loss: Callable[..., LossValues] | None

    @property
    def part_names(self) -> tuple[str, ...]:
        return ("soft",) if self.loss is None else ("soft", "hard")

    @property
    def takes(self) -> tuple[str, ...]:
        return () if self.loss is None else taken_by(self.loss)

    def __call__(self, outputs: Outputs, batch: Batch, **given: Any) -> LossValues:
        found = self.parts(outputs, batch, given)
        if self.loss is None:
            return found["soft"]
        return added([scaled(found["soft"], self.alpha), scaled(found["hard"], 1.0 - self.alpha)])

    def parts(self, outputs: Outputs, batch: Batch, given: Given) -> dict[str, LossValues]:
        """Return what the student pays for differing from the teacher, and from the targets."""
        soft = self._soft(outputs, batch)
        return (
            {"soft": soft}
            if self.loss is None
            else {
                "soft": soft,
                "hard": call_loss(self.loss, outputs, batch, given),
            }
        )

    def _soft(self, outputs: Outputs, batch: Batch) -> LossValues:
        said = teacher_of(*(self.where[name] for name in _WHERE))(batch)
        if self.output is None and parts(said):
            raise ConfigError(
                "loss.teacher_output",
                f"the teacher has several outputs, of which its logits are one; say which: {listed(paths(said))}",
            )
        teacher = jnp.asarray(one_array(pick(said, self.output)))
        student = jnp.asarray(one_array(outputs))
        if student.shape != teacher.shape:
            raise MlgymError(
                f"the student's outputs are {shape_of(student)}, the teacher's {shape_of(teacher)}; logits of the same "
                "classes are compared"
            )
        if student.ndim < 2 or student.shape[-1] < 2:
            raise MlgymError(
                f"logits of at least two classes are compared, float[batch, …, classes]; found {shape_of(student)}"
            )
        temperature = jnp.asarray(self.temperature, student.dtype)
        log_teacher = jax.nn.log_softmax(teacher.astype(student.dtype) / temperature)
        log_student = jax.nn.log_softmax(student / temperature)
        values = (jnp.exp(log_teacher) * (log_teacher - log_student)).sum(axis=-1) * temperature**2
        return over_positions(values, len(values), kept_of(batch.get("where"), values))


@register("loss", "distillation", dynamic=("temperature", "alpha"))
def distillation(
    *,
    run_dir: str,
    experiment_id: int | None = None,
    epoch: int | None = None,
    monitor: str | None = None,
    mode: Mode | None = None,
    teacher_output: str | None = None,
    temperature: float = 4.0,
    alpha: float = 0.5,
    loss: Any = None,
) -> Callable[..., LossValues]:
    """Learn what the model of an earlier experiment says, and the targets: alpha T^2 KL(p || q) + (1 - alpha) loss.

    p = softmax(teacher / T) and q = softmax(student / T) (Hinton et al., 2015, section 2; their cross entropy differs
    from KL by what no gradient sees). The teacher is evaluated on the inputs of the same batch, as this study encodes
    and augments them; its encoding was that of its own run. Parts are reported as `loss/soft` and `loss/hard`. No code
    that the run recorded is executed. The teacher's weights are constants of the compiled program.

    Args:
        run_dir: the earlier run's folder.
        experiment_id: the experiment; by default the best by `monitor` and `mode`, without these the only one.
        epoch: the checkpoint; by default the best one of the best experiment if it was kept, else the newest.
        mode: which scores are better; by default lower ones of losses and errors, as in `report`.
        teacher_output: path of the teacher's logits among its outputs, where they are several.
        temperature: T, above 0.
        alpha: the teacher's share, in [0, 1]; without `loss` it does not count.
        loss: a component, such as `component("softmax_cross_entropy")`.

    Raises:
        ConfigError: a number out of its range; when a step is traced, nothing that says which of several experiments,
            no such checkpoint, a model that is not registered, or outputs of other shapes.
    """
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ConfigError("loss.temperature", f"a number above 0 is expected, found {temperature}")
    if isinstance(alpha, int | float) and not 0 <= alpha <= 1:
        raise ConfigError("loss.alpha", f"a number in [0, 1] is expected, found {alpha}")
    where: dict[str, Any] = dict(zip(_WHERE, (run_dir, experiment_id, epoch, monitor, mode), strict=True))
    return _Distillation(where, teacher_output, temperature, alpha, loss)


def teachers_in(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Iterate over the teachers of a resolved config without sweeps: where each stands, and what it is.

    Raises:
        ConfigError: one of them cannot be read.
    """
    for section in config.values():
        for node in (section, *section.inside) if isinstance(section, Node) else ():
            if (node.entry.kind, node.entry.name) == ("loss", "distillation") and node.entry.is_built_in:
                given: Any = [node.get(name) for name in _WHERE]
                teacher = teacher_of(*given)
                said = {"experiment_id": teacher.experiment_id, "epoch": teacher.epoch, "checksum": teacher.checksum}
                yield dotted(node.path), {"run_dir": teacher.run_dir, **said}
