"""What the board answers over HTTP, asked through Quart's test client."""

import asyncio
import base64
import csv
import hashlib
import io
import json
import math
import os
import struct

import numpy as np
import pytest
import safetensors.numpy
from boards import RUN, numbered, study_events, write_run

from board_server.app import create_app
from board_server.auth import Access
from board_server.store import Store
from mlgym_jax import events as ev
from mlgym_jax.events.verdict import verdict


class Client:
    """Quart's test client, asked without `await`; every answer has `status`, `headers`, `body`."""

    def __init__(self, storage, access=None):
        self.app = create_app(Store(storage), access or Access())

    def __call__(self, path, method="GET", **request):
        async def ask():
            response = await self.app.test_client().open(path, method=method, **request)
            body = await response.get_data(as_text=False)
            return response.status_code, response.headers, body

        return asyncio.run(ask())

    def json(self, path, status=200, **request):
        found, _, body = self(path, **request)
        assert found == status, body
        return json.loads(body)


@pytest.fixture
def client(tmp_path):
    write_run(tmp_path, study_events())
    return Client(tmp_path)


# --- runs and experiments ------------------------------------------------------------------------------------------


def test_the_runs_are_listed_newest_first(tmp_path):
    for run_id, now in (("older", 1), ("newest", 3), ("old", 2)):
        events = [{**event, "creation_ts": now} for event in study_events(run_id)]
        write_run(tmp_path, events, run_id)
    assert [run["grid_search_id"] for run in Client(tmp_path).json("/grid_searches")] == ["newest", "old", "older"]


def test_a_run_says_what_it_is(client):
    run = client.json(f"/grid_searches/{RUN}")
    assert run["name"] == "a study" and run["status"] == "DONE" and run["num_experiments"] == 3
    assert run["scores"] == ["val/accuracy", "train/loss"]
    assert (run["monitor"], run["mode"]) == ("val/accuracy", "max")
    assert run["config"]["num_epochs"] == 4 and run["event_id"] == len(study_events()) - 1


def test_experiments_have_their_newest_and_best_scores(tmp_path):
    scores = {(0, 1): 0.3, (0, 2): 0.9, (0, 3): math.nan, (0, 4): 0.5}
    write_run(tmp_path, study_events(experiments=1, score=lambda *at: scores[at]))
    status, headers, body = Client(tmp_path)(f"/grid_searches/{RUN}/experiments")
    (row,) = json.loads(body)
    assert status == 200 and headers["X-Event-Id"] == str(len(study_events(experiments=1)) - 1)
    assert row["best"]["val/accuracy"] == {"min": [1, 0.3], "max": [2, 0.9]}
    assert row["last"] == {"val/accuracy": 0.5, "train/loss": 0.25}
    assert row["hyperparameters"] == {"seed": 0} and row["device"] == "cpu" and row["epochs"] == 4
    assert row["experiment_config"]["num_epochs"] == 4 and row["last_checkpoint_id"] == -1
    (bare,) = Client(tmp_path).json(f"/grid_searches/{RUN}/experiments?config=0")
    assert "experiment_config" not in bare


def test_numbers_that_json_does_not_have_are_spelled(tmp_path):
    write_run(tmp_path, study_events(experiments=1, epochs=1, score=lambda *_: -math.inf))
    client = Client(tmp_path)
    assert client.json(f"/grid_searches/{RUN}/experiments")[0]["last"]["val/accuracy"] == "-Infinity"
    series = client.json(f"/grid_searches/{RUN}/scores?name=val/accuracy")["series"]
    assert series[0]["scores"] == ["-Infinity"]


def test_answers_follow_the_log(tmp_path):
    events = study_events(finished=False)
    write_run(tmp_path, events[:-1])
    client = Client(tmp_path)
    before = client.json(f"/grid_searches/{RUN}/experiments")
    write_run(tmp_path, events[-1:])
    after = client.json(f"/grid_searches/{RUN}/experiments")
    assert [row["epochs"] for row in before] == [4, 4, 3] and [row["epochs"] for row in after] == [4, 4, 4]


@pytest.mark.parametrize("path", ["", f"/{RUN}", f"/{RUN}/experiments", f"/{RUN}/scores?format=binary"])
def test_what_did_not_change_is_answered_304(tmp_path, path):
    write_run(tmp_path, study_events(finished=False))
    client = Client(tmp_path)
    status, headers, _ = client(f"/grid_searches{path}")
    assert status == 200
    again = {"If-None-Match": headers["ETag"]}
    assert client(f"/grid_searches{path}", headers=again)[0] == 304
    write_run(tmp_path, [ev.run_finished(RUN, status="DONE", num_failed=0, seconds=1.0, now_ms=3_000)])
    assert client(f"/grid_searches{path}", headers=again)[0] == 200


def test_a_damaged_line_hides_no_other(tmp_path):
    path = write_run(tmp_path, study_events())
    lines = path.read_bytes().split(b"\n")
    lines[7] = b'{"event_type": "evaluation_result", "crea\xff\x00'
    path.write_bytes(b"\n".join(lines))
    client = Client(tmp_path)
    assert client.json(f"/grid_searches/{RUN}")["num_malformed"] == 1
    events = client.json(f"/grid_searches/{RUN}/events")["data"]
    assert [one["event_id"] for one in events] == [number for number in range(len(lines) - 1) if number != 7]


def test_the_verdict_is_the_engines(tmp_path):
    path = write_run(tmp_path, study_events(experiments=3, score=lambda number, epoch: 0.1 * number + 0.01 * epoch))
    client = Client(tmp_path)
    found = client.json(f"/grid_searches/{RUN}/verdict")
    assert found["headline"].startswith("best val/accuracy")
    view, _ = ev.project_log(path)
    for query, options in (
        ("", {}),
        ("?monitor=train/loss", {"monitor": "train/loss"}),
        ("?mode=min", {"mode": "min"}),
    ):
        wanted = verdict(view, **options, name=RUN)
        assert client.json(f"/grid_searches/{RUN}/verdict{query}") == json.loads(ev.encode(wanted)), query
    status, headers, _ = client(f"/grid_searches/{RUN}/verdict")
    tag = {"If-None-Match": headers["ETag"]}
    assert status == 200 and client(f"/grid_searches/{RUN}/verdict", headers=tag)[0] == 304
    status, _, body = client(f"/grid_searches/{RUN}/verdict?monitor=val/acuracy")
    assert status == 400 and b"did you mean 'val/accuracy'" in body
    assert client(f"/grid_searches/{RUN}/verdict?mode=best")[0] == 400


# --- scores --------------------------------------------------------------------------------------------------------


def test_scores_as_json_are_what_was_logged(client):
    body = client.json(f"/grid_searches/{RUN}/scores?columns=time")
    assert body["event_id"] == len(study_events()) - 1
    found = {(one["experiment_id"], one["name"]): one for one in body["series"]}
    assert found[2, "val/accuracy"]["scores"] == [2.1, 2.2, 2.3, 2.4] and found[2, "val/accuracy"]["epochs"] == [
        1,
        2,
        3,
        4,
    ]
    assert found[0, "train/loss"]["scores"] == [1, 1 / 2, 1 / 3, 1 / 4] and len(found) == 6
    assert body["times"][1] == {
        "experiment_id": 1,
        "epochs": [1, 2, 3, 4],
        "time_ms": [1010, 1020, 1030, 1040],
        "seconds": [0.5, 1.0, 1.5, 2.0],
    }


def decoded(data):
    """Read `MLG1` as docs/events.md describes it."""
    assert data[:4] == b"MLG1"
    (length,) = struct.unpack("<I", data[4:8])
    assert (8 + length) % 8 == 0
    header, columns = json.loads(data[8 : 8 + length]), data[8 + length :]
    table, found = header["series"], {}
    for index, number in enumerate(table["experiment_id"]):
        shown = table["shown"][index]
        scores = np.frombuffer(columns, "<f8", shown, table["scores_offset"][index])
        first = table["first_epoch"][index]
        epochs = (
            np.arange(first, first + shown)
            if first is not None
            else np.frombuffer(columns, "<i4", shown, table["epochs_offset"][index])
        )
        found[number, header["names"][table["name"][index]]] = epochs.tolist(), scores.tolist(), table["total"][index]
    return header, found


def test_scores_in_binary_are_those_in_json(tmp_path):
    events = study_events(
        experiments=2, epochs=7, score=lambda number, epoch: math.nan if epoch == 3 else number + epoch
    )
    del events[2 + 4 + 5]  # one epoch of one experiment is missing: its epochs do not count on by one
    write_run(tmp_path, events)
    client = Client(tmp_path)
    header, found = decoded(client(f"/grid_searches/{RUN}/scores?format=binary&columns=time")[2])
    body = client.json(f"/grid_searches/{RUN}/scores?columns=time")
    expected = {
        (one["experiment_id"], one["name"]): (one["epochs"], [float(value) for value in one["scores"]], one["total"])
        for one in body["series"]
    }
    np.testing.assert_equal(found, expected)
    assert {len(epochs) for epochs, _, _ in found.values()} == {6, 7}
    assert header["series"]["last_epoch"] == [7, 7, 7, 7]
    assert header["times"]["experiment_id"] == [0, 1] and header["event_id"] == len(events) - 1
    accept = {"Accept": "application/octet-stream"}
    assert client(f"/grid_searches/{RUN}/scores?columns=time", headers=accept)[2][:4] == b"MLG1"


def test_what_is_asked_for_is_what_comes(client):
    def keys(query):
        body = client.json(f"/grid_searches/{RUN}/scores?{query}")
        return [(one["experiment_id"], one["name"], one["epochs"]) for one in body["series"]]

    everything = [1, 2, 3, 4]
    assert keys("name=train/loss&experiments=1") == [(1, "train/loss", everything)]
    assert keys("names=val/*&experiments=0,2") == [(0, "val/accuracy", everything), (2, "val/accuracy", everything)]
    assert keys("names=nothing*") == []
    assert keys("name=val/accuracy&experiments=0-1&epochs=2-3") == [
        (0, "val/accuracy", [2, 3]),
        (1, "val/accuracy", [2, 3]),
    ]


def test_thinning_keeps_every_extreme_and_divergence_and_says_so(tmp_path):
    curve = np.sin(np.arange(5_000) / 300)
    curve[1234], curve[3456], curve[4000], curve[2000] = 9, -9, math.nan, math.inf
    write_run(tmp_path, study_events(experiments=1, epochs=5_000, score=lambda _, epoch: curve[epoch - 1]))
    one = Client(tmp_path).json(f"/grid_searches/{RUN}/scores?name=val/accuracy&points=200")["series"][0]
    shown = dict(zip(one["epochs"], one["scores"], strict=True))
    assert one["total"] == 5_000 and one["shown"] == len(one["epochs"]) and 190 <= one["shown"] <= 204
    assert shown[1235] == 9 and shown[3457] == -9 and shown[4001] == "NaN" and shown[2001] == "Infinity"
    assert 1 in shown and 5_000 in shown
    assert one["epochs"] == sorted(set(one["epochs"]))
    assert all(float(value) == curve[epoch - 1] or epoch == 4001 for epoch, value in shown.items())
    detail = Client(tmp_path).json(f"/grid_searches/{RUN}/scores?name=val/accuracy&points=200&epochs=1200-1299")[
        "series"
    ]
    assert detail[0]["epochs"] == list(range(1200, 1300)) and detail[0]["total"] == 100


def test_every_kth_epoch_is_the_same_grid_for_every_curve(tmp_path):
    score = np.random.default_rng(0).normal(size=(3, 100))
    events = study_events(experiments=3, epochs=100, score=lambda number, epoch: score[number, epoch - 1])
    missing = {(1, 8), (1, 99), (1, 100)}
    events = [e for e in events if (e["payload"].get("experiment_id"), e["payload"].get("epoch")) not in missing]
    write_run(tmp_path, events)
    path = f"/grid_searches/{RUN}/scores?name=val/accuracy&every=4"
    client = Client(tmp_path)
    series = client.json(path)["series"]
    for number, one in enumerate(series):
        epochs = [epoch for epoch in range(4, 101, 4) if (number, epoch) not in missing]
        assert one["epochs"] == epochs and one["scores"] == score[number, np.array(epochs) - 1].tolist()
    assert [one["total"] for one in series] == [100, 97, 100] and [one["last_epoch"] for one in series] == [
        100,
        98,
        100,
    ]
    header, found = decoded(client(f"{path}&format=binary")[2])
    assert [found[number, "val/accuracy"][0] for number in range(3)] == [one["epochs"] for one in series]
    assert header["series"]["total"] == [100, 97, 100] and header["series"]["last_epoch"] == [100, 98, 100]
    part = client.json(f"{path}&epochs=10-20")["series"][0]
    assert (part["epochs"], part["total"], part["last_epoch"]) == ([12, 16, 20], 11, 20)
    rows = list(csv.DictReader(io.StringIO(client(f"{path}&epochs=10-20&format=csv")[2].decode())))
    assert [int(row["epoch"]) for row in rows] == 3 * [12, 16, 20]


def test_the_seconds_trained_know_no_pause(tmp_path):
    """The second launch begins a day after the first: the sum of the results' seconds does not grow by it."""
    seconds, events = np.array([0.5, 0.25, 0.125, 2.0]), study_events(experiments=2)
    for event in events:
        if event["event_type"] == "evaluation_result":
            epoch = event["payload"]["epoch"]
            event["payload"]["seconds"] = float(seconds[epoch - 1])
            event["creation_ts"] += 86_400_000 * (epoch > 2)
            if event["payload"]["experiment_id"] == 1 and epoch == 3:
                del event["payload"]["seconds"]
    write_run(tmp_path, events)
    client = Client(tmp_path)
    times = client.json(f"/grid_searches/{RUN}/scores?name=&columns=time&epochs=2-4&every=3")["times"]
    assert times[0]["seconds"] == np.cumsum(seconds)[1:].tolist() and times[0]["epochs"] == [2, 3, 4]
    assert times[1]["seconds"] == [0.75, "NaN", "NaN"]
    body = client(f"/grid_searches/{RUN}/scores?name=&columns=time&format=binary")[2]
    header, columns = json.loads(body[8 : 8 + struct.unpack("<I", body[4:8])[0]]), body[8:]
    columns = columns[struct.unpack("<I", body[4:8])[0] :]
    found = [np.frombuffer(columns, "<f8", 4, offset) for offset in header["times"]["seconds_offset"]]
    np.testing.assert_array_equal(found, [np.cumsum(seconds), [0.5, 0.75, math.nan, math.nan]])
    assert [row["seconds"] for row in client.json(f"/grid_searches/{RUN}/experiments")] == [seconds.sum(), None]


def test_csv_holds_everything_and_no_formula(tmp_path):
    events = study_events(experiments=2, epochs=2)
    events[2]["payload"]["hyperparameters"] = {"model.name": "=HYPERLINK(1)", "rate": 0.5, "odd": "\r=1"}
    write_run(tmp_path, events)
    status, headers, body = Client(tmp_path)(f"/grid_searches/{RUN}/scores?format=csv")
    rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    assert status == 200 and headers["Content-Type"].startswith("text/csv")
    assert rows[0]["odd"] == "'\r=1" and body.count(b"\r") == 2  # a line that ends there would begin with a formula
    assert [(row["experiment_id"], row["epoch"], row["val/accuracy"]) for row in rows] == [
        ("0", "1", "0.1"),
        ("0", "2", "0.2"),
        ("1", "1", "1.1"),
        ("1", "2", "1.2"),
    ]
    assert rows[0]["model.name"] == "'=HYPERLINK(1)" and rows[0]["rate"] == "0.5" and rows[2]["seed"] == "1"


def test_one_table_holds_several_runs_or_parts_of_them(tmp_path):
    """Read back by the standard library: each run's lines, an empty cell where another one has a column."""
    write_run(tmp_path, study_events("a", experiments=2, epochs=2), "a")
    other = study_events("b", experiments=3, epochs=1)
    for event in other[2:8:2]:
        event["payload"]["hyperparameters"] = {"rate": 0.1, "run": "mine"}
    write_run(tmp_path, other, "b")
    client = Client(tmp_path)
    address = "/scores?runs=a&runs=b:0,2&name=val/accuracy"
    status, headers, body = client(address)
    first, *lines = csv.reader(io.StringIO(body.decode(), newline=""))
    assert status == 200 and headers["Content-Type"].startswith("text/csv")
    assert 'filename="scores.csv"' in headers["Content-Disposition"]
    assert first == ["run", "experiment_id", "fold", "seed", "rate", "run", "epoch", "val/accuracy"]
    assert lines == [
        ["a", "0", "", "0", "", "", "1", "0.1"],
        ["a", "0", "", "0", "", "", "2", "0.2"],
        ["a", "1", "", "1", "", "", "1", "1.1"],
        ["a", "1", "", "1", "", "", "2", "1.2"],
        ["b", "0", "", "", "0.1", "mine", "1", "0.1"],
        ["b", "2", "", "", "0.1", "mine", "1", "2.1"],
    ]
    assert client(address, headers={"If-None-Match": headers["ETag"]})[0] == 304
    assert client("/scores?runs=a&epochs=2-2&experiments=1")[2].count(b"\n") == 2


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 400, "runs: found 0; write runs=ID for each, from 1 to 50"),
        ("&".join(f"runs=r{n}" for n in range(51)), 400, "runs: found 51"),
        ("runs=nothing", 404, "no run 'nothing'"),
        (f"runs={RUN}&runs={RUN}:1", 400, "is there twice"),
        (f"runs={RUN}:x", 400, "experiments: found 'x'; write it like 0,3,5-9"),
        (f"runs={RUN}:", 400, "experiments: found ''"),
        ("runs=%2e%2e", 400, "is no id"),
        (f"runs={RUN}&format=json", 400, "format: found 'json'; several runs have csv alone"),
    ],
)
def test_a_table_of_runs_says_what_it_wants(client, query, status, said):
    assert said in client.json(f"/scores?{query}", status)["error"]


def test_a_table_of_more_cells_than_a_board_makes_is_refused(tmp_path):
    events = study_events(experiments=1, epochs=1)
    events += [
        {
            "event_type": "experiment_config",
            "creation_ts": 1,
            "payload": {"experiment_id": n, "hyperparameters": {n: 1}},
        }
        for n in range(1, 6_000)
    ]
    write_run(tmp_path, events)
    client = Client(tmp_path)
    said = client.json(f"/grid_searches/{RUN}/scores?format=csv", 400)["error"]
    assert "1 rows of 6,0" in said and "at most 33,554,432 cells" in said and "experiments=0-99" in said
    assert client(f"/grid_searches/{RUN}/scores?format=csv&experiments=0-99")[0] == 200


# --- events, files --------------------------------------------------------------------------------------------------


def test_events_come_as_they_are_in_the_log(client):
    events = study_events()
    body = client.json(f"/grid_searches/{RUN}/events?after=3&limit=2")
    assert body["event_id"] == "batched_events" and body["last_event_id"] == len(events) - 1
    assert body["data"] == [{"event_id": 4, "data": events[4]}, {"event_id": 5, "data": events[5]}]
    assert client.json(f"/grid_searches/{RUN}/events?after=1000")["data"] == []
    every = client.json(f"/grid_searches/{RUN}/events")["data"]
    assert [one["data"] for one in every] == events


def test_files_of_a_run_are_served_as_what_they_are(tmp_path):
    path = write_run(tmp_path, study_events())
    (path.parent / "config.py").write_text("<script>alert(1)</script>")
    (path.parent / "0").mkdir()
    (path.parent / "0" / "model_card.json").write_text('{"name": "card"}')
    client = Client(tmp_path)
    status, headers, body = client(f"/grid_searches/{RUN}/config.py")
    assert (status, body) == (200, b"<script>alert(1)</script>")
    assert headers["Content-Type"].startswith("text/plain") and headers["X-Content-Type-Options"] == "nosniff"
    assert client(f"/grid_searches/{RUN}/event_storage.log")[2] == path.read_bytes()
    assert client.json(f"/grid_searches/{RUN}/0/model_card.json") == {"name": "card"}
    assert client.json(f"/model-card/{RUN}/0") == {"name": "card"}
    assert client(f"/grid_searches/{RUN}/0/model_card.md")[0] == 404
    assert (
        client(f"/grid_searches/{RUN}/event_storage.log", headers={"Range": "bytes=0-9"})[2] == path.read_bytes()[:10]
    )


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/grid_searches/2026-11-23--17-59-11", 404, f"did you mean '{RUN}'"),
        (f"/grid_searches/{RUN}/configs.py", 404, "did you mean 'config.py'"),
        (f"/grid_searches/{RUN}/.published", 404, "no file"),
        (f"/grid_searches/{RUN}/zero/model_card.json", 400, "no number"),
        (f"/grid_searches/{RUN}/scores?points=-1", 400, "points"),
        (f"/grid_searches/{RUN}/scores?every=0", 400, "every: found '0'"),
        (f"/grid_searches/{RUN}/scores?every=2.5", 400, "every"),
        (f"/grid_searches/{RUN}/scores?experiments=a", 400, "write it like 0,3,5-9"),
        (f"/grid_searches/{RUN}/scores?epochs=1-2-3", 400, "epochs"),
        (f"/grid_searches/{RUN}/scores?epochs=9-1", 400, "epochs: found '9-1'; the lesser end comes first: 1-9"),
        (f"/grid_searches/{RUN}/scores?experiments=0,3-2", 400, "experiments: found '3-2'"),
        (f"/grid_searches/{RUN}/scores?format=xml", 400, "json, csv, binary"),
        (f"/grid_searches/{RUN}/scores?columns=loss", 400, "allowed is time"),
        (f"/grid_searches/{RUN}/scores?experiments={'0,' * 1000}0", 400, "at most 1000"),
        (f"/grid_searches/{RUN}/config.json", 404, "not there (yet)"),
        (f"/grid_searches/{RUN}/events?after=x", 400, "id of an event"),
        (f"/grid_searches/{RUN}/events?limit=0", 400, "from 1 to 10000"),
        (f"/checkpoints/{RUN}/0/1/weights", 404, "model, optimizer"),
        (f"/checkpoints/{RUN}/0/1/model", 404, "it has none"),
        ("/nothing/here", 404, "openapi.json"),
    ],
)
def test_wrong_questions_get_an_answer_that_helps(client, path, status, words):
    assert words in client.json(path, status)["error"]


def test_a_wrong_method_names_what_is_possible(client):
    status, headers, body = client("/grid_searches", "DELETE")
    assert status == 405 and "GET" in headers["Allow"] and "not possible" in json.loads(body)["error"]


# --- what remote runs upload -----------------------------------------------------------------------------------------


def digest(data):
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_files_and_events_of_a_remote_run_are_kept(tmp_path):
    client = Client(tmp_path)
    assert client("/grid_searches/remote/config.json", "PUT", data=b'{"a": 1}')[0] == 201
    assert client("/grid_searches/remote/config.json", "PUT", data=b'{"a": 2}')[0] == 200
    assert client("/grid_searches/remote/3/model_card.json", "PUT", data=b"{}")[0] == 201
    events = [{"event_id": number, "data": event} for number, event in enumerate(study_events("remote"))]
    assert client.json("/grid_searches/remote/events", method="POST", data=json.dumps(events)) == {
        "ack": len(events) - 1
    }
    assert client.json("/grid_searches/remote/config.json") == {"a": 2}
    assert client.json("/grid_searches/remote")["published"] is True
    answer = client.json(
        "/grid_searches/remote/events", 409, method="POST", data=json.dumps({**events[0], "event_id": 99})
    )
    assert answer["expected"] == len(events)


def test_an_event_too_large_for_a_frame_may_be_posted(tmp_path):
    large = {"event_id": 0, "data": numbered(0, padding=3_000_000)}
    client = Client(tmp_path)
    assert client.json("/grid_searches/remote/events", method="POST", data=json.dumps(large)) == {"ack": 0}
    assert client.json("/grid_searches/remote/events")["data"][0]["data"] == large["data"]


def test_a_local_runs_files_are_not_replaced(client, tmp_path):
    for path in (f"/grid_searches/{RUN}/config.py", f"/grid_searches/{RUN}/0/model_card.json"):
        assert "not replaced" in client.json(path, 409, method="PUT", data=b"import os")["error"]
    assert client(f"/checkpoints/{RUN}/0/1/model", "POST", data=b"x", headers={"Repr-Digest": digest(b"x")})[0] == 409
    assert sorted(path.name for path in (tmp_path / RUN).iterdir()) == ["event_storage.log"]


def test_the_log_is_not_put_as_a_file(tmp_path):
    assert Client(tmp_path)("/grid_searches/remote/event_storage.log", "PUT", data=b"{}")[0] == 404
    assert not (tmp_path / "remote").exists()


def test_a_checkpoint_travels_in_chunks_and_comes_back_whole(tmp_path):
    data = safetensors.numpy.save({"params/kernel": np.arange(1_000, dtype=np.float32)})
    client, path = Client(tmp_path), "/checkpoints/remote/4/7/model"

    def chunk(first, last):
        headers = {"Content-Range": f"bytes {first}-{last - 1}/{len(data)}", "Repr-Digest": digest(data)}
        return client(path, "POST", data=data[first:last], headers=headers)

    assert json.loads(chunk(0, 1_000)[2]) == {"received": 1_000, "complete": False}
    assert client(path)[0] == 404  # half of it is nothing
    status, _, body = chunk(2_000, 3_000)
    assert status == 409 and json.loads(body)["received"] == 1_000
    assert chunk(1_000, 3_000)[0] == 200
    assert chunk(3_000, len(data))[0] == 201
    status, headers, body = client(path)
    assert status == 200 and body == data and headers["ETag"].strip('"') == hashlib.sha256(data).hexdigest()
    assert "attachment" in headers["Content-Disposition"]
    np.testing.assert_array_equal(safetensors.numpy.load(body)["params/kernel"], np.arange(1_000))
    assert client(path, headers={"Range": "bytes=8-15"})[2] == data[8:16]
    assert client(path, headers={"If-None-Match": headers["ETag"]})[0] == 304
    assert client.json("/checkpoint_list/remote") == [{"experiment_id": 4, "epoch": 7, "checkpoints": ["model"]}]
    assert client.json("/checkpoints/remote/4/7") == client.json("/checkpoint_list/remote/4/7")
    assert client.json("/checkpoint_list/remote/5") == []
    assert client.json("/checkpoints/remote/4/7", method="DELETE") == {"deleted": 1}
    assert client(path)[0] == 404 and client("/checkpoints/remote/4/7", "DELETE")[0] == 404


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "Repr-Digest is missing"),
        ({"Repr-Digest": "sha-256=:AAAA:"}, "Repr-Digest"),
        ({"Repr-Digest": digest(b"other")}, "send it again"),
        ({"Content-Range": "bytes 0-9/10"}, "does not fit"),
        ({"Content-Range": "bytes */10"}, "write it as"),
        ({"Content-Range": "bytes 0-2/999999999999"}, "does not fit"),
    ],
)
def test_a_wrong_upload_leaves_nothing_that_could_be_downloaded(tmp_path, headers, words):
    client = Client(tmp_path)
    answer = client.json("/checkpoints/remote/0/1/model", 400, method="POST", data=b"abc", headers=headers)
    assert words in answer["error"]
    assert client("/checkpoints/remote/0/1/model")[0] == 404


@pytest.mark.parametrize(
    "data",
    [
        b"abc",
        b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.",  # a pickle
        b"PK\x03\x04" + bytes(60),  # what torch.save writes begins so
        safetensors.numpy.save({"w": np.zeros(8, np.float32)})[:-1],
        safetensors.numpy.save({"w": np.zeros(8, np.float32)}) + b"x",
    ],
    ids=["text", "pickle", "zip", "cut off", "with more behind it"],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path, data):
    client = Client(tmp_path)
    headers = {"Repr-Digest": digest(data)}
    answer = client.json("/checkpoints/remote/0/1/model", 400, method="POST", data=data, headers=headers)
    assert "a safetensors file is expected" in answer["error"]
    assert client("/checkpoints/remote/0/1/model")[0] == 404
    assert not list(tmp_path.rglob("*.part"))


def test_a_body_that_is_too_large_is_refused(tmp_path):
    client, large = Client(tmp_path), bytes((1 << 24) + 1)
    assert "too large" in client.json("/grid_searches/remote/config.json", 413, method="PUT", data=large)["error"]
    assert client("/checkpoints/remote/0/1/model", "POST", data=bytes((1 << 23) + 1))[0] == 413


# --- the server itself ---------------------------------------------------------------------------------------------


def test_health_and_metrics(client):
    assert client.json("/healthz") == {"status": "ok"}
    client("/grid_searches")
    text = client("/metrics")[2].decode()
    assert 'mlgym_board_requests_total{method="GET",status="200"} 2.0' in text
    assert "mlgym_board_events_received_total 0.0" in text and "process_resident_memory_bytes" in text


def test_the_openapi_document_names_every_route(client):
    document = client.json("/openapi.json")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    served = {
        (method, rule.rule.replace("<", "{").replace(">", "}"))
        for rule in client.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if not rule.websocket
    }
    page = {("GET", "/"), ("GET", "/assets/{path:name}"), ("GET", "/openapi.json")}
    assert served - page == described


def test_text_for_other_machines_is_compressed(tmp_path):
    write_run(tmp_path, study_events(epochs=50))
    app = create_app(Store(tmp_path), Access(token="secret"))
    wants = {"Accept-Encoding": "gzip", "Authorization": "Bearer secret"}

    async def ask(address, **more):
        client, headers = app.test_client(), wants | more
        place = f"/grid_searches/{RUN}/scores"
        response = await client.get(place, headers=headers, scope_base={"client": (address, 1)})
        return response.headers.get("Content-Encoding"), await response.get_data(as_text=False)

    import gzip

    kind, body = asyncio.run(ask("192.0.2.7"))
    plain_kind, plain = asyncio.run(ask("127.0.0.1"))
    assert (kind, plain_kind) == ("gzip", None)
    assert gzip.decompress(body) == plain and len(body) < len(plain) / 4
    for name in ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", "Via"):  # a proxy on this machine
        assert asyncio.run(ask("127.0.0.1", **{name: "for=192.0.2.7"}))[0] == "gzip"
        refused = {name: "for=192.0.2.7", "Accept-Encoding": "gzip;q=0"}
        assert asyncio.run(ask("127.0.0.1", **refused))[0] is None


def test_the_page_is_sent_packed_to_whoever_takes_that(tmp_path, monkeypatch):
    import gzip

    (tmp_path / "static/assets").mkdir(parents=True)
    files = {"index.html": b"<!doctype html>" + b"x" * 999, "assets/a-1.js": b"y" * 999, "assets/a.png": os.urandom(99)}
    for name, data in files.items():
        (tmp_path / "static" / name).write_bytes(data)
    monkeypatch.setattr("board_server.app._STATIC", str(tmp_path / "static"))
    app = create_app(Store(tmp_path), Access())

    async def ask(place, **headers):
        answer = await app.test_client().get(place, headers=headers)
        return answer.status_code, answer.headers, await answer.get_data(as_text=False)

    for place, data in (("/", files["index.html"]), ("/assets/a-1.js", files["assets/a-1.js"])):
        status, headers, body = asyncio.run(ask(place))
        assert (status, body) == (200, data) and "Accept-Encoding" in headers["Vary"]
        status, packed, body = asyncio.run(ask(place, **{"Accept-Encoding": "br, gzip"}))
        assert (status, packed["Content-Encoding"], gzip.decompress(body)) == (200, "gzip", data)
        assert int(packed["Content-Length"]) == len(body) < 100 and packed["Content-Type"] == headers["Content-Type"]
        assert ("immutable" in packed["Cache-Control"]) == (place != "/")
        status, _, body = asyncio.run(ask(place, **{"If-None-Match": packed["ETag"]}))
        assert (status, body) == (304, b"")
    status, headers, body = asyncio.run(ask("/assets/a.png", **{"Accept-Encoding": "gzip"}))
    assert (status, body, headers.get("Content-Encoding")) == (200, files["assets/a.png"], None)
    (tmp_path / "static/index.html").write_bytes(b"built anew")
    assert asyncio.run(ask("/"))[2] == b"built anew"
    for wrong in ("/assets/", "/assets/none.js", "/assets/../index.html", "/assets/%2e%2e/index.html", "/assets/a%00b"):
        assert asyncio.run(ask(wrong))[0] == 404


def test_names_with_markup_are_text_on_the_plain_page(tmp_path):
    events = study_events()
    events[0]["payload"]["name"] = "<img src=x onerror=alert(1)>"
    write_run(tmp_path, events)
    status, headers, body = Client(tmp_path)("/")
    assert status == 200
    if b"<h1>Runs</h1>" in body:
        assert b"<img" not in body and b"&lt;img" in body
    assert (
        "script-src" not in headers["Content-Security-Policy"]
        and "default-src 'self'" in headers["Content-Security-Policy"]
    )


# --- what a hard day brings ------------------------------------------------------------------------------------------


def test_a_client_that_leaves_while_its_answer_is_made_spoils_nothing(tmp_path):
    """The thread that projects goes on after the request was cancelled, and another request comes."""
    write_run(tmp_path, study_events(experiments=20, epochs=1_500))
    app = create_app(Store(tmp_path), Access())

    async def ask():
        client = app.test_client()
        for delay in (0.0, 0.005, 0.02, 0.05):
            leaving = asyncio.ensure_future(client.get(f"/grid_searches/{RUN}/experiments"))
            await asyncio.sleep(delay)
            leaving.cancel()
        many = [client.get(f"/grid_searches/{RUN}/experiments") for _ in range(3)]
        return [await answer.get_json() for answer in await asyncio.gather(*many)]

    expected = [1_500] * 20
    assert [[row["epochs"] for row in rows] for rows in asyncio.run(ask())] == [expected] * 3


def test_memory_is_given_back_of_idle_runs_alone(tmp_path, monkeypatch):
    import board_server.store as module

    monkeypatch.setattr(module, "_MIN_PROJECTED", 2)
    monkeypatch.setattr(module, "_PROJECTED_BYTES", 1 << 18)
    for number in range(6):
        write_run(tmp_path, study_events(f"run-{number}", experiments=5, epochs=400), f"run-{number}")
    app = create_app(Store(tmp_path), Access())

    async def ask():
        client = app.test_client()
        paths = [f"/grid_searches/run-{number % 6}/experiments?config=0" for number in range(24)]
        answers = await asyncio.gather(*(client.get(path) for path in paths))
        await client.get(paths[0])
        return [[row["epochs"] for row in await answer.get_json()] for answer in answers]

    assert asyncio.run(ask()) == [[400] * 5] * 24
    store = app.extensions["board"].store

    def num_loaded():
        return sum(store.run(f"run-{number}").projected.is_loaded for number in range(6))

    assert num_loaded() <= 3
    monkeypatch.setattr(module, "_PROJECTED_BYTES", 1 << 30)  # of small logs all stay
    assert asyncio.run(ask()) == [[400] * 5] * 24 and num_loaded() == 6


@pytest.mark.parametrize(
    "strange",
    [
        {"epoch": 10**400},
        {"epoch": -(2**60)},
        {"metric_scores": [{"metric": "accuracy", "split": "val", "score": 10**400}]},
        {"metric_scores": [{"metric": f"m{n}", "split": "val", "score": 1} for n in range(1_100)]},
        {"experiment_id": [1]},
        {"loss_scores": None},
    ],
)
def test_one_strange_event_does_not_hide_the_others(tmp_path, strange):
    events = study_events()
    events[9] = {**events[9], "payload": {**events[9]["payload"], **strange}}
    path = write_run(tmp_path, [])
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    client = Client(tmp_path)
    for _ in range(2):
        run = client.json(f"/grid_searches/{RUN}")
        assert run["num_malformed"] == 1 and run["status"] == "DONE"
        assert sorted(row["epochs"] for row in client.json(f"/grid_searches/{RUN}/experiments")) == [3, 4, 4]
        assert client(f"/grid_searches/{RUN}/scores?format=binary")[0] == 200


def test_an_epoch_without_a_score_is_no_divergence(tmp_path):
    """A metric of every third epoch has a curve of every third epoch."""
    events = study_events(experiments=1, epochs=6)
    for event in events:
        if event["event_type"] == "evaluation_result" and event["payload"]["epoch"] % 3:
            event["payload"]["metric_scores"] = []
    write_run(tmp_path, events)
    client = Client(tmp_path)
    found = {one["name"]: one for one in client.json(f"/grid_searches/{RUN}/scores")["series"]}
    assert found["val/accuracy"]["epochs"] == [3, 6] and found["val/accuracy"]["scores"] == [0.3, 0.6]
    assert found["val/accuracy"]["total"] == 2 and found["train/loss"]["epochs"] == [1, 2, 3, 4, 5, 6]
    binary = decoded(client(f"/grid_searches/{RUN}/scores?format=binary")[2])[1]
    assert binary[0, "val/accuracy"] == ([3, 6], [0.3, 0.6], 2)
    rows = list(csv.DictReader(io.StringIO(client(f"/grid_searches/{RUN}/scores?format=csv")[2].decode())))
    assert [row["val/accuracy"] for row in rows] == ["", "", "0.3", "", "", "0.6"]


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=20-", 206, slice(20, None)),
        ("bytes=0-1000000", 206, slice(None)),
        ("bytes=-1000000", 206, slice(None)),
        ("bytes=0-1,5-6", 200, slice(None)),
        ("bytes=5-1", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
        ("bytes=1000000-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
def test_ranges_of_a_file(client, tmp_path, asked, status, part):
    whole = (tmp_path / RUN / "event_storage.log").read_bytes()
    found, headers, body = client(f"/grid_searches/{RUN}/event_storage.log", headers={"Range": asked})
    assert found == status
    if status == 416:
        assert headers["Content-Range"] == f"bytes */{len(whole)}"
    else:
        assert body == whole[part] and headers["Accept-Ranges"] == "bytes"
        assert headers["Content-Type"] == "text/plain; charset=utf-8" and headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "meta",
    [
        "[]",
        "{",
        "7",
        '{"experiments": 1, "row_epochs": [], "kept": [], "wanted": []}',
        '{"experiments": [0], "row_epochs": [], "kept": [], "wanted": []}',
        '{"experiments": ["x"], "row_epochs": ["y"], "kept": [], "wanted": []}',
        '{"experiments": [0], "row_epochs": [1], "kept": [[[1], 2]], "wanted": []}',
        "[" * 100_000,
    ],
)
def test_damaged_checkpoints_hide_nothing(client, tmp_path, meta):
    for step, text in (
        ("4", '{"experiments": [0], "row_epochs": [4], "kept": [[0, 2]], "wanted": [[0, 2]]}'),
        ("5", meta),
    ):
        folder = tmp_path / RUN / "checkpoints" / "group_0" / step / "meta"
        folder.mkdir(parents=True)
        (folder / "metadata").write_text(text)
    listed = client.json(f"/checkpoint_list/{RUN}")
    assert [(one["experiment_id"], one["epoch"]) for one in listed] == [(0, 2), (0, 4)]
    assert client.json(f"/grid_searches/{RUN}/experiments")[0]["last_checkpoint_id"] == 4


def test_the_same_upload_several_times_at_once_ends_whole(tmp_path):
    app, data = create_app(Store(tmp_path), Access()), safetensors.numpy.save({"all": np.arange(256_000)})

    async def upload():
        client = app.test_client()
        put = [
            client.post("/checkpoints/remote/0/1/model", data=data, headers={"Repr-Digest": digest(data)})
            for _ in range(6)
        ]
        statuses = [answer.status_code for answer in await asyncio.gather(*put)]
        whole = await client.get("/checkpoints/remote/0/1/model")
        return statuses, await whole.get_data(as_text=False)

    statuses, whole = asyncio.run(upload())
    assert statuses == [201] * 6 and whole == data


def test_methods_that_nobody_knows_are_counted_as_one(client):
    for number in range(20):
        client("/healthz", f"ODD{number}")
    text = client("/metrics")[2].decode()
    assert 'method="other"' in text and "ODD" not in text


def test_signing_in_takes_no_more_than_a_token(tmp_path):
    client = Client(tmp_path, Access(token="secret"))
    assert client("/session", "POST", data=b"x" * 100_000)[0] == 413
    assert client("/session", "POST", data=b'{"token": "secret"}')[0] == 201
    status, headers, _ = client("/session", "HEAD")
    assert (status, headers["Content-Length"]) == (200, str(len(client("/session")[2])))


def test_a_log_that_was_replaced_is_never_unchanged(tmp_path):
    path = write_run(tmp_path, study_events())
    client = Client(tmp_path)
    for part in ("", "/experiments", "/scores"):
        tag = client(f"/grid_searches/{RUN}{part}")[1]["ETag"]
        other = path.read_bytes().replace(b"a study", b"another", 1).replace(b"2.4", b"9.9")
        assert len(other) == path.stat().st_size
        path.write_bytes(other)
        for asked in (client, Client(tmp_path)):  # also by a board that was restarted
            assert asked(f"/grid_searches/{RUN}{part}", headers={"If-None-Match": tag})[0] == 200
        path.write_bytes(path.read_bytes().replace(b"another", b"a study", 1).replace(b"9.9", b"2.4"))
