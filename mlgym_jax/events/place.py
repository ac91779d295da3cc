"""Is what a process writes still where it was, and where is it now?"""

from __future__ import annotations

import os

from mlgym_jax.errors import MovedError


def check_place(fd: int, path: str | os.PathLike[str]) -> None:
    """Refuse to go on with a log whose path does not name the open file any more.

    Raises:
        MovedError: its folder was moved or removed, or something else has its name; what to do is said.
    """
    if is_at(fd, path):
        return
    folder = os.path.dirname(os.path.abspath(path))
    now = name_of(fd)
    if now is not None:
        now = os.path.dirname(now)
        raise MovedError(f"{folder}: the run was moved to {now} while it went on; nothing more is written", now)
    if os.path.isfile(path):
        raise MovedError(
            f"{folder}: the run was replaced while it went on, so what this process writes is not seen there any more; "
            "nothing more is written",
            folder,
        )
    raise MovedError(
        f"{folder}: the run was removed while it went on, or moved where this process does not find it; nothing more "
        "is written. Go on with what is left of it by --resume=FOLDER, or start it anew",
        None,
    )


def is_at(fd: int, path: str | os.PathLike[str]) -> bool:
    """Tell whether a path names an open file; yes, where the system does not say."""
    try:
        there = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    here = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def name_of(fd: int) -> str | None:
    """Return the present path of an open file, where the system tells it and the file has one."""
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None
    return path if is_at(fd, path) else None
