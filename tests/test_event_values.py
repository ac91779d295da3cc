"""Events of more values than a board decodes are known without decoding them; no honest one is refused."""

import json

import pytest
from boards import RUN, study_events, write_run
from test_board_rest import Client

from mlgym_jax.events import decode, encode
from mlgym_jax.events.fast_lines import is_plain_result
from mlgym_jax.events.values import MAX_NESTED, MAX_VALUES, has_too_many_values
from mlgym_jax.publishing.outgoing import OutgoingLog, Position


def event(payload):
    return {"event_type": "note", "creation_ts": 1, "payload": payload}


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        ({"numbers": [0] * (MAX_VALUES - 9)}, False),
        ({"numbers": [0] * (MAX_VALUES + 9)}, True),
        ({"lists": [[]] * (MAX_NESTED - 9)}, False),
        ({"lists": [[]] * (MAX_NESTED + 9)}, True),
        ({"fields": dict.fromkeys(map(str, range(MAX_NESTED + 9)), 0)}, True),
        ({"words": ["ab"] * 100_000}, False),
        ({"text": 'a table in a text: {[:,"\\' * (MAX_NESTED + 9), "and": "another\\"}, False),
        ({"text": "a list behind one\\", "lists": [[]] * (MAX_NESTED + 9)}, True),
    ],
    ids=["numbers", "more", "lists", "more lists", "fields", "words", "a text", "behind a text"],
)
def test_values_are_counted_outside_of_strings(payload, wanted):
    assert has_too_many_values(encode(event(payload))) is wanted


def test_what_a_board_refuses_is_not_sent_to_it(tmp_path):
    large = event({"lists": [[]] * 100_000})
    client = Client(tmp_path)
    data = json.dumps({"event_id": 0, "data": large})
    said = client.json("/grid_searches/remote/events", 400, method="POST", data=data)
    assert said["ack"] == -1
    assert "event 0: too many values" in said["error"] and "at most 1,048,576 values, and 65,536 lists" in said["error"]
    path = tmp_path / "event_storage.log"
    path.write_bytes(encode(large) + b"\n")
    with OutgoingLog(str(path), "remote") as log:
        (line,), _ = log.read(Position(), until=1)
    assert decode(line)["payload"]["reason"] == "too large"


def test_a_log_of_the_boards_own_machine_is_shown_without_its_heavy_events(tmp_path):
    heavy = [event({"lists": [[]] * 100_000}), {**event({"config": [[]] * 100_000}), "event_type": "job_scheduled"}]
    heavy.append({**event({"samples": [[]] * 100_000}), "event_type": "system"})
    write_run(tmp_path, [*study_events(experiments=1, epochs=2), *heavy, event({"text": "behind them"})])
    client = Client(tmp_path)
    num_others = client.json(f"/grid_searches/{RUN}")["event_id"] - len(heavy)
    shown = client.json(f"/grid_searches/{RUN}/events")["data"]
    assert [one["event_id"] for one in shown] == [*range(num_others), num_others + len(heavy)]
    assert shown[-1]["data"]["payload"]["text"] == "behind them"
    assert client.json(f"/grid_searches/{RUN}")["num_malformed"] == len(heavy)
    assert client.json(f"/grid_searches/{RUN}/machine")["samples"] == []
    assert client.json("/grid_searches")[0]["num_experiments"] == 1


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("", "", True),
        ('"creation_ts":1,', '"creation_ts":9007199254740993,', False),
        ('"creation_ts":1,', '"creation_ts":1.0,', False),
        ('"creation_ts":1,', '"creation_ts":"1",', False),
        ('"creation_ts":1,', "", False),
        ('"creation_ts":1,', '"creation_ts":1,"creation_ts":"x",', False),
        ('"epoch":3', '"epoch":NaN', False),
        ('"epoch":3', '"epoch":3,"new":1', False),
        ('"accuracy"', '"\\ud800"', False),
        ("}}", "}", False),
        ("}}", "}},", False),
    ],
)
def test_what_passes_for_a_plain_result_is_one(before, after, wanted):
    line = (
        '{"event_type":"evaluation_result","creation_ts":1,"payload":{"grid_search_id":"r","experiment_id":0,"epoch":3,'
        '"metric_scores":[{"metric":"accuracy","split":"val","score":0.5}],"loss_scores":[],"seconds":0.1}}'
    )
    assert before in line
    assert is_plain_result(line.replace(before, after, 1).encode()) is wanted
