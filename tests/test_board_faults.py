"""Runs that vanish while they are shown, and disks without room: nobody is told what is not so, and nothing is lost."""

import base64
import hashlib
import json
import os
import resource
import shutil
import threading

import numpy as np
import pytest
import safetensors.numpy
from boards import RUN, board, frame, numbered, say, study_events, write_run
from test_board_rest import Client

from mlgym_jax import events as ev

TAG = {"event_type": "tag_added", "tag": "good"}


@pytest.fixture
def limited(tmp_path):
    """A board whose files may be made no longer than `limit(bytes)`, and again without a limit by `limit(None)`."""
    write_run(tmp_path, study_events())
    with board(tmp_path) as server:
        unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        server.limit = lambda most: resource.prlimit(
            server.process.pid, resource.RLIMIT_FSIZE, unlimited if most is None else (most, unlimited[1])
        )
        yield server
    assert not [line for line in server.said if "Traceback" in line]


def post(server, *changes):
    body = json.dumps({"changes": changes}).encode()
    status, _, answer = server.request("POST", f"/grid_searches/{RUN}/annotations", body)
    return status, json.loads(answer)


def test_what_people_say_is_whole_or_refused_on_a_disk_without_room(limited, tmp_path):
    path = tmp_path / RUN / "annotations.log"
    limited.limit(5_000)
    notes = [f"{number} {'x' * 900}" for number in range(12)]
    answers = [post(limited, {"event_type": "note_set", "note": note}) for note in notes]
    taken = [note for note, (status, _) in zip(notes, answers, strict=True) if status == 200]
    assert [status for status, _ in answers] == [200] * len(taken) + [503] * (12 - len(taken)) and 0 < len(taken) < 12
    assert "File too large" in answers[-1][1]["error"] and str(tmp_path) not in answers[-1][1]["error"]
    assert [event["payload"]["note"] for event in ev.read_log(path)[0]] == taken  # all that was answered with 200
    said = limited.json(f"/grid_searches/{RUN}/annotations")
    assert (said["note"], said["num_malformed"]) == (taken[-1], 0)
    limited.limit(None)
    assert post(limited, TAG)[1]["tags"] == ["good"]


def test_of_what_is_published_to_a_disk_without_room_nothing_is_lost(limited):
    limited.limit(20_000)
    acks, number = [], 0
    with limited.publisher("far") as publisher:
        while True:
            event = {"event_id": number, "data": numbered(number, padding=900)}
            answer = say(publisher, event)
            if "error" in answer:
                break
            acks.append(answer["ack"])
            number += 1
    assert acks == [*range(number)] and number > 10
    assert answer["ack"] == number - 1 and "File too large" in answer["error"]
    assert limited.log("far").count(b"\n") == number and limited.log("far").endswith(b"\n")
    limited.limit(None)
    with limited.publisher("far") as publisher:  # which asks what is there, and goes on
        assert say(publisher, "[]")["ack"] == number - 1
        assert say(publisher, [{"event_id": number, "data": numbered(number)}]) == {"ack": number}
    assert len(ev.read_log(limited.storage / "far" / "event_storage.log")[0]) == number + 1


def test_files_are_whole_or_not_there_on_a_disk_without_room(limited, tmp_path):
    assert limited.request("POST", "/grid_searches/far/events", frame(0).encode())[0] == 200
    assert limited.request("PUT", "/grid_searches/far/config.json", b'{"old": 1}')[0] == 201
    before = {str(one): one.read_bytes() for one in (tmp_path / "far").rglob("*") if one.is_file()}
    limited.limit(1_000)
    large = b"{" + b" " * 5_000 + b"}"
    image = b"\x89PNG\r\n\x1a\n" + large
    name = f"{hashlib.sha256(image).hexdigest()}.png"
    weights = safetensors.numpy.save({"w": np.zeros(2_000, np.float32)})
    digest = base64.b64encode(hashlib.sha256(weights).digest()).decode()
    for method, path, data in (
        ("PUT", "/grid_searches/far/config.json", large),
        ("PUT", "/grid_searches/far/0/model_card.json", large),
        ("PUT", f"/grid_searches/far/0/media/{name}", image),
        ("POST", "/checkpoints/far/0/1/model", weights),
    ):
        status, _, answer = limited.request(method, path, data, {"Repr-Digest": f"sha-256=:{digest}:"})
        assert status == 503 and "File too large" in json.loads(answer)["error"], path
    kept = {str(one): one.read_bytes() for one in (tmp_path / "far").rglob("*") if one.is_file()}
    parts = [one for one in kept if one.endswith(".part")]  # what is there of a chunk is gone on with
    assert {one: data for one, data in kept.items() if one not in parts} == before and len(parts) <= 1
    limited.limit(None)
    status, _, answer = limited.request(
        "POST", "/checkpoints/far/0/1/model", weights, {"Repr-Digest": f"sha-256=:{digest}:"}
    )
    assert status == 201 and limited.get("/checkpoints/far/0/1/model")[2] == weights


SHOWN = [
    *("/grid_searches", "/grid_searches/v", "/grid_searches/v/experiments", "/grid_searches/v/scores"),
    *("/grid_searches/v/scores?format=csv", "/grid_searches/v/verdict", "/grid_searches/v/events"),
    *("/grid_searches/v/annotations", "/grid_searches/v/machine", "/grid_searches/v/recorded?experiment=0"),
    *(
        "/comparison?runs=v&runs=stays",
        "/scores?runs=stays&runs=v",
        "/grid_searches/v/config.json",
        "/grid_searches/v/event_storage.log",
    ),
    *("/checkpoint_list/v", "/checkpoints/v/0/1/model", "/model-card/v/0"),
    f"/grid_searches/v/0/media/{'0' * 64}.png",
]


def test_a_run_that_comes_and_goes_is_there_or_not(tmp_path):
    write_run(tmp_path / "source", study_events(), "v")
    (tmp_path / "source/v/config.json").write_text("{}")
    storage, stop = tmp_path / "store", threading.Event()
    write_run(storage, study_events(), "stays")

    def come_and_go():
        number = 0
        while not stop.is_set():
            shutil.copytree(tmp_path / "source/v", storage / ".new")
            os.rename(storage / ".new", storage / "v")
            stop.wait(0.004 * (number % 4))
            os.rename(storage / "v", storage / ".old")
            shutil.rmtree(storage / ".old")
            number += 1

    with board(storage) as server:
        statuses, body = [], json.dumps({"changes": [TAG]}).encode()
        coming = threading.Thread(target=come_and_go)
        coming.start()
        try:
            for path in SHOWN * 6:
                statuses.append((path, server.get(path)[0]))
            for _ in range(15):
                statuses.append(("POST", server.request("POST", "/grid_searches/v/annotations", body)[0]))
        finally:
            stop.set()
            coming.join()
        assert {status for path, status in statuses if path != "POST"} == {200, 404}
        assert {status for path, status in statuses if path == "POST"} <= {200, 404, 409}
    assert not [line for line in server.said if "Traceback" in line]


def test_a_run_without_a_log_has_nothing_recorded(tmp_path):
    client = Client(tmp_path)
    assert client("/grid_searches/far/config.json", "PUT", data=b"{}")[0] == 201
    assert client.json("/grid_searches/far/machine") == {"num_samples": 0, "samples": [], "messages": []}
    assert client.json("/grid_searches/far/recorded?experiment=0")["events"] == []


@pytest.mark.parametrize("name", ["x" * 10_000, "x/" * 2_000, "%00", "%2e%2e/index.html"])
def test_a_file_that_the_page_cannot_have_is_not_there(tmp_path, name):
    assert Client(tmp_path)(f"/assets/{name}")[0] == 404
