"""Curves, media, samples of the machine and messages over HTTP: they are those of the log, of one epoch, in order."""

import hashlib

import pytest
from boards import RUN, study_events, write_run
from test_board_rest import Client

from board_server import observed
from board_server.auth import Access
from mlgym_jax import events as ev
from mlgym_jax.events import schema

PNG = b"\x89PNG\r\n\x1a\n and so on"
NAME = f"{hashlib.sha256(PNG).hexdigest()}.png"


def curves(experiment, epoch, **more):
    one = {"metric": "roc", "split": "val", "kind": "curve", "label": None, "x": [0.0, 1.0], "y": [0.0, float("inf")]}
    told = {"experiment_id": experiment, "epoch": epoch, "step": 1, "curves": [one], **more}
    return schema.evaluation_curves(RUN, **told, now_ms=10)


def text(experiment, epoch, said):
    told = {"experiment_id": experiment, "epoch": epoch, "step": 1, "name": "words", "split": "val", "kind": "text"}
    return schema.recorded(RUN, **told, text=said, now_ms=11)


def sample(now):
    known = {"process_cores": 1.0, "machine_cores": 2, "machine_busy": 1.5, "process_bytes": now, "memory_total": 9}
    rest = {"memory_available": 4, "disk_free": 1, "disk_total": 2}
    return schema.system(RUN, host="node", seconds=15.0, **known, **rest, now_ms=now)


def message(now):
    return schema.message(RUN, level="warning", source="here", text=f"<b>{now}</b>", now_ms=now)


@pytest.fixture
def log():
    study = study_events()
    return [*study[:-1], curves(0, 2), text(0, 2, "two"), curves(1, 2), sample(20), text(0, 4, "four"), message(21)]


@pytest.fixture
def client(tmp_path, log):
    write_run(tmp_path, log)
    return Client(tmp_path)


def ask(client, query):
    found = client.json(f"/grid_searches/{RUN}/recorded?{query}")
    return found["epochs"], found["epoch"], [event["payload"].get("text", "curves") for event in found["events"]]


def test_an_epochs_records_are_its_events_and_the_newest_epoch_comes_by_itself(client):
    assert ask(client, "experiment=0") == ([2, 4], 4, ["four"])
    assert ask(client, "experiment=0&epoch=2") == ([2, 4], 2, ["curves", "two"])
    assert ask(client, "experiment=0&epoch=3") == ([2, 4], 3, [])
    assert ask(client, "experiment=1") == ([2], 2, ["curves"])
    assert ask(client, "experiment=7") == ([], None, [])
    event = client.json(f"/grid_searches/{RUN}/recorded?experiment=1")["events"][0]
    assert event["payload"]["curves"][0]["y"] == [0.0, "Infinity"]


def test_what_is_added_is_found_and_a_log_that_is_replaced_is_read_anew(client, tmp_path, log):
    assert ask(client, "experiment=0")[0] == [2, 4]
    with ev.EventLog.open(tmp_path / RUN / "event_storage.log") as more:
        more.append([text(0, 5, "five")])
    assert ask(client, "experiment=0") == ([2, 4, 5], 5, ["five"])
    (tmp_path / RUN / "event_storage.log").unlink()
    write_run(tmp_path, [*study_events()[:3], text(0, 1, "anew")])
    assert ask(client, "experiment=0") == ([1], 1, ["anew"])


def test_a_damaged_line_takes_nothing_else_away(client, tmp_path):
    with open(tmp_path / RUN / "event_storage.log", "ab") as file:
        file.write(b'{"event_type":"recorded","payload":{"experiment_id":"x"}}\n{"event_type":"system", torn\n')
        file.write(b'{"event_type":"recorded","payload":[]}\n')
    assert ask(client, "experiment=0")[0] == [2, 4]
    assert len(client.json(f"/grid_searches/{RUN}/machine")["samples"]) == 1


def test_no_more_of_messages_is_sent_than_fits_the_newest_first(tmp_path, monkeypatch):
    log = [*study_events()[:3], *map(message, range(5))]
    write_run(tmp_path, log)
    monkeypatch.setattr(observed, "_MOST_BYTES", 3 * len(ev.encode(log[-1])))
    found = Client(tmp_path).json(f"/grid_searches/{RUN}/machine")
    assert found["messages"] == log[-3:]


def test_samples_are_thinned_evenly_with_the_newest_and_messages_are_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(observed, "_MOST_SAMPLES", 4)
    monkeypatch.setattr(observed, "_MOST_MESSAGES", 2)
    write_run(tmp_path, [*study_events()[:3], *(sample(number) for number in range(10)), *map(message, range(5))])
    found = Client(tmp_path).json(f"/grid_searches/{RUN}/machine")
    assert found["num_samples"] == 10
    assert [one["payload"]["process_bytes"] for one in found["samples"]] == [0, 3, 6, 9]
    assert [one["payload"]["text"] for one in found["messages"]] == ["<b>3</b>", "<b>4</b>"]


def test_an_image_is_sent_as_what_it_is_and_nothing_else_is(client, tmp_path):
    media = tmp_path / RUN / "0" / "media"
    media.mkdir(parents=True)
    (media / NAME).write_bytes(PNG)
    status, headers, body = client(f"/grid_searches/{RUN}/0/media/{NAME}")
    assert (status, headers["Content-Type"], body) == (200, "image/png", PNG)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert client(f"/grid_searches/{RUN}/0/media/{NAME}", headers={"If-None-Match": headers["ETag"]})[0] == 304
    (media / "index.html").write_text("<script>")
    outside = tmp_path.parent / f"{tmp_path.name}.png"
    outside.write_bytes(b"secret")
    (media / ("0" * 64 + ".png")).symlink_to(outside)
    for name in ("index.html", "0" * 64 + ".png", "f" * 64 + ".png", "..%2f..%2fconfig.json"):
        assert client(f"/grid_searches/{RUN}/0/media/{name}")[0] == 404


def test_who_may_not_read_sees_none_of_it(tmp_path, log):
    write_run(tmp_path, log)
    client = Client(tmp_path, Access(token="w" * 20))
    for place in ("recorded?experiment=0", "machine", f"0/media/{NAME}"):
        assert client(f"/grid_searches/{RUN}/{place}")[0] == 401


@pytest.mark.parametrize(
    "query, said", [("", "experiment"), ("experiment=x", "experiment"), ("experiment=0&epoch=-1", "epoch")]
)
def test_what_is_no_number_is_refused_in_words(client, query, said):
    assert client.json(f"/grid_searches/{RUN}/recorded?{query}", status=400)["error"].startswith(f"{said}: ")
