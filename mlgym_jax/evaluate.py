"""Evaluate a kept checkpoint once more, on its test split or on other data, and record the scores.

python -m mlgym_jax.evaluate RUN_DIR --experiment=ID|best [--split=test] [--dataset=csv --dataset.path=new.csv] [--json]
"""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlgym_jax.command_line import DONE, Parser, answer, guarded, leave
from mlgym_jax.errors import MlgymError
from mlgym_jax.execution.interruption import Watch

# What can be computed besides, as `reading.examined` names it.
CURVES = ("confusion", "roc", "precision_recall", "calibration")
_MOST_POINTS = 12  # of a curve that are printed
_ROUNDING = 1e-5  # two programs that compute the same differ by no more

if TYPE_CHECKING:
    from mlgym_jax.recording.evaluation import Evaluation


def _main(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m mlgym_jax.evaluate",
        description="Compute the scores of a kept checkpoint as training did, its config.py executed, and record them "
        "in the run's log: report and the model card show them.",
        epilog="--dataset.FIELD=VALUE sets a field of the data set that --dataset names, or of the run's own. "
        "Exit status: 0 done, 2 the request was wrong.",
    )
    parser.add_argument("run_dir", help="the run's folder, its id in event_storage, or latest")
    parser.add_argument("--experiment", default="best", metavar="ID", help="the experiment, or best, the default")
    parser.add_argument("--epoch", type=int, metavar="N", help="a kept epoch; by default the best that is kept")
    parser.add_argument("--monitor", help="the score that is the best's, by default the one that report ranks by")
    parser.add_argument("--mode", choices=("min", "max"), help="which way is better; min for losses and errors")
    parser.add_argument("--dataset", metavar="NAME", help="other data: csv, or component('csv', path='new.csv', …)")
    parser.add_argument("--split", help="the split; test by default, of other data the only one")
    for name in CURVES:
        words = name.replace("_", " over ") if "_" in name else name
        parser.add_argument(f"--{name}", action="store_true", help=f"also compute, print and record the {words}")
    parser.add_argument("--errors", type=int, default=0, metavar="K", help="also print the K examples of greatest loss")
    parser.add_argument("--trust", action="store_true", help="execute the code of a run that somebody else made")
    rest, fields = _fields(arguments)
    options = parser.parse_args(rest)
    experiment: Any = options.experiment
    if experiment != "best":
        if not experiment.isdecimal():
            raise MlgymError(f"--experiment={experiment}: an id or best is expected")
        experiment = int(experiment)
    from mlgym_jax.recording.evaluation import evaluate

    def section(own: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return _section(options.dataset, fields, own)

    found = evaluate(
        options.run_dir,
        experiment,
        epoch=options.epoch,
        monitor=options.monitor,
        mode=options.mode,
        dataset=section,
        split=options.split,
        trust=options.trust,
        curves=[name for name in CURVES if getattr(options, name)],
        errors=options.errors,
    )
    if options.json:
        answer(dataclasses.asdict(found))
    else:
        _print(found)
    return DONE


def _fields(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Separate `--dataset.FIELD=VALUE` from the other arguments.

    Raises:
        MlgymError: one without a field or a value, or given twice.
    """
    rest, found = [], {}
    for word in arguments:
        name, equals, text = word.partition("=")
        if not name.startswith("--dataset."):
            rest.append(word)
            continue
        field = name.removeprefix("--dataset.")
        if not field or not equals:
            raise MlgymError(f"{word}: write --dataset.FIELD=VALUE")
        if field in found:
            raise MlgymError(f"{name} is given twice; give it once")
        found[field] = text
    return rest, found


def _section(text: str | None, fields: Mapping[str, str], own: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the section `dataset` that is asked for; None for the run's own data."""
    if text is None and not fields:
        return None
    from mlgym_jax.config.typed import parse_value
    from mlgym_jax.config.words import is_component, plain

    section: dict[str, Any] = dict(own)
    if text is not None:
        named = parse_value(text)
        named = {"component": text} if isinstance(named, str) else plain(named)
        if not is_component(named):
            raise MlgymError(f"--dataset={text}: a name such as csv is expected, or component('csv', path=…)")
        section = dict(named)
    for field, value in fields.items():
        *way, last = field.split(".")
        inside = section
        for name in way:
            inner = inside.get(name)
            if not isinstance(inner, Mapping):
                raise MlgymError(f"--dataset.{field}: {name!r} holds no fields")
            inside[name] = inside = dict(inner)
        inside[last] = plain(parse_value(value, inside.get(last)))
    return section


def _print(found: Evaluation) -> None:
    where = f"split {found.split} of {'its own data' if found.dataset is None else found.dataset['component']}"
    print(f"experiment {found.experiment_id}, epoch {found.epoch}, {where}, {found.num_examples:,} examples")
    width = max(map(len, found.scores))
    for name, score in found.scores.items():
        before = found.recorded.get(name)
        same = before is not None and (before == score or (before != before and score != score))
        near = before is not None and math.isclose(before, score, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
        rounded = f"  as recorded, but for rounding ({before!r})" if near else f"  {before!r} was recorded"
        said = "" if before is None else "  as recorded" if same else rounded
        print(f"  {name:<{width}}  {score:.6g}{said}")
    for line in found.curves:
        _print_curve(line)
    for number, example in enumerate(found.errors):
        if not number:
            print("the examples of the greatest loss:")
        said = ", ".join(f"{name} {_number(value)}" for name, value in example.items() if name not in ("index", "of"))
        print(f"  {example['of']}[{example['index']}]: {said}")


def _print_curve(line: Mapping[str, Any]) -> None:
    label = f", {line['label']}" if line.get("label") is not None else ""
    if line["kind"] == "matrix":
        names = line["classes"] or [str(place) for place in range(len(line["values"]))]
        rows = [[name, *map(_number, values)] for name, values in zip(names, line["values"], strict=True)]
        print(f"{line['metric']}{label}: rows {line['y_name']}, columns {line['x_name']}")
        widths = [max(map(len, column)) for column in zip(["", *names], *rows, strict=True)]
        for row in (["", *names], *rows):
            print("  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))
        return
    print(f"{line['metric']}{label}: {line['y_name']} over {line['x_name']}, {len(line['x'])} points")
    step = max(1, -(-len(line["x"]) // _MOST_POINTS))
    points = [*zip(line["x"], line["y"], strict=True)]
    print("  " + "  ".join(f"{x:.3g}:{y:.3g}" for x, y in points[::step]))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Entry point of the console script."""
    with Watch():
        leave(guarded(_main))


class _CallableModule(types.ModuleType):
    """`mlgym_jax.evaluate` is this module and, in the Python API, a function; see `mlgym_jax.run`."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        from mlgym_jax.recording.evaluation import evaluate

        return evaluate(*arguments, **keywords)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    main()
