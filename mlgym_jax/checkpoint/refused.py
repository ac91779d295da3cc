"""Steps that a resume does not use: what the disk says apart from what a step says, and putting steps aside.

<run>/checkpoints/refused/group_<n>/<step>    whole, as it was found; nothing reads it, anybody may move it back
<run>/checkpoints/refused/group_<n>/middle    the same of where an epoch stood (`checkpoint.middle`)
"""

from __future__ import annotations

import errno
import os
import re

from mlgym_jax.errors import DiskError
from mlgym_jax.events import layout
from mlgym_jax.events.files import fsync_folder

# What a damaged step can make the system say: a file is gone, or a place or name read from the step makes no sense.
_SAID_OF_A_STEP = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EOVERFLOW, errno.ENAMETOOLONG, errno.EILSEQ)
)


def refusal_of_the_system(error: BaseException) -> str | None:
    """Return why the system refused a read, in its words, or None where what was read is at fault."""
    seen: BaseException | None = error
    while seen is not None:
        code = re.search(r"os_error_code='(\d+)'", str(seen))  # how TensorStore ends what the system refused
        number = seen.errno if isinstance(seen, OSError) else int(code[1]) if code else None
        if number is not None and number not in _SAID_OF_A_STEP:
            return os.strerror(number)
        seen = seen.__cause__ or seen.__context__
    return None


def timed_out(error: BaseException) -> bool:
    """Tell whether what failed was given up for the time that it took, by a clock that anybody may set."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TimeoutError) and seen.errno is None:  # ETIMEDOUT is a word of the system
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def put_aside(group_folder: str, step: int) -> str:
    """Move a step out of its group's folder; return where it is now.

    Raises:
        DiskError: the disk refuses.
    """
    checkpoints, group = os.path.split(group_folder)
    return move_aside(
        os.path.join(group_folder, str(step)), os.path.join(checkpoints, layout.REFUSED, group), str(step)
    )


def move_aside(source: str, aside: str, name: str) -> str:
    """Move a file or folder into the folder `aside`, under a name that is free there; return where it is now.

    Raises:
        DiskError: the disk refuses.
    """
    target, attempt = os.path.join(aside, name), 1
    try:
        os.makedirs(aside, exist_ok=True)
        while os.path.lexists(target):
            attempt += 1
            target = os.path.join(aside, f"{name}-{attempt}")
        os.rename(source, target)
    except OSError as error:
        raise DiskError(f"{source}: cannot be put aside into {aside}: {error.strerror}") from error
    fsync_folder(aside)
    fsync_folder(os.path.dirname(source))
    return target
