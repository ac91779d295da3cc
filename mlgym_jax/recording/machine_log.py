"""What is logged beside a training, from a thread that mostly sleeps: samples of the machine, and messages."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import schema
from mlgym_jax.recording.machine import Machine
from mlgym_jax.recording.recorder import Recorder

SAMPLE_SECONDS = 15.0
_MOST_MESSAGES = 1_000  # of a launch
_LONGEST = 10_000  # characters of a message
Messages = queue.SimpleQueue[tuple[int, dict[str, str]] | None]


@contextlib.contextmanager
def collected(wanted: bool = True) -> Iterator[Messages | None]:
    """Collect the warnings that are logged or shown meanwhile, with their times; they are shown as ever."""
    if not wanted:
        yield None
        return
    messages: Messages = queue.SimpleQueue()
    handler = _Collector(messages)
    shown = warnings.showwarning

    def showwarning(message: Any, category: Any, *where: Any, **more: Any) -> None:
        _put(messages, "warning", category.__name__, str(message))
        shown(message, category, *where, **more)

    logging.getLogger().addHandler(handler)
    warnings.showwarning = showwarning
    try:
        yield messages
    finally:
        logging.getLogger().removeHandler(handler)
        if warnings.showwarning is showwarning:  # whoever has replaced it since puts back what it found
            warnings.showwarning = shown


@contextlib.contextmanager
def logged_beside(
    recorder: Recorder,
    messages: Messages | None,
    machine: Machine | None,
    *,
    interval_seconds: float = SAMPLE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Append messages as they come, and a sample of the machine at most so often, and one more at the end.

    Where nothing else was logged meanwhile, as of a finished run that was resumed, there is none at the end.

    A log that cannot be written is for those to say who write the training's own events.

    Args:
        messages, machine: None for none of these.
    """
    said: Messages = queue.SimpleQueue() if messages is None else messages
    first = recorder.log.next_event_id

    def append(event: dict[str, Any]) -> None:
        with contextlib.suppress(MlgymError):
            recorder.log.append([event])

    def run() -> None:
        due, number = clock() + interval_seconds, 0
        while True:
            try:
                found = said.get(timeout=None if machine is None else max(0.0, due - clock()))
            except queue.Empty:
                due = clock() + interval_seconds
                if machine is not None:
                    append(recorder.event(schema.system, **machine.sample()))
                continue
            if found is None:
                return
            number += 1
            if number <= _MOST_MESSAGES:
                append(schema.message(recorder.run_id, now_ms=found[0], **found[1]))
            elif number == _MOST_MESSAGES + 1:
                told = {"level": "info", "source": __name__, "text": "further messages of this launch are not recorded"}
                append(schema.message(recorder.run_id, now_ms=found[0], **told))

    thread = threading.Thread(target=run, name="logged-beside", daemon=True)
    thread.start()
    try:
        yield
    finally:
        said.put(None)
        thread.join()
        if machine is not None and recorder.log.next_event_id > first:
            append(recorder.event(schema.system, **machine.sample()))


class _Collector(logging.Handler):
    """Puts warnings into a queue; what would have been shown without it still is."""

    def __init__(self, messages: Messages):
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = "error" if record.levelno >= logging.ERROR else "warning"
            _put(self._messages, level, record.name, record.getMessage(), int(record.created * 1000))
            if logging.lastResort is not None and not _handled_elsewhere(record.name, self):
                logging.lastResort.handle(record)
        except Exception:
            self.handleError(record)


def _handled_elsewhere(name: str, own: logging.Handler) -> bool:
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(handler is not own for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _put(messages: Messages, level: str, source: str, text: str, now_ms: int | None = None) -> None:
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    now_ms = int(time.time() * 1000) if now_ms is None else now_ms
    messages.put((now_ms, {"level": level, "source": source, "text": text}))
