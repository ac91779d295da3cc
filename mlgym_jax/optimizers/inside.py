"""What stands inside of optimizers and schedules besides numbers: checked before Optax sees it, said at its place."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from mlgym_jax.components.registry import adapts
from mlgym_jax.core.metric import shape_of
from mlgym_jax.errors import ConfigError, MlgymError, described, listed, nearest, with_article
from mlgym_jax.optimizers.fractions import step_number

_EXAMPLE = "component('sgd', learning_rate=0.1)"
_FORMS = {
    "chain": (f"({_EXAMPLE}, …)", "a tuple of components"),
    "named_chain": (f"(('first', {_EXAMPLE}), …)", "pairs of a name and a component"),
}
_OF_NAMES = (f"dict(first={_EXAMPLE}, …)", "components by names")


def check_transform(key: str, value: Any, *, may_be_none: bool = True) -> None:
    """Refuse what is no gradient transformation.

    Raises:
        ConfigError: at `optimizer.<key>`.
    """
    if value is None and may_be_none:
        return
    if not (callable(getattr(value, "init", None)) and callable(getattr(value, "update", None))):
        raise ConfigError(f"optimizer.{key}", f"a component is expected, such as {_EXAMPLE}; found {described(value)}")


def checked_transforms(name: str, transforms: Any) -> Any:
    """Return the parameter `transforms` of a chain or a partition.

    Raises:
        ConfigError: at `optimizer.transforms`, or at one of them.
    """
    example, form = _FORMS.get(name, _OF_NAMES)
    by_names, one = name not in _FORMS, hasattr(transforms, "update") and not isinstance(transforms, Mapping)
    if one or not transforms or not isinstance(transforms, Mapping if by_names else tuple):
        several = isinstance(transforms, Mapping | tuple) and bool(transforms)
        found = (
            "one component" if one else with_article(type(transforms).__name__) if several else described(transforms)
        )
        raise ConfigError("optimizer.transforms", f"expected: {form}; found {found}; write transforms={example}")
    for key, item in transforms.items() if isinstance(transforms, Mapping) else enumerate(transforms):
        if name == "named_chain":
            if not (type(item) is tuple and len(item) == 2 and isinstance(item[0], str)):
                raise ConfigError(
                    f"optimizer.transforms.{key}",
                    f"a pair of a name and a component is expected, found {described(item)}; write "
                    f"('name', {_EXAMPLE})",
                )
            item = item[1]
        check_transform(f"transforms.{key}", item)
    return transforms


def check_function(key: str, value: Any) -> None:
    """Refuse what is no function of the step.

    Raises:
        ConfigError: at `optimizer.<key>`.
    """
    if not callable(value):
        raise ConfigError(
            f"optimizer.{key}",
            f"a schedule is expected, found {described(value)}; write component('constant_schedule', value=…)",
        )


@adapts("schedule")
def checked_schedule(built: Any) -> Any:
    """Return a schedule of a user's own as one that says so where it returns something else than one real number."""
    if not callable(built) or str(getattr(built, "__module__", "")).startswith(("optax.", "mlgym_jax.")):
        return built
    schedule: Callable[[Any], Any] = built

    @functools.wraps(schedule)
    def asked(count: Any) -> Any:
        found = schedule(count)
        kind = getattr(found, "dtype", None)
        of_numbers = kind is not None and (jnp.issubdtype(kind, jnp.number) or jnp.issubdtype(kind, jnp.bool_))
        if not (isinstance(found, int | float) or (of_numbers and jnp.isrealobj(found) and found.shape == ())):
            said = shape_of(found) if of_numbers else described(found)
            names = getattr(schedule, "__qualname__", type(schedule).__qualname__).split(".<locals>.")
            raise MlgymError(
                f"the schedule {names[-2:][0]} takes a number of steps and returns one real number, found {said}"
            )
        return found

    return asked


def expression(pattern: str, path: str) -> re.Pattern[str]:
    """Compile a regular expression.

    Raises:
        ConfigError: at `path`, it is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a later Python may read it otherwise
            return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            path, f"found {pattern!r}, which is no regular expression ({error}); write one such as 'kernel$'"
        ) from None


def expressions(pairs: Any, labels: Mapping[str, Any]) -> list[tuple[re.Pattern[str], str]]:
    """Return the parameter `param_labels`, its patterns compiled.

    Raises:
        ConfigError: at `optimizer.param_labels.…`: no regular expression, or a label that has no transformation.
    """
    found = []
    for number, (pattern, label) in enumerate(pairs):
        if label not in labels:
            raise ConfigError(
                f"optimizer.param_labels.{number}.1",
                f"there is no transform {label!r}{nearest(label, labels)} Transforms: {listed(labels)}",
            )
        found.append((expression(pattern, f"optimizer.param_labels.{number}.0"), label))
    return found


def boundaries(scales: Any) -> dict[int | float, Any]:
    """Return the parameter `boundaries_and_scales`: step -> factor.

    Raises:
        ConfigError: at `schedule.boundaries_and_scales.…`, what are no pairs of numbers.
    """
    found = {}
    pairs = list(scales.items()) if isinstance(scales, Mapping) else scales
    if not isinstance(pairs, tuple | list):
        pairs = (pairs,)
    for number, pair in enumerate(pairs):
        try:
            step, scale = pair
            found[step_number(step)] = scale if hasattr(scale, "dtype") else float(scale)
            if not float(step) < 2**31:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(
                f"schedule.boundaries_and_scales.{number}",
                f"a pair of a step below 2147483648 and a factor is expected, found {described(pair)}; write "
                "boundaries_and_scales=((100, 0.1), (200, 0.1))",
            ) from None
    return found


def check_cycles(cycles: Any) -> None:
    """Refuse what is no parameter `cosine_kwargs`.

    Raises:
        ConfigError: at `schedule.cosine_kwargs`.
    """
    if not isinstance(cycles, tuple) or not cycles or not all(isinstance(item, Mapping) for item in cycles):
        raise ConfigError(
            "schedule.cosine_kwargs",
            f"the parameters of each cycle are expected, found {described(cycles)}; write cosine_kwargs="
            "(dict(init_value=0.0, peak_value=0.1, warmup_steps=10, decay_steps=100), …)",
        )


def number_type(name: str, parameter: str) -> Any:
    """Return the type of floating-point numbers of a name, such as "bfloat16".

    Raises:
        ConfigError: at `optimizer.<parameter>`, there is none.
    """
    try:
        found = jnp.dtype(name)
        if jnp.issubdtype(found, jnp.floating):
            return found
    except TypeError:
        pass
    known = ("float32", "bfloat16", "float16")
    raise ConfigError(
        f"optimizer.{parameter}", f"found {name!r}, no type of floats{nearest(name, known)} Use {listed(known)}."
    )
