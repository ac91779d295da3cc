"""Run a study from its config file, or resume one.

python -m mlgym_jax.run --config=configs/gs.py [--config.num_epochs=3] [--event_storage=DIR] [--resume=RUN_ID]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import types
from collections.abc import Mapping
from typing import Any

from mlgym_jax.command_line import (
    DONE,
    FAILED,
    INTERRUPTED,
    Parser,
    answer,
    guarded,
    leave,
    parse_overrides,
    split_overrides,
)
from mlgym_jax.errors import DiskError, MlgymError, MovedError, nearest
from mlgym_jax.events import layout
from mlgym_jax.execution.collecting import seldom_collected
from mlgym_jax.execution.interruption import Interruption, Watch, safe_point
from mlgym_jax.publishing import Boards

# A resumed run may be given these anew; everything else is part of what its numbers are.
# What earlier versions recorded of a config without a section `validation`.
_OLD_DEFAULT = {"component": "holdout", "val": 0.2}
_MAY_CHANGE = ("num_epochs", "num_steps", "checkpoint_interval_seconds")
# What --dry_run may be besides a flag.
MEASURES = "measure"
_STARTED = time.perf_counter() - time.process_time()  # what came before this line were imports


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        repeatable=("--board", "--log_to"),
        prog="python -m mlgym_jax.run",
        description="Run a study described by one config file: train its sweep, record everything, keep checkpoints.",
        epilog="Fields of the config are overridden by --config.path=value, swept ones too: "
        "--config.optimizer.learning_rate=0.01 or --config.seed='grid(0,1,2)'. "
        "Exit status: 0 done, 1 some experiments failed, 2 the request was wrong, 130 interrupted "
        "(SIGINT, SIGTERM, SIGHUP, SIGUSR1: after the epoch and its checkpoint; a second SIGINT or SIGTERM at once).",
    )
    parser.add_argument("--config", metavar="FILE[:ARG]", help="the config file; ARG is handed to its get_config")
    parser.add_argument("--event_storage", metavar="DIR", default=layout.STORAGE, help="where runs are recorded")
    parser.add_argument("--run_id", metavar="ID", help="the run's id; by default the UTC time")
    parser.add_argument(
        "--board", metavar="URL", action="append", help="a board to publish to while the run goes on; may be repeated"
    )
    parser.add_argument(
        "--board_token_file",
        metavar="FILE",
        help="a file that holds the boards' token; by default the environment variable MLGYM_JAX_BOARD_TOKEN does",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a run, by its id, its folder or `latest`; this executes its config.py",
    )
    parser.add_argument(
        "--resume_or_start",
        action="store_true",
        help="go on with the run that --run_id names where it has begun, else start it: one command for a job and for "
        "those after it",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="execute the code of a run that somebody else made, or that came through a board",
    )
    parser.add_argument(
        "--plan", default="auto", help="auto, tune, or vmap | map | none, scan | step, chunkN, joined by +"
    )
    parser.add_argument("--devices", type=int, metavar="N", help="how many local devices to use; all by default")
    parser.add_argument(
        "--mesh",
        metavar="SIZES",
        help="experiment:2,data:4 deals the experiments to 2 groups of 4 devices, over which each batch is split; by "
        "default config.parallel and the number of experiments decide",
    )
    parser.add_argument(
        "--dry_run",
        nargs="?",
        const=True,
        metavar=MEASURES,
        help="check everything and say what would be trained, but train nothing; --dry_run=measure also compiles the "
        "programs and times a few epochs of each, to predict the run's seconds; nothing is written",
    )
    parser.add_argument(
        "--profile",
        metavar="STEPS",
        help="write a trace of JAX's profiler of about so many training steps to the run's folder, profile/",
    )
    parser.add_argument(
        "--log_to",
        metavar="NAMES",
        action="append",
        help="write to other trackers, too, while the run goes on: tensorboard, wandb (offline), mlflow, aim; or "
        "several, with commas",
    )
    parser.add_argument("--log_out", metavar="DIR", help="the folder where these write; logs by default")
    parser.add_argument(
        "--no_system_metrics", action="store_true", help="do not record what processor, memory, disk and GPUs do"
    )
    parser.add_argument("--no_messages", action="store_true", help="do not record the warnings that are shown")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors and the run's folder")
    return parser


def _main(arguments: list[str]) -> int:
    with Interruption() as interruption:
        return _run(arguments, interruption)


def _run(arguments: list[str], interruption: Interruption) -> int:
    rest, texts = split_overrides(arguments)
    options = _parser().parse_args(rest)
    if options.config is None and options.resume is None:
        raise MlgymError("--config=FILE is missing; for example: python -m mlgym_jax.run --config=configs/gs.py")
    if not options.event_storage:
        raise MlgymError("--event_storage: a folder is missing; write --event_storage=DIR or leave the option out")
    if options.resume is not None and os.path.basename(options.resume) in ("", ".", ".."):
        raise MlgymError(f"--resume={options.resume}: a run's id is missing; write --resume=RUN_ID")
    if options.resume is not None and (options.run_id is not None or options.resume_or_start):
        raise MlgymError("--resume names the run already; leave --run_id and --resume_or_start out")
    if options.resume_or_start and options.run_id is None:
        raise MlgymError("--resume_or_start: a name for the run is missing; write --run_id=ID, too")
    if options.dry_run not in (None, True, MEASURES):
        raise MlgymError(
            f"--dry_run={options.dry_run}: unknown{nearest(options.dry_run, [MEASURES])} Allowed: --dry_run, which "
            "compiles nothing, and --dry_run=measure"
        )
    if options.resume is not None and options.dry_run:
        raise MlgymError("--dry_run is of a new run; leave --resume out")
    if options.resume_or_start and not options.dry_run and _has_begun(options.event_storage, str(options.run_id)):
        options.resume = options.run_id
    if options.profile is not None and options.dry_run:
        raise MlgymError("--profile traces a run; leave --dry_run out")
    boards = Boards.at(options.board, token_file=options.board_token_file, quiet=options.quiet)
    from mlgym_jax.reading.progress_lines import ProgressLines  # here, so that a wrong request is answered at once
    from mlgym_jax.reading.terminal import Terminal

    lines = ProgressLines(lambda document: answer(document, indent=None)) if options.json else None
    with lines or Terminal(quiet=options.quiet) as terminal:
        shared = {
            "plan": options.plan,
            "devices": options.devices,
            "mesh": options.mesh,
            "trust": options.trust,
            "board": boards,
            "log_to": options.log_to,
            "log_out": options.log_out,
            "sinks": [terminal],
            "live": terminal.live,
            "system_metrics": not options.no_system_metrics,
            "messages": not options.no_messages,
            "profile": int(steps) if (steps := options.profile) and steps.isdecimal() else steps,
        }
        try:
            safe_point()
            if options.resume is not None:
                result = _resume(options, texts, shared)
            else:
                with seldom_collected():  # a config imports most of what there is
                    from mlgym_jax.config.file import load_config, override

                    config = load_config(str(options.config))
                for name, value in parse_overrides(config, texts).items():
                    override(config, name, value)
                if options.dry_run:
                    from mlgym_jax.recording.forecast import forecast
                    from mlgym_jax.recording.forecast_data import as_data

                    named = {name: shared[name] for name in ("plan", "devices", "mesh", "trust")}
                    measure = options.dry_run == MEASURES
                    found = forecast(config, measure=measure, run_id=options.run_id, since=_STARTED, **named)
                    print(found)
                    answer(as_data(found))
                    return DONE
                with seldom_collected():
                    from mlgym_jax.recording.launch import run

                result = run(config, options.event_storage, run_id=options.run_id, **shared)
        except (KeyboardInterrupt, DiskError) as stop:
            terminal.close()
            if terminal.run_id is None:
                raise
            interruption.forget()
            hint = f"python -m mlgym_jax.run --resume={terminal.run_id} --event_storage={options.event_storage}"
            if isinstance(stop, MovedError):
                if stop.run_dir is None:
                    raise
                hint = f"python -m mlgym_jax.run --resume={stop.run_dir}"
            hint += " --trust" if options.trust else ""
            reason = f"error: {stop}" if isinstance(stop, DiskError) else "interrupted"
            print(f"{reason}\nNothing that was recorded is lost. Go on with:\n  {hint}", file=sys.stderr)
            answer({"error": {"message": reason.removeprefix("error: "), "resume": hint}}, indent=None)
            return FAILED if isinstance(stop, DiskError) else INTERRUPTED
        interruption.forget()  # the run is what its log says
        terminal.finish(result)
    for mismatch in result.mismatches:
        print(
            f"error: experiment {mismatch['experiment_id']}, epoch {mismatch['epoch']}, {mismatch['key']}: "
            f"the log holds {mismatch['logged']}, training again gave {mismatch['repeated']}",
            file=sys.stderr,
        )
    return FAILED if result.status != "DONE" else DONE


def _has_begun(event_storage: str, run_id: str) -> bool:
    is_name = os.path.basename(run_id) == run_id != ""
    return is_name and os.path.isfile(os.path.join(event_storage, run_id, layout.LOG))


def _resume(options: argparse.Namespace, texts: Mapping[str, str], shared: Mapping[str, Any]) -> Any:
    from mlgym_jax.config.file import load_config, override
    from mlgym_jax.config.words import DEFAULT_SECTIONS, ConfigDict, validated
    from mlgym_jax.recording.launch import resume
    from mlgym_jax.run_folder import folder as run_folder

    if os.path.basename(options.resume) == options.resume:
        run_dir = run_folder.find(options.event_storage, options.resume)
    else:
        run_dir = run_folder.require(options.resume)
        options.event_storage = os.path.dirname(run_dir)  # where to go on with it, should this be interrupted, too
    run_folder.refuse_imported(run_dir, run_folder.read_record(run_dir))
    recorded = run_folder.read_resolved(run_dir)
    config = load_config(options.config) if options.config else ConfigDict(recorded)
    for name, value in parse_overrides(config, dict(texts)).items():
        override(config, name, value)
    asked, other = f"--resume={options.resume}", "Leave --config out to use the run's own, or start a new run"
    if options.resume_or_start:
        asked, other = f"--run_id={options.run_id} --resume_or_start", "Start a new run by another --run_id"
    wanted, recorded = validated(config), validated(recorded)
    if wanted["validation"] == DEFAULT_SECTIONS["validation"] and recorded["validation"] == _OLD_DEFAULT:
        wanted["validation"] = recorded["validation"]
    for name in sorted({*wanted, *recorded} - {*_MAY_CHANGE}):
        if wanted.get(name) != recorded.get(name):
            raise MlgymError(
                f"{asked}: config.{name} is {wanted.get(name)!r}, but the run was started with "
                f"{recorded.get(name)!r}; a resumed run may change only {', '.join(_MAY_CHANGE)}. {other}"
            )
    changes = {name: wanted.get(name) for name in _MAY_CHANGE if wanted.get(name) != recorded.get(name)}
    for name in ("num_epochs", "num_steps"):
        new, old = wanted.get(name), recorded.get(name)
        if isinstance(new, int) and isinstance(old, int) and new < old and name not in texts:
            del changes[name]  # the run was resumed with more than its config file says
    return resume(run_dir, **changes, **shared)


def main() -> None:
    """Entry point of the console script."""
    with Watch():
        leave(guarded(_main))


class _CallableModule(types.ModuleType):
    """`mlgym_jax.run` is this module and, in the Python API, a function; importing one must not hide the other."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        from mlgym_jax.recording.launch import run

        return run(*arguments, **keywords)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    main()
