"""The events of a run: each type is one struct, which builds it, reads it strictly, and says what it means.

An event is a plain dict `{"event_type", "creation_ts", "payload"}`; a struct here is a payload, its fields in the order
of the line. The builder of a type has the type's name and takes the clock as `now_ms` (unix milliseconds); nothing here
reads a clock or touches a file. Structs of what is observed beside scores are in `events.observed`. Names of types and
fields are a contract with the readers of old logs: fields may be added, none is renamed or dropped.

Synopsis:

>>> from mlgym_jax.events import schema
>>> schema.group_compacted("2026-11-23--17-59-10", group=0, epoch=12, rows=[0, 1], now_ms=1_795_456_751_800)["payload"]
{'grid_search_id': '2026-11-23--17-59-10', 'group': 0, 'epoch': 12, 'rows': [0, 1]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from mlgym_jax.events.observed import EvaluationCurves, Message, Recorded, System
from mlgym_jax.events.payload import Number, Payload, type_name

# --- the run -------------------------------------------------------------------------------------------------------


class RunStarted(Payload, kw_only=True):
    """A run begins, or goes on (`resumed`).

    Attributes:
        writer: random, of this launch alone: it tells apart runs of one id, and launches that go on with copies of one.
        imported: {"format", "source"}: only of a run that another tracker's logs were made into.
    """

    name: str
    config_hash: str
    num_experiments: int
    num_groups: int
    resumed: bool
    writer: str | msgspec.UnsetType = msgspec.UNSET
    imported: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET


class RunFinished(Payload, kw_only=True):
    """A run ended; `seconds` is the wall time of this launch."""

    status: Literal["DONE", "FAILED", "INTERRUPTED"]
    num_failed: int
    seconds: Number


class JobScheduled(Payload, kw_only=True):
    """The run's whole resolved config."""

    job_id: str
    config: Mapping[str, Any]


class JobStatus(Payload, kw_only=True):
    """An experiment's job; `DONE` with an `error` means failed. Times are unix milliseconds."""

    experiment_id: int
    job_id: str
    job_type: Literal["CALC", "TERMINATE"] = "CALC"
    status: Literal["INIT", "RUNNING", "DONE"]
    starting_time: int | None = None
    finishing_time: int | None = None
    error: str | None = None
    stacktrace: str | None = None
    device: str | None = None


# --- one experiment ------------------------------------------------------------------------------------------------


class ExperimentConfig(Payload, kw_only=True):
    """One experiment's own resolved config.

    Attributes:
        hyperparameters: the swept values, flat.
        fold: None without cross validation.
        round: counts what a search proposes from earlier results.
        refit: {"monitor", "mode", "experiments"}: only of an experiment that trains once more what was selected, by
            which score and from which experiments; no field of any other.
    """

    experiment_id: int
    job_id: str
    config: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]
    fold: int | None = None
    round: int = 0
    refit: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET


class ExperimentStatus(Payload, kw_only=True):
    """A progress report: where in the epoch and the split the experiment is."""

    experiment_id: int
    status: Literal["TRAINING", "EVALUATING"]
    num_epochs: int
    current_epoch: int
    splits: Sequence[str]
    current_split: str
    num_batches: int
    current_batch: int


class MetricScore(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A metric's value on one split, in an `EvaluationResult`."""

    metric: str
    split: str
    score: Number


class LossScore(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A loss's value on one split, in an `EvaluationResult`."""

    loss: str
    split: str
    score: Number


class EvaluationResult(Payload, kw_only=True, gc=False):
    """All scores of one epoch; `seconds` is the experiment's share of its time, `step` counts the steps so far."""

    experiment_id: int
    epoch: int
    metric_scores: list[MetricScore]
    loss_scores: list[LossScore]
    seconds: Number | None = None  # old logs say neither
    step: int | msgspec.UnsetType = msgspec.UNSET


class ExperimentStopped(Payload, kw_only=True):
    """Early stopping, halving or a NaN ended an experiment after `epoch`."""

    experiment_id: int
    epoch: int
    reason: str


class ExperimentFailed(Payload, kw_only=True):
    """An error ended an experiment in `epoch`."""

    experiment_id: int
    epoch: int
    error: str
    stacktrace: str | None


class ModelEvaluated(Payload, kw_only=True):
    """A kept checkpoint was evaluated once more, after training: the model as it was after `epoch`.

    Attributes:
        dataset: None for the run's own data, else its config section; fingerprint: the data's SHA-256.
    """

    experiment_id: int
    epoch: int
    split: str
    dataset: Mapping[str, Any] | None
    num_examples: int
    fingerprint: str
    scores: Mapping[str, Number]


class ResumeMismatch(Payload, kw_only=True):
    """A resumed run computed a score again and found it different from the log."""

    experiment_id: int
    epoch: int
    key: str
    logged: Number
    repeated: Number


# --- a group -------------------------------------------------------------------------------------------------------


class GroupCompiled(Payload, kw_only=True):
    """One compiled training program: which experiments it trains, by which plan and why.

    Attributes:
        compile_seconds: from its first trace to its last program; waited_seconds: those of them in which the run had
            nothing else to do, fewer where they were compiled while groups before trained. None in old logs.
        num_examples: training examples an experiment and epoch.
        mesh: the devices' axes, `experiment:2,data:1`; flops_per_step: what a training step of one experiment computes;
            bytes_per_device: what a call of the programs needs there. None where it is not known, as of old logs.
    """

    group: int
    experiments: Sequence[int]
    plan: str
    reason: str
    compile_seconds: Number
    num_examples: int | None = None
    mesh: str | None = None
    flops_per_step: int | None = None
    bytes_per_device: int | None = None
    waited_seconds: Number | None = None


class GroupTrained(Payload, kw_only=True):
    """How fast a group trained in this launch: its experiments' steps and examples, in the wall time of its epochs.

    Attributes:
        seconds: evaluations included; compiling, and pauses between epochs, are not.
        tokens_per_second: None where examples are no sequences of tokens.
        utilisation: operations of the steps, over what the devices could have done meanwhile; None if not known.
    """

    group: int
    num_steps: int
    num_examples: int
    seconds: Number
    examples_per_second: Number
    tokens_per_second: Number | None
    device_kind: str
    utilisation: Number | None


class WarmStarted(Payload, kw_only=True):
    """Experiments begin with arrays from elsewhere.

    Attributes:
        loaded: paths of what was loaded; left: of what stays as it was initialised.
        mismatched: path -> why it was skipped.
        checksum: CRC-32 of the loaded arrays.
    """

    group: int
    experiments: Sequence[int]
    source: str
    loaded: Sequence[str]
    left: Sequence[str]
    mismatched: Mapping[str, str]
    checksum: int


class ProfileSaved(Payload, kw_only=True):
    """A trace of JAX's profiler is in `folder` of the run's: of `num_steps` steps of all of a group's experiments."""

    group: int
    first_epoch: int
    last_epoch: int
    num_steps: int
    folder: str


class GroupCompacted(Payload, kw_only=True):
    """A group shrank after `epoch` to `rows`, the ids of the experiments that still train."""

    group: int
    epoch: int
    rows: Sequence[int]


class CheckpointSaved(Payload, kw_only=True):
    """A group's checkpoint is on disk; `kept` lists its `[experiment_id, epoch]` rows, `step` the most of its steps."""

    group: int
    epoch: int
    kept: Sequence[Sequence[int]]
    bytes: int
    seconds: Number
    step: int | msgspec.UnsetType = msgspec.UNSET


class CheckpointSkipped(Payload, kw_only=True):
    """A resume passed over a checkpoint that is damaged, or none of this group's.

    Attributes:
        moved_to: where in the run's folder it is now; old logs, whose steps were removed, do not say it.
        lost: the `[experiment_id, epoch]` rows that a strategy wants and no step holds any more, where there are any.
    """

    group: int
    step: int
    error: str
    moved_to: str | msgspec.UnsetType = msgspec.UNSET
    lost: Sequence[Sequence[int]] | msgspec.UnsetType = msgspec.UNSET


# --- replication ---------------------------------------------------------------------------------------------------


class LineLeftOut(Payload, kw_only=True):
    """What a board gets in the place of a line that cannot be sent, so that all others keep their ids.

    It is a function of the line alone: its size, its CRC-32, and why (`damaged`, `no event`, `too large`), at time 0.
    """

    reason: str
    bytes: int
    crc32: int


# --- types and builders by name --------------------------------------------------------------------------------------

TYPES: dict[str, type[Payload]] = {type_name(kind): kind for kind in Payload.__subclasses__()}

run_started = RunStarted.event
run_finished = RunFinished.event
job_scheduled = JobScheduled.event
job_status = JobStatus.event
experiment_config = ExperimentConfig.event
experiment_status = ExperimentStatus.event
experiment_stopped = ExperimentStopped.event
experiment_failed = ExperimentFailed.event
model_evaluated = ModelEvaluated.event
resume_mismatch = ResumeMismatch.event
group_compiled = GroupCompiled.event
warm_started = WarmStarted.event
group_trained = GroupTrained.event
profile_saved = ProfileSaved.event
group_compacted = GroupCompacted.event
checkpoint_saved = CheckpointSaved.event
checkpoint_skipped = CheckpointSkipped.event
line_left_out = LineLeftOut.event
evaluation_curves = EvaluationCurves.event
recorded = Recorded.event
system = System.event
message = Message.event
