"""Write docs/components.md from the registry.

python docs/generate.py [--check]
"""

import inspect
import pathlib
import sys

from mlgym_jax.registry import kinds, registrations

TARGET = pathlib.Path(__file__).with_name("components.md")
# Kinds whose parameters are Optax's own: a table of names is enough, Optax documents the rest.
OPTAX = {
    "loss": ("mlgym_jax.core.losses", "NOT_LOSSES"),
    "optimizer": ("mlgym_jax.core.optimizers", "NOT_OPTIMIZERS"),
    "schedule": ("mlgym_jax.core.optimizers", "NOT_SCHEDULES"),
}
HEAD = """# Components

Every registered name, by kind. This page is written by `python docs/generate.py` from the registry; a test holds it to
it. A component is named in a config by `component("name", parameter=…)`; the section gives the kind (`config.model` ->
`model`), and `component("kind/name")` says it outright. Parameters marked † may be swept inside one compiled program.
"""


def page():
    parts = [HEAD]
    for kind in kinds():
        entries = [entry for entry in registrations(kind) if _is_built_in(entry)]
        if not entries:
            continue
        parts.append(f"\n## {kind}\n")
        for entry in entries:
            summary = entry.summary().replace("|", "\\|")
            parts.append(f"- **`{entry.name}`**({_parameters(entry)}){_needs(entry)}: {summary}")
        if kind in OPTAX:
            module, constant = OPTAX[kind]
            left_out = getattr(__import__(module, fromlist=[constant]), constant)
            if left_out:
                parts.append(f"\nNot available as a {kind}, with the reason:\n")
                parts += [f"- `{name}`: {reason}" for name, reason in sorted(left_out.items())]
    return "\n".join(parts) + "\n"


def _is_built_in(entry):
    return "mlgym_jax" in entry.origin


def _parameters(entry):
    words = []
    for name, parameter in entry.parameters.items():
        mark = "†" if entry.is_dynamic(name) and entry.dynamic is not None else ""
        default = "" if parameter.default is inspect.Parameter.empty else f"={_shown(parameter.default)}"
        words.append(f"{name}{mark}{default}")
    mark = "; numeric ones †" if entry.dynamic is None and words else ""
    return f"`{', '.join(words)}`{mark}" if words else ""


def _shown(value):
    return getattr(value, "__name__", None) or repr(value)


def _needs(entry):
    return f", needs {', '.join(entry.needs.values())}" if entry.needs else ""


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.read_text(encoding="utf-8") == text else "docs/components.md is stale: make docs")
    TARGET.write_text(text, encoding="utf-8")
