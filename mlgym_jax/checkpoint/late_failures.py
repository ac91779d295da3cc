"""What Orbax tells of a failure apart from raising it: kept off the screen.

Seen with Orbax 0.11 and 0.12: after a write or read that failed, Python tells through `sys.unraisablehook` of the
coroutines that worked on the other arrays of the step, and asyncio through its logger of tasks that nobody waits for.
Nothing private is called, but what is passed over is known by names that may change: the message of a closed event
loop, a coroutine's file under a folder `orbax`, the word in asyncio's record.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any


def ignore_late_failures() -> None:
    """Keep traces off the screen that follow a failure which was raised; may be called again."""
    before = sys.unraisablehook
    if getattr(before, "ignores_late_failures", False):
        return

    def hook(found: Any) -> None:
        write_after_end = found.exc_type is RuntimeError and str(found.exc_value) == "Event loop is closed"
        code = getattr(found.object, "cr_code", None)  # a coroutine that was reading when another one failed
        if not (write_after_end or (code is not None and "orbax" in Path(code.co_filename).parts)):
            before(found)

    hook.ignores_late_failures = True  # type: ignore[attr-defined]
    sys.unraisablehook = hook
    logging.getLogger("asyncio").addFilter(lambda record: "orbax" not in record.getMessage())
