"""Model cards: what an experiment's model is, what it learnt from, how well it does, and what made it.

A card is a projection of the run's log, its `run.json` and the resolved study; `model_card.json` holds it as data,
`model_card.md` for people. The headings follow Mitchell et al., Model Cards for Model Reporting (2019).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlgym_jax.core.outputs import described_tree
from mlgym_jax.core.paths import named_leaves
from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.events import EventLog, default_monitor, layout
from mlgym_jax.events.layout import spell_number
from mlgym_jax.events.standings import Standings, standing_of, standings
from mlgym_jax.events.verdict_words import standing
from mlgym_jax.events.views import ExperimentView
from mlgym_jax.reading.results import RunResult
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.study.expand import Study
from mlgym_jax.study.job import Job

_MAX_CLASSES = 1000


def model_cards(
    job: Job,
    views: Mapping[int, ExperimentView],
    record: Mapping[str, Any],
    estimate: Mapping[str, Any] | None = None,
    evaluations: Sequence[Mapping[str, Any]] = (),
    stands: Standings | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the cards of a group's experiments as plain data; what is not known is None with a reason.

    Args:
        views: what the log says of each experiment.
        record: the run's `run.json`.
        estimate: what the folds said of a refit: {"score", "mean", "std", "num_folds"}.
        evaluations: what was evaluated after training, the payloads of `model_evaluated`.
        stands: how the run's experiments stand, by which the headline is told.
    """
    model, fields = _model(job), _fields(job)  # found out once: an experiment's own are its config and its fold
    splits_of = functools.cache(functools.partial(_splits, job))
    for number, fold in zip(job.group.ids, job.fold_of_row.tolist(), strict=True):
        if number not in views:  # a damaged log has lost it
            continue
        data = {"fields": fields, "num_classes": job.components["dataset"].num_classes, "splits": splits_of(fold)}
        own = [found for found in evaluations if found.get("experiment_id") == number]
        headline = (None, None) if stands is None else (standing(stands, number), standing_of(stands, number))
        yield _card(job, views[number], record, estimate, model, data, own, headline)


def _card(
    job: Job,
    view: ExperimentView,
    record: Mapping[str, Any],
    estimate: Mapping[str, Any] | None,
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
    headline: tuple[str | None, Mapping[str, Any] | None],
) -> dict[str, Any]:
    config = view.config or {}
    return {
        "format": 1,
        "name": config.get("name"),
        "headline": headline[0],
        "standing": headline[1],
        "experiment_id": view.experiment_id,
        "hyperparameters": dict(view.hyperparameters),
        "fold": view.fold,
        "refit": None if view.refit is None else {**view.refit, "estimate": estimate},
        "status": view.status,
        "error": view.error,
        "model": {"component": config.get("model"), **model},
        "data": {
            **{section: config.get(section) for section in ("dataset", "validation", "encoding")},
            **data,
            "fingerprint": record.get("data_fingerprint"),
        },
        "training": {
            "num_epochs": view.epochs,
            "planned_epochs": view.planned,
            "num_steps": view.epoch_steps[-1] if view.epoch_steps else 0,
            "num_steps_per_epoch": job.shape.num_steps,
            "batch_size": job.shape.batch_size,
            "seed": config.get("seed"),
            "split_seed": config.get("split_seed"),
            "seconds": round(sum(view.epoch_seconds), 3),
            "stop_reason": view.stop_reason,
            **{name: config.get(name) for name in ("loss", "optimizer", "early_stopping", "sampler", "averaging")},
            "warm_start": config.get("warm_start"),
        },
        "evaluation": {
            "metrics": config.get("metrics", {}),
            "last": {name: spell_number(score) for name, score in view.last.items()},
            "best": {name: _best(view, name) for name in view.history},
            "best_epoch": _best_epoch(view, config),
            **({"after_training": [_evaluated(found) for found in evaluations]} if evaluations else {}),
        },
        "environment": {
            name: record.get(name) for name in ("versions", "platform", "processor", "memory_bytes", "xla_flags")
        }
        | {"devices": record["launches"][-1].get("devices") if record.get("launches") else None},
        "command": record.get("command"),
        "git": record.get("git"),
        "energy": _energy(record),
        "pipeline": config,
    }


def _model(job: Job) -> dict[str, Any]:
    leaves = named_leaves(job.abstract.params)
    layers = {name: {"shape": list(leaf.shape), "dtype": leaf.dtype.name} for name, leaf in leaves.items()}
    return {
        "num_parameters": sum(int(np.prod(leaf.shape)) for leaf in leaves.values()),
        "parameter_bytes": sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves.values()),
        "parameters": layers,
        "outputs": described_tree(job.outputs),
    }


def _fields(job: Job) -> dict[str, Any]:
    arrays = job.table.arrays
    return {name: {"shape": list(array.shape[1:]), "dtype": array.dtype.name} for name, array in arrays.items()}


def _splits(job: Job, fold: int) -> dict[str, Any]:
    splits = {}
    for split, indices in job.folds.indices.items():
        rows = indices[fold][job.folds.mask[split][fold]]
        targets = None if isinstance(job.table, StreamedTable) else job.table.arrays.get("targets")
        splits[split] = {"num_examples": len(rows), **_targets(targets, rows)}
    return splits


def _targets(targets: np.ndarray | None, rows: np.ndarray) -> dict[str, Any]:
    """Describe the distribution of a split's targets: counts of classes, or moments of numbers."""
    if targets is None or targets.ndim != 1:
        return {}
    values = targets[rows]
    if np.issubdtype(values.dtype, np.integer):
        labels, counts = np.unique(values, return_counts=True)
        if len(labels) > _MAX_CLASSES:
            return {"num_labels": len(labels)}
        return {"labels": {str(label): int(count) for label, count in zip(labels, counts, strict=True)}}
    numbers = values.astype(np.float64)
    found = {"mean": numbers.mean(), "std": numbers.std(), "min": numbers.min(), "max": numbers.max()}
    return {"targets": {name: float(value) for name, value in found.items()}}


def _best(view: ExperimentView, name: str) -> dict[str, Any]:
    """Return the largest and the smallest score with their epochs: a card does not know which is better."""
    found = {mode: view.best(name, mode) for mode in ("max", "min")}
    return {mode: {"epoch": best[0], "score": best[1]} if best else None for mode, best in found.items()}


def _best_epoch(view: ExperimentView, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the best epoch, by what checkpoints are kept by, else by what `report` ranks by, and its scores."""
    checkpointing = config.get("checkpointing") or {}
    by = {**config, "refit": None, "validation": None} if checkpointing.get("monitor") else config
    monitor, mode = default_monitor([*view.history], by)
    best = view.best(monitor, mode) if monitor else None
    if best is None:
        return None
    scores = view.rows()[view.epoch_numbers.index(best[0])]
    spelled = {name: spell_number(score) for name, score in scores.items()}
    return {"monitor": monitor, "mode": mode, "epoch": best[0], "scores": spelled}


def _evaluated(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in ("grid_search_id", "experiment_id")}


def _energy(record: Mapping[str, Any]) -> dict[str, Any]:
    """Add up the launches' measured energy; None where any of them could not measure it."""
    measured = [launch["energy"] for launch in record.get("launches", ()) if launch.get("energy")]
    found: dict[str, Any] = {"scope": "all of the run's experiments and whatever else ran on the machine meanwhile"}
    for name in ("processor_joules", "gpu_joules"):
        values = [energy.get(name) for energy in measured]
        known = bool(values) and all(isinstance(value, int | float) for value in values)
        found[name] = sum(values) if known else None
    reasons: dict[str, str] = {}
    for energy in measured:
        found_reasons = energy.get("reasons")
        reasons.update(found_reasons if isinstance(found_reasons, Mapping) else {})
    found["reasons"] = reasons if measured else {"all": "the run was not measured to its end"}
    return found


def to_markdown(card: Mapping[str, Any]) -> str:
    """Write a card for people."""
    model, data, training, evaluation = (card[part] for part in ("model", "data", "training", "evaluation"))
    lines = [
        f"# Model card: {card['name']}, experiment {card['experiment_id']}",
        "",
        *([f"**{card['headline']}**", ""] if card.get("headline") else []),
        f"Status: {card['status']}" + (f" ({card['error']})" if card["error"] else ""),
        "",
        *_refit(card["refit"]),
        *_table("Hyperparameter", "Value", card["hyperparameters"].items()),
        "## Model",
        "",
        f"{_component(model['component'])}, {model['num_parameters']:,} parameters "
        f"({model['parameter_bytes']:,} bytes). Outputs: {_shown(model['outputs'])}",
        "",
        *_table("Parameter", "Shape", ((name, leaf["shape"]) for name, leaf in model["parameters"].items())),
        "## Data",
        "",
        f"{_component(data['dataset'])}, split by {_component(data['validation'])}. "
        f"Fingerprint (SHA-256): {', '.join((data['fingerprint'] or {}).values()) or 'unknown'}",
        "",
        *_table(
            "Split",
            "Examples and targets",
            (
                (name, f"{split['num_examples']:,}; " + _shown(split.get("labels") or split.get("targets") or {}))
                for name, split in data["splits"].items()
            ),
        ),
        "## Training",
        "",
        *_table("", "", ((name, _component(value)) for name, value in training.items() if value is not None)),
        "## Evaluation",
        "",
        *_at_best(evaluation.get("best_epoch"), training["num_epochs"]),
        *_table("Score after the last epoch", "", evaluation["last"].items()),
        *(
            line
            for found in evaluation.get("after_training", ())
            for line in _table(
                f"Score of epoch {found['epoch']}, evaluated after training on {found['num_examples']:,} examples of "
                f"{_component(found['dataset']) if found['dataset'] else 'its own data'}, split {found['split']}",
                "",
                found["scores"].items(),
            )
        ),
        "## Environment",
        "",
        *_table("", "", ((name, _shown(value)) for name, value in card["environment"].items() if value)),
        f"Command: `{' '.join(card['command'] or [])}`",
        "",
        f"Git: {_shown(card['git'] or {}) or 'no repository'}",
        "",
        "## Energy",
        "",
        *_table("", "", ((name, _shown(value)) for name, value in card["energy"].items())),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _at_best(best: Mapping[str, Any] | None, last: int) -> list[str]:
    if best is None or best["epoch"] == last:
        return []
    return _table(f"Score after epoch {best['epoch']}, the best by {best['monitor']}", "", best["scores"].items())


def _refit(refit: Mapping[str, Any] | None) -> list[str]:
    if refit is None:
        return []
    estimate = refit["estimate"]
    found = [
        f"A refit: selected by {refit['monitor']} from experiments {', '.join(map(str, refit['experiments']))}, and "
        "trained once more on all of the training split. Nothing was held out of it, so scores of the split train do "
        "not say how well it does on new data."
    ]
    if estimate:
        spread = "" if estimate["std"] is None else f" ± {estimate['std']:.4f}"
        own = ", which is optimistic, as it selected by that score" if estimate["score"] == refit["monitor"] else ""
        found.append(f" The folds did: {estimate['score']} {estimate['mean']:.4f}{spread} over {estimate['num_folds']}")
        found.append(f"{own}.")
    return ["".join(found), ""]


def _component(value: Any) -> str:
    if not isinstance(value, Mapping) or "component" not in value:
        return _shown(value)
    parameters = ", ".join(f"{name}={_component(item)}" for name, item in value.items() if name != "component")
    return f"{value['component']}({parameters})"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_component(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_component, value)) + "]"
    return "unknown" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(left: str, right: str, rows: Any) -> list[str]:
    cells = [(str(name), _shown(value).replace("|", "\\|").replace("\n", " ")) for name, value in rows]
    if not cells:
        return []
    return [f"| {left} | {right} |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in cells), ""]


def write_cards(
    result: RunResult, study: Study, record: Mapping[str, Any], log: EventLog, *, only: int | None = None
) -> None:
    """Write each experiment's `model_card.json` and `model_card.md`, or of one only."""
    monitor, mode = default_monitor(result.view.scores, result.view.config)
    stands = standings(result.view, monitor, mode) if monitor else None
    for job in study.jobs:
        origin = job.group.experiments[0].refit
        estimate = result.estimate(origin["monitor"], origin["mode"]) if origin else None
        for card in model_cards(job, result.view.experiments, record, estimate, result.view.evaluations, stands):
            if only not in (None, card["experiment_id"]):
                continue
            log.check_place()
            folder = os.path.join(result.run_dir, str(card["experiment_id"]))
            run_folder.write_json(os.path.join(folder, layout.MODEL_CARD), card, fsync=False)
            run_folder.write_text(os.path.join(folder, layout.MODEL_CARD_TEXT), to_markdown(card), fsync=False)
