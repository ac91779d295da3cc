"""The edge: run and resume studies. All effects happen here: folders, events, checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from mlgym_jax.components.registry import as_cells_have_it
from mlgym_jax.config.file import as_config, source_file
from mlgym_jax.config.words import config_hash, plain
from mlgym_jax.data import given
from mlgym_jax.data.one_pass import kept_in
from mlgym_jax.errors import DiskError, MlgymError, path_of
from mlgym_jax.events import LiveView, RunView, layout, project_log
from mlgym_jax.execution.collecting import seldom_collected
from mlgym_jax.execution.compile_cache import use_compile_cache
from mlgym_jax.execution.interruption import interruptible, recording, safe_point
from mlgym_jax.execution.jax_settings import with_all_numbers
from mlgym_jax.execution.mesh import use_devices
from mlgym_jax.execution.plan import AUTO, PlanRequest, recorded_request, request_of
from mlgym_jax.publishing import Boards
from mlgym_jax.reading.results import RunResult
from mlgym_jax.recording.ahead import Ahead
from mlgym_jax.recording.energy import EnergyMeter
from mlgym_jax.recording.going_on import change, check_goes_on
from mlgym_jax.recording.group import train_group
from mlgym_jax.recording.group_checkpoints import Rivals
from mlgym_jax.recording.learnt_from import check_learnt_from, record_learnt_from
from mlgym_jax.recording.machine import Machine
from mlgym_jax.recording.machine_log import Messages, collected, logged_beside
from mlgym_jax.recording.model_card import write_cards
from mlgym_jax.recording.plans import plan_ahead, plan_for, plans_before
from mlgym_jax.recording.profile import Profile, profile_of
from mlgym_jax.recording.ready import num_devices_before, ready
from mlgym_jax.recording.recorder import Recorder
from mlgym_jax.recording.writing import Sink, Watching, Written, writing
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.run_folder import provenance, sources
from mlgym_jax.run_folder.own_code import read_config
from mlgym_jax.run_folder.trust import take_over
from mlgym_jax.search.refit import length_of
from mlgym_jax.sinks.beside import LogsBeside
from mlgym_jax.study.expand import Study, extended, prepare, proposed, refitted

_LOG = logging.getLogger(__name__)


@interruptible
def run(
    config: Any,
    event_storage: str | os.PathLike[str] = "event_storage",
    board: str | Sequence[str] | Boards | None = None,
    *,
    data: Any = None,
    keep_data: bool | None = None,
    run_id: str | None = None,
    plan: str = "auto",
    devices: int | None = None,
    mesh: str | None = None,
    trust: bool = False,
    profile: int | None = None,
    log_to: str | Sequence[str] | None = None,
    log_out: str | os.PathLike[str] | None = None,
    system_metrics: bool = True,
    messages: bool = True,
    sinks: Iterable[Sink] = (),
    live: LiveView | None = None,
    progress: bool | None = None,
) -> RunResult:
    """Run a whole study and return its results; everything is recorded under `event_storage/<run_id>/`.

    Args:
        config: an `ml_collections.ConfigDict`, as `load_config` returns it; or the path that it takes.
        board: the URL of a board to publish to while the run goes on, or several; a board whose own folder is
            `event_storage` needs none. The token is in the environment variable MLGYM_JAX_BOARD_TOKEN.
        data: what to train on in place of `config.dataset`: `(x, y)`, `(frame, "column")` or a dict of splits of these,
            see docs/data.md. It is kept in the run's folder, unless `keep_data=False`; above 256 MiB, if it is True.
        plan: how groups run: `auto`, `tune` (measured), or one of `vmap`, `map`, `none`, `scan`, `step`, or two by +.
        devices: how many local devices to use; all by default.
        mesh: `experiment:2,data:4` deals the experiments to 2 groups of 4 devices, over which each batch is split; by
            default the config's section `parallel` says whether batches are split, and the number of experiments how.
        trust: execute the code of somebody else's run, where a config that it recorded is run.
        profile: write a trace of JAX's profiler of about so many training steps into the run's folder.
        log_to: trackers to write to meanwhile, beneath the folder `log_out`: `tensorboard`, `wandb`, `mlflow`, `aim`.
        system_metrics: record what the machine does, each 15 s; messages: record the warnings that are shown.
        sinks: called with (first_event_id, events) after each write to the log.
        live: is brought up to date with each write, before the sinks are called.
        progress: show how far the run is: in the cell of a notebook, else as the command line does; by default in
            notebooks and where somebody types into Python, unless `live` is given.

    Raises:
        ConfigError: the config cannot be run; nothing was written then.
        DiskError: the disk refused a write; the run can be resumed.
    """
    boards, config, tracing = Boards.at(board), as_config(config), profile_of(profile)
    beside, watching = LogsBeside(log_to, log_out), Watching.by(live, sinks, progress)
    with contextlib.ExitStack() as stack:
        said = stack.enter_context(collected(messages))
        own_data = stack.enter_context(given.at_hand(data, plain(config.get("encoding"))))
        config, kept_data = given.config_of(config, own_data), given.kept(own_data, keep_data)
        with seldom_collected():
            study, request, used = ready(config, plan, devices, mesh=mesh, trust=trust)
        own = sources.kept(study.config, source_file(config))
        storage = os.path.abspath(path_of(event_storage, "a folder for runs"))
        record = provenance.describe(
            source=source_file(config), fingerprints=study.fingerprints(), config_hash=config_hash(study.config)
        )
        safe_point()
        with run_folder.beginning(storage, run_id, datetime.datetime.now(datetime.UTC)) as run_dir:
            run_folder.write_config(run_dir, study.config, source_file(config))
            given.write(run_dir, kept_data)
            record["sources"] = sources.write(run_dir, own)
            run_folder.write_record(run_dir, record)
            # Last: what has a log can be gone on with.
            written = stack.enter_context(writing(run_dir, watching, boards, beside))
        return _launch(written, study, request, devices=used, profile=tracing, observed=(system_metrics, said))


@interruptible
@as_cells_have_it()
def resume(
    run_dir: str | os.PathLike[str],
    num_epochs: int | None = None,
    *,
    num_steps: int | None = None,
    data: Any = None,
    board: str | Sequence[str] | Boards | None = None,
    checkpoint_interval_seconds: float | None = None,
    plan: str = "auto",
    devices: int | None = None,
    mesh: str | None = None,
    trust: bool = False,
    profile: int | None = None,
    log_to: str | Sequence[str] | None = None,
    log_out: str | os.PathLike[str] | None = None,
    system_metrics: bool = True,
    messages: bool = True,
    sinks: Iterable[Sink] = (),
    live: LiveView | None = None,
    progress: bool | None = None,
) -> RunResult:
    """Go on with a run from its newest whole checkpoint, to `num_epochs` or `num_steps` if given.

    Epochs that the log already holds are trained again and compared with it; a difference is recorded as
    `resume_mismatch` and shows in `result.mismatches`.

    Takes what `run` takes, `data` of a run that has not kept its own; `live` also takes in what the log holds already.
    This executes the run's code, with `trust` also that of a run which somebody else made, or which came through a
    board; it is yours from then on.

    Raises:
        MlgymError: no such run, or another process is writing it.
        ConfigError: fewer epochs or steps than before, steps for a run that counts epochs, a value for a field that
            the run sweeps, or steps behind a last evaluation that came early.
    """
    sources.refuse_while_executing()
    boards, request, tracing = Boards.at(board), request_of(plan, mesh), profile_of(profile)
    beside, watching = LogsBeside(log_to, log_out), Watching.by(live, sinks, progress)
    folder = run_folder.require(run_dir)
    used = use_devices(devices, request.mesh, like=num_devices_before(folder))
    config = read_config(folder, trust=trust)
    before = length_of(config)
    change(config, num_epochs, num_steps, checkpoint_interval_seconds)
    # Only the one writer of a run, which this process is from here on, may read what it goes on from.
    with (
        collected(messages) as said,
        given.at_hand(data, config.get("encoding")),
        writing(folder, watching, boards, beside) as written,
    ):
        if trust:
            run_folder.write_record(folder, take_over(folder, run_folder.read_record(folder)))
        with seldom_collected(), kept_in(folder):
            study = prepare(config, written.live.view)
        for job in study.jobs:
            check_goes_on(job, before)
        check_learnt_from(folder, study)
        run_folder.write_resolved(folder, study.config)
        return _launch(written, study, request, devices=used, profile=tracing, observed=(system_metrics, said))


@interruptible
@as_cells_have_it()
def repeat(
    run_dir: str,
    storage: str,
    experiment_id: int | None = None,
    *,
    logged: RunView | None = None,
    trust: bool = False,
    data: Any = None,
) -> RunResult:
    """Train a run's experiments again from scratch into another storage; of one experiment, its whole group.

    The group trains by the plan that the log names, because numbers may depend on who trains beside whom.

    Args:
        logged: what the run's log says, if it has been read already.
        data: what the run was given as `data=`, where it has not kept it.
    """
    view = project_log(os.path.join(run_dir, layout.LOG))[0] if logged is None else logged
    used = use_devices(None, like=num_devices_before(run_dir))  # before anything is traced, which starts JAX
    with given.at_hand(data):
        study = prepare(read_config(run_dir, trust=trust), view)
    others: Rivals = ()
    if experiment_id is not None:
        jobs = tuple(job for job in study.jobs if experiment_id in job.group.ids)
        if not jobs:
            raise MlgymError(
                f"--experiment={experiment_id}: the run has the experiments 0 to {len(study.experiments) - 1}"
            )
        others = [
            (contender, view.experiments[number].rows())
            for job in study.jobs[: jobs[0].group.index]
            if not job.is_refit
            for contender, number in zip(job.contenders, job.group.ids, strict=True)
        ]
        study = dataclasses.replace(study, jobs=jobs, experiments=jobs[0].group.experiments)
    folder = run_folder.create(storage, os.path.basename(run_dir), datetime.datetime.now(datetime.UTC))
    run_folder.write_record(folder, {"launches": []})
    with writing(folder) as written:
        return _launch(written, study, AUTO, devices=used, planned=plans_before(view), others=others, going_on=False)


def _launch(
    written: Written,
    study: Study,
    request: PlanRequest,
    *,
    devices: Sequence[jax.Device],
    planned: Mapping[int, PlanRequest] | None = None,
    others: Rivals = (),
    going_on: bool = True,
    profile: Profile | None = None,
    observed: tuple[bool, Messages | None] = (False, None),
) -> RunResult:
    """Train every group of a study, new or resumed, and return the results.

    Args:
        request: how groups are executed; `auto` asks for what the launch before this one asked for.
        planned: group -> the plan that it trained by before, which `auto` keeps because numbers may depend on it.
        going_on: let a search propose more when all has trained.
        others: what groups that are not part of `study` had trained before it.
        observed: whether the machine is, and the messages to record.
    """
    use_compile_cache()
    started = time.perf_counter()
    log, live, publication = written
    publication.begin(log.next_event_id)
    run_dir, logged = str(log.path.parent), live.view.copy()
    record = run_folder.read_record(run_dir)
    planned = {**plans_before(logged), **(planned or {})} if request == AUTO else {}
    if request == AUTO and record["launches"]:
        request = recorded_request(record["launches"][-1].get("requested_plan") or "auto").on(len(devices))
    plans: list[str] = []
    rivals = list(others)
    recorder = Recorder(os.path.basename(run_dir), log, logged)
    launch = {
        "started_ms": recorder.started_ms,
        "command": provenance.command_line(),
        "requested_plan": str(request),
        "devices": [str(device) for device in devices],
        "plan": plans,
        "status": "RUNNING",
        "versions": provenance.versions(),
        "settings": provenance.settings(),
    }
    versions = provenance.changed_versions(provenance.launched_versions(record)[-1:], launch["versions"])
    settings = provenance.changed_settings(provenance.launched_settings(record)[-1:], launch["settings"])
    for what, changed in (("versions", versions), ("settings", settings)):
        if changed:
            launch[f"changed_{what}"] = changed
            said = "settings of JAX" if what == "settings" else what, "; ".join(provenance.in_words(changed))
            _LOG.warning("going on with other %s than before, so numbers may differ: %s", *said)
    record["launches"].append(launch)
    record["config_hash"] = config_hash(study.config)
    try:
        record_learnt_from(run_dir, record, study)
    except DiskError as error:
        raise DiskError(f"{error}. Go on once there is room, with --resume={os.path.basename(run_dir)}") from error
    status, meter, beside = "INTERRUPTED", EnergyMeter(), contextlib.ExitStack()
    recording()
    beside.enter_context(with_all_numbers())
    try:
        recorder.begin(run_dir, study)
        if observed != (False, None):
            machine = Machine(run_dir) if observed[0] else None
            beside.enter_context(logged_beside(recorder, observed[1], machine))
        ahead = beside.enter_context(Ahead(devices, functools.partial(plan_ahead, logged, request, planned, devices)))
        waiting = list(study.jobs)
        while waiting:
            safe_point()
            job, ahead.next = waiting.pop(0), waiting
            chosen = plan_for(job, request, planned.get(job.group.index), devices, study.config["strict"])
            plans.append(f"{chosen}: {chosen.reason}")
            trained = train_group(
                run_dir,
                job,
                chosen,
                recorder,
                devices=devices,
                ahead=ahead,
                static_because=study.static_because,
                rivals=rivals,
                profile=profile,
            )
            rivals += [] if job.is_refit else trained
            if not waiting and going_on:
                longer = _continued(study, rivals, live.view)
                if longer is not study:  # what it trains on is on disk before anything says that it trains
                    record_learnt_from(run_dir, record, longer)
                recorder.announce(run_dir, longer.experiments[len(study.experiments) :])
                waiting += longer.jobs[len(study.jobs) :]
                study = longer
        safe_point()  # the last one: what is noted later finds all done
        incomplete = going_on and study.config.get("refit") and not any(job.is_refit for job in study.jobs)
        status = "FAILED" if recorder.failed or recorder.mismatches or incomplete else "DONE"
    finally:
        beside.close()
        launch["status"] = status
        launch["energy"] = meter.stop()
        with contextlib.suppress(DiskError) if status == "INTERRUPTED" else contextlib.nullcontext():
            recorder.finish(status, time.perf_counter() - started)
            run_folder.write_record(run_dir, record)
    # Its code was executed just now, and its data are at hand.
    result = RunResult(run_dir, live.view, live.damaged_lines, trust=True, data=given.now())
    write_cards(result, study, record, log)
    return result


def _continued(study: Study, trained: Rivals, view: RunView) -> Study:
    """Return a study with what follows when all of it has trained: what its search proposes, else its refit."""
    more = proposed(study, trained)
    if more:
        return extended(study, more)
    if study.config.get("refit") is None:
        return study
    found = refitted(study, view)
    if found is None:
        _LOG.warning("config.refit: nothing was selected, as no candidate has a finite score on every fold")
    return found or study
