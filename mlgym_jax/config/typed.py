"""Values as they are typed on a command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from mlgym_jax.config.words import component, grid, int_uniform, log_uniform, uniform
from mlgym_jax.errors import MlgymError

_CALLS: dict[str, Callable[..., Any]] = {"grid": grid, "uniform": uniform, "log_uniform": log_uniform}
_CALLS |= {"int_uniform": int_uniform, "component": component, "dict": dict}


def parse_value(text: str, current: Any = None) -> Any:
    """Read a command-line value: a Python literal, `grid(…)` and friends, `component(…)`, otherwise a string.

    A field that holds a string takes the text as it stands, but for these calls and None. `dict(…)` is a section of
    components, or a parameter that holds values by names.
    """
    text = text.strip()
    if text.lower() in ("true", "false") and not isinstance(current, str):
        return text.lower() == "true"
    try:
        node = ast.parse(text, mode="eval").body
        if isinstance(current, str) and text != "None" and (not _is_call(node) or text.startswith("dict")):
            return text
        return _evaluated(node)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        if re.match(rf"({'|'.join(_CALLS)})\s*\(", text):
            shown = re.sub("^(.{99}).{2,}", r"\1…", " ".join(text.split()))
            raise MlgymError(
                f"{shown}: cannot be read; write literals, as in grid(0.1, 0.01), component('name', …) or dict(name=…)"
            ) from None
        return text


def _is_call(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS


def _evaluated(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and _is_call(node):
        if any(word.arg is None for word in node.keywords):
            raise ValueError("**")  # what stands in it would be lost
        keywords = {str(word.arg): _evaluated(word.value) for word in node.keywords}
        return _CALLS[ast.unparse(node.func)](*[_evaluated(argument) for argument in node.args], **keywords)
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_evaluated(item) for item in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {ast.literal_eval(k): _evaluated(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    return ast.literal_eval(node)
