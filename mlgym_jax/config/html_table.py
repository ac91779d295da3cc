"""Tables as notebooks show them: HTML of text alone, in the colours of the page that it stands on.

Synopsis:

    >>> from mlgym_jax.config.html_table import html_table
    >>> html_table("", ("id",), [("<7>",)])
    '<table><thead><tr><th>id</th></tr></thead><tbody><tr><td>&lt;7&gt;</td></tr></tbody></table>'
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_LONGEST = 200  # characters of a cell


def html_table(caption: str, head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table, every cell written as text and cut after 200 characters; an empty caption is left out."""
    above = f"<caption>{_text(caption)}</caption>" if caption else ""
    body = "".join(_row("td", row) for row in rows)
    return f"<table>{above}<thead>{_row('th', head)}</thead><tbody>{body}</tbody></table>"


def html_line(text: str) -> str:
    """Return a paragraph that holds a text."""
    return f"<p>{html.escape(text)}</p>"


def html_text(text: str) -> str:
    """Return a block that keeps the lines and columns of a text."""
    return f"<pre>{html.escape(text)}</pre>"


def _row(tag: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"


def _text(cell: object) -> str:
    text = str(cell)
    return html.escape(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")
