"""How the devices are shared by experiments and their batches: `config.parallel = component("auto" | "data" | "fsdp")`.

Synopsis:

    config.parallel = component("fsdp", rules=((r"embed", 0), (r"bias$", None)))
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax

from mlgym_jax.components.registry import register
from mlgym_jax.core.state import TrainState
from mlgym_jax.errors import ConfigError
from mlgym_jax.execution.mesh import DATA, MeshSizes
from mlgym_jax.execution.sharding import Rules, bytes_of, bytes_on_a_device, state_specs
from mlgym_jax.optimizers.inside import expression

_Rules = tuple[tuple[str, int | None], ...]


@dataclasses.dataclass(frozen=True)
class Parallel:
    """What a config asks for.

    Attributes:
        mode: `data` (a batch is split), `fsdp` (states, too) or `auto` (states where memory asks for it).
        rules: of parameters by path; see `execution.sharding.state_specs`.
    """

    mode: str
    rules: Rules = ()


def _parallel(mode: str, rules: _Rules) -> Parallel:
    for number, (pattern, _) in enumerate(rules):
        expression(pattern, f"parallel.rules.{number}.0")
    return Parallel(mode, rules)


@register("parallel", "auto")
def auto(*, rules: _Rules = ()) -> Parallel:
    """Split each batch over the devices that experiments leave, and states, too, where a device has no room for them.

    Args:
        rules: (regular expression, axis or None) of parameters by path; see `fsdp`.
    """
    return _parallel("auto", rules)


@register("parallel", "data")
def data(*, rules: _Rules = ()) -> Parallel:
    """Split each batch over the devices that experiments leave; each has a copy of the parameters.

    Args:
        rules: (regular expression, axis or None) of parameters by path that are split all the same; see `fsdp`.
    """
    return _parallel("data", rules)


@register("parallel", "fsdp")
def fsdp(*, rules: _Rules = ()) -> Parallel:
    """Split each batch, and parameters, gradients and the optimizer's state along their largest axis that divides.

    Args:
        rules: (regular expression, axis or None): the first that is found in a parameter's path names the axis along
            which it is split, None keeps a copy on each device.
    """
    return _parallel("fsdp", rules)


@dataclasses.dataclass(frozen=True)
class Needs:
    """What of a group decides how far its batches and states are split.

    Attributes:
        parallel: what its config asks for; None without that section.
        batch_size: examples a training step.
        abstract: shapes of one experiment's state.
        memory: bytes that a device has; None where that is not known.
        going_on: whether it has trained before, with batches that were not split.
    """

    parallel: Parallel | None = None
    batch_size: int = 1
    abstract: TrainState | None = None
    memory: int | None = None
    going_on: bool = False


class Placement(NamedTuple):
    """The mesh of a group, how states lie on it (`data`: whole on each device, or `fsdp`), and why; "" as ever."""

    mesh: MeshSizes
    shard: str
    why: str


def choose_placement(
    asked: MeshSizes | None,
    shard: str | None,
    needs: Needs,
    *,
    num_experiments: int,
    num_devices: int,
    strict: bool,
) -> Placement:
    """Choose a group's mesh, and whether its states are split.

    Args:
        asked: the mesh that is asked for; shard: how states lay, where a run goes on.

    Raises:
        ConfigError: at `strict`, where numbers would depend on the mesh; at `parallel`, if states have no room.
    """
    mesh, why = (asked, f"--mesh={asked}") if asked else _mesh(needs, num_experiments, num_devices, strict)
    if strict and mesh.data > 1:
        raise ConfigError(
            "strict",
            f"--mesh={mesh} splits each batch over {mesh.data} devices, whose sums an experiment's numbers then depend "
            f"on; use {DATA}:1",
        )
    mode = shard or (needs.parallel.mode if needs.parallel else DATA)
    if needs.parallel is None or needs.abstract is None:
        return Placement(mesh, "data" if mode == "auto" else mode, why)
    rows = -(-num_experiments // mesh.experiment)
    if mode == "auto":
        mode, because = _by_memory(needs, needs.abstract, mesh, rows)
        why = f"{why}; {because}" if mesh.data > 1 else why
    _refuse_too_large(needs, needs.parallel.rules, needs.abstract, mesh, mode, rows)
    return Placement(mesh, mode if mesh.data > 1 else "data", why)


def _mesh(needs: Needs, num_experiments: int, num_devices: int, strict: bool) -> tuple[MeshSizes, str]:
    # A program for other devices is another program, whose sums may be ordered otherwise.
    alone = MeshSizes(num_devices if strict else min(num_devices, num_experiments))
    data = num_devices // num_experiments
    if needs.parallel is not None and needs.parallel.mode == DATA:
        # More would never hold an example, nor a state's part.
        data = min(data, needs.batch_size)
    if strict:
        if needs.parallel is not None and needs.parallel.mode != "auto" and num_devices > 1:
            raise ConfigError(
                "strict",
                f"config.parallel = component({needs.parallel.mode!r}) splits a batch over the devices that others "
                "leave, so that an experiment's numbers depend on how many others there are; leave one of the two out",
            )
        return alone, "config.strict: batches are not split" if needs.parallel else ""
    if data <= 1:
        return alone, ""
    if needs.parallel is not None:
        return MeshSizes(num_experiments, data), f"each batch split over {data} devices (config.parallel)"
    if needs.going_on:
        return alone, ""
    if jax.default_backend() == "cpu":  # measured; see docs/performance.md
        return alone, "batches are not split over cores unless config.parallel or --mesh asks for it: it hardly pays"
    if needs.batch_size < data:
        return alone, f"batches of {needs.batch_size} are not split over {data} devices"
    return MeshSizes(num_experiments, data), f"each batch split over the {data} devices that an experiment has"


def _by_memory(needs: Needs, abstract: TrainState, mesh: MeshSizes, rows: int) -> tuple[str, str]:
    """Return how states lie, and why: a step holds them twice, before and after, and gradients."""
    taken = rows * (2 * bytes_of(abstract) + bytes_of(abstract.params))
    held = f"states and gradients of {taken:,} bytes a device"
    if needs.memory is None:
        return "data", f"{held} are not split, as the device does not tell its memory"
    if taken <= needs.memory:
        return "data", f"{held} fit in its {needs.memory:,}"
    return "fsdp", f"{held} do not fit in its {needs.memory:,}, so they are split, too"


def _refuse_too_large(needs: Needs, rules: Rules, abstract: TrainState, mesh: MeshSizes, mode: str, rows: int) -> None:
    """Refuse states that have no room on a device."""

    def taken(mode: str, rules: Rules = ()) -> int:
        specs = state_specs(abstract, mesh.data, fsdp=mode == "fsdp", rules=rules)
        return rows * bytes_on_a_device(abstract, specs, mesh.data)

    own = taken(mode, rules)
    if needs.memory is None or own <= needs.memory:
        return
    if mode == "data" and taken("fsdp") <= needs.memory:
        fix = "write config.parallel = component('fsdp'), which splits them"
    elif rules and taken("fsdp") <= needs.memory:
        fix = "leave out config.parallel.rules that keep whole copies"
    else:
        fix = "choose a smaller config.model, a config.optimizer that keeps less of each parameter, fewer experiments "
        fix += "or more devices"
    split = f", split over {mesh.data} devices," if mode == "fsdp" and mesh.data > 1 else ""
    raise ConfigError(
        "parallel",
        f"the states of {rows} experiment{'s' * (rows > 1)} a device{split} need {own:,} bytes of the "
        f"{needs.memory:,} that a device has; {fix}",
    )
