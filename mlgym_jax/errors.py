"""The few exceptions that reach a user, and the words that make them helpful."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MlgymError(Exception):
    """Something a user can act on; `str(error)` is the whole message, no traceback needed."""


class ConfigError(MlgymError):
    """A config that cannot be run; the message starts with the path of the field at fault."""

    def __init__(self, path: str, message: str):
        self.path = path
        super().__init__(f"config.{path}: {message}" if path else f"config: {message}")


class DiskError(MlgymError):
    """The disk refused a write; what was written before is whole."""


def nearest(name: object, options: Iterable[object]) -> str:
    """Return `"; did you mean 'adam'?"` for the closest of `options`, or an empty string."""
    matches = difflib.get_close_matches(str(name), [str(option) for option in options], n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def listed(options: Iterable[object], limit: int = 12) -> str:
    """Join `options` for a message, cut after `limit`."""
    names = [str(option) for option in options]
    return ", ".join(names[:limit]) + (f", … ({len(names)} in all)" if len(names) > limit else "") or "none"
