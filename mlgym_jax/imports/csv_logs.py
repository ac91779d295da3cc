"""CSV tables of scores, a row a step: those of Lightning's CSVLogger, with its hparams.yaml, and others like them.

Cells that are empty are scores that the step has not.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from mlgym_jax.errors import MlgymError, listed
from mlgym_jax.imports.columns import EPOCH, Column, Imported, by_number, is_exact

_STEPS = ("step", "_step", "global_step", "iteration", "iter", "batch")
_EPOCHS = ("epoch", "epochs")
_SECONDS = ("time", "timestamp", "_timestamp", "wall_time", "walltime", "wall time")
_HPARAMS = ("hparams.yaml", "hparams.yml")
_FROM, _TO = 946_684_800, 4_102_444_800  # what else a column `time` holds, such as seconds since the start, is a score


def read(root: str) -> Iterator[Imported]:
    """Yield the experiments below a folder, or of one file, in the order of their paths: one a table.

    Raises:
        MlgymError: there is no column that counts epochs or steps, in a file that was named.
    """
    if os.path.isfile(root):
        yield _read_file(root, os.path.basename(root))
        return
    for folder, folders, files in os.walk(root):
        folders.sort(key=by_number)
        names = sorted(name for name in files if name.lower().endswith(".csv"))
        for name in names:
            path = os.path.join(folder, name)
            where = os.path.relpath(path if len(names) > 1 else folder, root)
            if _counts(path):
                yield _read_file(path, where)


def _counts(path: str) -> bool:
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file), [])
    return any(name.strip().lower() in (*_STEPS, *_EPOCHS) for name in header)


def _read_file(path: str, where: str) -> Imported:
    found = Imported(where, _hyperparameters(os.path.dirname(path)))
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        modified_ms = round(os.fstat(file.fileno()).st_mtime * 1000)
        lines = csv.reader(file)
        try:
            header = [name.strip() for name in next(lines, [])]
            steps, epochs, times = (_place(header, names) for names in (_STEPS, _EPOCHS, _SECONDS))
            if steps is None and epochs is None:
                raise MlgymError(
                    f"{path}: no column counts epochs or steps; one of {listed((*_EPOCHS, *_STEPS), 20)} is expected, "
                    f"found: {listed(header, 20)}"
                )
            counted = steps if steps is not None else epochs
            assert counted is not None
            _read_lines(found, lines, header, (counted, epochs if steps is not None else None, times), modified_ms)
        except csv.Error as error:
            found.left_out.append(f"{path}: what follows line {lines.line_num} ({error})")
    return found


def _read_lines(
    found: Imported, lines: Any, header: list[str], places: tuple[int, int | None, int | None], modified_ms: int
) -> None:
    counted, epochs, times = places
    columns = {place: Column() for place, name in enumerate(header) if name and place not in places}
    bad, words = 0, set()
    epoch_column = Column()
    for cells in lines:
        if not cells:
            continue
        step = _number(cells[counted]) if len(cells) == len(header) else None
        if step is None or not is_exact(step):
            bad += 1
            continue
        seconds = _number(cells[times]) if times is not None else None
        is_clock = seconds is not None and _FROM <= seconds <= _TO
        time_ms = round(seconds * 1000) if seconds is not None and is_clock else modified_ms
        if epochs is not None and (epoch := _number(cells[epochs])) is not None:
            epoch_column.add(int(step), epoch, time_ms)
        for place, column in columns.items():
            text = cells[place]
            if text.strip():
                number = _number(text)
                if number is None:
                    words.add(header[place])
                else:
                    column.add(int(step), number, time_ms)
    found.scores = {header[place]: column for place, column in columns.items() if column.steps}
    if epoch_column.steps:
        found.scores[EPOCH] = epoch_column
    if bad:
        found.left_out.append(f"{found.name}: {bad:,} lines without a whole number of steps, or torn")
    if words:
        found.left_out.append(f"{found.name}: words among the numbers of {listed(sorted(words))}")


def _place(header: list[str], names: tuple[str, ...]) -> int | None:
    lower = [name.lower() for name in header]
    return next((lower.index(name) for name in names if name in lower), None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _hyperparameters(folder: str) -> dict[str, Any]:
    for name in _HPARAMS:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            try:
                with open(path, encoding="utf-8") as file:
                    return dict(_flat(yaml.load(file, Loader=_Plain) or {}))
            except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
                raise MlgymError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    return {}


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{before}.{key}" if before else str(key)
        if isinstance(value, Mapping) and value:
            yield from _flat(value, name)
        elif isinstance(value, bool | int | float | str) or value is None:
            yield name, value
        else:
            yield name, str(value)


class _Plain(yaml.SafeLoader):
    """Reads what Lightning writes of Python's own types (`!!python/tuple`) as plain values; it executes nothing."""


def _plain(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return node.value


_Plain.add_multi_constructor("tag:yaml.org,2002:python/", _plain)
