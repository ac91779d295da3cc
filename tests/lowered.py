"""Programs that were lowered before, found by their equations: to lower them takes a third of a small run's time.

`keep` has JAX take a program's MLIR module from a file where an earlier session, or another worker, has lowered the
same equations for the same shapes and devices. Calls into Python and into libraries are lowered anew.
"""

import contextlib
import dataclasses
import enum
import functools
import hashlib
import os
import pathlib
import tempfile
import weakref
import zlib

import jax
import jaxlib
import numpy as np
from jax._src import config, core, sharding_impls, tree_util
from jax._src.frozen_dict import FrozenDict
from jax._src.interpreters import mlir
from jax._src.random import prng

# Of equations: functions that lowering does not ask.
_IDLE = {
    ("custom_jvp_call", "jvp_jaxpr_fun"),
    ("custom_vjp_call", "fwd_jaxpr_thunk"),
    ("custom_vjp_call", "bwd"),
    ("checkpoint", "policy"),
}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, enum.Enum, np.dtype, np.generic, jax.sharding.Sharding)
_PLAIN += (jax.sharding.Mesh, jax.sharding.AbstractMesh, jax.sharding.PartitionSpec, tree_util.PyTreeDef)
_PLAIN += (sharding_impls.UnspecifiedValue, core.ManualAxisType, prng.KeyTy)
_INTERNED = core.ShapedArray, core.JaxprEqnContext, core.AxisEnv
_MAX_CONSTANT_BYTES = 1 << 20


class _Unknown(Exception):
    """What a value is cannot be told from its words."""


def keep(folder):
    """Keep what is lowered in a folder, and take it from there."""
    folder, real = pathlib.Path(folder), mlir.lower_jaxpr_to_module
    folder.mkdir(parents=True, exist_ok=True)

    @functools.wraps(real)
    def lower(module_name, jaxpr, **given):
        try:
            path = folder / _key(module_name, jaxpr, given)
        except _Unknown:
            return real(module_name, jaxpr, **given)
        with contextlib.suppress(OSError):
            code = zlib.decompress(path.read_bytes())
            with mlir.make_ir_context() as context:
                module = mlir.ir.Module.parse(code, context)
            return mlir.LoweringResult(module, [], [], mlir.ShapePolyLoweringState((), None))
        found = real(module_name, jaxpr, **given)
        if not found.keepalive and not found.host_callbacks and not found.shape_poly_state.uses_dim_vars:
            code = _bare(found.module)
            if b"custom_call" not in code:  # as of LAPACK, whose functions are made ready when they are lowered
                _write(path, zlib.compress(code, 1))
        return found

    mlir.lower_jaxpr_to_module = lower


def _bare(module):
    """Return a module's bytecode, without where each operation came from."""
    with module.context:
        copied = module.operation.clone()
        mlir.passmanager.PassManager.parse("builtin.module(strip-debuginfo)").run(copied)
        return mlir.module_to_bytecode(copied.operation if hasattr(copied, "operation") else copied)


def _write(path, content):
    with contextlib.suppress(OSError):  # of a test that has files fail
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)


def _key(module_name, jaxpr, given):
    given = {name: value for name, value in given.items() if name not in ("backend", "arg_names")}
    if given["lowering_parameters"].override_lowering_rules or jaxpr.effects:
        raise _Unknown
    parts = [jax.__version__, jaxlib.__version__, _told(config.trace_context()), module_name, _told(jaxpr)]
    parts += [f"{name}={_told(value)}" for name, value in sorted(given.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


_of_jaxpr = weakref.WeakKeyDictionary()
_of_interned = {}  # avals and contexts: few, and each once


def _told(value):
    kind = type(value)
    if kind in _INTERNED:
        if value not in _of_interned:
            _of_interned[value] = _fields(value, kind.__slots__)
        return _of_interned[value]
    if isinstance(value, _PLAIN):
        words = repr(value)
        if " at 0x" in words:
            raise _Unknown(kind)
        return words
    if kind is prng.PRNGImpl:
        return f"{value.name} {value.tag}"
    if kind is core.Jaxpr:
        if value not in _of_jaxpr:
            _of_jaxpr[value] = hashlib.sha256(_equations(value).encode()).hexdigest()
        return _of_jaxpr[value]
    if kind is core.ClosedJaxpr:
        return f"{_told(value.jaxpr)}({_told(value.consts)})"
    if isinstance(value, tuple | list):
        return f"{kind.__name__}({','.join(map(_told, value))})"
    if isinstance(value, dict | FrozenDict):
        return f"{{{','.join(sorted(f'{_told(name)}:{_told(item)}' for name, item in value.items()))}}}"
    if isinstance(value, set | frozenset):
        return f"{{{','.join(sorted(map(_told, value)))}}}"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
        raise _Unknown(value.dtype)  # keys
    if isinstance(value, np.ndarray | jax.Array) and value.nbytes <= _MAX_CONSTANT_BYTES:
        array = np.asarray(value)
        return f"{kind.__name__}:{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"
    if dataclasses.is_dataclass(value):
        return _fields(value, [field.name for field in dataclasses.fields(value)])
    raise _Unknown(kind)


def _fields(value, names):
    told = (f"{name}={_told(getattr(value, name, None))}" for name in names if name != "__weakref__")
    return f"{type(value).__name__}({','.join(told)})"


def _equations(jaxpr):
    numbers = {}

    def new(variables):
        for variable in variables:
            numbers[variable] = str(len(numbers))
        return ",".join(_told(variable.aval) for variable in variables)

    def read(atom):
        return f"{_told(atom.val)}{_told(atom.aval)}" if type(atom) is core.Literal else numbers[atom]

    lines = [new(jaxpr.constvars), new(jaxpr.invars)]
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        params = [f"{key}={_told(value)}" for key, value in equation.params.items() if (name, key) not in _IDLE]
        read_from = [read(atom) for atom in equation.invars]
        lines.append(" ".join([name, *params, *read_from, new(equation.outvars), _told(equation.ctx)]))
        if equation.effects:
            lines.append(repr(sorted(map(repr, equation.effects))))
    return "\n".join([*lines, *map(read, jaxpr.outvars)])
