"""Repeat a run from what it recorded, and compare every score to the bit.

python -m mlgym_jax.reproduce RUN_DIR [--experiment=ID]
"""

from __future__ import annotations

import os
import sys
import tempfile
import types
from typing import Any, NamedTuple

from mlgym_jax.command_line import DONE, FAILED, Parser, answer, guarded, leave
from mlgym_jax.errors import MlgymError
from mlgym_jax.execution.interruption import Watch, interruptible
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.run_folder import provenance


def _main(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m mlgym_jax.reproduce",
        description="Repeat a run from what it recorded, its config.py executed, and compare every score to the bit. "
        "Exit status: 0 equal, 1 different, 2 the request was wrong.",
    )
    parser.add_argument("run_dir", help="the run's folder, its id in event_storage, or latest")
    parser.add_argument("--experiment", type=int, metavar="ID", help="only this one, with the group it trained in")
    parser.add_argument("--trust", action="store_true", help="do so with a run that somebody else made")
    options = parser.parse_args(arguments)
    run_dir = run_folder.require(options.run_dir)
    record = run_folder.read_record(run_dir)
    then, now = provenance.launched_versions(record), provenance.versions()
    changed = "; ".join(provenance.in_words(provenance.changed_versions(then, now)))
    if changed:
        print(f"repeating with other versions, so numbers may differ: {changed}", flush=True)
    otherwise = provenance.changed_settings(provenance.launched_settings(record), provenance.settings())
    set_otherwise = "; ".join(provenance.in_words(otherwise))
    if set_otherwise:
        print(f"repeating with other settings of JAX, so numbers may differ: {set_otherwise}", flush=True)
    differences, num_scores, num_experiments = reproduce(run_dir, options.experiment, trust=options.trust)
    answer(
        {
            "run_id": os.path.basename(run_dir),
            "num_scores": num_scores,
            "num_experiments": num_experiments,
            "differences": [one._asdict() for one in differences],
            "changed_versions": provenance.changed_versions(then, now, deciding=False),
            "changed_settings": otherwise,
        }
    )
    for difference in differences[:20]:
        print(difference)
    if differences:
        print(f"{len(differences)} of {num_scores} scores differ")
        for name, versions in provenance.changed_versions(then, now, deciding=False).items():
            print(f"{name}: {' and '.join(versions[:-1])} then, {versions[-1]} now")
        for line in provenance.in_words(otherwise):
            print(line)
        return FAILED
    with_other = f", with other versions: {changed}" if changed else ""
    with_other += f", with other settings of JAX: {set_otherwise}" if set_otherwise else ""
    print(f"{num_scores} scores of {num_experiments} experiments repeated to the bit{with_other}")
    return DONE


class Difference(NamedTuple):
    """A score that came out otherwise; `repeated` is None where it did not come again.

    Attributes:
        name: of the score, such as `val/loss`.
    """

    experiment_id: int
    epoch: int
    name: str
    recorded: float
    repeated: float | None

    def __str__(self) -> str:
        found = "nothing" if self.repeated is None else self.repeated
        where = f"experiment {self.experiment_id}, epoch {self.epoch}, {self.name}"
        return f"{where}: {self.recorded} recorded, {found} repeated"


class Reproduction(NamedTuple):
    """What came of training a run again.

    Attributes:
        differences: the scores that differ, none where all were repeated to the bit.
        num_scores: how many were compared; num_experiments: of how many experiments.
    """

    differences: list[Difference]
    num_scores: int
    num_experiments: int


def reproduce(
    run_dir: str | os.PathLike[str], experiment_id: int | None = None, *, trust: bool = False, data: Any = None
) -> Reproduction:
    """Train a run's experiments again, in a temporary folder, and compare them with its log.

    Args:
        experiment_id: only this one, with the group that it trained in.
        trust: execute the code of somebody else's run.
        data: what the run was given as `data=`, where it has not kept it; other data are refused.

    Raises:
        MlgymError: no such run or experiment, or nothing was recorded to compare with.
        ConfigError: at `dataset`, data that are missing, or others than the run's.
    """
    run_dir = run_folder.require(run_dir)
    from mlgym_jax.data import given
    from mlgym_jax.reading.results import load_run
    from mlgym_jax.recording.launch import repeat

    logged, data = load_run(run_dir), given.taken(data)
    with tempfile.TemporaryDirectory(prefix="mlgym_jax_reproduce_") as folder:
        repeated = repeat(run_dir, folder, experiment_id, logged=logged.view, trust=trust, data=data)
    again = {item.experiment_id: item for item in repeated.view.experiments.values()}
    differences: list[Difference] = []
    num_scores, compared = 0, 0
    for item in logged.view.experiments.values():
        if item.experiment_id not in again or experiment_id not in (None, item.experiment_id):
            continue
        compared += 1
        new = again[item.experiment_id].history
        for name, scores in item.history.items():
            for epoch, score in enumerate(scores, 1):
                num_scores += 1
                other = new.get(name, [])[epoch - 1 : epoch]
                if not (other and (other[0] == score or (score != score and other[0] != other[0]))):
                    found = other[0] if other else None
                    differences.append(Difference(item.experiment_id, epoch, name, score, found))
    if num_scores == 0:
        raise MlgymError(f"{run_dir}: no scores were recorded, so there is nothing to compare with")
    return Reproduction(differences, num_scores, compared)


def main() -> None:
    """Entry point of the console script."""
    with Watch():
        leave(guarded(interruptible(_main)))


class _CallableModule(types.ModuleType):
    """`mlgym_jax.reproduce` is this module and, in the Python API, a function; see `mlgym_jax.run`."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Reproduction:
        return reproduce(*arguments, **keywords)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    main()
