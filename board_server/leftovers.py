"""What a board that was killed while it took in a file has left: parts of files that nobody will finish."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable

from board_server.precedence import ASKED
from mlgym_jax.events import layout

# As `write_whole` names what it has not finished; boards before wrote `.receiving-…`.
_TEMPORARY = re.compile(r".+\.[0-9a-f]{8}\.tmp|\.receiving-.+")
_MARK = re.compile(rf"({re.escape(layout.PUBLISHED_MARK)})\.[0-9a-f]{{8}}\.tmp")
_NAMELESS = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # folders of new runs, before they have their names
_UPLOAD = re.compile(r".+\.safetensors\.part")
_UPLOAD_SECONDS = 7 * 24 * 3600.0  # so long an upload that was broken off may be gone on with


def remove_leftovers(folder: str, run_ids: Iterable[str], *, started: float) -> int:
    """Remove them from the runs that boards have received, where nobody else writes; return how many.

    Args:
        started: since when this board runs, in unix seconds; what is younger may be under way.
    """
    num_removed = 0
    for run in (os.path.join(folder, run_id) for run_id in run_ids):
        ASKED.give_way()
        if not os.path.islink(run):
            num_removed += _of_received(run, started) if _is_received(run) else _of_unborn(run, started)
    return num_removed + sum(_of_nameless(path, started) for path in _nameless(folder))


def _is_received(run: str) -> bool:
    return os.path.exists(os.path.join(run, layout.PUBLISHED_MARK))


def _of_received(run: str, started: float) -> int:
    num_removed = 0
    for where, _, names in os.walk(run):
        for name in names:
            if _TEMPORARY.fullmatch(name):
                num_removed += _remove(os.path.join(where, name), started)
            elif _UPLOAD.fullmatch(name):
                num_removed += _remove(os.path.join(where, name), started - _UPLOAD_SECONDS)
    return num_removed


def _of_unborn(run: str, started: float) -> int:
    """Remove a folder that was made for a run and never marked as received; it would keep the run out for ever."""
    num_removed = 0
    with contextlib.suppress(OSError):
        names = os.listdir(run)
        if names and all(map(_MARK.fullmatch, names)):
            num_removed = sum(_remove(os.path.join(run, name), started) for name in names)
            os.rmdir(run)
    return num_removed


def _nameless(folder: str) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [one.path for one in entries if _NAMELESS.fullmatch(one.name) and one.is_dir(follow_symlinks=False)]
    return []


def _of_nameless(path: str, started: float) -> int:
    """Remove a folder in which there is no more than the mark of received runs."""
    with contextlib.suppress(OSError):
        names = os.listdir(path)
        is_old = os.stat(path).st_mtime < started
        if is_old and all(name == layout.PUBLISHED_MARK or _MARK.fullmatch(name) for name in names):
            for name in names:
                os.unlink(os.path.join(path, name))
            os.rmdir(path)
            return 1
    return 0


def _remove(path: str, older_than: float) -> int:
    with contextlib.suppress(OSError):
        if os.lstat(path).st_mtime < older_than:
            os.unlink(path)
            return 1
    return 0
