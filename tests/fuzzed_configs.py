"""Studies and command lines that are nearly right, or not at all: random edits of the published configs.

Each function takes a source of chance with the methods of `random.Random`, such as Hypothesis draws, and changes
something. Numbers that say how much memory or time is needed stay small in what is trained (`is_tiny`).
"""

import contextlib
import copy
import datetime
import decimal
import enum
import fractions
import functools
import json
import pathlib
import re

import jax.numpy as jnp
import numpy as np
from conftest import ROOT
from ml_collections import ConfigDict, FieldReference, config_dict

import mlgym_jax as mg
from mlgym_jax import component, grid, int_uniform, log_uniform, uniform
from mlgym_jax.components.registry import kinds, registrations
from mlgym_jax.config.words import FIELDS, SECTIONS, is_component, is_sweep

FILES = sorted(ROOT.glob("configs/*.py"))
Color = enum.Enum("Color", "RED")

NUMBERS = [0, 1, 2, 3, -1, 5, 2**31 - 1, 2**31, -(2**31) - 1, 2**32, 2**63, 2**64, 10**30, 10**400]
NUMBERS += [0.0, -0.0, 0.1, 0.5, 0.999, 1.0, 1.5, -0.5, 1e-300, 1e39, 1e300, float("nan"), float("inf"), -float("inf")]
TEXTS = [
    "",
    " ",
    "0",
    "adam",
    "accuracy",
    "val/loss",
    "é",
    "\x00",
    "\ud800",
    "a/b",
    "a.b",
    "%s",
    "{}",
    "../x",
    "(",
    "*",
    "x" * 300,
]
TEXTS += ["max", "min", "None", "True", "train", "\n", "💥", "[a-z", "float32", "kernel$", "grid(1,2)", "numeric"]
OBJECTS = [np.zeros(2), np.float32(0.5), np.int64(3), np.float64("nan"), np.zeros(()), np.array("a"), jnp.float32(0.1)]
OBJECTS += [jnp.zeros(3), len, object(), {1, 2}, b"bytes", 1j, decimal.Decimal("0.1"), fractions.Fraction(1, 3), int]
OBJECTS += [
    datetime.date(2026, 1, 1),
    pathlib.Path("x"),
    Color.RED,
    ...,
    range(3),
    iter(()),
    {1: 2},
    {"": 1},
    {"a.b": 1},
]
OBJECTS += [{None: 1}, np.datetime64("2026-01-01"), slice(1), mg.Metric]


def number(chance):
    return chance.choice(NUMBERS)


def value(chance, depth=0, *, plain=False):
    """Return anything that may stand in a config, or that somebody may put there; `plain` leaves objects out."""
    kind = chance.randrange(12 if depth < 2 else 4)
    if kind < 2:
        return number(chance)
    if kind == 2:
        return chance.choice(TEXTS)
    if kind == 3:
        return chance.choice([None, True, False, (), {}])
    if kind == 4:
        return tuple(value(chance, depth + 1, plain=plain) for _ in range(chance.randrange(3)))
    if kind == 5:
        names = ["a", "component", "sweep", "values", "needs", "kernels", "0", "low"]
        return {chance.choice(names): value(chance, depth + 1, plain=plain) for _ in range(chance.randrange(3))}
    if kind in (6, 7):
        return sweep(chance, depth, plain=plain)
    if kind in (8, 9):
        return some_component(chance, depth, plain=plain)
    if kind == 10 and not plain:
        return chance.choice(OBJECTS)
    return [] if plain else reference(chance)


def reference(chance):
    return chance.choice([config_dict.placeholder(float), config_dict.required_placeholder(int), FieldReference(0.1)])


def sweep(chance, depth=0, *, plain=False):
    kind = chance.randrange(6)
    if kind < 3:
        return grid(*(value(chance, depth + 1, plain=plain) for _ in range(chance.randrange(4))))
    make = chance.choice([uniform, log_uniform, int_uniform])
    return make(number(chance), number(chance)) if kind < 5 else make(*chance.choice([(1e-3, 0.1), (1, 3)]))


@functools.cache
def registered():
    return [
        entry for kind in kinds() for entry in registrations(kind) if entry.origin.startswith(str(ROOT / "mlgym_jax"))
    ]


def some_component(chance, depth=0, *, kind=None, plain=False, right=False):
    """Return a registered component with its required parameters, most of the time of a right type; `right`: all."""
    entries = [entry for entry in registered() if kind is None or entry.kind == kind]
    entry = chance.choice(entries or registered())
    given = {}
    for name, parameter in entry.parameters.items():
        if parameter.default is parameter.empty and (right or chance.random() < 0.95):
            given[name] = fitting(chance, name, entry, depth + 1, plain=plain, right=right)
        elif chance.random() < 0.15:
            old = parameter.default
            known = right and not (old is None or old is ... or old is parameter.empty)
            given[name] = like(chance, old, entry.kind) if known else value(chance, depth + 1, plain=plain)
    name = chance.choice([entry.name, entry.name, entry.name, f"{entry.kind}/{entry.name}"])
    return component(name, **given)


def fitting(chance, name, entry, depth, *, plain, right):
    """Return what a parameter of this name may take."""
    if not right and (chance.random() < 0.2 or depth > 2):
        return value(chance, depth, plain=plain)
    known = {
        "monitor": ["val/loss", "train/loss", "val/accuracy", "val/acc"],
        "mode": ["min", "max"],
        "dataset": [component("synthetic", num_examples=50), component("wine")],
        "datasets": [(component("wine"), component("wine"))],
        "path": ["x.csv", "."],
        "run_dir": ["event_storage/x"],
        "transforms": [(component("adam", learning_rate=0.1),), {"a": component("sgd", learning_rate=0.1)}],
        "opt": [component("sgd", learning_rate=0.1)],
        "optimizer": [component("sgd", learning_rate=0.1)],
        "search": [component("random", num_experiments=3)],
        "features": [(3,), (2, 2)],
    }
    if name in known:
        return chance.choice(known[name])
    annotation = str(entry.parameters[name].annotation)
    if "int" in annotation:
        return chance.choice([1, 2, 3, 5])
    if "str" in annotation:
        return chance.choice(TEXTS)
    if "component" in annotation or "tuple" in annotation:
        return chance.choice([(1,), (0.5, 0.5), (("a", 1),), ("a",)])
    return chance.choice([0.1, 0.5, 1.0, 2])


def places(config, path=()):
    """Iterate over the paths of all that stands in a config."""
    items = []
    if isinstance(config, ConfigDict):
        items = [(key, config[key]) for key in config if not is_required(config, key)]
    elif isinstance(config, dict):
        items = list(config.items())
    elif isinstance(config, tuple | list):
        items = list(enumerate(config))
    for key, item in items:
        yield (*path, str(key))
        yield from places(item, (*path, str(key)))


def contents(config):
    """Iterate over (dotted path, value) of all fields that can be overridden."""
    for path in places(config):
        holder, key = _holder(config, list(path))
        if holder is not None and key == path[-1]:
            yield ".".join(path), holder[key]


def is_required(config, key):
    try:
        config[key]
    except config_dict.RequiredValueError:
        return True
    return False


def like(chance, old, section):
    """Return a value of the kind of another, so that more of what is wrong lies deeper."""
    if is_component(old):
        return some_component(chance, kind=section, plain=True, right=True)
    if is_sweep(old) and isinstance(old.get("values"), tuple | list) and old["values"]:
        first = old["values"][0]
        return grid(*(like(chance, first, section) for _ in range(chance.choice([1, 2, 3]))))
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return chance.choice([0, 1, 2, 3, 5, 7, 10, 100, -1, 1000, 2**31])
    if isinstance(old, float):
        return chance.choice([0.0, 0.1, 0.25, 0.5, 0.9, 1.0, 2.0, 1e-8, -0.1, 1e10])
    if isinstance(old, str):
        return chance.choice(["val/loss", "train/loss", "val/accuracy", "min", "max", "macro", "none", *TEXTS])
    if isinstance(old, tuple | list):
        return tuple(like(chance, item, section) for item in old for _ in range(chance.choice([0, 1, 1, 1, 2])))
    return chance.choice([0.1, 1, None])


def misspelled(chance, text):
    if not text:
        return "x"
    at = chance.randrange(len(text))
    return chance.choice(
        [text[:at] + text[at + 1 :], text[:at] + "x" + text[at:], text.upper(), text + "s", text[::-1]]
    )


def field(chance, config):
    """Return a dotted path into a config, or nearly one."""
    path = list(chance.choice([*places(config)]))
    kind = chance.randrange(10)
    if kind == 0:
        at = chance.randrange(len(path))
        path[at] = misspelled(chance, path[at])
    elif kind == 1:
        path.append(
            chance.choice(["component", "0", "1", "9", "values", "learning_rate", "sweep", "needs", "", "é", "-1"])
        )
    elif kind == 2:
        path = [chance.choice([*FIELDS, *SECTIONS])]
    elif kind == 3:
        path = path[: chance.randrange(len(path)) + 1]
    return ".".join(path)


def spelled(chance, item):
    """Write a value as one types it in a shell, more or less."""
    if isinstance(item, ConfigDict | dict):
        if is_component(item):
            rest = {key: item[key] for key in item if key != "component" and not is_required_in(item, key)}
            inside = "".join(f", {key}={spelled(chance, part)}" for key, part in rest.items())
            return f"component({_text(item['component'])}{inside})"
        if is_sweep(item):
            if "values" in item:
                values = item["values"] if isinstance(item["values"], tuple | list) else (item["values"],)
                return f"grid({', '.join(spelled(chance, part) for part in values)})"
            return f"{item['sweep']}({spelled(chance, item.get('low'))}, {spelled(chance, item.get('high'))})"
        return chance.choice(["dict({})", "{{{}}}"]).format(
            ", ".join(f"{k}={spelled(chance, v)}" for k, v in item.items())
        )
    if isinstance(item, tuple | list):
        return f"({''.join(spelled(chance, part) + ', ' for part in item)})"
    if isinstance(item, str):
        return chance.choice([_text(item), item])
    return repr(item)


def is_required_in(item, key):
    return isinstance(item, ConfigDict) and is_required(item, key)


def _text(item):
    return repr(item)


def words(chance, config):
    """Return the words of a command line: overrides, and now and then an option."""
    found = []
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        name = field(chance, config)
        item = value(chance, plain=True)
        kind = chance.randrange(6)
        if kind == 0:
            item = number(chance)
        text = spelled(chance, item)
        if kind == 1:
            text = misspelled(chance, text)
        section = name.split(".")[0].removesuffix("s")
        if kind in (3, 4):
            name, old = chance.choice([*contents(config)])
            section = name.split(".")[0].removesuffix("s")
            text = spelled(chance, like(chance, old, section))
        if kind == 2:
            text = spelled(chance, some_component(chance, kind=section, plain=True))
        found.append(chance.choice([f"--config.{name}={text}"] * 9 + [f"--config.{name}", f"-config.{name}={text}"]))
    if chance.random() < 0.1:
        found.append(
            chance.choice(
                [
                    "--plan=vmap",
                    "--plan=x",
                    "--devices=0",
                    "--devices=1",
                    "--run_id=",
                    "--resume=x",
                    "x",
                    "--é",
                    "--config.",
                    "--",
                ]
            )
        )
    return found


def edited(chance, config):
    """Change a config as a program may: replace, remove, rename, move, nest."""
    config = ConfigDict(config.copy_and_resolve_references(), type_safe=False, allow_dotted_keys=True)
    with config.ignore_type(), config.unlocked():
        mild = chance.random() < 0.6
        for _ in range(chance.choice([1, 1, 1, 2, 3, 5])):
            if mild:
                name, old = chance.choice([*contents(config)])
                holder, key = _holder(config, name.split("."))
                _put(holder, key, like(chance, old, name.split(".")[0].removesuffix("s")))
                continue
            path = list(chance.choice([*places(config)] or [("name",)]))
            holder, key = _holder(config, path)
            if holder is None:
                continue
            old = holder[key]
            kind = chance.randrange(9)
            if kind < 3:
                new = value(chance)
            elif kind == 3:
                del holder[key]
                continue
            elif kind == 4:
                new = old
                del holder[key]
                key = misspelled(chance, key)
            elif kind == 5:
                new = chance.choice(
                    [grid(old), grid(old, value(chance)), (old,), {"a": old}, [old, old], grid(grid(old, old), old)]
                )
            elif kind == 6:
                other = chance.choice([*places(config)])
                there, name = _holder(config, list(other))
                new = there[name] if there is not None else None
            elif kind == 7:
                section = path[0].removesuffix("s")
                new = some_component(chance, kind=section)
            else:
                new = number(chance)
            _put(holder, key, new)
            if chance.random() < 0.1:
                _put(config, chance.choice(["a.b", "metrics", "é", "", "train", "0", *SECTIONS]), value(chance))
    return config


def _put(holder, key, new):
    with contextlib.suppress(Exception):  # some objects cannot be copied
        new = copy.deepcopy(new)
    if key in holder:
        del holder[key]
    with contextlib.suppress(TypeError, ValueError, AttributeError, KeyError):  # what a ConfigDict itself refuses
        if isinstance(new, dict) and all(isinstance(name, str) for name in new):
            new = ConfigDict(new, allow_dotted_keys=True, type_safe=False)
        holder[key] = new


def _holder(config, path):
    """Return the nearest ConfigDict above a path, and the key below it that leads there."""
    holder, last = config, 0
    found = config
    for at, key in enumerate(path[:-1]):
        if isinstance(found, ConfigDict):
            holder, last = found, at
            found = found[key] if key in found and not is_required(found, key) else None
        else:
            break
    if isinstance(found, ConfigDict) and path[-1] in found:
        holder, last = found, len(path) - 1
    key = path[last]
    return (holder, key) if key in holder and not is_required(holder, key) else (None, key)


def edited_text(chance, text):
    """Change the source of a config file: lines left out, doubled, moved, names misspelled, values replaced."""
    lines = text.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("def get_config"))
    for _ in range(chance.choice([1, 1, 2, 3])):
        at = begin + chance.randrange(len(lines) - begin)
        kind = chance.randrange(5)
        if kind == 0:
            lines[at] = ""
        elif kind == 1:
            lines.insert(at, lines[begin + chance.randrange(len(lines) - begin)])
        elif kind == 2:
            names = [*re.finditer(r"[A-Za-z_]\w*", lines[at])]
            if names:
                name = chance.choice(names)
                lines[at] = lines[at][: name.start()] + misspelled(chance, name.group()) + lines[at][name.end() :]
        elif kind == 3:
            numbers = [*re.finditer(r"\d[\d.e-]*|\"[^\"]*\"", lines[at])]
            if numbers:
                place = chance.choice(numbers)
                new = spelled(chance, value(chance, plain=True))
                lines[at] = lines[at][: place.start()] + new + lines[at][place.end() :]
        else:
            cut = chance.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:cut]
    return "\n".join(lines) + "\n"


def edited_json(chance, text):
    """Change a recorded config: its bytes, or its data."""
    if chance.random() < 0.3:
        at = chance.randrange(len(text))
        return (
            text[:at] + chance.choice(["", "{", "]", '"', "NaN", "1e999", "\\ud800", "null", "\x00"]) + text[at + 1 :]
        )
    data = json.loads(text)
    holder = data
    while True:
        key = chance.choice([*holder]) if isinstance(holder, dict) else chance.randrange(len(holder))
        if not holder[key] or not isinstance(holder[key], dict | list) or chance.random() < 0.3:
            break
        holder = holder[key]
    old = holder[key]
    new = like(chance, old, "optimizer") if chance.random() < 0.5 else value(chance, plain=True)
    holder[key] = ConfigDict({"": new}, allow_dotted_keys=True).to_dict()[""]
    return json.dumps(data, default=str)
