"""Alerts of a board: a process beside it that watches its runs and tells; it is started again when it ends.

It is `python -m mlgym_jax.runs watch --on=…`, which has its own queue, time-outs and tries: a webhook that hangs, or a
disk that does, holds that process up, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple

from mlgym_jax.events.alert_conditions import WEBHOOK_VARIABLE

_STATE = ".alerts.json"  # of the folder of runs: what was told
_AGAIN_SECONDS, _MAX_AGAIN_SECONDS = 1.0, 60.0  # before it is started again; twice as long each time
_LONG_SECONDS = 60.0  # after which one that ends counts as the first
_END_SECONDS = 3.0  # for what is under way when the board ends
_log = logging.getLogger("board_server")


class Alerts(NamedTuple):
    """What is told of the runs of a folder, and where: no URL has it logged alone."""

    folder: str
    conditions: str
    webhook: str


@contextlib.asynccontextmanager
async def alerts_alive(alerts: Alerts | None) -> AsyncIterator[None]:
    """Have alerts told inside of this context."""
    if alerts is None:
        yield
        return
    watching = asyncio.create_task(_watch(alerts))
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _watch(alerts: Alerts) -> None:
    loop, pause = asyncio.get_running_loop(), _AGAIN_SECONDS
    while True:
        began = loop.time()
        try:
            why = f"exit status {await _told_until_it_ends(alerts)}"
        except OSError as error:
            why = error.strerror or str(error)
        if loop.time() - began > _LONG_SECONDS:
            pause = _AGAIN_SECONDS
        _log.warning("the process that tells alerts has ended (%s); it is started again in %g s", why, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _MAX_AGAIN_SECONDS)


async def _told_until_it_ends(alerts: Alerts) -> int:
    """Start the process, and return its exit status; whoever is cancelled meanwhile has it end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mlgym_jax.runs", "watch", f"--on={alerts.conditions}", "--end_with_stdin"),
        *(f"--event_storage={alerts.folder}", f"--state={os.path.join(alerts.folder, _STATE)}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=sys.stderr,
        env={**os.environ, WEBHOOK_VARIABLE: alerts.webhook},
        start_new_session=True,  # Ctrl-C is for the board
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _END_SECONDS)
        if process.returncode is None:
            process.kill()
