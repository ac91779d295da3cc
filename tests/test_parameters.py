"""The checks on parameters: what fits is converted without loss, what does not is refused with path, type and fix."""

import functools
import inspect
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlgym_jax.components.parameters import check_parameters
from mlgym_jax.components.registry import lookup, register
from mlgym_jax.errors import ConfigError

pytestmark = pytest.mark.usefixtures("own_registry")


def checked(factory, **given):
    """Register a factory and check parameters for it."""
    register("thing", "it")(factory)
    return check_parameters(lookup("thing", "it"), given, "thing")


def typed(
    *,
    count: int = 1,
    rate: float = 0.5,
    flag: bool = False,
    name: str = "x",
    sizes: tuple[int, ...] = (),
    mode: Literal["min", "max"] = "min",
    maybe: int | None = None,
    pair: tuple[float, float] = (0.0, 1.0),
    table: dict[str, int] | None = None,
    free=None,
):
    return None


@pytest.mark.parametrize(
    "name, value, converted",
    [
        ("count", 3, 3),
        ("rate", 1, 1.0),
        ("sizes", [1, 2], (1, 2)),
        ("sizes", (), ()),
        ("maybe", None, None),
        ("pair", [0, 1], (0.0, 1.0)),
        ("table", {"a": 1}, {"a": 1}),
        ("free", "anything", "anything"),
        ("mode", "max", "max"),
    ],
)
def test_values_that_fit_are_converted_without_loss(name, value, converted):
    found = checked(typed, **{name: value})[name]
    assert found == converted and type(found) is type(converted)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("count", "3", r"config\.thing\.count: wrong type: found '3', thing 'it' takes an integer as count"),
        ("count", 3.0, r"found 3\.0, thing 'it' takes an integer"),
        ("count", True, r"found True, thing 'it' takes an integer"),
        ("rate", "0.1", r"found '0\.1', thing 'it' takes a number as rate"),
        ("rate", None, r"found None, thing 'it' takes a number as rate"),
        ("flag", 1, r"found 1, thing 'it' takes True or False as flag"),
        ("name", 1, r"takes a string as name"),
        ("sizes", 8, r"found 8, thing 'it' takes a tuple of integers as sizes"),
        ("sizes", (1, "a"), r"config\.thing\.sizes\.1: wrong type: found \(1, 'a'\), .* a tuple of integers"),
        ("mode", "maximum", r"wrong value: found 'maximum', .* one of 'min', 'max' as mode; did you mean 'max'\?"),
        ("maybe", "no", r"takes an integer or None as maybe"),
        ("pair", (1.0,), r"takes \(a number, a number\) as pair"),
        (
            "cuont",
            3,
            r"config\.thing\.cuont: unknown parameter of thing 'it'; did you mean 'count'\? Parameters: count, ",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused(name, value, message):
    with pytest.raises(ConfigError, match=message):
        checked(typed, **{name: value})


def test_a_missing_parameter_is_named():
    with pytest.raises(ConfigError, match=r"config\.thing\.width: missing; .* component\('it', width=…\)"):
        checked(lambda *, width, rate=1: None, rate=2)


def test_a_factory_that_takes_anything_is_given_anything():
    assert checked(lambda **anything: None, a=1, b="x") == {"a": 1, "b": "x"}


@pytest.mark.parametrize("value", [jnp.float32(1), np.float32(1), optax.constant_schedule(0.1)])
def test_arrays_and_schedules_stand_in_for_numbers(value):
    assert checked(typed, rate=value)["rate"] is value
    assert check_parameters(lookup("optimizer", "adam"), {"learning_rate": value}, "o")["learning_rate"] is value


def test_traced_values_stand_in_for_numbers():
    jax.eval_shape(lambda value: checked(typed, rate=value)["rate"], jax.ShapeDtypeStruct((), jnp.float32))


@pytest.mark.parametrize("name, value", [("sgd", optax.adam(0.1)), ("sgd", "fast")])
def test_an_optimizer_is_no_learning_rate(name, value):
    with pytest.raises(ConfigError, match=r"config\.optimizer\.learning_rate: wrong type: .*takes a number"):
        check_parameters(lookup("optimizer", name), {"learning_rate": value}, "optimizer")


def test_an_annotation_that_cannot_be_resolved_checks_nothing():
    def make(*, width: "NotThere" = 1):  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
        return None

    assert checked(make, width="anything") == {"width": "anything"}


def test_a_wrapped_factory_shows_its_own_signature():
    @functools.wraps(typed)
    def wrapper(**given):
        return typed(**given)

    assert inspect.signature(wrapper) == inspect.signature(typed)
    with pytest.raises(ConfigError, match=r"takes an integer as count"):
        checked(wrapper, count="a")
