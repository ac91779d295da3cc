"""What the command lines share: exit statuses, clean errors, overrides among the arguments."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

from mlgym_jax.errors import DiskError, MlgymError, listed, nearest
from mlgym_jax.execution.interruption import SIGNALS

DONE, FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def guarded(
    main: Callable[[list[str]], int], arguments: Sequence[str] | None = None, *, output: str = "the output"
) -> int:
    """Run a command's main and turn what a user can act on into one message and an exit status.

    Args:
        output: what it prints, in words, for where that leads to a disk without room.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS if number != signal.SIGINT}
    for number, handler in before.items():
        if number == signal.SIGTERM or handler != signal.SIG_IGN:  # `nohup` has SIGHUP ignored
            signal.signal(number, _interrupt)
    write_what_can_be_written()
    try:
        status = main(list(sys.argv[1:] if arguments is None else arguments))
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where it can still be said that there is no room
        return status
    except DiskError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except MlgymError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_REQUEST
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except OSError as error:
        if error.filename is not None or error.errno not in _NO_ROOM:  # of a file, which is not for here to explain
            raise
        print(f"error: {output} could not be written: {error.strerror}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that is not Python's
                signal.signal(number, handler)


def leave(status: int) -> NoReturn:
    """End the process. One that was interrupted waits for no thread: what they compile is not wanted any more."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what comes while Python ends is not raised in the midst of that
    if status == INTERRUPTED:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


# What this project's own texts have outside of ASCII, for a terminal that has not.
_PLAIN = {"±": "+-", "…": "...", "·": "-", "×": "x", "–": "-", "—": "-"}


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Spell what a stream cannot write, as `+-` or, like JSON and Python, as `\\u00e9`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    words = []
    for character in error.object[error.start : error.end]:
        units = character.encode("utf-16-be", "surrogatepass")  # two for what is beyond the first 65,536, as in JSON
        escaped = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
        words.append(_PLAIN.get(character, escaped))
    return "".join(words), error.end


codecs.register_error("mlgym_jax_in_ascii", _in_ascii)


def write_what_can_be_written() -> None:
    """Let a terminal that is not UTF-8, or a name that is no text, change what is shown, and not end a finished run."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # whatever stands in for a terminal may have none
        if reconfigure is not None:
            reconfigure(errors="mlgym_jax_in_ascii")


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


class Parser(argparse.ArgumentParser):
    """An argument parser that says in one line what is wrong, as an MlgymError, and takes no option twice.

    Args:
        repeatable: options that may be given several times.
    """

    def __init__(self, *, repeatable: Sequence[str] = (), **settings: Any):
        super().__init__(allow_abbrev=False, **settings)
        self._repeatable = frozenset(repeatable)

    def error(self, message: str) -> NoReturn:
        raise MlgymError(f"{message}; see {self.prog} --help")

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse the words of a command line.

        Raises:
            MlgymError: an unknown option, one that is given twice, or a value that does not fit.
        """
        options = [word for action in self._actions for word in action.option_strings if word.startswith("--")]
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            is_config = name.endswith(".py") and "--config" in options
            if not name.startswith("-"):
                hint = f"; a config file is given as --config={name}" if is_config else f"; see {self.prog} --help"
                raise MlgymError(f"unexpected argument {unknown[0]!r}{hint}")
            field = _field_of_config(name) if "--config" in options else None
            if field:
                raise MlgymError(f"unknown option {name}; a field of the config is written --config.{field}=VALUE")
            raise MlgymError(f"unknown option {name}{nearest(name, options)} Options: {listed(options, 20)}")
        given = [word for word in args if word.partition("=")[0] in options]
        for word in given:
            name = word.partition("=")[0]
            twice = [other for other in given if other.partition("=")[0] == name]
            if len(twice) > 1 and name not in self._repeatable:
                raise MlgymError(f"{name} is given twice ({' and '.join(twice)}); give it once")
        return found


def _field_of_config(name: str) -> str | None:
    from mlgym_jax.config.words import FIELDS, SECTIONS

    field = name.lstrip("-")
    return field if field.partition(".")[0] in (*FIELDS, *SECTIONS) else None


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separate `--config.path=text` (or `--config.path text`) from the other arguments.

    Raises:
        MlgymError: an override without a value.
    """
    rest: list[str] = []
    overrides: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        name, equals, text = word.lstrip("-").partition("=")
        if not (word.startswith("-") and name.startswith("config.")):
            rest.append(word)
            continue
        if not re.fullmatch(r"config(\.[^.]+)+", name):
            raise MlgymError(f"{word}: a field is missing; write --config.FIELD=VALUE")
        if not equals:
            text = next(words, None)
        if text is None or (not equals and text.startswith("--")):
            raise MlgymError(f"--{name}: a value is missing; write --{name}=VALUE")
        overrides[name.removeprefix("config.")] = text
    return rest, overrides


def parse_overrides(config: Any, texts: dict[str, str]) -> dict[str, Any]:
    """Read override texts in view of the fields that they replace."""
    from mlgym_jax.config.file import current_value, parse_value

    found = {}
    for name, text in texts.items():
        try:
            found[name] = parse_value(text, current_value(config, name))
        except MlgymError as error:
            raise MlgymError(f"--config.{name}: {error}") from None
    return found
