"""Runs as things one manages, over HTTP: notes, tags, archive, delete; what the list says of each run."""

import asyncio
import errno
import json
import os
import time

import msgspec
import pytest
from boards import RUN, board, study_events, write_run
from test_board_rest import Client

from board_server.auth import Access
from board_server.listing import Listing
from board_server.store import Store
from mlgym_jax import events as ev
from mlgym_jax.events import run_summary
from mlgym_jax.events.annotation_log import annotate, read_annotations
from mlgym_jax.events.annotations import Deleted, NoteSet, TagAdded

_CHANGES = "/ws/grid_searches?changes=1"
PATH = f"/grid_searches/{RUN}/annotations"
TAG = {"event_type": "tag_added", "tag": "good"}


@pytest.fixture
def client(tmp_path):
    write_run(tmp_path, study_events())
    return Client(tmp_path)


def post(client, *changes, status=200, path=PATH, **more):
    body = json.dumps({"changes": changes, **more})
    return client.json(path, status=status, method="POST", data=body, headers={"Content-Type": "application/json"})


def test_what_is_said_is_answered_and_recorded(client, tmp_path):
    nothing = {"note": "", "tags": [], "archived": False, "deleted": False, "deleted_ms": None}
    empty = {"grid_search_id": RUN, **nothing, "experiments": {}, "num_events": 0, "num_malformed": 0}
    assert client.json(PATH) == empty
    note = {"event_type": "note_set", "note": "<b>why\nnot", "experiment_id": 1}
    found = post(client, TAG, note, by="ada")
    assert found == {
        **empty,
        "tags": ["good"],
        "experiments": {"1": {**nothing, "note": "<b>why\nnot"}},
        "num_events": 2,
    }
    assert client.json(PATH) == found
    events = client.json(f"{PATH}?history=1")["events"]
    assert [(event["event_type"], event["payload"]["by"]) for event in events] == [
        ("tag_added", "ada"),
        ("note_set", "ada"),
    ]
    assert read_annotations(str(tmp_path / RUN)).run.tags == ["good"]


def test_an_unchanged_answer_is_not_sent_again(client):
    _, headers, _ = client(PATH)
    assert client(PATH, headers={"If-None-Match": headers["ETag"]})[0] == 304
    post(client, TAG)
    assert client(PATH, headers={"If-None-Match": headers["ETag"]})[0] == 200


@pytest.mark.parametrize(
    "body, status, said",
    [
        (b"", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
        (b"[]", 400, "changes are expected"),
        (b'{"changes": []}', 400, "changes are expected"),
        (b'{"changes": [{"event_type": "archived"}], "buy": "x"}', 400, "changes are expected"),
        (b'{"changes": [{"event_type": "archive"}]}', 400, "did you mean 'archived'"),
        (b'{"changes": [{"event_type": "archived"}], "by": 3}', 400, "by: found 3"),
        (b'{"changes": [{"event_type": "deleted", "experiment_id": 7}]}', 404, "no experiment 7"),
        (json.dumps({"changes": [{"event_type": "note_set", "note": "x" * 70_000}]}).encode(), 400, "65,536"),
        (json.dumps({"changes": [TAG] * 1_001}).encode(), 413, "at most 1000"),
        (b" " * 600_000, 413, "at most 524288"),
    ],
)
def test_what_is_no_change_is_refused_in_words(client, tmp_path, body, status, said):
    found = client.json(PATH, status=status, method="POST", data=body)
    assert said in found["error"]
    assert not (tmp_path / RUN / "annotations.log").exists()


def test_a_run_that_is_not_there_is_not_made(client, tmp_path):
    assert post(client, TAG, status=404, path="/grid_searches/other/annotations")["error"].startswith("no run 'other'")
    assert os.listdir(tmp_path) == [RUN]


def test_the_largest_note_goes_through_with_all_its_characters_escaped(client):
    found = post(client, {"event_type": "note_set", "note": "ä" * 32_768})
    assert found["note"] == "ä" * 32_768


def test_who_may_only_read_changes_nothing(tmp_path):
    write_run(tmp_path, study_events())
    client = Client(tmp_path, Access(token="w" * 20, read_token="r" * 20))
    reader, writer = ({"Authorization": f"Bearer {letter * 20}"} for letter in "rw")
    body = json.dumps({"changes": [TAG]})
    assert client(PATH, "POST", data=body)[0] == 401
    assert client(PATH, "POST", data=body, headers=reader)[0] == 403
    assert client(PATH, headers=reader)[0] == 200
    assert client(PATH, "POST", data=body, headers={**writer, "Origin": "https://evil.example"})[0] == 403
    assert client(PATH, "POST", data=body, headers=writer)[0] == 200


def test_a_log_that_leads_elsewhere_is_not_followed(client, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_text("")
    (tmp_path / RUN / "annotations.log").symlink_to(outside)
    assert client(PATH)[0] == 404 and post(client, TAG, status=404)
    assert outside.read_text() == ""


@pytest.mark.parametrize("number, status", [(errno.EROFS, 403), (errno.ENOSPC, 503)])
def test_a_store_that_cannot_be_written_says_so_without_its_path(client, tmp_path, monkeypatch, number, status):
    original = os.open

    def refusing(path, *words, **named):
        if str(path).endswith("annotations.log"):
            raise OSError(number, os.strerror(number), path)
        return original(path, *words, **named)

    monkeypatch.setattr(os, "open", refusing)
    said = post(client, TAG, status=status)["error"]
    assert os.strerror(number) in said and str(tmp_path) not in said


def test_a_run_that_is_written_is_not_deleted(tmp_path):
    path = write_run(tmp_path, study_events(finished=False))
    with ev.EventLog.open(path):
        client = Client(tmp_path)
        assert "is being written" in post(client, {"event_type": "deleted"}, status=409)["error"]
        assert post(client, {"event_type": "archived"})["archived"]


def test_the_list_hides_what_is_deleted_until_it_is_restored(tmp_path):
    for name in ("one", "two", "three"):
        write_run(tmp_path, study_events(name), name)
    client = Client(tmp_path)

    def names(query=""):
        return sorted(row["grid_search_id"] for row in client.json(f"/grid_searches{query}"))

    post(client, {"event_type": "deleted"}, path="/grid_searches/one/annotations")
    post(client, {"event_type": "archived"}, path="/grid_searches/two/annotations")
    post(client, TAG, {"event_type": "note_set", "note": "Straße\nmore"}, path="/grid_searches/two/annotations")
    assert names() == names("?archived=all") == ["three", "two"]
    assert (names("?deleted=1"), names("?deleted=all")) == (["one"], ["one", "three", "two"])
    assert (names("?archived=1"), names("?archived=0")) == (["two"], ["three"])
    assert names("?tag=good") == names("?text=STRASSE") == names("?text=good+two&tag=good") == ["two"]
    assert names("?tag=good&tag=bad") == names("?text=more") == []
    assert client.json("/grid_searches/one/experiments")  # by its address it is still there
    row = client.json("/grid_searches?tag=good")[0]
    assert (row["note"], row["tags"], row["archived"], row["deleted"]) == ("Straße", ["good"], True, False)
    assert client.json("/grid_searches?not_shown=1&deleted=1")["grid_searches"][0]["grid_search_id"] == "one"
    assert "archived: found 'yes'" in client.json("/grid_searches?archived=yes", status=400)["error"]
    post(client, {"event_type": "restored"}, path="/grid_searches/one/annotations")
    assert names() == ["one", "three", "two"]


def summarised(listing, seconds=20):
    """Look until everything that there is was summed up."""

    async def look():
        until = time.monotonic() + seconds
        while True:
            rows = await listing.look()
            if all(row["summarised"] for row in rows):
                return json.loads(msgspec.json.encode(rows))
            assert time.monotonic() < until
            await asyncio.sleep(0.01)

    return asyncio.run(look())


def test_the_list_says_how_runs_stand(tmp_path):
    path = write_run(tmp_path, study_events(epochs=4, finished=False))
    (tmp_path / RUN / "run.json").write_text('{"made_by": "ada"}')
    [row] = summarised(Listing(Store(tmp_path)))
    # study_events: val/accuracy = experiment + epoch / 10, of 3 experiments; results 10 ms apart, from 1,000 ms on.
    assert (row["monitor"], row["mode"], row["owner"]) == ("val/accuracy", "max", "ada")
    assert (row["best_score"], row["best_experiment_id"], row["best_epoch"]) == (2.4, 2, 4)
    assert (row["progress"], row["num_failed"], row["seconds"]) == (1.0, 0, 0.04)
    assert row["sparkline"] == [2.1] * 3 + [2.2] * 3 + [2.3] * 3 + [2.4] * 3
    assert run_summary.kept(str(path.parent), run_summary.key_of(path.stat())) is None  # it may go on
    with ev.EventLog.open(path) as log:
        log.append([ev.run_finished(RUN, status="DONE", num_failed=0, seconds=2.0, now_ms=9_000)])
    [row] = summarised(Listing(Store(tmp_path)))
    assert (row["status"], row["seconds"]) == ("DONE", 8.0)
    assert run_summary.kept(str(path.parent), run_summary.key_of(path.stat()))["best_score"] == 2.4
    assert sorted(os.listdir(tmp_path)) == [RUN] and sorted(os.listdir(path.parent)) == [
        "event_storage.log",
        "run.json",
    ]


def test_a_summary_follows_a_log_that_grows_and_one_that_is_replaced(tmp_path, monkeypatch):
    import board_server.summaries as module

    monkeypatch.setattr(module, "_AGAIN_FACTOR", 0)
    listing = Listing(Store(tmp_path))
    events = study_events(epochs=8, finished=False)
    path = write_run(tmp_path, events[:11])  # 8 of experiments and their jobs, 3 results: epoch 1
    [row] = summarised(listing)
    assert (row["best_score"], row["progress"]) == (2.1, 1 / 8)
    with ev.EventLog.open(path) as log:
        log.append(events[11:14])
    with open(path, "ab") as file:
        file.write(b'{"event_type":"evaluation_re')  # being written
    [row] = summarised(listing)
    assert (row["best_score"], row["progress"]) == (2.2, 2 / 8)
    path.unlink()
    write_run(tmp_path, study_events(score=lambda experiment, epoch: 0.5))
    [row] = summarised(listing)
    assert (row["best_score"], row["status"]) == (0.5, "DONE")


def test_a_log_that_says_nothing_of_scores_is_listed_all_the_same(tmp_path):
    write_run(tmp_path, study_events(score=lambda *_: float("nan"), finished=False), "nan")
    write_run(tmp_path, study_events()[:1], "new")
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise/event_storage.log").write_bytes(os.urandom(5_000) + b"\n[]\n{}\n")
    rows = {row["grid_search_id"]: row for row in summarised(Listing(Store(tmp_path)))}
    assert [rows[name]["best_score"] for name in ("nan", "new", "noise")] == [None] * 3
    assert rows["nan"]["progress"] == 1.0 and rows["new"]["progress"] == 0.0 and rows["noise"]["progress"] is None


def test_subscribers_of_the_list_are_told_and_boards_and_commands_agree(tmp_path):
    for run_id in (RUN, "untouched"):
        write_run(tmp_path, study_events(run_id), run_id)
    path = "/ws/grid_searches"
    with board(tmp_path) as one, board(tmp_path) as other, one.socket(path) as listing, one.socket(_CHANGES) as news:

        def told(socket, until):
            """Receive frames until one is as expected; return what the list is by then."""
            while True:
                frame = json.loads(socket.recv(timeout=20))
                for row in frame.get("grid_searches", frame.get("changed")):
                    rows[row["grid_search_id"]] = row
                if until(frame):
                    return frame

        rows = {}
        for socket in (listing, news):  # both have the whole list first
            told(socket, lambda frame: [row["tags"] for row in frame["grid_searches"]] == [[], []])
        while not all(row["summarised"] for row in rows.values()):
            told(news, lambda _: True)
        body = json.dumps({"changes": [TAG]}).encode()
        assert other.request("POST", PATH, body)[0] == 200
        annotate(str(tmp_path / RUN), [TagAdded("by-hand"), NoteSet("n")], by=None, now_ms=5)
        frame = told(news, lambda _: rows[RUN]["tags"] == ["good", "by-hand"])
        assert [row["grid_search_id"] for row in frame["changed"]] == [RUN]
        whole = told(listing, lambda _: rows[RUN]["tags"] == ["good", "by-hand"])["grid_searches"]
        assert frame["changed"] == [row for row in whole if row["grid_search_id"] == RUN]
        annotate(str(tmp_path / RUN), [Deleted()], by=None, now_ms=5)
        for socket in (listing, news):  # of another set of runs both have the whole list
            frame = told(socket, lambda frame: len(frame.get("grid_searches", whole)) == 1)
            assert frame["grid_searches"][0]["grid_search_id"] == "untouched"
