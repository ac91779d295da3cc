"""Whose code would be executed? Going on with a run, repeating it and predicting with it execute what it recorded.

A run is taken for the user's own unless its files belong to somebody else, `run.json` says that somebody else made it,
or a board's marks say that it was received. This guards against executing by mistake what came from elsewhere; whoever
wants to deceive can write anything into a run's files, so those of people one does not trust are best only read.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Mapping
from typing import Any

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import layout

MADE_BY, TRUSTED_BY = "made_by", "trusted_by"  # in run.json
_MARKS = (layout.PUBLISHED_MARK, layout.RECEIVED_MARK)
_EXECUTED = ("", layout.CONFIG_SOURCE, layout.SOURCES, layout.RECORD)


def user() -> str:
    """Name who runs this process."""
    return _name(os.geteuid())


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def foreign_because(run_dir: str, record: Mapping[str, Any]) -> str | None:
    """Say why a run is not taken for the user's own; None where it is.

    Args:
        record: its `run.json`.
    """
    for name in _EXECUTED:
        with contextlib.suppress(OSError):
            owner = os.stat(os.path.join(run_dir, name)).st_uid
            if owner != os.geteuid():
                return f"belongs to {_name(owner)} ({name or 'its folder'}), and you are {user()}"
    trusted = record.get(TRUSTED_BY) == user()
    received = os.path.join(layout.CHECKPOINTS, layout.RECEIVED)
    if any(os.path.lexists(os.path.join(run_dir, name)) for name in (*_MARKS, *([] if trusted else [received]))):
        return "was published to a board by another machine"
    maker = record.get(MADE_BY)
    if maker not in (None, user()) and not trusted:
        return f"was made by {maker}, as its {layout.RECORD} says, and you are {user()}"
    return None


def refuse_foreign(run_dir: str, record: Mapping[str, Any]) -> None:
    """Refuse to execute the code of a run that is not the user's own.

    Raises:
        MlgymError: see there.
    """
    why = foreign_because(run_dir, record)
    if why is None:
        return
    marks = [name for name in _MARKS if os.path.lexists(os.path.join(run_dir, name))]
    remove = f"remove {' and '.join(marks)} from its folder, or " if marks else ""
    code = f"{layout.CONFIG_SOURCE} and {layout.SOURCES}/" if record.get("sources") else layout.CONFIG_SOURCE
    raise MlgymError(
        f"{run_dir}: this run {why}, and this would execute its {code}. If you trust it, {remove}say so by --trust, in "
        "Python by trust=True. Its scores, checkpoints and restored states are read without executing anything"
    )


def take_over(run_dir: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Let a run that the user trusts be taken for the user's own from now on; return what its record is to say."""
    for name in _MARKS:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(run_dir, name))
    return {**record, TRUSTED_BY: user()}
