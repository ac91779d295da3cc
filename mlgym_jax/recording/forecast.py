"""What a run would do, found by all checks that a run begins with; nothing is trained or written.

Synopsis:

    print(mg.forecast(mg.load_config("configs/gs.py")))
    mg.forecast(mg.load_config("configs/gs.py"), measure=True).seconds.total
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.checkpoint.orbax_later import import_in_background
from mlgym_jax.config.file import as_config
from mlgym_jax.config.html_table import html_text
from mlgym_jax.data import given
from mlgym_jax.data.bucketed import padding
from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.errors import MlgymError, listed
from mlgym_jax.execution.compile_cache import reading_compile_cache
from mlgym_jax.execution.interruption import interruptible
from mlgym_jax.execution.memory import beyond_memory
from mlgym_jax.execution.mesh import described
from mlgym_jax.execution.plan import Plan, PlanRequest
from mlgym_jax.recording.ready import ready
from mlgym_jax.recording.rehearsal import Rehearsal, rehearse
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.study.expand import Study
from mlgym_jax.study.job import Job
from mlgym_jax.study.less_memory import with_less_memory
from mlgym_jax.study.planning import overwrites, plan_of
from mlgym_jax.study.programs import advice, in_words
from mlgym_jax.study.runners import on_devices

_SHOWN = 20
# What a run writes takes so long on a usual disk: its folder and log, a checkpoint of each group, its model cards. And
# so long takes the end of a process that has used JAX. Seen on two cores with the published configs.
_RECORDING_SECONDS, _CHECKPOINT_SECONDS, _ENDING_SECONDS = 0.2, 0.1, 0.5


@dataclasses.dataclass(frozen=True)
class Seconds:
    """How long a run would take, in seconds of wall time, if no experiment is stopped early.

    Attributes:
        start: imports, reading data, tracing; compile: of all groups; train: with evaluations; record: what is written,
            and the end of the process, where that is a command line's.
    """

    start: float
    compile: float
    train: float
    record: float

    @property
    def total(self) -> float:
        return self.start + self.compile + self.train + self.record


@dataclasses.dataclass(frozen=True)
class GroupForecast:
    """What is known of a group before it runs.

    Attributes:
        plan: None where it is measured when it runs (`tune`), and so is the mesh.
        flops_per_step: of one experiment's training step; None where it is not known.
        bytes_per_device: what a call of the programs needs there: measured, else what states, results and data take at
            the least; what is between them is not known before compiling.
        checkpoint_bytes: of the newest states of all experiments.
        kept_bytes: of each epoch of an experiment that is kept besides.
        short: what is said of memory that is not enough, and what to write; "" where it is, or nobody knows.
        rehearsal: what was measured, if that was asked for.
    """

    job: Job
    plan: Plan | None
    mesh: str | None
    num_parameters: int
    flops_per_step: int | None
    bytes_per_device: int
    checkpoint_bytes: int
    kept_bytes: int
    short: str
    rehearsal: Rehearsal | None

    def __str__(self) -> str:
        job, number = self.job, len(self.job.group.experiments)
        steps, size = job.shape.num_steps, job.shape.batch_size
        sizes = ", ".join(f"{split} {_span(sizes)}" for split, sizes in job.folds.sizes.items())
        plan = "measured when it runs (tune)" if self.plan is None else str(self.plan)
        flops = "unknown operations" if self.flops_per_step is None else f"{_short(self.flops_per_step)}FLOP"
        least = "at least " if self.rehearsal is None else ""
        lines = [
            f"group {job.group.index}: {number} experiment{'s' * (number > 1)}, plan {plan}, {steps} "
            f"step{'s' * (steps > 1)} of {size} an epoch, {self.num_parameters:,} parameters; examples: {sizes}; "
            f"scores: {listed(job.names, 8)}",
            *([f"plan: {self.plan.reason}; mesh {self.mesh}"] if self.plan is not None else []),
            f"{flops} a step; {least}{_short(self.bytes_per_device)}B of memory a device; a checkpoint of "
            f"{_short(self.checkpoint_bytes)}B, and {_short(self.kept_bytes)}B for each epoch of an experiment that is "
            "kept besides",
            *([self.short] if self.short else []),
        ]
        if job.shape.buckets is not None:
            sizes = job.shape.buckets.sizes
            rows = job.folds.indices["train"][0][job.folds.mask["train"][0]]
            share, otherwise = padding(job.shape.buckets, job.table.arrays, rows)
            lines.append(
                f"batches of {listed(sizes, 16)} positions, each a part of one compiled program: about {share:.0%} of "
                f"what is trained on is padding, {otherwise:.0%} where all have {sizes[-1]}"
            )
        if self.rehearsal is not None:
            found = self.rehearsal
            part = "" if found.num_steps == job.shape.steps_at_once else f" (by {found.num_steps} of its steps)"
            lines.append(
                f"measured: compiled in {found.compile_seconds:.1f} s, then {_milliseconds(found.epoch_seconds)} an "
                f"epoch{part}"
            )
        return "\n  ".join(lines)


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a run would do.

    Attributes:
        num_epochs: of all experiments together, if none is stopped early.
        seconds: how long it would take; None unless that was measured.
    """

    study: Study
    devices: Sequence[jax.Device]
    groups: tuple[GroupForecast, ...]
    num_epochs: int
    seconds: Seconds | None

    def __str__(self) -> str:
        study, devices, experiments = self.study, self.devices, len(self.study.experiments)
        done = "trained" if self.seconds is None else "recorded"
        lines = [
            f"{study.config['name']}: {experiments} experiment{'s' * (experiments > 1)}, {self.num_epochs:,} epochs, "
            f"on {len(devices)} {devices[0].platform} device{'s' * (len(devices) > 1)}; nothing was {done} or written"
        ]
        if study.search.is_adaptive:
            lines.append("more follow, as the search proposes them")
        groups = [job.group for job in study.jobs]
        lines.append(in_words(groups, study.static_because))
        if hint := advice(groups):
            lines.append(hint)
        elif len(groups) == experiments > 1:
            lines.append(
                "each experiment compiles a program of its own; seeds, folds and numbers of losses and optimizers can "
                "be swept in one"
            )
        lines += [str(group) for group in self.groups[:_SHOWN]]
        if len(self.groups) > _SHOWN:
            lines.append(f"… ({len(self.groups)} groups in all)")
        if self.seconds is not None:
            found, least = self.seconds, " of what is known by now" * bool(study.search.is_adaptive)
            stops = any(job.may_stop for job in study.jobs)
            lines.append(
                f"predicted{least}: {found.total:.1f} s{', less where experiments stop early' * stops}: "
                f"{found.start:.1f} s to start, {found.compile:.1f} s to compile, {found.train:.1f} s to train and "
                f"evaluate, {found.record:.1f} s to record"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return html_text(str(self))


@interruptible
def forecast(
    config: Any,
    *,
    measure: bool = False,
    run_id: str | None = None,
    plan: str = "auto",
    devices: int | None = None,
    mesh: str | None = None,
    trust: bool = False,
    data: Any = None,
    since: float | None = None,
) -> Forecast:
    """Return what `run` would train, after the checks that it begins with; as text, it says so in words.

    Takes what `run` takes, and besides:

    Args:
        measure: compile the programs and time a few epochs of each, to predict the run's seconds. Programs that were
            compiled before are found in the cache, as a run finds them; none is added.
        since: `time.perf_counter()` when the process began, whose imports and end are counted, too.

    Raises:
        ConfigError: the config cannot be run. MlgymError: something else of the request.
    """
    ending = 0.0 if since is None else _ENDING_SECONDS
    since = time.perf_counter() if since is None else since
    if run_id is not None:
        run_folder.check_id(run_id, "--run_id")
    with given.at_hand(data) as own_data:
        config = given.config_of(as_config(config), own_data)
        study, request, used = ready(config, plan, devices, mesh=mesh, trust=trust)
    if measure and request.tune:
        raise MlgymError(
            "--plan=tune: it measures and remembers plans when it runs; to predict a run's seconds, leave --plan out "
            "or name one, such as --plan=map+scan"
        )
    start = time.perf_counter() - since
    num_epochs = sum(job.cadence.num_evaluations * len(job.group.experiments) for job in study.jobs)
    if not measure:
        groups = tuple(_of(job, request, used, study.config["strict"]) for job in study.jobs)
        return Forecast(study, used, groups, num_epochs, None)
    import_in_background()  # as a run does, while it compiles
    with reading_compile_cache():
        groups = tuple(_of(job, request, used, study.config["strict"], measure=True) for job in study.jobs)
    return Forecast(study, used, groups, num_epochs, _seconds(study, groups, start, ending))


def _of(
    job: Job, request: PlanRequest, devices: list[jax.Device], strict: bool, *, measure: bool = False
) -> GroupForecast:
    number, plan, mesh, rehearsal = len(job.group.experiments), None, None, None
    if not request.tune:
        plan = plan_of(job, request, devices, strict=strict)
        if measure:
            rehearsal = rehearse(job, plan, devices)
            plan = rehearsal.plan
        mesh = described(plan)
    needed = least_bytes(job, plan, len(devices)) if rehearsal is None else rehearsal.bytes_per_device
    may_be_cut = rehearsal is None and number > len(devices)
    short = "" if may_be_cut else beyond_memory(devices[0], needed)
    return GroupForecast(
        job=job,
        plan=plan,
        mesh=mesh,
        num_parameters=sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(job.abstract.params)),
        flops_per_step=None if job.flops is None else job.flops.total,
        bytes_per_device=needed,
        checkpoint_bytes=number * job.state_bytes,
        kept_bytes=job.state_bytes,
        short=short and f"{short}; less is needed by {with_less_memory(job, len(devices))}",
        rehearsal=rehearsal,
    )


def least_bytes(job: Job, plan: Plan | None, num_devices: int) -> int:
    """Return what an epoch's program takes on a device at the least: data, and states before and after it.

    Those are one where the program overwrites them.
    """
    rows = len(job.group.experiments)
    num_devices = min(num_devices, rows) if plan is None else plan.num_devices
    if plan is not None:
        rows = min(rows, plan.chunk or rows) if plan.batching != "none" else num_devices
    data = () if isinstance(job.table, StreamedTable) else (on_devices(job), dict(job.fold_tables))
    resident = sum(leaf.nbytes for leaf in jax.tree.leaves(data))
    state = job.state_bytes // plan.data if plan is not None and plan.shard == "fsdp" else job.state_bytes
    times = 1 if plan is not None and overwrites(job, plan) else 2
    return resident + times * -(-rows // num_devices) * state


def _seconds(study: Study, groups: Sequence[GroupForecast], start: float, ending: float) -> Seconds:
    found = [(group, group.rehearsal) for group in groups if group.rehearsal is not None]
    compiling = [rehearsal.compile_seconds + rehearsal.init_seconds for _, rehearsal in found]
    training = [rehearsal.train_seconds(group.job.cadence.num_evaluations) for group, rehearsal in found]
    number = len(groups)
    if study.config.get("refit"):  # one more group, of which it is not known yet what it trains: an average experiment
        compiling.append(sum(compiling) / number)
        training.append(sum(training) / len(study.experiments))
        number += 1
    return Seconds(start, sum(compiling), sum(training), _RECORDING_SECONDS + number * _CHECKPOINT_SECONDS + ending)


def _span(sizes: tuple[int, ...]) -> str:
    return f"{min(sizes):,}" if len({*sizes}) == 1 else f"{min(sizes):,} to {max(sizes):,}"


def _short(number: float) -> str:
    """Spell a number with three digits and the prefix of its size: 7.37 M."""
    for prefix in ("", "k", "M", "G", "T"):
        if number < 999.5 or prefix == "T":
            break
        number /= 1000
    return f"{number:,.0f} {prefix}" if not prefix or number >= 99.95 else f"{number:.3g} {prefix}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
