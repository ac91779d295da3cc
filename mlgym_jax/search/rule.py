"""The language of selections, as the board's page reads it (`board_server/page/src/rule.ts`).

    top 5 by val/accuracy max at best mean over fold, seed where optimizer.learning_rate < 0.01 per model.width

`top N` or `all`; `max` or `min`, by default as the score's name says; `at best` (the default) or `at last` epoch; names
that experiments of one candidate may differ in; a condition; and what the number of chosen ones counts for, each value.

Synopsis:

    >>> rule = read_rule("top 5 by val/loss where seed in (0, 1) and not status = FAILED")
    >>> rule.top, rule.by, rule.mode, rule.at
    (5, 'val/loss', None, 'best')
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Literal, NamedTuple, NoReturn

from mlgym_jax.errors import MlgymError

OPERATORS = ("<", "<=", ">", ">=", "=", "!=", "~")
_KEYWORDS = frozenset(
    ("top", "all", "by", "max", "min", "at", "mean", "over", "where", "per", "and", "or", "not", "in")
)
# A list is one value, as it is shown: [64,32].
_TOKEN = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|(<=|>=|!=|[<>=~(),])|(\[[^\]"]*\](?=[\s,)]|$)|[^\s<>=~!(),"]+))')
_NUMBER = re.compile(r"[-+]?(?:Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)")
_LONGEST = 2_000  # characters
_DEEPEST = 50  # brackets


class Compare(NamedTuple):
    """A condition on one cell: an operator and the text that it is compared with."""

    name: str
    operator: str
    value: str


class In(NamedTuple):
    """A cell that is one of some texts."""

    name: str
    values: tuple[str, ...]


class Joined(NamedTuple):
    """Conditions of which all, any or none hold."""

    kind: Literal["and", "or", "not"]
    parts: tuple[Any, ...]


Condition = Compare | In | Joined


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a text asks for.

    Attributes:
        top: so many; None for all. by: the score; mode: None for as its name says.
        over: what experiments of one candidate may differ in, whose mean counts.
        per: of each value of this name, `top` are chosen.
    """

    top: int | None
    by: str
    mode: Literal["max", "min"] | None = None
    at: Literal["best", "last"] = "best"
    over: tuple[str, ...] = ()
    where: Condition | None = None
    per: str | None = None


def read_rule(text: str) -> Rule:
    """Read a rule.

    Raises:
        MlgymError: it cannot be read, with the place in the text.
    """
    if not isinstance(text, str):
        raise MlgymError(f"a rule is a text such as 'top 5 by val/loss', found {text!r}")
    return _Parser(text).rule()


class _Token(NamedTuple):
    text: str
    at: int
    quoted: bool


class _Parser:
    def __init__(self, text: str):
        self._text, self._tokens, self._position, self._depth = text, [], 0, 0
        if len(text) > _LONGEST:
            raise MlgymError(f"a rule has at most {_LONGEST} characters, found {len(text)}")
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            start = at + len(text[at:]) - len(text[at:].lstrip())
            if match is None:
                wrong = "this quotation mark is not closed" if text[start] == '"' else "unexpected sign"
                self._fail(wrong, _Token(text[start], start, False))
            quoted = match[1] is not None
            word = re.sub(r"\\(.)", r"\1", match[1]) if quoted else match[2] or match[3]
            self._tokens.append(_Token(word, start, quoted))
            at = match.end()

    def rule(self) -> Rule:
        found: dict[str, Any] = {"top": None}
        if self._word("top"):
            count = self._next("a whole number after 'top'")
            if not re.fullmatch(r"[1-9][0-9]*", count.text):
                self._fail(f"after 'top' a whole number from 1 on is needed, not {count.text!r}", count)
            found["top"] = int(count.text)
        elif not self._word("all"):
            self._fail("a rule begins with 'top NUMBER by SCORE' or 'all by SCORE'", self._peek())
        if not self._word("by"):
            self._fail("'by SCORE' must follow", self._peek())
        found["by"] = self._name("a score's name after 'by'")
        found["mode"] = next((mode for mode in ("max", "min") if self._word(mode)), None)
        if self._word("at"):
            at = self._next("'best' or 'last' after 'at'")
            if at.text not in ("best", "last"):
                self._fail(f"'at {at.text}': write 'at best' or 'at last'", at)
            found["at"] = at.text
        if self._word("mean"):
            if not self._word("over"):
                self._fail("'over NAME' must follow 'mean'", self._peek())
            found["over"] = tuple(self._several(lambda: self._name("a name after 'mean over'")))
        if self._word("where"):
            found["where"] = self._or()
        if self._word("per"):
            found["per"] = self._name("a name after 'per'")
        if (rest := self._peek()) is not None:
            parts = "top … by … max|min at … mean over … where … per …"
            self._fail(f"{rest.text!r} is not expected here; the parts are: {parts}", rest)
        return Rule(**found)

    def _several(self, one: Any) -> list[Any]:
        found = [one()]
        while self._word(","):
            found.append(one())
        return found

    def _or(self) -> Condition:
        parts = [self._and()]
        while self._word("or"):
            parts.append(self._and())
        return Joined("or", tuple(parts)) if len(parts) > 1 else parts[0]

    def _and(self) -> Condition:
        parts = [self._not()]
        while self._word("and"):
            parts.append(self._not())
        return Joined("and", tuple(parts)) if len(parts) > 1 else parts[0]

    def _not(self) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail(f"at most {_DEEPEST} conditions stand in each other", self._peek())
        try:
            return self._condition()
        finally:
            self._depth -= 1

    def _condition(self) -> Condition:
        if self._word("not"):
            return Joined("not", (self._not(),))
        if self._word("("):
            inner = self._or()
            self._closed()
            return inner
        name = self._name("a condition")
        if self._word("in"):
            if not self._word("("):
                self._fail("'in' needs a list in brackets: in (1, 3)", self._peek())
            values = self._several(lambda: self._next("a value").text)
            self._closed()
            return In(name, tuple(values))
        operator = self._next(f"one of {' '.join(OPERATORS)} or 'in' after {name!r}")
        if operator.quoted or operator.text not in OPERATORS:
            self._fail(f"{operator.text!r}: write one of {' '.join(OPERATORS)} or 'in'", operator)
        value = self._next(f"a value after {operator.text!r}")
        if operator.text in ("<", "<=", ">", ">=") and number(value.text) is None:
            self._fail(f"after {operator.text} a number is needed, not {value.text!r}", value)
        if operator.text == "~":
            try:
                re.compile(value.text)
            except re.error as error:
                self._fail(f"{value.text!r} is no regular expression: {error}", value)
        return Compare(name, operator.text, value.text)

    def _closed(self) -> None:
        if not self._word(")"):
            self._fail("')' is missing", self._peek())

    def _name(self, what: str) -> str:
        token = self._next(what)
        if not token.quoted and (token.text[0] in "<>=~(),!" or token.text in _KEYWORDS):
            self._fail(f"{what} is needed here, not {token.text!r}", token)
        return token.text

    def _peek(self) -> _Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _word(self, text: str) -> bool:
        token = self._peek()
        if token is None or token.quoted or token.text != text:
            return False
        self._position += 1
        return True

    def _next(self, what: str) -> _Token:
        token = self._peek()
        if token is None:
            self._fail(f"{what} is missing", None)
        self._position += 1
        return token

    def _fail(self, message: str, token: _Token | None) -> NoReturn:
        where = f"at {self._text[token.at : token.at + 20]!r}" if token else "at its end"
        raise MlgymError(f"rule {self._text[:200]!r}, {where}: {message}")


def number(text: str) -> int | float | None:
    """Return the number that a text is, of an integer with all its digits; None where it is none."""
    if not _NUMBER.fullmatch(text):
        return None
    return float(text) if re.search("[.eEI]", text) else int(text)
