"""What a save under way makes anew under the name that a run's folder had before it was moved: nobody's files."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator

from mlgym_jax.errors import DiskError, MovedError
from mlgym_jax.events import EventLog, layout

_UNFINISHED = ".orbax-checkpoint-tmp"
_LOOKS, _LOOK_SECONDS = 5, 0.1


@contextlib.contextmanager
def in_place(log: EventLog) -> Iterator[None]:
    """Write into the folder of a log; where it is gone meanwhile, say that, and leave nothing in its place.

    Raises:
        MovedError: the disk refused because the folder is not where it was.
    """
    try:
        yield
    except DiskError as error:
        try:
            log.check_place()
        except MovedError:
            for _ in range(_LOOKS):  # threads that were writing may go on after the failure of one of them
                remove_left_behind(os.fspath(log.path.parent), error.last_step)
                time.sleep(_LOOK_SECONDS)
            remove_left_behind(os.fspath(log.path.parent), error.last_step)
            raise
        raise


def remove_left_behind(run_dir: str, last_step: str = "") -> None:
    """Remove unfinished steps, and folders that are empty then; nothing where a run is there (again).

    Args:
        last_step: the folder of the last step that was being written, beneath `run_dir`: it may be whole by now.
    """
    if os.path.lexists(os.path.join(run_dir, layout.LOG)):
        return
    if last_step:
        shutil.rmtree(os.path.join(run_dir, last_step), ignore_errors=True)
    for folder, _, names in os.walk(os.path.join(run_dir, layout.CHECKPOINTS), topdown=False):
        for name in names if _UNFINISHED in os.path.relpath(folder, run_dir) else ():
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    with contextlib.suppress(OSError):
        os.rmdir(run_dir)
