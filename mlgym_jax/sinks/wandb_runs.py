"""W&B offline: a folder an experiment, which `wandb sync` uploads; written when the experiment is over.

An offline run is one file that its own process ends; it cannot be gone on with. So each is written whole, once its
experiment has ended, and marked; one without a mark, of a killed export, or of before a resume, is made anew.
"""

from __future__ import annotations

import glob
import hashlib
import importlib
import json
import os
import re
import shutil
from typing import Any

from mlgym_jax.events.files import write_whole
from mlgym_jax.events.views import ExperimentView, RunView
from mlgym_jax.sinks import facts

_MARK = "mlgym_jax.json"  # in the folder of a run that is whole
_EXIT = {"DONE": 0, "FAILED": 1}
_INTERRUPTED = 130


class WandbRuns:
    """The sink of one run; W&B makes its folders in the folder `wandb` of `out`."""

    def __init__(self, run_id: str, out: str):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # before it is imported: nothing asks the network
        os.environ.setdefault("WANDB_SILENT", "true")
        self._wandb: Any = importlib.import_module("wandb")
        self._run_id, self._out = run_id, out
        self.place = f"{out}/wandb; upload it with: wandb sync {out}/wandb/offline-run-*"

    def write(self, run: RunView, experiment: ExperimentView, *, is_over: bool) -> int:
        if not (is_over or experiment.status in _EXIT):
            return 0
        name = f"{self._run_id}-{experiment.experiment_id}"
        about, found = facts.tags(run, self._run_id, experiment), list(facts.epochs(experiment, None))
        mark = hashlib.sha256(json.dumps([about, len(found), facts.ended_ms(experiment)]).encode()).hexdigest()
        for folder in glob.glob(os.path.join(glob.escape(self._out), "wandb", f"offline-run-*-{name}")):
            if re.fullmatch(rf"offline-run-\d+_\d+-{re.escape(name)}", os.path.basename(folder)):
                if _mark(folder) == mark:
                    return 0
                shutil.rmtree(folder)
        folder = self._write(name, run, experiment, about, found)
        write_whole(os.path.join(folder, _MARK), json.dumps({"written": mark, **about}).encode(), fsync=False)
        return len(found)

    def _write(
        self, name: str, run: RunView, experiment: ExperimentView, about: dict[str, str], found: list[facts.Epoch]
    ) -> str:
        began = facts.began_ms(run, experiment) / 1000
        settings = self._wandb.Settings(
            mode="offline",
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            x_start_time=began,
        )
        config: dict[str, Any] = {**facts.as_json(facts.hyperparameters(experiment)), "mlgym_jax": about}
        there = self._wandb.init(
            id=name,
            project=_project(run.name or "mlgym_jax"),
            name=facts.title(run, self._run_id, experiment)[:128],
            group=self._run_id,
            dir=self._out,
            config=config,
            settings=settings,
            reinit="create_new",
        )
        folder = os.path.dirname(there.dir)
        there.define_metric("epoch", hidden=True)
        there.define_metric("*", step_metric="epoch")
        for epoch in found:
            told = {**facts.scores_with_steps(epoch), "epoch": epoch.number, "_timestamp": epoch.time_ms / 1000}
            there.log(told, step=max(epoch.number, 0))
        there.summary.update({f"mlgym_jax/{name}": text for name, text in about.items()})
        there.finish(exit_code=_EXIT.get(experiment.status, _INTERRUPTED))
        return folder

    def close(self) -> None:
        """End W&B's own process."""
        self._wandb.teardown()


def _project(name: str) -> str:
    """Return a name without the characters that a project's may not have."""
    return facts.Names(r"[/\\#?%:]")(name)[:128]


def _mark(folder: str) -> str | None:
    try:
        with open(os.path.join(folder, _MARK), encoding="utf-8") as file:
            return json.load(file)["written"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def open_sink(run_id: str, out: str) -> WandbRuns:
    """Make the sink of a run, in the folder `wandb` of `out`."""
    return WandbRuns(run_id, os.path.abspath(out))
