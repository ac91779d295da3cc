"""What somebody waits for is read first: what nobody asked for rests meanwhile, but not for ever."""

import pytest
from boards import RUN, study_events, write_run

from board_server import precedence
from board_server.precedence import ASKED
from board_server.projected import Projected
from board_server.run_log import RunLog


@pytest.fixture
def looks(monkeypatch):
    """What happens at each look of who rests; by default nothing."""
    found = {"number": 0, "at": {}}

    def sleep(_):
        found["number"] += 1
        found["at"].get(found["number"], lambda: None)()

    monkeypatch.setattr(precedence.time, "sleep", sleep)
    return found


@pytest.fixture
def projected(tmp_path):
    log = RunLog(write_run(tmp_path, study_events()))
    log.refresh()
    return Projected(log)


def read(projected, how):
    return getattr(projected, how)(lambda view, *_: view.run_id)


def test_what_nobody_asked_for_rests_until_nobody_waits(projected, looks):
    ASKED.__enter__()
    looks["at"][3] = ASKED.__exit__
    assert read(projected, "read_here") == RUN
    assert looks["number"] == 3


def test_what_is_asked_for_does_not_rest_though_who_asked_has_left(projected, looks):
    with ASKED:
        assert read(projected, "_read_asked") == RUN
    assert looks["number"] == 0


def test_it_goes_on_after_a_while(projected, monkeypatch):
    monkeypatch.setattr(precedence, "_PATIENCE_SECONDS", 0.0)
    with ASKED:
        assert read(projected, "read_here") == RUN
