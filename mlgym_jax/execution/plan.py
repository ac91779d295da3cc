"""Choose how a group is executed: batching x epoch loop x devices."""

from __future__ import annotations

import dataclasses
import re

import jax

from mlgym_jax.errors import ConfigError, MlgymError, nearest

BATCHINGS = ("vmap", "map", "none")
LOOPS = ("scan", "step")
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
        loop: `scan` (an epoch is one program) or `step` (a program a training step, called from Python).
        num_devices: devices that the experiments are sharded over.
        reason: why, in words, for the log.
        chunk: at most so many experiments in one call of the program, over all devices; by default all of them.
    """

    batching: str
    loop: str
    num_devices: int
    reason: str
    chunk: int | None = None

    def __str__(self) -> str:
        chunk = f"+chunk{self.chunk}" if self.chunk else ""
        return f"{self.batching}+{self.loop}{chunk}x{self.num_devices}"


@dataclasses.dataclass(frozen=True)
class PlanRequest:
    """What of a plan is asked for; None stands for a part that is left to the choice.

    Attributes:
        tune: whether the choice is made by measuring.
    """

    batching: str | None = None
    loop: str | None = None
    chunk: int | None = None
    tune: bool = False

    def __str__(self) -> str:
        parts = [self.batching, self.loop, f"chunk{self.chunk}" if self.chunk else None]
        return "tune" if self.tune else "+".join(part for part in parts if part) or "auto"


AUTO = PlanRequest()


def parse_plan(text: str) -> PlanRequest:
    """Read `auto`, `tune`, `vmap`, `map+scan`, `vmap+scan+chunk16`, …

    Raises:
        MlgymError: another text.
    """
    if text in ("auto", "tune"):
        return PlanRequest(tune=text == "tune")
    batching, loop, chunk = None, None, None
    for part in text.split("+"):
        if part in BATCHINGS and batching is None:
            batching = part
        elif part in LOOPS and loop is None:
            loop = part
        elif re.fullmatch(r"chunk[1-9]\d*", part) and chunk is None:
            chunk = int(part.removeprefix("chunk"))
        else:
            known = ["auto", "tune", *BATCHINGS, *LOOPS]
            raise MlgymError(
                f"--plan={text}: {part!r} is no plan{nearest(part, known)} Allowed: auto, tune, or one of "
                f"{', '.join(BATCHINGS)}, one of {', '.join(LOOPS)}, or both as in map+scan; +chunk16 for at most 16 "
                "experiments at once"
            )
    return PlanRequest(batching, loop, chunk)


def logged_plan(text: str) -> PlanRequest:
    """Return the request that brings back a plan that a log names, `map+scanx2`, on whatever devices there are now."""
    return parse_plan(text.rpartition("x")[0] or text)


def choose_plan(
    request: PlanRequest,
    *,
    num_experiments: int,
    num_devices: int,
    state_bytes: int | None = None,
    strict: bool = False,
) -> Plan:
    """Choose the plan of a group.

    Args:
        state_bytes: how large an experiment's state is; None where one batch of them cannot pay on a CPU.
        strict: the numbers of an experiment may not depend on who trains beside it, as those of a batch do.

    Raises:
        ConfigError: at `strict`, if a plan is asked for that cannot be.
    """
    if not strict:  # a program for other devices is another program, whose sums may be ordered otherwise
        num_devices = min(num_devices, num_experiments)
    platform = jax.default_backend()
    rows = -(-num_experiments // num_devices)
    fit = state_bytes is not None and state_bytes <= _TINY_BYTES and rows > 1 and rows * state_bytes <= _CACHE_BYTES
    if platform == "cpu" and fit:
        chosen = ("vmap", "scan", f"networks so small that {rows} of them fit a core's cache are computed in one batch")
    elif platform == "cpu":
        chosen = ("map", "scan", "on a CPU one experiment after the other in one program keeps the caches warm")
    else:
        chosen = ("vmap", "scan", f"on a {platform} batching the experiments fills the device")
    if strict and request.batching == "vmap":
        raise ConfigError(
            "strict",
            f"--plan={request} computes experiments in one batch, whose size their numbers depend on; use map or none",
        )
    if strict and chosen[0] == "vmap":
        chosen = (
            "map",
            "scan",
            "config.strict: each experiment by itself, so that its numbers do not depend on others",
        )
    reason = chosen[2] if request == AUTO else f"forced by --plan={request}"
    return Plan(request.batching or chosen[0], request.loop or chosen[1], num_devices, reason, request.chunk)
