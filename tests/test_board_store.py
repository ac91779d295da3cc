"""The board's reading of logs, and its folder of runs."""

import json
import os
import random
import threading
import time
import tracemalloc
import zlib

import pytest
from boards import RUN, board, frame, numbered, say, study_events, write_run

from board_server import run_log
from board_server.errors import Conflict, NotFound, TryLater, WrongRequest
from board_server.listing import Listing
from board_server.run_log import RunLog
from board_server.store import Store
from mlgym_jax import events as ev


def encoded(number, padding=0):
    return json.dumps(numbered(number, padding)).encode()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "event_storage.log"


def all_lines(log, **limits):
    cursor, found = log.seek(0), []
    while True:
        lines, cursor = log.read(cursor, **{"max_bytes": 1 << 20, **limits})
        if not lines:
            return found
        found += lines


def test_every_line_is_found_by_its_id_whatever_the_sizes(path):
    chance = random.Random(0)
    written = [encoded(number, chance.choice((0, 10, 1_000, 70_000, 200_000))) for number in range(300)]
    path.write_bytes(b"".join(one + b"\n" for one in written))
    log = RunLog(str(path))
    assert log.refresh()
    assert log.head == (300, path.stat().st_size)
    assert all_lines(log) == written
    assert all_lines(log, max_bytes=1) == written  # a line is never cut, however small the frame
    for number in (0, 1, 17, 150, 298, 299):
        lines, after = log.read(log.seek(number), max_bytes=1 << 30, max_events=1)
        assert lines == [written[number]] and after.event_id == number + 1
    assert log.seek(300) == log.seek(12_345) == log.head


def test_of_a_line_that_is_too_long_no_more_is_kept_than_where_it_ends(path, monkeypatch):
    monkeypatch.setattr(run_log, "MAX_LINE_BYTES", 1 << 20)
    written = [encoded(0), b"x" * 40_000_000, encoded(2), encoded(3, 900_000), b"y" * 20_000_000]
    path.write_bytes(b"".join(one + b"\n" for one in written))
    log = RunLog(str(path))
    assert log.refresh()
    tracemalloc.start()
    found = all_lines(log)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [found[0], *found[2:4]] == [written[0], *written[2:4]] and len(found) == 5
    assert peak < 8_000_000
    for number in (0, 2, 3):
        assert log.read(log.seek(number), max_bytes=1, max_events=1)[0] == [written[number]]


def test_growth_is_taken_in_piece_by_piece_and_a_torn_end_is_left_for_later(path):
    log = RunLog(str(path))
    assert not log.refresh()
    data = b"".join(encoded(number, number) + b"\n" for number in range(200))
    chance, offset = random.Random(1), 0
    with open(path, "ab", buffering=0) as file:
        while offset < len(data):
            step = chance.randint(1, 3_000)
            file.write(data[offset : offset + step])
            offset += step
            log.refresh()
            assert log.head.event_id == data[:offset].count(b"\n")
    assert all_lines(log) == data.split(b"\n")[:-1]
    assert log.crc32() == zlib.crc32(data)


def test_the_checksum_goes_on_from_where_it_was(path):
    path.write_bytes(b"")
    log = RunLog(str(path))
    for number in range(5):
        with open(path, "ab") as file:
            file.write(encoded(number) + b"\n")
        log.refresh()
        assert log.crc32() == zlib.crc32(path.read_bytes())


@pytest.mark.parametrize("how", ["cut", "replaced", "deleted"])
def test_a_log_that_is_no_longer_what_was_read_is_read_anew(path, how):
    path.write_bytes(b"".join(encoded(number, 50) + b"\n" for number in range(10)))
    log = RunLog(str(path))
    log.refresh()
    generation = log.generation
    if how == "cut":
        with open(path, "r+b") as file:
            file.truncate(len(encoded(0, 50)) + 1)
    else:
        path.unlink()
    if how == "replaced":
        path.with_suffix(".new").write_bytes(encoded(7) + b"\n")
        path.with_suffix(".new").rename(path)
    assert log.refresh()
    assert log.generation > generation
    expected = {"cut": [encoded(0, 50)], "replaced": [encoded(7)], "deleted": []}[how]
    assert all_lines(log) == expected and log.head.event_id == len(expected)


def test_the_list_of_runs_says_how_each_stands(tmp_path):
    write_run(tmp_path, study_events("done"), "done")
    write_run(tmp_path, study_events("fresh", finished=False), "fresh")
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "a-file").write_text("x")
    open_log = ev.EventLog.open(write_run(tmp_path, study_events("written", finished=False), "written"))
    lost = write_run(tmp_path, study_events("lost", finished=False), "lost")
    for run in (lost, tmp_path / "written" / "event_storage.log"):
        os.utime(run, (1_000, 1_000))
    with open_log:
        found = {run["grid_search_id"]: run for run in Listing(Store(tmp_path)).summaries()}
    assert {name: run["status"] for name, run in found.items()} == {
        "done": "DONE",
        "fresh": "RUNNING",
        "written": "RUNNING",
        "lost": "LOST",
    }
    assert found["done"]["name"] == "a study" and found["done"]["num_experiments"] == 3
    assert found["done"]["started_ms"] == 1_000 and found["done"]["published"] is False


def test_a_resumed_run_is_running_again_in_the_list(tmp_path):
    again = study_events(finished=False)[:1]
    write_run(tmp_path, [*study_events(), *again])
    assert Listing(Store(tmp_path)).summaries()[0]["status"] == "RUNNING"


def test_what_did_not_change_is_not_read_again(tmp_path, monkeypatch):
    for number in range(20):
        write_run(tmp_path, study_events(f"run-{number}"), f"run-{number}")
    listing = Listing(Store(tmp_path))
    first = listing.summaries()
    import board_server.listing as module

    read = []
    monkeypatch.setattr(module, "_facts", lambda path, size, real=module._facts: read.append(path) or real(path, size))
    assert listing.summaries() == first and read == []
    write_run(tmp_path, study_events("run-3", finished=False)[:1], "run-3")
    listing.summaries()
    assert read == [str(tmp_path / "run-3" / "event_storage.log")]


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "x" * 129, "a\nb", "ä", "a b", "a%2fb"])
def test_ids_that_are_none_are_refused(tmp_path, name):
    for ask in (Store(tmp_path).run, Store(tmp_path).receiving):
        with pytest.raises(WrongRequest, match="is no id"):
            ask(name)


def test_an_unknown_run_is_answered_with_the_nearest(tmp_path):
    write_run(tmp_path, study_events())
    with pytest.raises(NotFound, match=f"did you mean '{RUN}'"):
        Store(tmp_path).run(RUN[:-1] + "1")


def test_what_is_published_is_the_bytes_that_were_sent(tmp_path):
    store = Store(tmp_path)
    run = store.receiving("remote")
    assert not (tmp_path / "remote").exists()  # asking for it makes nothing
    lines = [encoded(0), b'{"event_type": "x",  "creation_ts":1, "payload":{"float":1.10}}']
    run.append(0, lines[:1])
    run.append(1, lines[1:])
    store.close()
    assert (tmp_path / "remote" / "event_storage.log").read_bytes() == b"".join(one + b"\n" for one in lines)
    assert run.is_published and run.log.head.event_id == 2


def test_a_log_that_a_local_process_writes_is_not_written_to(tmp_path):
    path = write_run(tmp_path, study_events(finished=False))
    with pytest.raises(Conflict, match="nothing to publish"):
        Store(tmp_path).run(RUN).append(len(study_events(finished=False)), [encoded(0)])  # nor when it has ended
    with ev.EventLog.open(path), pytest.raises(Conflict, match="nothing to publish"):
        Store(tmp_path).run(RUN).append(17, [encoded(0)])


def test_lines_for_another_place_than_the_end_are_not_appended(tmp_path):
    store = Store(tmp_path)
    store.receiving("remote").append(0, [encoded(0)])
    for place in (0, 2):
        with pytest.raises(Conflict, match="1 events by now"):
            store.run("remote").append(place, [encoded(1)])
    store.close()
    assert (tmp_path / "remote" / "event_storage.log").read_bytes() == encoded(0) + b"\n"


def test_a_torn_end_of_a_published_log_is_cut_off_before_more_is_appended(tmp_path):
    first = Store(tmp_path)
    first.receiving("remote").append(0, [encoded(0)])
    first.close()
    path = tmp_path / "remote" / "event_storage.log"
    with open(path, "ab") as file:
        file.write(encoded(1)[:20])
    run = Store(tmp_path).run("remote")
    run.refresh()
    assert run.log.head.event_id == 1
    run.append(1, [encoded(1)])
    run.close_writer()
    assert path.read_bytes() == encoded(0) + b"\n" + encoded(1) + b"\n"


def test_a_disk_that_refuses_is_said_and_what_was_there_is_whole(tmp_path):
    store = Store(tmp_path)
    run = store.receiving("remote")
    run.append(0, [encoded(0)])
    run.close_writer()
    path = tmp_path / "remote" / "event_storage.log"
    path.chmod(0o444)
    (tmp_path / "blocked").write_text("a file where a folder is wanted")
    with pytest.raises(TryLater):
        Store(tmp_path / "blocked").receiving("remote").append(0, [encoded(0)])
    assert path.read_bytes() == encoded(0) + b"\n"


@pytest.mark.parametrize("content", [[], ["config.json"]])
def test_a_folder_that_is_no_run_of_the_boards_is_not_taken_over(tmp_path, content):
    """A local run makes its folder before its log."""
    (tmp_path / "dataset").mkdir()
    for name in content:
        (tmp_path / "dataset" / name).write_text("mine")
    run = Store(tmp_path).receiving("dataset")
    with pytest.raises(Conflict, match="no published run"):
        run.append(0, [encoded(0)])
    with pytest.raises(Conflict, match="no published run"):
        run.require_received()
    assert sorted(path.name for path in (tmp_path / "dataset").iterdir()) == content


@pytest.mark.parametrize("how", ["in place", "anew"])
def test_another_log_of_the_same_size_is_another_log(tmp_path, how):
    path = write_run(tmp_path, [numbered(number) for number in range(5)])
    log = RunLog(str(path))
    log.refresh()
    before = log.identity
    other = b"".join(ev.encode(numbered(number)) + b"\n" for number in range(5, 10))
    assert len(other) == path.stat().st_size
    if how == "anew":
        path.unlink()  # its inode is often given to the next file at once
    path.write_bytes(other)
    assert log.refresh() and log.generation == 1
    assert all_lines(log) == other.split(b"\n")[:-1]
    fresh = RunLog(str(path))
    fresh.refresh()
    assert before not in (log.identity, fresh.identity)


def test_what_was_counted_is_not_counted_again(tmp_path):
    path = write_run(tmp_path, [numbered(number) for number in range(100)])
    lines = path.read_bytes().splitlines(keepends=True)
    for known in (0, 1, 60, 100):
        with ev.EventLog.open(path, counted=(sum(map(len, lines[:known])), known)) as log:
            assert log.next_event_id == 100
    with ev.EventLog.open(path, counted=(10**9, 7)) as log:  # of a log that was longer
        assert log.next_event_id == 100


def test_strange_files_do_not_hold_up_the_list(tmp_path):
    write_run(tmp_path, study_events())
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "event_storage.log")
    (tmp_path / "folder" / "event_storage.log").mkdir(parents=True)
    write_run(tmp_path, [{**numbered(0), "event_type": ["odd"]}], "odd")
    events = study_events("names")
    events[0]["payload"]["name"], events[-1]["payload"]["status"] = {"x": 1}, ["x"]
    write_run(tmp_path, events, "names")
    found = {run["grid_search_id"]: run for run in Listing(Store(tmp_path)).summaries()}
    assert sorted(found) == [RUN, "names", "odd"]
    assert found["names"]["name"] is None and found["names"]["status"] == "DONE"


def test_a_deleted_run_that_is_still_published_begins_anew(tmp_path):
    import shutil

    store = Store(tmp_path)
    run = store.receiving("remote")
    run.append(0, [encoded(0)])
    shutil.rmtree(tmp_path / "remote")
    run.refresh()
    assert run.log.head.event_id == 0
    run.append(0, [encoded(0), encoded(1)])
    store.close()
    assert (tmp_path / "remote" / "event_storage.log").read_bytes().count(b"\n") == 2


def test_a_received_runs_config_is_not_executed_by_whoever_reads_it(tmp_path):
    """It came from another machine: resuming it, or predicting with it, would run its code here."""
    import mlgym_jax as mg
    from mlgym_jax.errors import MlgymError

    store, events = Store(tmp_path), study_events("remote")
    run = store.receiving("remote")
    run.append(0, [ev.encode(event) for event in events])
    store.close()
    (tmp_path / "remote" / "config.py").write_text("raise SystemExit('executed')")
    for name in ("config.json", "run.json"):
        (tmp_path / "remote" / name).write_text("{}")
    result = mg.load_run(tmp_path / "remote")
    assert result.status == "DONE" and result.experiments[0].history["val/accuracy"][-1] == 0.4
    for use in (lambda: mg.resume(tmp_path / "remote"), lambda: result.experiments[0].predict([[0.0]])):
        with pytest.raises(MlgymError, match="If you trust it, remove"):
            use()
    with pytest.raises(MlgymError, match="has no checkpoint"):  # reading what is there executes nothing
        result.experiments[0].restore()


def test_what_a_killed_board_left_is_removed_when_it_starts_again(tmp_path):
    old, week = time.time() - 60, time.time() - 8 * 24 * 3600
    received, local = tmp_path / "received", tmp_path / "local"
    left = {
        received / "config.json.0a1b2c3d.tmp": old,
        received / ".receiving-1234": old,
        received / "0/model_card.md.ffffffff.tmp": old,
        received / "checkpoints/received/0/1/model.safetensors.sha256.00000000.tmp": old,
        received / "checkpoints/received/0/1/optimizer.safetensors.part": week,
        tmp_path / "unborn/.published.01234567.tmp": old,
        tmp_path / ".nameless.01234567.tmp/.published": old,
    }
    kept = {
        received / ".published": old,
        received / "config.json": old,
        received / "checkpoints/received/0/1/model.safetensors.part": old,  # its publisher goes on with it
        received / "run.json.0a1b2c3d.tmp": time.time() + 60,  # is being written
        local / "event_storage.log": old,
        local / "run.json.0a1b2c3d.tmp": old,  # a local run's own
        tmp_path / "strange/notes.txt": old,
        tmp_path / ".strange.01234567.tmp/notes.txt": old,
        tmp_path / ".young.01234567.tmp/.published": old,
    }
    for path, modified in (left | kept).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, (modified, modified))
    os.utime(tmp_path / ".young.01234567.tmp", (time.time() + 60,) * 2)  # another board makes it now
    with board(tmp_path) as server:
        limit = time.monotonic() + 10
        while any(path.exists() for path in left):
            assert time.monotonic() < limit, [str(path) for path in left if path.exists()]
            time.sleep(0.01)
        assert all(path.exists() for path in kept) and not (tmp_path / ".nameless.01234567.tmp").exists()
        with server.publisher("unborn") as publisher:  # which would have been refused for ever
            assert say(publisher, frame(0)) == {"ack": 0}


def test_a_file_that_comes_while_the_log_is_being_opened_is_taken(tmp_path, monkeypatch):
    run, is_open, go_on = Store(tmp_path).receiving("r"), threading.Event(), threading.Event()
    open_log = ev.EventLog.open

    def slowly(*given, **named):
        log = open_log(*given, **named)
        is_open.set()
        assert go_on.wait(10)
        return log

    make_folder, appending = run._make_folder, threading.Thread(target=run.append, args=(0, [encoded(0)]))

    def make_folder_then_append():
        make_folder()
        if appending.ident is None:
            appending.start()
            assert is_open.wait(10)

    monkeypatch.setattr(ev.EventLog, "open", slowly)
    monkeypatch.setattr(run, "_make_folder", make_folder_then_append)
    threading.Timer(0.05, go_on.set).start()
    run.require_received()
    appending.join()
    run.close_writer()
