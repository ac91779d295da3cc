"""The few exceptions that reach a user, and the words that make them helpful."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from typing import Any


class MlgymError(Exception):
    """Something a user can act on; `str(error)` is the whole message, no traceback needed."""


class ConfigError(MlgymError):
    """A config that cannot be run; the message starts with the path of the field at fault."""

    def __init__(self, path: str, message: str):
        self.path = path
        self.message: str = _in_a_line(message)
        super().__init__(f"config.{path}: {self.message}" if path else f"config: {self.message}")

    def moved(self, kind: str, path: str) -> ConfigError:
        """Return the error of a factory, which knows only its kind, with the path at which its component stands."""
        if self.path != kind and not self.path.startswith(f"{kind}."):
            return self
        return ConfigError(path + self.path.removeprefix(kind), self.message)


class DiskError(MlgymError):
    """The disk refused a write or a read; what was written before is whole.

    Attributes:
        last_step: the folder of the last checkpoint that was being written, beneath the run's; empty if there was none.
    """

    last_step: str = ""


class MovedError(DiskError):
    """A run's folder is not where it was; nothing more is written there.

    Attributes:
        run_dir: where one can go on with the run; None if that is not known.
    """

    def __init__(self, message: str, run_dir: str | None):
        self.run_dir = run_dir
        super().__init__(message)


def _in_a_line(message: str) -> str:
    """Write in one line, without addresses, what libraries and users' own components say in several."""
    return re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"\s*\n\s*", " ", message))


def nearest(name: object, options: Iterable[object]) -> str:
    """Return `"; did you mean 'adam'?"` for the closest of `options`, or a full stop."""
    options = list(map(str, options))
    close = closest(name, options) if str(name) not in options else None
    return f"; did you mean {close!r}?" if close else "."


def closest(name: object, options: Iterable[object], cutoff: float = 0.6) -> str | None:
    """Return the option that is most like `name`, or None where none is; upper and lower case are alike."""
    by_lower = {str(option).lower(): str(option) for option in options}
    matches = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[matches[0]] if matches else None


def likely(name: object, options: Iterable[object], limit: int = 12) -> str:
    """Join `options` for a message; of more than `limit` those that are most like `name`."""
    names = sorted(str(option) for option in options)
    if len(names) <= limit:
        return listed(names)
    near = difflib.get_close_matches(str(name), names, n=limit, cutoff=0.0)
    return f"{', '.join(sorted(near))}, … ({len(names)} in all)"


def listed(options: Iterable[object], limit: int = 12) -> str:
    """Join `options` for a message, cut after `limit`."""
    names = [str(option) for option in options]
    return ", ".join(names[:limit]) + (f", … ({len(names)} in all)" if len(names) > limit else "") or "none"


def described(value: object, limit: int = 100) -> str:
    """Show a value in a message, in one line and cut after `limit` characters."""
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(value).split()))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


_KINDS = {int: "an integer", float: "a number", str: "a string", bool: "True or False", tuple: "a tuple"}


def with_article(name: str) -> str:
    """Write `a dict`, `an Endless`, `a Unit`: the name of a type as a user would."""
    says_a = not re.match(r"(?i)[aeiou]", name) or re.match(r"(?i)u(n[iu]|[bcfhjklqrst][aeiou])|eu|one", name)
    return f"{'a' if says_a else 'an'} {name}"


def kind_of(kind: type) -> str:
    """Name a type as a user would: `an integer`."""
    return _KINDS.get(kind, with_article(kind.__name__))


_WHERE = re.compile(r"(?P<option>--[\w.]+)(?:=(?P<value>[^\s:]*(?::\d[^\s:]*)?))?: |(?P<file>[^\s:]+\.py): ")
_FOUND = re.compile(r"\bfound (?:'([^']*)'|([^\s,;:]+))|\b(?:unknown|no) [\w ]*?'([^']*)'|\bunknown option ([^\s;]+)")
_ALLOWED = re.compile(
    r"\b(?:Registered|Parameters|Options|Commands|Scores|Fields|Kinds|Columns|Experiments|Runs there|Allowed)"
    r"(?: are)?: (?P<names>.*?)(?=\. [A-Z]|; \w|$)|\ballowed are (?P<words>.*?)(?=[;:(]|\. [A-Z]|$)"
)


def path_of(value: Any, what: str) -> str:
    """Return a path as text.

    Args:
        what: what it is the path of, for the error.

    Raises:
        MlgymError: it is no path.
    """
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    hint = "; its run_dir is one" if hasattr(value, "run_dir") else ""
    raise MlgymError(f"the path of {what} is expected, found {described(value)}{hint}")


def as_data(error: MlgymError) -> dict[str, Any]:
    """Return what an error says in parts, for programs: those of its words that are there.

    Returns:
        `message`, the whole of it; `path`, the field (`config.optimizer`) or option (`--monitor`) at fault; `found`,
        what was there; `nearest`, what was probably meant; `allowed`, what may be there, as far as it is listed.

    >>> as_data(ConfigError("optimizer", "unknown optimizer 'adm'; did you mean 'adam'? Registered: adam, adamw."))[
    ...     "allowed"
    ... ]
    ['adam', 'adamw']
    """
    text = str(error)
    where, path = _WHERE.match(text), None
    if isinstance(error, ConfigError):
        path, said = f"config.{error.path}".rstrip("."), error.message
        found = error.path.rpartition(".")[2] if re.match(r"unknown (parameter|field)\b", said) else None
    else:
        path, said = where and (where["option"] or where["file"]), text
        found = where["value"] if where else None
    if not found and (match := _FOUND.search(said)):
        found = next(filter(None, match.groups()), None)
    meant, allowed = re.search(r"did you mean '([^']*)'\?", said), _ALLOWED.search(said)
    names: list[str] = []
    if allowed and allowed["words"]:
        names = [allowed["words"].strip().rstrip(".")]
    elif allowed:
        each = (re.sub(r"^(and|or) ", "", name).strip("'") for name in allowed["names"].rstrip(".").split(", "))
        names = [name for name in each if name and " " not in name and name != "…"]
    parts = {"path": path, "found": found, "nearest": meant and meant[1], "allowed": names}
    return {"message": text, **{name: part for name, part in parts.items() if part}}


_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_LIBRARIES = (_PACKAGE + os.sep, os.path.dirname(os.__file__) + os.sep)


def in_words(error: BaseException) -> str:
    """Say what code of a user's own raised, and in which line of which file."""
    if isinstance(error, MlgymError):
        return str(error)
    text = str(error).strip()
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    found = place(error)
    return f"{said} ({found})" if found else said


def place(error: BaseException) -> str | None:
    """Return `net.py, line 12`: the last line of a user's own that an exception passed through; None where none did."""
    found, trace = None, error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        own = not file.startswith(("<", *_LIBRARIES)) and "-packages" + os.sep not in file
        found = (file, trace.tb_lineno) if own else found
        trace = trace.tb_next
    if found is None:
        return None
    beside = os.path.relpath(found[0]) if found[0].startswith(os.getcwd() + os.sep) else found[0]
    return f"{beside}, line {found[1]}"
