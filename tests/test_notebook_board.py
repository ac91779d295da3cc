"""The board in the cell of a notebook: one a folder, which ends with the kernel and is framed by notebooks alone."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import types
import urllib.request

import forks
import pytest
from boards import ROOT, BoardProcess

import mlgym_jax as mg
from mlgym_jax.reading import board_frame

STARTS = "import mlgym_jax as mg, sys; url = mg.show_board(sys.argv[1]).url\n"
INTERRUPTED = """
try:
    print("waiting", flush=True)
    sys.stdin.read()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    for board in [*board_frame._boards.values()]:
        board.stop()


def policy(url):
    with urllib.request.urlopen(url) as answer:
        return answer.headers["Content-Security-Policy"]


def test_a_cell_shows_one_board_a_folder(cell, folder, tmp_path):
    board = mg.show_board(folder)
    assert mg.show_board(os.path.relpath(folder), run_id="a b<", height=300) is board and board.is_running
    (first, *_), (second, *_) = cell.sent
    assert f'<iframe src="{board.url}" ' in first["text/html"] and 'height="600"' in first["text/html"]
    assert f'<iframe src="{board.url}#/runs/a%20b%3C" ' in second["text/html"] and 'height="300"' in second["text/html"]
    assert f"ssh -L {board.port}:127.0.0.1:{board.port} " in first["text/html"] and "<script" not in first["text/html"]
    board.stop()
    assert not board.is_running and "which has ended" in repr(board)
    again = mg.show_board(folder)
    assert again is not board and again.is_running


def test_pages_of_this_machine_may_frame_it_and_no_others(cell, folder):
    allowed = policy(mg.show_board(folder).url).split("frame-ancestors ")[1].split()
    assert allowed == ["http://localhost:*", "http://127.0.0.1:*", "vscode-webview:", "vscode-file:"]


def test_a_token_of_another_board_locks_nobody_out(cell, folder, monkeypatch):
    """The page in a frame gets no cookie, so nobody could sign in."""
    monkeypatch.setenv("MLGYM_BOARD_TOKEN", "a-token-of-another-board")
    with urllib.request.urlopen(f"{mg.show_board(folder).url}grid_searches") as answer:
        assert answer.status == 200


def test_colab_shows_it_by_its_proxy(cell, folder, monkeypatch):
    asked = []
    output = types.SimpleNamespace(serve_kernel_port_as_iframe=lambda port, **given: asked.append((port, given)))
    monkeypatch.setitem(sys.modules, "google.colab", types.SimpleNamespace(output=output))
    board = mg.show_board(folder, run_id="r", height=400)
    assert asked == [(board.port, {"path": "/#/runs/r", "height": "400"})] and cell.sent == []
    assert "https://colab.research.google.com" in policy(board.url) and "localhost" not in policy(board.url)


def test_without_a_notebook_the_address_is_printed(folder, capsys):
    assert capsys.readouterr().out == "" and f"{mg.show_board(folder).url}\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"height": 3}, "height: 100 to 10000 pixels are expected, found 3"),
        ({"height": "600"}, "height: .* found '600'"),
        ({"port": 0}, "port: a number from 1 to 65535 is expected, found 0"),
        ({"run_id": 7}, "run_id: a run's id is expected, found 7"),
        ({"event_storage": ROOT / "README.md"}, "could not be started: .*README.md: it is no folder"),
    ],
)
def test_what_cannot_be_is_said(cell, tmp_path, given, words):
    with pytest.raises(mg.MlgymError, match=words):
        mg.show_board(**{"event_storage": tmp_path, **given})
    assert board_frame._boards == {} and cell.sent == []


def test_a_taken_port_is_said(cell, folder, tmp_path_factory):
    board = mg.show_board(folder)
    with pytest.raises(mg.MlgymError, match="another program has it"):
        mg.show_board(tmp_path_factory.mktemp("other"), port=board.port)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None])
def test_it_ends_with_its_process_however_that_ends(tmp_path, how):
    with started(tmp_path, "sys.stdin.read()") as (kernel, url):
        assert is_there(url)
        if how is not None:
            kernel.send_signal(how)
    until = time.monotonic() + 30
    while is_there(url):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_an_interrupt_of_the_kernel_is_not_for_the_board(tmp_path):
    """Jupyter interrupts a kernel by a signal to its whole process group."""
    with started(tmp_path, INTERRUPTED) as (kernel, url):
        assert kernel.stdout.readline() == b"waiting\n"
        os.killpg(kernel.pid, signal.SIGINT)
        assert kernel.stdout.readline() == b"interrupted\n"
        assert is_there(url)


@contextlib.contextmanager
def started(folder, then):
    """Start another Python that shows a board, and waits; yield it and the address. It ends by the end of its input."""
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    words = [sys.executable, "-c", STARTS + then, str(folder)]
    with subprocess.Popen(words, cwd=ROOT, start_new_session=True, **ends) as kernel:
        yield kernel, kernel.stdout.readline().decode().strip()
        kernel.stdin.close()
        kernel.wait(30)


def is_there(url):
    try:
        return policy(url) is not None
    except OSError:
        return False


# -- the options of the board that this stands on


def test_a_board_is_framed_by_nobody_unless_it_is_told(tmp_path):
    for options, allowed in (
        ([], "'none'"),
        (
            ["--frame_ancestors=http://localhost:8888, https://*.lab.example"],
            "http://localhost:8888 https://*.lab.example",
        ),
    ):
        board = BoardProcess(tmp_path, *options)
        assert policy(board.url).endswith(f"frame-ancestors {allowed}")
        board.stop()


@pytest.mark.parametrize("site", ["*", "localhost", "https://a.example; script-src *", "javascript:", "https://a/b"])
def test_what_is_no_site_frames_nothing(site, tmp_path):
    words = [f"--event_storage={tmp_path}", f"--frame_ancestors={site}"]
    done = forks.run("board", *words, module="board_server", cwd=ROOT, timeout=30)
    assert done.returncode == 2 and re.fullmatch(r"error: --frame_ancestors: .* is no site.*\n", done.stderr)


def test_a_standard_input_without_an_end_is_told(tmp_path):
    words = [sys.executable, "-m", "board_server", f"--event_storage={tmp_path}", "--port=0", "--end_with_stdin"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert done.returncode == 2 and done.stderr.startswith("error: --end_with_stdin: ")
