"""Choose how a group is executed: batching x epoch loop x devices."""

from __future__ import annotations

import dataclasses
import re

import jax

from mlgym_jax.errors import ConfigError, MlgymError, nearest
from mlgym_jax.execution.mesh import EXPERIMENT, MeshSizes, described, parse_mesh
from mlgym_jax.execution.parallel import Needs, choose_placement

BATCHINGS = ("vmap", "map", "none")
LOOPS = ("scan", "step", "stretch")
# On a CPU, a batch of networks is as fast as one after the other, or faster, if a state (parameters, and what Adam
# keeps of them) is at most so large, and all of a core's together no larger than its cache; see docs/performance.md.
_TINY_BYTES = 128 * 2**10
_CACHE_BYTES = 2 * 2**20


@dataclasses.dataclass(frozen=True)
class Plan:
    """How one group runs.

    Attributes:
        batching: `vmap` (one batched program), `map` (one program, experiments one after the other on each device),
            `none` (one experiment a device and call).
        loop: `scan` (an epoch is one program), `step` (a program a training step, called from Python) or `stretch` (a
            program of as many steps as take half a second, called again and again).
        num_devices: devices that the experiments are sharded over.
        reason: why, in words, for the log.
        chunk: at most so many experiments in one call of the program, over all devices; by default all of them.
        data: devices that each batch is split over; all of an experiment's.
        shard: how states lie along those: `data` (a copy on each) or `fsdp` (split).
    """

    batching: str
    loop: str
    num_devices: int
    reason: str
    chunk: int | None = None
    data: int = 1
    shard: str = "data"

    def __str__(self) -> str:
        """Write `map+scanx2`, or with batches that are split `none+scan+fsdp+experiment:2,data:4`."""
        chunk = f"+chunk{self.chunk}" if self.chunk else ""
        text = f"{self.batching}+{self.loop}{chunk}"
        if self.data == 1:
            return f"{text}x{self.num_devices}"
        return f"{text}{'+fsdp' * (self.shard == 'fsdp')}+{described(self)}"

    @property
    def mesh(self) -> MeshSizes:
        return MeshSizes(self.num_devices, self.data)


@dataclasses.dataclass(frozen=True)
class PlanRequest:
    """What of a plan is asked for; None stands for a part that is left to the choice.

    Attributes:
        tune: whether the choice is made by measuring.
        mesh: the sizes of the mesh.
        shard: how states lay, in a log.
    """

    batching: str | None = None
    loop: str | None = None
    chunk: int | None = None
    tune: bool = False
    mesh: MeshSizes | None = None
    shard: str | None = None

    def __str__(self) -> str:
        mesh = f"+{self.mesh}" if self.mesh else ""
        return f"{self.computed}{mesh}"

    @property
    def computed(self) -> str:
        """What `--plan` asks for, which is all but the mesh."""
        parts = [self.batching, self.loop, f"chunk{self.chunk}" if self.chunk else None]
        return "tune" if self.tune else "+".join(part for part in parts if part) or "auto"

    def on(self, num_devices: int) -> PlanRequest:
        """Return the same without a mesh that so many devices do not make: one that a record asks for."""
        fits = self.mesh is None or self.mesh.num_devices <= num_devices
        return self if fits else dataclasses.replace(self, mesh=None, shard=None)


AUTO = PlanRequest()


def request_of(plan: str, mesh: str | None) -> PlanRequest:
    """Return what `--plan` and `--mesh` ask for together.

    Raises:
        MlgymError: another text.
    """
    return dataclasses.replace(parse_plan(plan), mesh=None if mesh is None else parse_mesh(mesh))


def parse_plan(text: str) -> PlanRequest:
    """Read `auto`, `tune`, `vmap`, `map+scan`, `vmap+scan+chunk16`, …

    Raises:
        MlgymError: another text.
    """
    if text in ("auto", "tune"):
        return PlanRequest(tune=text == "tune")
    batching, loop, chunk = None, None, None
    for part in str(text).split("+"):
        if part in BATCHINGS and batching is None:
            batching = part
        elif part in LOOPS and loop is None:
            loop = part
        elif re.fullmatch(r"chunk[1-9]\d*", part) and chunk is None:
            chunk = int(part.removeprefix("chunk"))
        else:
            known = ["auto", "tune", *BATCHINGS, *LOOPS]
            if ":" in part or part in ("fsdp", "data"):
                raise MlgymError(
                    f"--plan={text}: {part!r} is said elsewhere: devices by --mesh=experiment:2,data:4, what is split "
                    "over them by config.parallel = component('data'), or 'fsdp'"
                )
            raise MlgymError(
                f"--plan={text}: {part!r} is no plan{nearest(part, known)} Allowed: auto, tune, or one of "
                f"{', '.join(BATCHINGS)}, one of {', '.join(LOOPS)}, or both as in map+scan; +chunk16 for at most 16 "
                "experiments at once"
            )
    return PlanRequest(batching, loop, chunk)


def recorded_request(text: str) -> PlanRequest:
    """Read what a launch recorded that was asked for: `auto`, `map+scan`, `auto+experiment:2,data:4`."""
    plan, found, mesh = text.partition(f"+{EXPERIMENT}:")
    return request_of(plan, f"{EXPERIMENT}:{mesh}" if found else None)


def logged_plan(text: str) -> PlanRequest:
    """Return the request that brings back a plan that a log names, on whatever devices there are now.

    It is `map+scanx2`, or `none+scan+fsdp+experiment:2,data:4`; `PlanRequest.on` leaves out a mesh that cannot be met.
    """
    plan, found, _ = text.partition(f"+{EXPERIMENT}:")
    if not found:
        return parse_plan(text.rpartition("x")[0] or text)
    shard = "fsdp" if plan.endswith("+fsdp") else "data"
    return dataclasses.replace(recorded_request(text.replace("+fsdp", "", 1)), shard=shard)


def choose_plan(
    request: PlanRequest,
    *,
    num_experiments: int,
    num_devices: int,
    state_bytes: int | None = None,
    strict: bool = False,
    of_lengths: bool = False,
    needs: Needs = Needs(),  # noqa: B008 (frozen)
) -> Plan:
    """Choose the plan of a group.

    Args:
        state_bytes: how large an experiment's state is; None where one batch of them cannot pay on a CPU.
        strict: the numbers of an experiment may not depend on who trains beside it, as those of a batch do.
        of_lengths: batches are cut to several lengths, all of which a batch of experiments would compute.
        needs: what decides whether batches and states are split over devices.

    Raises:
        ConfigError: at `strict`, if a plan is asked for that cannot be; at `parallel`, if states have no room.
    """
    mesh, shard, why = choose_placement(
        request.mesh,
        request.shard,
        needs,
        num_experiments=num_experiments,
        num_devices=num_devices,
        strict=strict,
    )
    platform = jax.default_backend()
    rows = -(-num_experiments // mesh.experiment)
    fit = state_bytes is not None and state_bytes <= _TINY_BYTES and rows > 1 and rows * state_bytes <= _CACHE_BYTES
    if mesh.data > 1 and rows == 1:
        chosen = ("none", "scan", "an experiment has devices of its own")
    elif platform == "cpu" and fit:
        chosen = ("vmap", "scan", f"networks so small that {rows} of them fit a core's cache are computed in one batch")
    elif platform == "cpu":
        chosen = ("map", "scan", "on a CPU one experiment after the other in one program keeps the caches warm")
    else:
        chosen = ("vmap", "scan", f"on a {platform} batching the experiments fills the device")
    if of_lengths and chosen[0] == "vmap":
        chosen = ("map", "scan", "batches have several lengths, and each experiment computes that of its own")
    if strict and request.batching == "vmap":
        raise ConfigError(
            "strict",
            f"--plan={request.computed} computes experiments in one batch, whose size their numbers depend on; use map "
            "or none",
        )
    if strict and chosen[0] == "vmap":
        chosen = (
            "map",
            "scan",
            "config.strict: each experiment by itself, so that its numbers do not depend on others",
        )
    reason = chosen[2] if request.computed == "auto" else f"forced by --plan={request.computed}"
    return Plan(
        request.batching or chosen[0],
        request.loop or chosen[1],
        mesh.experiment,
        f"{reason}; {why}" if why else reason,
        request.chunk,
        mesh.data,
        shard,
    )
