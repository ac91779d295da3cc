"""A process that takes itself for the kernel of a notebook, and what it shows in its cell."""

import sys
import types

import flax.nnx  # noqa: F401 (looks for IPython itself, while it is imported)
import pytest


class Cell:
    """What the display publisher of a kernel's shell was given: (data, display id, whether it is an update)."""

    def __init__(self):
        self.sent = []

    def publish(self, data, metadata=None, *, transient=None, update=False):
        self.sent.append((data, (transient or {}).get("display_id"), update))

    @property
    def text(self):
        """What stands there in the end."""
        return self.sent[-1][0]["text/plain"]


@pytest.fixture
def cell(monkeypatch):
    shown = Cell()
    shell = types.SimpleNamespace(kernel=object(), display_pub=shown)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    return shown
