r"""A report in the forms that other programs read: csv, Markdown, LaTeX.

Synopsis:

    >>> from mlgym_jax.reading.forms import written
    >>> from mlgym_jax.reading.rows import Column
    >>> print(written([Column("learning_rate", "everywhere", ["0.1"], ["0.1"])], "latex"), end="")
    % \usepackage{booktabs}
    \begin{tabular}{r}
    \toprule
    learning\_rate \\
    \midrule
    0.1 \\
    \bottomrule
    \end{tabular}
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from mlgym_jax.reading.rows import Column

Form = Literal["csv", "markdown", "latex"]
FORMS: tuple[Form, ...] = ("csv", "markdown", "latex")


def written(columns: Sequence[Column], form: Form) -> str:
    """Return the text of a table, its lines ended by line feeds.

    csv has exact values, quoted as RFC 4180 says. Markdown (tables as GitHub has them) and LaTeX (of the package
    booktabs) have what the terminal's table shows, with all that has a meaning there escaped.
    """
    if form == "csv":
        return "".join(map(_csv_line, _rows(columns, [column.exact for column in columns])))
    names, *rows = _rows(columns, [column.shown for column in columns])
    if form == "markdown":
        rule = ["---" if column.is_words else "---:" for column in columns]
        lines = [map(_in_markdown, names), rule, *(map(_in_markdown, row) for row in rows)]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)
    sides = "".join("l" if column.is_words else "r" for column in columns)
    head, *body = (" & ".join(map(_in_latex, row)) + r" \\" for row in (names, *rows))
    begin = ["% \\usepackage{booktabs}", f"\\begin{{tabular}}{{{sides}}}", "\\toprule", head, "\\midrule"]
    return "\n".join([*begin, *body, "\\bottomrule", "\\end{tabular}", ""])


def _rows(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[column.name for column in columns], *map(list, zip(*cells, strict=True))]


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)  # what it ends lines by, either half, it quotes
    return line.getvalue().removesuffix("\r\n") + "\n"


def _in_markdown(text: str) -> str:
    """Escape a cell, an underline only where it does not stand inside of a word: it means nothing there."""
    return re.sub(r"([\\|`*<\[&~$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", _in_a_line(text))


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": "\\textbackslash ",
    "~": "\\textasciitilde ",
    "^": "\\textasciicircum ",
    "<": "\\textless ",  # LaTeX's oldest encoding of fonts, its default, has other signs in these three places
    ">": "\\textgreater ",
    "|": "\\textbar ",
}


def _in_latex(text: str) -> str:
    r"""Escape a cell as pandas does: a space after a sign that is a command is one itself, `\space `."""

    def sign(match: re.Match[str]) -> str:
        command = _LATEX[match[1]]
        return command + "\\space " * bool(match[2]) if command.endswith(" ") else command + match[2]

    escaped = re.sub(r"([&%$#_{}\\~^<>|])( ?)", sign, _in_a_line(text))
    return re.sub(r"^[\[*]", r"{\g<0>}", escaped)  # a row's end before it would take it for its own


def _in_a_line(text: str) -> str:
    return re.sub(r"\s*[\r\n]+\s*", " ", text)
