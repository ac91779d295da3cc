"""What the command lines share: exit statuses, clean errors, overrides among the arguments."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

from mlgym_jax.errors import DiskError, MlgymError

DONE, FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130


def guarded(main: Callable[[list[str]], int], arguments: Sequence[str] | None = None) -> int:
    """Run a command's main and turn what a user can act on into one message and an exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return main(list(sys.argv[1:] if arguments is None else arguments))
    except DiskError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except MlgymError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_REQUEST
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


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
        if not equals:
            text = next(words, None)
        if text is None or not name.removeprefix("config."):
            raise MlgymError(f"--{name}: a value is missing; write --{name}=VALUE")
        overrides[name.removeprefix("config.")] = text
    return rest, overrides


def parse_overrides(config: Any, texts: dict[str, str]) -> dict[str, Any]:
    """Read override texts in view of the fields that they replace."""
    from mlgym_jax.config_file import current_value, parse_value

    return {name: parse_value(text, current_value(config, name)) for name, text in texts.items()}
