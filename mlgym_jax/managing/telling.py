"""`python -m mlgym_jax.runs watch --on=…`: alerts are printed, and go to a webhook and a command, until Ctrl-C."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlgym_jax.errors import MlgymError
from mlgym_jax.events.alert_conditions import EXAMPLE, WEBHOOK_VARIABLE, conditions_of
from mlgym_jax.managing.alert_watch import Alerting, usual_path
from mlgym_jax.managing.delivery import Channel, command, webhook

_POLL_SECONDS = 0.5
_END_SECONDS = 60.0  # for what is under way, with --once
_LEAVE_SECONDS = 1.0  # after Ctrl-C


def tell_alerts(options: Any, storage: str, runs: Sequence[str], write: Callable[[Mapping[str, Any]], None]) -> None:
    """Tell what is new and wanted, until Ctrl-C; with `options.once` what there is.

    Args:
        options: on, webhook, command, state, since, once, end_with_stdin: as they were typed, None where they were not.
        write: prints an alert.

    Raises:
        MlgymError: an option that does not fit. DiskError: what was told cannot be kept.
    """
    conditions = conditions_of(options.on)
    makers = _makers(options)
    while options.end_with_stdin and not os.path.isdir(storage):
        if _is_over(ends_with_stdin=True):
            return
    path = options.state or usual_path(storage, runs, conditions, [name for name, _ in makers])
    if path is None:
        print("nothing is kept of what was told: the cache folder is off; give --state=FILE", file=sys.stderr)
    now_ms = time.time_ns() // 1_000_000
    alerting = Alerting(storage, runs, conditions, since=options.since, path=path, now_ms=now_ms)
    channels = [Channel(name, deliver, alerting.undelivered.get(name, ())) for name, deliver in makers]

    def keep(*, now: bool = False) -> None:
        alerting.keep({channel.name: channel.waiting for channel in channels}, now=now)

    keep(now=True)
    try:
        while True:
            some = False
            for alert in alerting.new(look=options.once):
                some, message = True, alert.as_json()
                for channel in channels:
                    channel.put(message)
                write(message)
            if some or options.once:
                keep(now=True)
            else:
                keep()
            if options.once or _is_over(options.end_with_stdin):
                break
    finally:
        until = time.monotonic() + (_END_SECONDS if options.once else _LEAVE_SECONDS)
        for channel in channels:
            channel.finish(max(until - time.monotonic(), 0))
        keep(now=True)
        for channel in channels:
            _tell_rest(channel, path)


def _is_over(ends_with_stdin: bool) -> bool:
    """Wait a moment; return whether who started this holds its standard input no more, as they may have been killed."""
    if not ends_with_stdin:
        time.sleep(_POLL_SECONDS)
        return False
    readable, _, _ = select.select([0], [], [], _POLL_SECONDS)
    return bool(readable) and not os.read(0, 1 << 16)


def _makers(options: Any) -> list[tuple[str, Any]]:
    found = []
    url, option = options.webhook, "--webhook"
    if url is None:
        url, option = os.environ.get(WEBHOOK_VARIABLE) or None, WEBHOOK_VARIABLE
    if url is not None:
        found.append(webhook(url, option))
    if options.command is not None:
        if not options.command.strip():
            raise MlgymError("--command: it is empty; write --command='notify-send \"$MLGYM_JAX_ALERT_TEXT\"'")
        found.append((f"command {options.command[:60]}", command(options.command)))
    return found


def need_conditions(options: Any) -> None:
    """Refuse options of alerts where no --on says of what.

    Raises:
        MlgymError: there are such.
    """
    for name in ("webhook", "command", "state", "end_with_stdin"):
        if getattr(options, name) not in (None, False):
            raise MlgymError(f"--{name}: it is not said of what to tell; write {EXAMPLE} with it")


def _tell_rest(channel: Channel, path: str | None) -> None:
    if number := len(channel.waiting):
        then = "the next start sends them" if path is not None else "they are lost"
        print(f"{channel.name}: {number} alerts are not delivered yet; {then}", file=sys.stderr)
