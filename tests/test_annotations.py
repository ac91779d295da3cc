"""Notes, tags, archived and deleted as events of a log beside the run's: many writers, torn ends, limits."""

import errno
import json
import os
import pathlib
import subprocess
import sys

import pytest
from boards import RUN, study_events, write_run

from mlgym_jax import events as ev
from mlgym_jax.errors import DiskError, MlgymError
from mlgym_jax.events import annotation_log
from mlgym_jax.events.annotation_log import RefusedError, UnwritableError, annotate, read_annotations
from mlgym_jax.events.annotations import (
    Archived,
    Deleted,
    NoteSet,
    Restored,
    TagAdded,
    TagRemoved,
    Unarchived,
    change_of,
)

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path, study_events()).parent


def say(run_dir, *changes, by="ada", now_ms=1_000):
    return annotate(str(run_dir), changes, by=by, now_ms=now_ms)


def lines(run_dir):
    return (run_dir / "annotations.log").read_bytes().split(b"\n")[:-1]


def test_what_is_said_last_holds_and_all_is_kept(run_dir):
    log = run_dir / "event_storage.log"
    before = log.read_bytes()
    say(run_dir, NoteSet("first"), TagAdded("a"), TagAdded("b"), NoteSet("of one", experiment_id=2))
    say(run_dir, NoteSet("second\nline"), TagRemoved("a"), Archived(), Deleted(), by="eve", now_ms=2_000)
    found = read_annotations(str(run_dir))
    assert found.run.as_json() == {
        "note": "second\nline",
        "tags": ["b"],
        "archived": True,
        "deleted": True,
        "deleted_ms": 2_000,
    }
    assert found.experiments[2].note == "of one" and found.num_events == 8 and not found.num_malformed
    assert say(run_dir, Restored(), Unarchived()).run.as_json() == {
        **found.run.as_json(),
        "archived": False,
        "deleted": False,
        "deleted_ms": None,
    }
    assert [json.loads(line)["event_type"] for line in lines(run_dir)][-2:] == ["restored", "unarchived"]
    assert json.loads(lines(run_dir)[0]) == {
        "event_type": "note_set",
        "creation_ts": 1_000,
        "payload": {"grid_search_id": RUN, "by": "ada", "note": "first", "experiment_id": None},
    }
    assert log.read_bytes() == before


def test_what_changes_nothing_is_not_written(run_dir):
    say(run_dir, TagAdded("a"), NoteSet("x"))
    size = (run_dir / "annotations.log").stat().st_size
    say(run_dir, TagAdded("a"), NoteSet("x"), TagRemoved("b"), Unarchived(), Restored())
    assert (run_dir / "annotations.log").stat().st_size == size


def test_all_changes_or_none(run_dir):
    say(run_dir, *(TagAdded(f"t{number}") for number in range(99)))
    with pytest.raises(RefusedError, match="100 tags already"):
        say(run_dir, TagAdded("last"), TagAdded("one"), NoteSet("x"))
    assert len(read_annotations(str(run_dir)).run.tags) == 99
    say(run_dir, TagAdded("last"))
    say(run_dir, TagAdded("t0"))  # it is there already


@pytest.mark.parametrize(
    "change, said",
    [
        (NoteSet("x" * 65_537), "65,537 bytes; 65,536 are the most"),
        (NoteSet("ä" * 32_769), "65,538 bytes"),
        (NoteSet("bell\x07"), "control character"),
        (NoteSet("\x1b[31mred"), "control character"),
        (TagAdded(""), "1 to 64"),
        (TagAdded("x" * 65), "1 to 64"),
        (TagAdded("a b"), "no blanks"),
        (TagAdded("a,b"), "no blanks, commas"),
        (TagAdded("a\u202eb"), "control"),
        (Archived(experiment_id=-1), "a number from 0"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_words(run_dir, change, said):
    with pytest.raises(MlgymError, match=said):
        say(run_dir, change)
    assert not (run_dir / "annotations.log").exists()


def test_the_largest_and_the_oddest_that_can_be_kept_come_back(run_dir):
    note, tag = "<b>\n\t“ü” 💥" + "x" * 65_500, "<script>alert(1)</script>"
    say(run_dir, NoteSet(note), TagAdded(tag))
    found = read_annotations(str(run_dir)).run
    assert (found.note, found.tags) == (note, [tag])


@pytest.mark.parametrize("by", ["", "  ", "x" * 65, "a\nb"])
def test_who_says_it_has_a_name(run_dir, by):
    with pytest.raises(MlgymError, match="by: found"):
        say(run_dir, Archived(), by=by)


@pytest.mark.parametrize(
    "value, said",
    [
        ([], "a change is an object"),
        ({}, "event_type: found none"),
        ({"event_type": "tag_add", "tag": "x"}, "did you mean 'tag_added'"),
        ({"event_type": "tag_added"}, "missing required field `tag`"),
        ({"event_type": "deleted", "experimentid": 3}, "unknown field `experimentid`"),
        ({"event_type": "deleted", "experiment_id": "3"}, "Expected `int | null`"),
    ],
)
def test_a_change_that_is_none_says_what_it_lacks(value, said):
    with pytest.raises(MlgymError, match=said.replace("|", r"\|")):
        change_of(value)


def test_a_running_run_is_not_deleted_but_archived(run_dir):
    with ev.EventLog.open(run_dir / "event_storage.log"):
        with pytest.raises(RefusedError, match="is being written, so it cannot be deleted"):
            say(run_dir, Deleted())
        say(run_dir, Archived(), Deleted(experiment_id=1))
    assert not say(run_dir, TagAdded("a")).run.deleted


@pytest.mark.parametrize("torn", [b'{"event_type":"note_', b"\x00\xff", b'{"event_type":"archived"}'])
def test_a_torn_end_stays_and_the_next_line_is_whole(run_dir, torn):
    say(run_dir, NoteSet("x"))
    path = run_dir / "annotations.log"
    with open(path, "ab") as file:
        file.write(torn)
    before = path.read_bytes()
    say(run_dir, TagAdded("a"))
    found = read_annotations(str(run_dir))
    assert path.read_bytes().startswith(before + b"\n") and found.num_malformed == 1
    assert (found.run.note, found.run.tags) == ("x", ["a"])


def test_foreign_events_and_fields_are_passed_over(run_dir):
    path = run_dir / "annotations.log"
    event = {"event_type": "tag_added", "creation_ts": 5, "payload": {"tag": "a", "colour": "red"}, "more": 1}
    path.write_text(json.dumps({**event, "event_type": "starred"}) + "\n" + json.dumps(event) + "\n[]\n\n7\n")
    found = read_annotations(str(run_dir))
    assert found.run.tags == ["a"] and (found.num_events, found.num_malformed) == (2, 2)


WRITER = """
import sys, time
from mlgym_jax.events.annotation_log import annotate
from mlgym_jax.events.annotations import NoteSet, TagAdded
run_dir, who = sys.argv[1:]
print(flush=True); sys.stdin.readline()
for number in range(25):
    annotate(run_dir, [TagAdded(f"{who}-{number}"), NoteSet(who + "x" * 20_000 + str(number))], by=who, now_ms=number)
"""


def test_three_processes_write_at_once_and_lose_nothing(run_dir):
    command = [sys.executable, "-c", WRITER, str(run_dir)]
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    writers = [subprocess.Popen([*command, who], **ends) for who in "abc"]
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    found = read_annotations(str(run_dir))
    assert sorted(found.run.tags) == sorted(f"{who}-{number}" for who in "abc" for number in range(25))
    assert found.num_events == 150 == len(lines(run_dir)) and not found.num_malformed
    for who in "abc":  # each in its own order
        mine = [event for event in map(json.loads, lines(run_dir)) if event["payload"]["by"] == who]
        assert [event["creation_ts"] for event in mine] == [number for number in range(25) for _ in range(2)]


def test_a_full_disk_leaves_the_log_as_it_was(run_dir, monkeypatch):
    say(run_dir, TagAdded("a"))
    before = (run_dir / "annotations.log").read_bytes()

    def half(fd, data):
        os.write(fd, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(annotation_log, "write_all", half)
    with pytest.raises(DiskError, match="No space left on device; nothing was recorded"):
        say(run_dir, TagAdded("b"))
    assert (run_dir / "annotations.log").read_bytes() == before


def test_a_log_of_the_largest_size_takes_no_more(run_dir, monkeypatch):
    say(run_dir, NoteSet("x" * 1_000))
    monkeypatch.setattr(annotation_log, "MAX_LOG_BYTES", 1_500)
    with pytest.raises(RefusedError, match="more than 1,500 bytes"):
        say(run_dir, NoteSet("y" * 1_000))
    assert read_annotations(str(run_dir)).run.note == "x" * 1_000


def test_links_pipes_and_folders_are_no_log(run_dir, tmp_path):
    path, other = run_dir / "annotations.log", tmp_path / "other"
    other.write_text('{"event_type": "archived", "creation_ts": 1, "payload": {}}\n')
    for make, said in (
        (lambda: path.symlink_to(other), "it is a link"),
        (lambda: os.mkfifo(path), "it is no file"),
        (lambda: path.mkdir(), "cannot be written"),
    ):
        make()
        with pytest.raises(UnwritableError, match=said):
            say(run_dir, Archived())
        assert not read_annotations(str(run_dir)).run.archived
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize(
    "number, kind, said",
    [
        (errno.EROFS, UnwritableError, "Read-only file system.*ask its owner"),
        (errno.EACCES, UnwritableError, "Permission denied.*nothing was recorded"),
        (errno.ENOSPC, DiskError, "No space left"),
        (errno.EDQUOT, DiskError, "quota"),
    ],
)
def test_what_the_system_refuses_is_said_in_words(run_dir, monkeypatch, number, kind, said):
    original = os.open

    def refusing(path, *words, **named):
        if str(path).endswith("annotations.log"):
            raise OSError(number, os.strerror(number), path)
        return original(path, *words, **named)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(kind, match=said):
        say(run_dir, Archived())
    assert not read_annotations(str(run_dir)).run.archived


def test_a_run_that_vanishes_meanwhile_is_said(run_dir):
    with annotation_log.locked(str(run_dir)):
        run_dir.rename(run_dir.with_name("moved"))
        with pytest.raises(RefusedError, match="no such run any more"):
            say(run_dir, Archived())


def test_a_lock_that_is_held_is_not_waited_for_for_ever(run_dir, monkeypatch):
    monkeypatch.setattr(annotation_log, "_LOCK_SECONDS", 0.05)
    with annotation_log.locked(str(run_dir)), pytest.raises(DiskError, match="another process has held its lock"):
        say(run_dir, Archived())
