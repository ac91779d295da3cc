"""Events of more values than a board decodes are known without decoding them; no honest one is refused."""

import json

import pytest
from test_board_rest import Client

from mlgym_jax.events import decode, encode
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
