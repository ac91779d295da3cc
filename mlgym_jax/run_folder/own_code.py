"""A run's own code: the config file that it recorded, executed again."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

from mlgym_jax.components.registry import registrations
from mlgym_jax.config.file import make_importable
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import layout
from mlgym_jax.run_folder import folder, sources
from mlgym_jax.run_folder.trust import refuse_foreign


def read_config(run_dir: str, *, trust: bool = False) -> dict[str, Any]:
    """Return a run's resolved config, after its config file registered its own components: this executes its code.

    Args:
        trust: whether the user said to trust a run that is not the user's own.

    Raises:
        MlgymError: it cannot be read, or it is another's, and not trusted.
    """
    record = folder.read_record(run_dir)
    folder.refuse_imported(run_dir, record)
    if not trust:
        refuse_foreign(run_dir, record)
    config_file = os.path.join(run_dir, layout.CONFIG_SOURCE)
    source = _known_as(record.get("config_file") or config_file)
    make_importable(source)
    # What the run recorded counts, under the name of the file that it was copied from: so it finds what lies beside
    # that file, and may replace the components that the file registered in this process.
    module = sys.modules["mlgym_jax_config"] = types.ModuleType("mlgym_jax_config")
    module.__file__ = source
    try:
        with sources.executed(run_dir, record.get("sources") or ()), open(config_file, "rb") as file:
            exec(compile(file.read(), source, "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        raise MlgymError(f"{config_file}: {type(error).__name__}: {error}") from error
    return folder.read_resolved(run_dir)


def register_beside(config_file: str | None, *, trust: bool = False) -> None:
    """Register the own components of the run that a JSON config was recorded by; of any other file there are none.

    Raises: as `read_config`.
    """
    if config_file is None or not config_file.endswith(".json"):
        return
    beside = os.path.dirname(os.path.abspath(config_file))
    for run_dir in (beside, os.path.dirname(beside)):
        if os.path.isfile(os.path.join(run_dir, layout.LOG)):
            read_config(run_dir, trust=trust)
            return


def _known_as(source: str) -> str:
    """Return the name by which a file has registered components already, if it has."""
    if os.path.exists(source):
        for origin in {entry.origin for entry in registrations()}:
            if os.path.exists(origin) and os.path.samefile(origin, source):
                return origin
    return source
