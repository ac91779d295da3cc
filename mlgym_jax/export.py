"""Export a kept checkpoint: its arrays as a safetensors file, or a folder that predicts without this package.

python -m mlgym_jax.export RUN_DIR --list
python -m mlgym_jax.export RUN_DIR --experiment=ID [--epoch=N | --best] [--resource=model] --output=FILE
python -m mlgym_jax.export RUN_DIR --best --format=stablehlo --output=FOLDER
python -m mlgym_jax.export RUN_DIR --ensemble="top 5 by val/loss" --format=stablehlo --output=FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mlgym_jax.command_line import DONE, Parser, answer, answers_in_json, guarded, leave
from mlgym_jax.errors import MlgymError, listed
from mlgym_jax.events import default_mode, default_monitor, layout, project_log
from mlgym_jax.events.layout import RESOURCES
from mlgym_jax.run_folder import folder as run_folder

if TYPE_CHECKING:
    from mlgym_jax.checkpoint.rows import KeptCheckpoints


def _main(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m mlgym_jax.export",
        description="Write one experiment's kept checkpoint to a safetensors file; the run's config is not executed. "
        "With --format=stablehlo, write a folder that predicts by jax and numpy alone, for which it is.",
        epilog="model: params/… and model_state/…; optimizer: opt_state/…; lr_scheduler: step; stateful_components: "
        "key, hyperparams/…. Together they are the whole TrainState. Exit status: 0 done, 2 the request was wrong.",
    )
    parser.add_argument("run_dir", help="the run's folder, its id in event_storage, or latest")
    parser.add_argument("--experiment", type=int, metavar="ID", help="the experiment")
    parser.add_argument("--epoch", type=int, metavar="N", help="a kept epoch; by default the newest")
    parser.add_argument(
        "--best",
        nargs="?",
        const="",
        metavar="SCORE",
        help="the best epoch by this score, by default the one that report ranks by; of the best experiment where none "
        "is named",
    )
    parser.add_argument(
        "--ensemble",
        metavar="RULE",
        help="the mean of several, chosen by a rule such as 'top 5 by val/loss'; with --format=stablehlo",
    )
    parser.add_argument(
        "--resource",
        choices=[*RESOURCES],
        help="a part of the state as it trains; by default the model as it is evaluated, with averaged parameters "
        "where there are such",
    )
    parser.add_argument(
        "--format",
        choices=("safetensors", "stablehlo"),
        default="safetensors",
        help="a file of arrays, the default; or a folder of weights, program, description and predict.py",
    )
    parser.add_argument("--trust", action="store_true", help="execute the code of a run that somebody else made")
    parser.add_argument("--output", metavar="FILE", help="the file to write, or the folder")
    parser.add_argument("--list", action="store_true", help="print what is kept, as JSON")
    parser.add_argument(
        "--requests",
        action="store_true",
        help="for programs: read a JSON line {experiment_id, epoch, resource, output} at a time from standard input, "
        "and answer each with a JSON line, {} or {error}",
    )
    options = parser.parse_args(arguments)
    if not os.path.isdir(options.run_dir):  # a folder of checkpoints alone will do
        is_path = os.path.basename(options.run_dir) not in (options.run_dir, layout.LATEST)
        if is_path:
            raise MlgymError(f"{options.run_dir}: no such folder; name a run's, such as event_storage/RUN_ID")
        options.run_dir = run_folder.require(options.run_dir)
    if not (options.list or options.requests or options.output):
        raise MlgymError("--output=FILE is missing; or list what is kept by --list")
    if options.best is not None and options.epoch is not None:
        raise MlgymError("--best chooses the epoch; leave --epoch out")
    if options.ensemble is not None:
        others = {"--experiment": options.experiment, "--epoch": options.epoch, "--best": options.best}
        if chosen := [name for name, value in others.items() if value is not None]:
            raise MlgymError(f"--ensemble chooses experiments and epochs by its rule; leave {chosen[0]} out")
        if options.format != "stablehlo" or options.list or options.requests or options.resource:
            raise MlgymError(
                "--ensemble is exported as a folder that predicts; write --format=stablehlo --output=FOLDER"
            )
        from mlgym_jax.reading.results import load_run

        ensemble = load_run(options.run_dir, trust=options.trust).ensemble(options.ensemble)
        ensemble.export(options.output)
        who = listed((f"experiment {item.experiment_id}" for item in ensemble.members), 20)
        print(f"{options.output}: the mean of {who}", file=sys.stderr)
        answer(
            {
                "output": options.output,
                "format": options.format,
                "experiments": [item.experiment_id for item in ensemble.members],
            }
        )
        return DONE
    if not (options.list or options.requests) and options.experiment is None and options.best is None:
        raise MlgymError(
            "--experiment=ID is missing, or --best=SCORE, such as --best=val/loss; list what is kept by --list"
        )
    if options.format == "stablehlo" and (options.requests or options.resource):
        name = "--requests" if options.requests else "--resource"
        raise MlgymError(f"{name} is of files of arrays; leave it or --format=stablehlo out")
    if options.requests:
        os.nice(19)  # whoever asks for many is beside a training, which goes first
    from mlgym_jax.checkpoint.rows import KeptCheckpoints  # here, so that a wrong request is answered at once

    kept = KeptCheckpoints(options.run_dir)
    if options.list:
        _say(kept.list(options.experiment))
    if options.requests:
        _serve(kept, options.run_dir, sys.stdin)
    elif options.output:
        experiment_id: Any = options.experiment  # an id, or with --best none
        epoch, said = options.epoch, ""
        if options.best is not None:
            experiment_id, epoch, monitor = _best(kept, options.run_dir, experiment_id, options.best)
            said = f"the best by {monitor}"
        elif epoch is None:
            epoch = kept.newest_epoch(experiment_id)
            said = _better_than(epoch, options.run_dir, experiment_id)
        if options.format == "stablehlo":
            from mlgym_jax.reading.results import load_run

            load_run(options.run_dir, trust=options.trust).experiment(experiment_id).export(options.output, epoch)
        else:
            _write(kept, options.run_dir, experiment_id, epoch, options.resource, options.output)
        if said:
            print(f"{options.output}: experiment {experiment_id}, epoch {epoch}, {said}", file=sys.stderr)
        if not options.list:  # one document: with --list that is the list
            told = {"output": options.output, "format": options.format, "experiments": [experiment_id], "epoch": epoch}
            answer({**told, "note": said or None})
    return DONE


def _say(document: Any) -> None:
    """Write a document in a line, whether --json was given or not."""
    if answers_in_json():
        answer(document, indent=None)
    else:
        print(json.dumps(document), flush=True)


def _best(kept: KeptCheckpoints, run_dir: str, experiment_id: int | None, monitor: str) -> tuple[int, int, str]:
    """Return the experiment and epoch that are best by a score, and that in words.

    Raises:
        MlgymError: no such score or experiment, or that epoch is not kept.
    """
    view, _ = project_log(os.path.join(run_folder.require(run_dir), layout.LOG))
    monitor = monitor or default_monitor(view.scores, view.config)[0] or "no score"
    mode = default_mode(monitor, view.config)
    if experiment_id is None:
        best, epoch = view.best(monitor, mode)
        experiment_id = best.experiment_id
    else:
        found = view.experiments[experiment_id].best(monitor, mode) if experiment_id in view.experiments else None
        if found is None:
            raise MlgymError(
                f"experiment {experiment_id} has no finite {monitor}. Scores: {listed(view.scores, 20)}; experiments: "
                f"{listed(view.experiments, 20)}"
            )
        epoch = found[0]
    available = [entry["epoch"] for entry in kept.list(experiment_id)]
    if epoch not in available:
        raise MlgymError(
            f"experiment {experiment_id}: epoch {epoch}, the best by {monitor}, was not kept; name a kept one, --epoch="
            f"{'|'.join(map(str, available)) or 'none'}, or train with checkpointing=component('best', …)"
        )
    return experiment_id, epoch, monitor


def _better_than(epoch: int, run_dir: str, experiment_id: int) -> str:
    """Say which epoch is better than the newest one that is kept; nothing where none is, or no log tells."""
    log = os.path.join(run_dir, layout.LOG)
    if not os.path.isfile(log):
        return ""
    view, _ = project_log(log)
    monitor, mode = default_monitor(view.scores, view.config)
    found = (
        view.experiments[experiment_id].best(monitor, mode) if monitor and experiment_id in view.experiments else None
    )
    if found is None or found[0] == epoch:
        return ""
    return f"the newest that is kept; epoch {found[0]} is the best by {monitor}, which --best takes if it is kept"


def _serve(kept: KeptCheckpoints, run_dir: str, lines: Iterable[str]) -> None:
    for line in lines:
        request = json.loads(line)
        told: dict[str, Any] = {}
        try:
            where = request["experiment_id"], request["epoch"], request["resource"]
            _write(kept, run_dir, *where, request["output"])
        except MlgymError as error:
            told["error"] = str(error)
        _say(told)


def _write(
    kept: KeptCheckpoints, run_dir: str, experiment_id: int, epoch: int, resource: str | None, output: str
) -> None:
    """Write a part of a state or, where none is named, the model with what it is evaluated with."""
    from mlgym_jax.checkpoint.evaluated_arrays import arrays_by_part, evaluated_arrays, named_arrays
    from mlgym_jax.checkpoint.safetensors_files import write_arrays

    metadata = {
        "run_id": os.path.basename(os.path.abspath(run_dir)),
        "experiment_id": str(experiment_id),
        "epoch": str(epoch),
        "resource": resource or "model",
    }
    if resource is not None:
        arrays = kept.arrays(experiment_id, epoch, resource)
    else:
        arrays = named_arrays(evaluated_arrays(arrays_by_part(kept, experiment_id, epoch)))
    write_arrays(arrays, output, metadata)


def main() -> None:
    """Entry point of the console script."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # a checkpoint is read on the host: no accelerator is taken from a training
    leave(guarded(_main))


if __name__ == "__main__":
    main()
