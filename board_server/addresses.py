"""What may stand in an address: ids, which become parts of paths, and numbers."""

from __future__ import annotations

import re

from board_server.errors import WrongRequest
from mlgym_jax.events.layout import ID_RULE, is_id

MAX_ARGUMENTS = 2_000  # of one address: each is read before it is known whether it says anything


def check_query(query: bytes) -> None:
    """Refuse a query of more parts than anything that can be asked for has.

    Raises:
        WrongRequest: it has.
    """
    number = query.count(b"&") + 1
    if number > MAX_ARGUMENTS:
        raise WrongRequest(f"the address has {number} parts behind its ?; {MAX_ARGUMENTS} are the most")


def checked_id(value: str, what: str) -> str:
    """Return an id that may be a part of a path.

    Raises:
        WrongRequest: it may not.
    """
    if not is_id(value):
        raise WrongRequest(f"{what}: {value[:140]!r} is no id; allowed are {ID_RULE}")
    return value


def checked_number(value: str, what: str) -> int:
    """Return a number of a path, such as an experiment's id.

    Raises:
        WrongRequest: it is none.
    """
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise WrongRequest(f"{what}: {value[:40]!r} is no number; write it in decimal digits, such as 0")
    return int(value)


def checked_after(value: str) -> int:
    """Return the id of the event behind which somebody wants to go on, -1 for the beginning.

    Raises:
        WrongRequest: it is none.
    """
    if not re.fullmatch(r"-1|[0-9]{1,12}", value):
        raise WrongRequest(f"after: found {value[:40]!r}; write the id of an event, the last that you have, or -1")
    return int(value)
