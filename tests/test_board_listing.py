"""Which runs the board lists, as what, and what it says of those that it does not."""

import asyncio
import json
import os
import shutil

import pytest
from boards import RUN, board, numbered, study_events, write_run

from board_server.listing import Listing
from board_server.store import Store


def encoded(number):
    return json.dumps(numbered(number)).encode()


@pytest.fixture
def clock(monkeypatch):
    """The board's clock, unix seconds."""
    import board_server.listing as module

    class Clock:
        now = 1_000_000.0

        def time(self):
            return self.now

        monotonic = time

    monkeypatch.setattr(module, "time", found := Clock())
    return found


@pytest.mark.parametrize("ahead", [3_600, 60, -3_600])
def test_a_run_whose_machine_has_another_clock_is_lost_when_nothing_comes(tmp_path, clock, ahead):
    path, listing = write_run(tmp_path, study_events(finished=False)), Listing(Store(tmp_path))
    status = []
    for second in range(20):
        clock.now += 1
        if second < 8:  # it is written
            with open(path, "ab") as log:
                log.write(encoded(second) + b"\n")
            os.utime(path, (clock.now + ahead, clock.now + ahead))
        status.append(listing.summaries()[0]["status"])
    running = 12  # 8 s of news, and at most 5 s after the last of them
    first = "RUNNING" if ahead > 0 else "LOST"  # of a log that was seen once nobody knows more than its time
    assert status == [first, *["RUNNING"] * (running - 1), *["LOST"] * (20 - running)]


def test_a_dead_run_whose_time_lies_ahead_is_lost_soon_after_the_board_sees_it(tmp_path, clock):
    path = write_run(tmp_path, study_events(finished=False))
    os.utime(path, (clock.now + 86_400, clock.now + 86_400))
    listing = Listing(Store(tmp_path))
    assert listing.summaries()[0]["status"] == "RUNNING"
    clock.now += 4.9
    assert listing.summaries()[0]["status"] == "RUNNING"
    clock.now += 0.2
    assert listing.summaries()[0]["status"] == "LOST"


def test_folders_that_are_not_shown_are_told_with_the_reason(tmp_path):
    store = tmp_path / "store"
    names = ["my run", "lr=0.1", "größe", "a+b", "x" * 129, "run\nid", os.fsdecode(b"\xff")]
    for name in names:
        shutil.copytree(write_run(tmp_path / "made", study_events()).parent, store / name)
    write_run(store, study_events(), "good")
    (store / "no run").mkdir()
    (store / "a note.txt").write_text("x")
    (store / ".hidden run").mkdir()
    (store / ".hidden run/event_storage.log").write_text("{}\n")
    write_run(tmp_path / "elsewhere", study_events(), "linked")
    (store / "linked").symlink_to(tmp_path / "elsewhere/linked")
    (store / "folder/event_storage.log").mkdir(parents=True)
    with board(store) as server, server.socket("/ws/grid_searches") as listing:
        said = json.loads(listing.recv(timeout=20))
        found = server.json("/grid_searches?not_shown=1")
        assert [row["grid_search_id"] for row in server.json("/grid_searches")] == ["good"]
    rule = "its name is no id: 1 to 128 of the characters A-Z a-z 0-9 . _ -, not beginning with a dot"
    expected = {name: rule for name in [*names[:-1], "\ufffd"]}
    expected |= {"linked": "it is a link out of the board's folder", "folder": "its log is no file"}
    assert {one["name"]: one["reason"] for one in found["not_shown"]} == expected and found["num_not_shown"] == 9
    assert said["not_shown"] == found["not_shown"] and len(said["grid_searches"]) == len(found["grid_searches"]) == 1
    [told] = [line for line in server.said if "not shown" in line]
    assert "folders=9" in told and "'my run': its name is no id" in told


def test_where_all_folders_are_shown_nothing_is_said_of_others(tmp_path):
    write_run(tmp_path, study_events())
    with board(tmp_path) as server:
        assert set(server.json("/grid_searches?not_shown=1")) == {"grid_searches"}


def test_a_log_that_is_read_for_somebody_is_not_read_once_more_for_the_list(tmp_path, monkeypatch):
    log = write_run(tmp_path, study_events())
    with open(log, "rb") as opened:
        inode = os.fstat(opened.fileno()).st_ino
    num_read, pread = 0, os.pread

    def counting(fd, number, offset):
        nonlocal num_read
        data = pread(fd, number, offset)
        num_read += len(data) * (os.fstat(fd).st_ino == inode)
        return data

    async def listed_after_reading():
        nonlocal num_read
        store = Store(tmp_path)
        listing, run = Listing(store), await store.opened(RUN)
        best = await run.projected.read(lambda view, *_: view.best("val/accuracy", "max")[0].experiment_id)
        await listing.look(summarise=False)  # reads its ends
        monkeypatch.setattr(os, "pread", counting)
        rows = await listing.look()
        monkeypatch.undo()
        again = await listing.look()
        assert again is await listing.look()  # as nothing has changed
        return best, rows[0]["best_experiment_id"]

    best, said = asyncio.run(listed_after_reading())
    assert said == best
    assert num_read == 0


def test_the_lists_rows_are_new_where_something_has_changed(tmp_path):
    listing = Listing(Store(tmp_path))
    write_run(tmp_path, study_events("a"), "a")
    log = write_run(tmp_path, study_events("b", finished=False), "b")

    def rows():
        return {row["grid_search_id"]: row for row in listing.summaries()}

    first = rows()
    with open(log, "ab") as file:
        file.write(encoded(9) + b"\n")
    second = rows()
    assert second["a"] is first["a"]
    assert second["b"]["bytes"] == os.path.getsize(log) > first["b"]["bytes"]
    (tmp_path / "a" / ".published").touch()
    third = rows()
    assert (third["a"]["published"], third["b"]) == (True, second["b"])
    shutil.rmtree(tmp_path / "a")
    assert rows().keys() == {"b"}
