"""Alerts of a board: a run that is lost cannot tell it by itself."""

import json
import os
import time

import pytest
from boards import BoardProcess, study_events, write_run

from board_server.__main__ import main


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_board_tells_of_lost_runs_once_whatever_the_webhook_does(tmp_path, hook):
    hook.answers = [30.0]
    folder = tmp_path / "later"
    board = BoardProcess(folder, "--alerts=lost", f"--webhook={hook.url}")
    try:
        write_run(folder, study_events("ended"), "ended")
        until((folder / ".alerts.json").exists)
        for name in ("one", "two"):
            log = write_run(folder, study_events(name, finished=False), name)
            os.utime(log, (time.time() - 60, time.time() - 60))
        until(lambda: hook.got)
        # The webhook hangs: the board answers all the same, and what is not delivered goes out with its next start.
        assert [len(board.json("/grid_searches")), board.stop()] == [3, 0]
        board.start()
        until(lambda: len(hook.got) == 3)
    finally:
        board.stop()
    first, again, other = (body for _, body in hook.got)
    assert first == again and {first["grid_search_id"], other["grid_search_id"]} == {"one", "two"}
    assert first["facts"] == {"status": "LOST", "resume": f"python -m mlgym_jax.run --resume={first['grid_search_id']}"}
    assert json.loads((folder / ".alerts.json").read_text())["undelivered"] == {}
    assert not [line for line in board.said if "key=1" in line]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--alerts=losst"], "error: --alerts=losst: no such alert; did you mean 'lost'?"),
        (["--alerts=lost", "--webhook=ftp://x/secret"], "error: --webhook: a URL is expected"),
        (["--webhook=http://x"], "error: --webhook: it is not said of what to tell; write --alerts="),
    ],
)
def test_what_cannot_be_told_is_refused_before_the_board_starts(words, said, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["board_server", f"--event_storage={tmp_path}", "--port=0", *words])
    assert main() == 2
    found = capsys.readouterr().err
    assert found.startswith(said) and "secret" not in found
