"""Which runs of the list are asked for: `?tag=&archived=&deleted=&text=`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.datastructures import MultiDict

from board_server.errors import WrongRequest

_MAX_WORDS = 20


def choice_of_runs(arguments: MultiDict[str, str]) -> Callable[[dict[str, Any]], bool] | None:
    """Return whether a row of the list is asked for; None where nothing is said, and all but deleted ones are.

    `tag` may be repeated, and all of them must be there; `archived` and `deleted` are 0, 1 or all; `text` is words that
    all occur, in whatever case, in the run's id, name, note, owner, status or tags.

    Raises:
        WrongRequest: another value of archived or deleted.
    """
    if not any(name in arguments for name in ("tag", "archived", "deleted", "text")):
        return None
    tags = {tag for tag in arguments.getlist("tag") if tag}
    archived, deleted = _state(arguments, "archived", "all"), _state(arguments, "deleted", "0")
    words = arguments.get("text", "").casefold().split()
    if len(words) > _MAX_WORDS:
        raise WrongRequest(f"text: found {len(words)} words; {_MAX_WORDS} are the most")

    def is_chosen(row: dict[str, Any]) -> bool:
        if archived not in ("all", str(int(row["archived"]))) or deleted not in ("all", str(int(row["deleted"]))):
            return False
        if not tags <= set(row["tags"]):
            return False
        if not words:
            return True
        shown = (row[name] for name in ("grid_search_id", "name", "note", "owner", "status"))
        text = "\n".join(str(value) for value in (*shown, *row["tags"]) if value).casefold()
        return all(word in text for word in words)

    return is_chosen


def _state(arguments: MultiDict[str, str], name: str, otherwise: str) -> str:
    found = arguments.get(name, otherwise)
    if found not in ("0", "1", "all"):
        raise WrongRequest(f"{name}: found {found[:40]!r}; allowed are 0, 1 and all")
    return found
