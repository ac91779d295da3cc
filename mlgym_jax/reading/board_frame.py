"""The board in the cell of a notebook: a server that this process starts, and that ends with it, shown in a frame."""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any
from urllib.parse import quote

from mlgym_jax.errors import MlgymError, described
from mlgym_jax.events import layout
from mlgym_jax.reading.cells import in_notebook, show

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_LEAST_HEIGHT, _MOST_HEIGHT = 100, 10_000  # pixels
# Whose pages may show it: notebooks of this machine, and VS Code; in Colab its page, whose cells are pages themselves.
_NOTEBOOKS = ("http://localhost:*", "http://127.0.0.1:*", "vscode-webview:", "vscode-file:")
_COLAB = ("https://colab.research.google.com", "https://*.googleusercontent.com")
# A frame on a notebook's page sends no cookies of its own site, so nobody could sign in there.
_TOKENS = ("MLGYM_BOARD_TOKEN", "MLGYM_BOARD_READ_TOKEN")

# Modules are found where this process finds them: a notebook may have put a folder on its path.
_SERVES = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "runpy.run_module('board_server', run_name='__main__', alter_sys=True)"
)

_boards: dict[str, BoardFrame] = {}  # by the folder of runs


class BoardFrame:
    """A board that runs beside this process, and ends with it.

    Attributes:
        url: where it is, on this machine.
        event_storage: the folder of runs that it shows.
    """

    def __init__(self, event_storage: str, port: int):
        """Start it; `show_board` is the way in.

        Raises:
            MlgymError: it cannot be started; what it said is said.
        """
        self.event_storage: str = event_storage
        pages = ",".join(_COLAB if _in_colab() else _NOTEBOOKS)
        words = [f"--event_storage={event_storage}", f"--port={port}", f"--frame_ancestors={pages}"]
        words += ["--end_with_stdin", "--log_level=warning"]
        with tempfile.TemporaryFile() as said:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _SERVES,
                    json.dumps(sys.path),
                    *words,
                    "--end_with_stdin",
                    "--log_level=warning",
                ],
                stdin=subprocess.PIPE,  # it ends when this end is closed, also by a kill of this process
                stdout=subprocess.PIPE,
                stderr=said,
                env={name: value for name, value in os.environ.items() if name not in _TOKENS},
                start_new_session=True,  # an interrupt of the kernel is for the cell that runs
            )
            line = self._first_line()
            found = re.match(r"board: (http://\S+/) shows ", line)
            if found is None:
                self.stop()
                said.seek(0)
                words_of_it = said.read().decode(errors="replace").strip() or "it said nothing"
                raise MlgymError(f"the board could not be started: {words_of_it.removeprefix('error: ')[-1000:]}")
        self.url: str = found[1]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rstrip("/").rsplit(":", 1)[1])

    @property
    def is_running(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it; frames that show it say that it is gone."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        if _boards.get(self.event_storage) is self:
            del _boards[self.event_storage]

    def __repr__(self) -> str:
        state = "" if self.is_running else ", which has ended"
        return f"board of {self.event_storage} at {self.url}{state}"

    def _first_line(self) -> str:
        """Return what it says when it listens; "" if it ends before, or takes too long."""
        out, line, until = self._process.stdout, b"", time.monotonic() + _START_SECONDS
        while out is not None and not line.endswith(b"\n") and (left := until - time.monotonic()) > 0:
            if select.select([out], [], [], left)[0]:
                part = os.read(out.fileno(), 4096)
                if not part:
                    break
                line += part
        return line.decode(errors="replace")


def show_board(
    event_storage: str | os.PathLike[str] = layout.STORAGE,
    *,
    run_id: str | None = None,
    height: int = 600,
    port: int | None = None,
) -> BoardFrame:
    """Show the board of a folder of runs in the cell of a notebook, live; elsewhere, print where it is.

    A board of its own is started on 127.0.0.1, one a folder: a second call shows the same. It ends with this process,
    whatever ends that, or by `stop()` of what is returned. Pages of this machine may show it in a frame, as the
    notebook does; anybody who has an account on this machine can open it.

    Args:
        run_id: the run to begin with; by default the list of all.
        height: of the frame, in pixels.
        port: by default a free one.

    Raises:
        MlgymError: an argument that cannot be, or a board that cannot be started.
    """
    if isinstance(height, bool) or not isinstance(height, int) or not _LEAST_HEIGHT <= height <= _MOST_HEIGHT:
        raise MlgymError(f"height: {_LEAST_HEIGHT} to {_MOST_HEIGHT} pixels are expected, found {described(height)}")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 1 << 16):
        raise MlgymError(f"port: a number from 1 to 65535 is expected, found {described(port)}")
    if run_id is not None and not isinstance(run_id, str):
        raise MlgymError(f"run_id: a run's id is expected, found {described(run_id)}")
    folder = os.path.realpath(os.fspath(event_storage))
    board = _boards.get(folder)
    if board is not None and (not board.is_running or port not in (None, board.port)):
        board.stop()
        board = None
    board = board or _boards.setdefault(folder, BoardFrame(folder, port or 0))
    fragment = "" if run_id is None else f"#/runs/{quote(run_id, safe='')}"
    if _in_colab():
        _show_in_colab(board.port, fragment, height)
    elif in_notebook():
        show({"text/html": _frame(board, fragment, height), "text/plain": f"{board.url}{fragment}"})
    else:
        print(f"{board.url}{fragment}", flush=True)
    return board


def _in_colab() -> bool:
    return "google.colab" in sys.modules and in_notebook()


def _show_in_colab(port: int, fragment: str, height: int) -> None:
    """Show it through the proxy of Colab, as the browser is not on the kernel's machine."""
    output: Any = sys.modules["google.colab"].output  # type: ignore[attr-defined]
    output.serve_kernel_port_as_iframe(port, path=f"/{fragment}", height=str(height))


def _frame(board: BoardFrame, fragment: str, height: int) -> str:
    """Return the frame, and under it what to do where the browser is on another machine and so shows nothing in it."""
    address, port = html.escape(f"{board.url}{fragment}"), board.port
    host = "KERNEL_HOST" if "JUPYTERHUB_API_URL" in os.environ else html.escape(socket.gethostname())
    return (
        f'<iframe src="{address}" width="100%" height="{height}" style="border:0" title="board"></iframe>'
        f'<p><a href="{address}" target="_blank" rel="noopener">{address}</a>. Empty? The notebook\'s kernel is on '
        f"another machine than this browser: type <code>ssh -L {port}:127.0.0.1:{port} {host}</code> on yours, and run "
        "the cell again.</p>"
    )
