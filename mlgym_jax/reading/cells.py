"""Which kind of Python this is, a notebook's kernel, a prompt or a script, and how a cell shows something.

Nothing is imported for that: who is in IPython has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def shell() -> Any:
    """Return IPython's shell, None in other programs."""
    ipython = sys.modules.get("IPython")
    get_ipython = getattr(ipython, "get_ipython", None)
    return get_ipython() if callable(get_ipython) else None


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook, whatever shows it.

    A kernel has a shell with a `kernel`, in Colab and VS Code, too; the shell of a terminal has none.
    """
    return getattr(shell(), "kernel", None) is not None


def is_interactive() -> bool:
    """Tell whether somebody types into this process: into IPython, or Python's own prompt."""
    return shell() is not None or hasattr(sys, "ps1")


def show(bundle: Mapping[str, str], display_id: str | None = None, *, update: bool = False) -> None:
    """Show something in the cell that runs, or in place of what was shown by this id, as IPython's `display` does.

    Args:
        bundle: the same in several forms: MIME type -> text.
    """
    transient = {} if display_id is None else {"display_id": display_id}
    shell().display_pub.publish(data=dict(bundle), transient=transient, update=update)
