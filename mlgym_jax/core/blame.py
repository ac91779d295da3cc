"""Errors of what users write, in words and at the place of the config that brought it in."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

import jax

from mlgym_jax.core.outputs import SeveralOutputs, parts, say_which
from mlgym_jax.core.state import Outputs
from mlgym_jax.core.targets import read_at
from mlgym_jax.errors import ConfigError, MlgymError, in_words, listed, nearest


@contextlib.contextmanager
def named(path: str, batch: Collection[str] = ()) -> Iterator[None]:
    """Put a config path in front of whatever a user's component raises.

    Args:
        batch: what it is given, or the names of its fields.
    """
    try:
        with read_at(path):
            yield
    except (ConfigError, jax.errors.JAXTypeError):
        raise
    except Exception as error:
        raise ConfigError(path, _said(error, batch)) from error


@contextlib.contextmanager
def reading(seen: Outputs, path: str | None = None, batch: Collection[str] = ()) -> Iterator[None]:
    """Put an error of what reads outputs in words; where they are several and it reads one, say which there are.

    Args:
        seen: what it is given; path: the path of that among the model's outputs, if one was named; batch: as `named`.
    """
    try:
        yield
    except SeveralOutputs as error:
        raise say_which(seen, path, error) from error
    except (MlgymError, jax.errors.JAXTypeError):
        raise
    except Exception as error:
        raise (say_which(seen, path, error) if parts(seen) else MlgymError(_said(error, batch))) from error


def _said(error: Exception, batch: Collection[str]) -> str:
    said = in_words(error)
    if not isinstance(error, KeyError):
        return said
    said = said.replace(f"KeyError: {error}", f"it looks up {error}, which is not there (KeyError)")
    name = error.args[0] if error.args else None
    if not batch or not isinstance(name, str) or name in batch:
        return said
    fields = sorted(field for field in batch if not field.startswith("_"))
    return f"{said}{nearest(name, fields)} The batch holds {listed(fields)}"
