"""What the command lines share: exit statuses, clean errors, answers in JSON, overrides among the arguments.

With `--json`, which every command takes, stdout has nothing but what `answer` writes: one JSON document, or one a line
from a command that goes on telling, and in the place of it, or after it, {"error": {…}} where it fails. Whatever else
is printed, by a config file, too, goes to stderr. docs/programs.md says what is in the documents.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import errno
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, NoReturn, TextIO

from mlgym_jax.errors import ConfigError, DiskError, MlgymError, as_data, listed, nearest
from mlgym_jax.events.layout import spell_number
from mlgym_jax.execution.interruption import SIGNALS

DONE, FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130
_LEAVING_SECONDS = 5.0  # so long a command that failed waits for its threads
AS_JSON = "--json"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_answers: TextIO | None = None  # where the documents go while a command answers in JSON


def guarded(
    main: Callable[[list[str]], int], arguments: Sequence[str] | None = None, *, output: str = "the output"
) -> int:
    """Run a command's main and turn what a user can act on into one message and an exit status.

    Args:
        output: what it prints, in words, for where that leads to a disk without room.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if AS_JSON in words:
        with _answering():
            return _guarded(main, words, output)
    return _guarded(main, words, output)


def _guarded(main: Callable[[list[str]], int], words: list[str], output: str) -> int:
    before = {number: signal.getsignal(number) for number in SIGNALS if number != signal.SIGINT}
    for number, handler in before.items():
        if number == signal.SIGTERM or handler != signal.SIG_IGN:  # `nohup` has SIGHUP ignored
            signal.signal(number, _interrupt)
    write_what_can_be_written()
    if not logging.root.handlers and logging.lastResort is not None:
        logging.root.addHandler(logging.lastResort)  # as without one; absl, which Orbax logs by, would add its own form
    try:
        status = main(words)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where it can still be said that there is no room
        return status
    except MlgymError as error:
        told = _in_its_line(str(error), words)
        if isinstance(error, ConfigError):  # a line each, where several fields are at fault
            told = told.replace("\n", "\nerror: ")
        print(f"error: {told}", file=sys.stderr)
        answer_error(error)
        return FAILED if isinstance(error, DiskError) else WRONG_REQUEST
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except ValueError as error:
        if (refused := _setting_of_jax(error)) is None:
            raise
        print(f"error: {refused}", file=sys.stderr)
        answer_error(MlgymError(refused))
        return WRONG_REQUEST
    except OSError as error:
        if error.filename is not None or error.errno not in _NO_ROOM:  # of a file, which is not for here to explain
            raise
        print(f"error: {output} could not be written: {error.strerror}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        answer_error("interrupted")
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that is not Python's
                signal.signal(number, handler)


def _setting_of_jax(error: ValueError) -> str | None:
    """Say which variable of the environment has a value that JAX refuses while it is imported; None for else."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_globals.get("__name__") != "jax._src.config":
        return None
    said = str(error)
    set_here = [name for name in os.environ if name.startswith("JAX_")]
    named = [name for name in set_here if name.lower() in said.lower()]
    valued = [name for name in set_here if repr(os.environ[name]) in said]
    if not (named or valued):
        return None
    name = (named or valued)[0]
    return f"{name}={os.environ[name]}: JAX does not take this value ({said}); write another one, or leave it out"


def _in_its_line(message: str, words: Sequence[str]) -> str:
    """Return a message in which words of the command line, where it repeats them, end no line and steer no terminal."""
    for word in words:
        name, _, value = word.lstrip("-").partition("=")
        for part in (word, name, value):
            message = message.replace(part, re.sub(r"[\x00-\x1f\x7f]", lambda found: repr(found[0])[1:-1], part))
    return message


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Keep stdout for documents; whatever is printed meanwhile goes to stderr."""
    global _answers
    _answers = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _answers = None


def answers_in_json() -> bool:
    """Tell whether the command was asked for JSON."""
    return _answers is not None


def answer(document: Any, *, indent: int | None = 2) -> None:
    """Write a document to stdout, where the command was asked for JSON; else nothing.

    Args:
        document: plain data; numbers that JSON does not have are spelled as in the log, "NaN" and "Infinity".
        indent: None for a line of a stream.
    """
    if _answers is None:
        return
    is_utf8 = (_answers.encoding or "utf-8").lower().startswith("utf")  # elsewhere `±` would be shown as `+-`
    text = json.dumps(_spelled(document), indent=indent, ensure_ascii=not is_utf8, allow_nan=False)
    _answers.write(f"{text}\n")
    _answers.flush()


def answer_error(error: MlgymError | str) -> None:
    """Write {"error": {"message", …}} in a line; see `errors.as_data`."""
    with contextlib.suppress(OSError):  # nobody listens, or there is no room: stderr has it
        answer({"error": {"message": error} if isinstance(error, str) else as_data(error)}, indent=None)


def _spelled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _spelled(item) for name, item in value.items()}
    return [_spelled(item) for item in value] if isinstance(value, list | tuple) else spell_number(value)


def leave(status: int) -> NoReturn:
    """End the process. One that was interrupted waits for no thread: what they compile is not wanted any more.

    One that failed waits a while: after a folder that could not be made Orbax's threads wait for it for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what comes while Python ends is not raised in the midst of that
    if status == INTERRUPTED or (status == FAILED and not _threads_end(_LEAVING_SECONDS)):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


def _threads_end(seconds: float) -> bool:
    """Wait so long for the threads that Python would wait for; return whether they have ended."""
    limit = time.monotonic() + seconds
    waited_for = [one for one in threading.enumerate() if one is not threading.current_thread() and not one.daemon]
    for one in waited_for:
        threading.Thread.join(one, max(limit - time.monotonic(), 0.0))  # their own may raise what they met
    return not any(one.is_alive() for one in waited_for)


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
        self.add_argument(AS_JSON, action="store_true", help="answer in JSON, errors, too; see docs/programs.md")

    def print_help(self, file: Any = None) -> None:
        """Print the options; with --json as a document."""
        if not answers_in_json():
            return super().print_help(file)
        answer({"command": self.prog, "description": self.description, "options": [*map(_option, self._actions)]})

    def error(self, message: str) -> NoReturn:
        lacks = [one for one in self._actions if not one.option_strings and message.endswith(f"required: {one.dest}")]
        hint = f", {lacks[0].help}" if lacks and lacks[0].help else ""
        if chosen := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message):
            hint = nearest(chosen[1], re.findall(r"[\w.-]+", chosen[2])).removesuffix(".")
        raise MlgymError(f"{message}{hint}; see {self.prog} --help")

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse the words of a command line.

        Raises:
            MlgymError: an unknown option, one that is given twice, or a value that does not fit.
        """
        options = [word for action in self._actions for word in action.option_strings if word.startswith("--")]
        options.sort(key=lambda word: word == AS_JSON)  # every command has it: last, where options are listed
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
            first, point, field = name.partition(".")
            if point and "--config" in options and "--config" in nearest(first, ["--config"]):
                raise MlgymError(f"unknown option {name}; did you mean '--config.{field}'?")
            raise MlgymError(f"unknown option {name}{nearest(name, options)} Options: {listed(options, 20)}")
        given = [word for word in args if word.partition("=")[0] in options]
        for word in given:
            name = word.partition("=")[0]
            twice = [other for other in given if other.partition("=")[0] == name]
            if len(twice) > 1 and name not in self._repeatable:
                raise MlgymError(f"{name} is given twice ({' and '.join(twice)}); give it once")
        return found


def _option(action: argparse.Action) -> dict[str, Any]:
    default = action.default if action.default != argparse.SUPPRESS else None
    return {
        "name": action.option_strings[-1] if action.option_strings else action.dest,
        "takes_value": action.nargs != 0,
        "required": action.required,
        "default": default,
        "choices": None if action.choices is None else list(action.choices),
        "help": action.help,
    }


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
    from mlgym_jax.config.file import current_value
    from mlgym_jax.config.typed import parse_value

    found = {}
    for name, text in texts.items():
        try:
            found[name] = parse_value(text, current_value(config, name))
        except MlgymError as error:
            raise MlgymError(f"--config.{name}: {error}") from None
    return found
