"""What somebody asks to be told of, and where: the conditions of alerts, and a webhook's URL.

Synopsis:

>>> from mlgym_jax.events.alert_conditions import conditions_of, host_of
>>> [condition.words for condition in conditions_of("lost, better:val/loss<0.1")]
['lost', 'better:val/loss<0.1']
>>> host_of("https://chat.example/hooks/secret", "--webhook")
'https://chat.example'
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from mlgym_jax.errors import MlgymError, nearest

KINDS = ("finished", "failed", "diverged", "lost", "better")
_WORDS = "'finished,failed,diverged,lost,better:val/accuracy>0.97'"
EXAMPLE = f"--on={_WORDS}"
WEBHOOK_VARIABLE = "MLGYM_JAX_ALERT_WEBHOOK"


class Condition(NamedTuple):
    """One thing to be told of; `better` has a score, which way is better (1: larger, -1: smaller) and a bound."""

    kind: str
    score: str = ""
    sign: int = 0
    bound: float = math.nan

    @property
    def words(self) -> str:
        return f"{self.kind}:{self.score}{'>' if self.sign > 0 else '<'}{self.bound:g}" if self.score else self.kind


def conditions_of(text: str, option: str = "--on") -> list[Condition]:
    """Read what is between the commas of an option.

    Raises:
        MlgymError: an unknown kind, or a `better` without its score and bound.
    """
    return [_condition(word.strip(), option) for word in text.split(",")]


def _condition(word: str, option: str) -> Condition:
    kind, colon, rest = word.partition(":")
    if kind not in KINDS:
        raise MlgymError(
            f"{option}={word[:60]}: no such alert{nearest(kind, KINDS)} Allowed: {', '.join(KINDS)}; {option}={_WORDS}"
        )
    if kind != "better":
        if colon:
            raise MlgymError(f"{option}={word[:60]}: only better takes a score; write {kind}")
        return Condition(kind)
    match = re.fullmatch(r"(\S+?)\s*([<>])\s*(\S+)", rest)
    try:
        bound = float(match[3]) if match else math.nan
    except ValueError:
        bound = math.nan
    if match is None or not math.isfinite(bound):
        raise MlgymError(
            f"{option}={word[:60]}: a score, > or < and a number are expected, in quotes, as a shell takes > and < for "
            f"itself; write {option}='better:val/accuracy>0.97'"
        )
    return Condition(kind, match[1], 1 if match[2] == ">" else -1, bound)


def host_of(url: str, option: str) -> str:
    """Return a webhook's scheme and host, by which messages name it: its path may be a secret.

    Raises:
        MlgymError: it is no URL of a webhook.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise MlgymError(f"{option}: no URL: {error}; write https://HOST/PATH") from None
    if parts.scheme not in ("http", "https") or not host or port == 0 or not url.isprintable() or " " in url:
        raise MlgymError(f"{option}: a URL is expected, http or https; write https://HOST/PATH")
    if "@" in parts.netloc:
        raise MlgymError(f"{option}: the URL holds a user or password, which no webhook of a chat needs; leave it out")
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}"
