"""Functions that are traced once for each form of their arguments, however often they stand in programs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp

_NOWHERE = jax.sharding.AbstractMesh((), ())


def traced_once(
    function: Callable[..., Any], rewrite: Callable[[Any], Any] = lambda jaxpr: jaxpr, *, static: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """Return a pure `function` that runs its Python code once for each structure, shapes and types of its arguments.

    What it computes of values that are known while it is traced, it computes of their shapes alone.

    Args:
        rewrite: jaxpr -> a jaxpr of the same arguments, results and constants.
        static: keyword arguments that are no arrays.
    """
    traces: dict[Any, tuple[Any, Any]] = {}

    def call(*args: Any, **kwargs: Any) -> Any:
        fixed = {name: kwargs.pop(name) for name in static if name in kwargs}
        leaves, structure = jax.tree.flatten((args, kwargs))
        forms = tuple(_form(leaf) for leaf in leaves)
        key = structure, forms, tuple(fixed.items())
        if key not in traces:
            shapes = [jax.ShapeDtypeStruct(shape, dtype, weak_type=weak) for shape, dtype, weak in forms]
            args, kwargs = jax.tree.unflatten(structure, shapes)
            with jax.sharding.use_abstract_mesh(_NOWHERE):  # it may stand in programs of other devices, too
                traced, results = jax.make_jaxpr(functools.partial(function, **fixed), return_shape=True)(
                    *args, **kwargs
                )
            traces[key] = traced.replace(jaxpr=rewrite(traced.jaxpr)), jax.tree.structure(results)
        traced, structure = traces[key]
        results = jax.extend.core.jaxpr_as_fun(traced)(*leaves)
        # What does not depend on the arguments comes as NumPy's, which computes at once, and warns.
        results = [result if isinstance(result, jax.Array) else jnp.asarray(result) for result in results]
        return jax.tree.unflatten(structure, results)

    return call


def _form(leaf: Any) -> tuple[Any, Any, bool]:
    form = jax.typeof(leaf) if not isinstance(leaf, jax.ShapeDtypeStruct) else leaf
    return form.shape, form.dtype, bool(getattr(form, "weak_type", False))
