"""What of an experiment's state lies where along the mesh's axis `data`, and steps that keep to it.

A specification is of one experiment's arrays; in a group, the axis of experiments stands before it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.lax import with_sharding_constraint
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlgym_jax.core.paths import Path, map_paths, named_leaves, nowhere
from mlgym_jax.core.program import Program
from mlgym_jax.core.state import Batch, TrainState
from mlgym_jax.errors import ConfigError
from mlgym_jax.execution.mesh import DATA, EXPERIMENT

# (regular expression of a parameter's path, the axis along which it is split, or None for a copy on each device).
Rules = Sequence[tuple[str, int | None]]
_WHOLE = PartitionSpec()


def check_rules(rules: Rules, params: Any) -> None:
    """Refuse a rule that no parameter has, or that names an axis which one of its parameters does not have.

    Args:
        params: shapes of the parameters.

    Raises:
        ConfigError: at the rule.
    """
    named = named_leaves(params)
    if not named:
        return
    for number, (pattern, axis) in enumerate(rules):
        found = _paths_of(pattern, params)
        if not found:
            raise ConfigError(f"parallel.rules.{number}.0", f"{pattern!r} {nowhere(pattern, named)}")
        for name, (first, leaf) in _ruled(rules, params).items():
            if first == number and axis is not None and not -leaf.ndim <= axis < leaf.ndim:
                allowed = ", ".join([*map(str, range(leaf.ndim)), "None"])
                raise ConfigError(
                    f"parallel.rules.{number}.1",
                    f"found {axis}, but {name!r}, in which {pattern!r} is found, has the shape {leaf.shape}: allowed "
                    f"are {allowed}; None keeps a copy on each device",
                )


def state_specs(abstract: TrainState, data: int, *, fsdp: bool, rules: Rules = ()) -> TrainState:
    """Return how one experiment's state is split over `data` devices: a tree of its form of PartitionSpecs.

    With `fsdp`, every parameter is split along its largest axis that divides; the first rule that is found in a
    parameter's path says otherwise. What the optimizer keeps of a parameter, in its shape, is split as the parameter;
    what it keeps in other shapes along their own largest axis. All else is whole on each device.

    Args:
        abstract: shapes of the state.

    Raises:
        ConfigError: a rule for an axis that `data` does not divide.
    """
    ruled = _ruled(rules, abstract.params)

    def largest(leaf: Any) -> PartitionSpec:
        sizes = {axis: size for axis, size in enumerate(leaf.shape) if size and size % data == 0}
        return _along(max(sizes, key=lambda axis: sizes[axis])) if fsdp and data > 1 and sizes else _WHOLE

    def of_parameter(path: Path, leaf: Any) -> PartitionSpec:
        number = ruled.get(path.name, (None, leaf))[0]
        if number is None:
            return largest(leaf)
        pattern, axis = rules[number]
        if axis is None:
            return _WHOLE
        if leaf.shape[axis] % data:
            raise ConfigError(
                f"parallel.rules.{number}.1",
                f"axis {axis} of {path.name!r}, whose shape is {leaf.shape}, is not divided by the {data} devices of "
                f"the mesh's axis {DATA}; write another axis, or None, for {pattern!r}, or another --mesh",
            )
        return _along(axis % leaf.ndim)

    params = map_paths(of_parameter, abstract.params)
    shapes, specs = named_leaves(abstract.params), named_leaves(params)

    def of_optimizer(path: Path, leaf: Any) -> PartitionSpec:
        for name in _ends(path.name):
            if name in shapes and shapes[name].shape == leaf.shape:
                return specs[name]
        return largest(leaf)

    whole = jax.tree.map(lambda leaf: _WHOLE, abstract)
    return dataclasses.replace(whole, params=params, opt_state=map_paths(of_optimizer, abstract.opt_state))


def bytes_of(tree: Any) -> int:
    """Return the bytes of arrays of these shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def bytes_on_a_device(abstract: TrainState, specs: TrainState, data: int) -> int:
    """Return the bytes of one experiment's state on each device."""
    leaves = zip(jax.tree.leaves(abstract), jax.tree.leaves(specs), strict=True)
    return sum(bytes_of(leaf) // (data if DATA in spec else 1) for leaf, spec in leaves)


def shardings(specs: TrainState, mesh: Mesh) -> TrainState:
    """Return how the stacked states of a group lie on the devices."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, PartitionSpec(EXPERIMENT, *spec)), specs)


def split_over_data(program: Program, specs: TrainState) -> Program:
    """Return a program whose steps split each batch over the axis `data`, and whose states keep to `specs`.

    The compiler puts padding, which counts nowhere, where a batch does not divide, and adds up over the devices what
    is summed over the batch: a step computes what it does on one device, but for the order of sums.
    """

    def laid_out(state: TrainState, specs: TrainState) -> TrainState:
        parts = ("params", "model_state", "opt_state")
        return dataclasses.replace(
            state,
            **{
                part: jax.tree.map(with_sharding_constraint, getattr(state, part), getattr(specs, part))
                for part in parts
            },
        )

    def split(batch: Batch) -> Batch:
        size = batch["mask"].shape[0]

        def of_examples(leaf: Any) -> Any:
            return with_sharding_constraint(leaf, _along(0)) if leaf.shape[:1] == (size,) else leaf

        # A whole mask on each device: the examples of a step are then counted without waiting for the others.
        return {**jax.tree.map(of_examples, batch), "mask": with_sharding_constraint(batch["mask"], _WHOLE)}

    whole = jax.tree.map(lambda spec: _WHOLE, specs)
    # Before the model runs its parameters are gathered: left to itself, the compiler may split activations by features.
    gathered = dataclasses.replace(specs, params=whole.params)

    def train_step(state: TrainState, batch: Batch, **kwargs: Any) -> tuple[TrainState, Any]:
        state, metrics = program.train_step(laid_out(state, gathered), split(batch), **kwargs)
        return laid_out(state, specs), metrics

    def eval_step(state: TrainState, batch: Batch, **kwargs: Any) -> Any:
        return program.eval_step(laid_out(state, whole), split(batch), **kwargs)

    return program._replace(train_step=train_step, eval_step=eval_step)


def _along(axis: int) -> PartitionSpec:
    return PartitionSpec(*(None,) * axis, DATA)


def _ends(name: str) -> Iterator[str]:
    """Iterate over a path and its ends, the longest first."""
    parts = name.split("/")
    for start in range(len(parts)):
        yield "/".join(parts[start:])


def _paths_of(pattern: str, params: Any) -> list[str]:
    expression, found = re.compile(pattern), []
    map_paths(lambda path, leaf: found.append(path.name) if path.matches(expression) else None, params)
    return found


def _ruled(rules: Rules, params: Any) -> dict[str, tuple[int, Any]]:
    """Return the number of the first rule for each parameter that has one, and its shape."""
    named, ruled = named_leaves(params), {}
    for number, (pattern, _) in enumerate(rules):
        for name in _paths_of(pattern, params):
            ruled.setdefault(name, (number, named[name]))
    return ruled


def layout_of(name: Any, mapped: tuple[Any, ...], states: Any, rows: NamedSharding) -> tuple[Any, Any]:
    """Return how what a program maps over lies on the devices, and what it returns: states as they are split.

    Args:
        name: of the program, see `execution.parts`; states: a TrainState of shardings; rows: that of all else.
    """
    given = jax.tree.map(
        lambda leaf: states if isinstance(leaf, TrainState) else rows,
        mapped,
        is_leaf=lambda leaf: isinstance(leaf, TrainState),
    )
    kind = name if isinstance(name, str) else name[0]
    both = kind in ("whole", "train", "train_tail", "train_stretch", "train_streamed", "finish")
    return given, states if kind == "init" else (states, rows) if both else rows
