"""Everything public says what it is; what takes or returns arrays says their shapes.

Public is what `mlgym_jax.__all__` names, and the classes of this package that it returns, with all their methods.
"""

import collections.abc
import inspect
import re
import typing

import jax
import numpy as np
import pytest

import mlgym_jax as mg
from mlgym_jax.reading.ensemble import Ensemble

ARRAYS = (jax.Array, np.ndarray)
# How shapes, and what a function takes and returns, are written: `float[n, classes]`, `(state, batch) -> losses`.
SHAPE = re.compile(r"(\w|-> )\[[^\]]*\]|\) -> |\bS -> |MetricState -> ")
# What has none: a tree has a model's, a key is no array to a user.
NO_SHAPE = re.compile(r"nested dict|optimizer's state|scalar array|PRNG key|see `core.scoring`|of its `\{\}` and")
BATCHES = {"inputs", "outputs", "batch", "per_example"}


def public():
    """Return the public functions and classes: dotted name -> object."""
    found = {name: getattr(mg, name) for name in mg.__all__ if name != "__version__"} | {"Ensemble": Ensemble}
    for name in [name for name, item in found.items() if inspect.ismodule(item)]:  # a name for several functions
        module = found.pop(name)
        found |= {
            f"{name}.{inside}": item
            for inside, item in vars(module).items()
            if getattr(item, "__module__", "") == module.__name__ and not inside.startswith("_")
        }
    waiting = list(found.values())
    while waiting:
        item = waiting.pop()
        functions = [item] if inspect.isfunction(item) else methods(item).values()
        for returned in (hints(function).get("return") for function in functions):
            for one in (returned, *typing.get_args(returned)):
                if inspect.isclass(one) and one.__module__.startswith("mlgym_jax.") and one not in found.values():
                    found[one.__name__] = one
                    waiting.append(one)
    return found


def methods(item):
    """Return the public functions of a class of this package, those of its bases and properties, too."""
    found = {}
    for base in reversed(item.__mro__):
        if base.__module__.startswith("mlgym_jax."):
            for name, member in vars(base).items():
                function = getattr(member, "fget", None) or getattr(member, "__func__", member)
                if not name.startswith("_") and inspect.isfunction(function):
                    found[name] = function
    return {name: function for name, function in found.items() if function.__module__.startswith("mlgym_jax.")}


def hints(item):
    try:
        return typing.get_type_hints(item)
    except NameError:  # of names that are imported for type checkers alone
        return {}


PUBLIC = public()
FUNCTIONS = {
    **{name: item for name, item in PUBLIC.items() if inspect.isfunction(item)},
    **{
        f"{name}.{method}": function
        for name, item in PUBLIC.items()
        if inspect.isclass(item)
        for method, function in methods(item).items()
    },
}


def of_arrays(kind):
    """Tell whether a type is one of arrays, or of functions, which are of arrays here."""
    return (
        kind in ARRAYS
        or typing.get_origin(kind) is collections.abc.Callable
        or any(map(of_arrays, typing.get_args(kind)))
    )


def entry(text, name):
    """Return what a docstring says of an attribute, in lines `name: …` or `name, other: …`, or in its first one."""
    found = re.search(rf"^ *(?:\w+, )*{name}(?:, \w+)*: (.*?)(?=^ *\w+(?:, \w+)*: |\Z)", text, re.DOTALL | re.MULTILINE)
    first = text.strip().splitlines()[0]
    return found[1] if found else first * (f"`{name}`" in first)


FIELDS = [
    f"{name}.{field}"
    for name, item in PUBLIC.items()
    if inspect.isclass(item)
    for field, kind in hints(item).items()
    if of_arrays(kind)
]
ON_BATCHES = [name for name, function in FUNCTIONS.items() if BATCHES & set(inspect.signature(function).parameters)]


def test_what_the_public_functions_return_is_walked_too():
    assert {"run", "show_board", "RunResult", "LearningRates", "Forecast", "Evaluation", "BoardFrame"} <= set(PUBLIC)
    assert {"RunResult.best", "ExperimentResult.predict", "RunResult.plot"} <= set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) | set(PUBLIC)))
def test_everything_public_has_a_docstring(name):
    text = inspect.getdoc({**PUBLIC, **FUNCTIONS}[name]) or ""
    assert text and text.splitlines()[0].endswith((".", ":", "`")), f"{name}: {text[:100]!r}"


@pytest.mark.parametrize("name", FIELDS)
def test_attributes_that_are_arrays_or_functions_of_them_say_their_shapes(name):
    item, field = name.rsplit(".", 1)
    said = entry(inspect.getdoc(PUBLIC[item]), field)
    assert SHAPE.search(said) or NO_SHAPE.search(said), f"{name}: {said!r}"


@pytest.mark.parametrize("name", ON_BATCHES)
def test_functions_of_arrays_say_their_shapes(name):
    assert SHAPE.search(inspect.getdoc(FUNCTIONS[name])), name


def test_the_tests_see_what_is_missing():
    text = """
    Args:
        rates, losses: float[n], ascending.
        curves: what they came to
            in words.
        steps: (a, b) -> c.
    """
    said = {name: bool(SHAPE.search(entry(text, name))) for name in ("rates", "losses", "curves", "steps", "none")}
    assert said == {"rates": True, "losses": True, "curves": False, "steps": True, "none": False}
    assert {"LearningRates.curves", "TrainState.step", "Metric.update", "Program.init"} <= set(FIELDS)
    assert {"ExperimentResult.predict", "Ensemble.predict", "mean_of"} <= set(ON_BATCHES)
