"""docs/events.md: every event has an example that is one, and its conversations are what a real board says."""

import json
import re

import msgspec
import pytest
from boards import ROOT, RUN, board

from board_server.openapi import document
from mlgym_jax import events as ev
from mlgym_jax.events import schema, scores

PAGE = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
RUNS_PAGE = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", PAGE, re.S)]
TALKS = {
    path: re.findall(r"^([<>]) (.*)$", talk, re.M)
    for path, talk in re.findall(r"### (/ws/\w+).*?\n```text\n(.*?)```", PAGE, re.S)
}
BUILDERS = {
    name: make
    for name, make in {**vars(schema), **vars(scores)}.items()
    if callable(make) and getattr(make, "__annotations__", {}).get("return") == "Event" and not name.startswith("_")
}


def test_every_event_has_an_example():
    assert {example["event_type"] for example in EXAMPLES} == set(BUILDERS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["event_type"])
def test_an_example_is_what_the_engine_writes(example):
    fields = dict(example["payload"])
    run_id = fields.pop("grid_search_id")
    if example["event_type"] == "evaluation_result":
        fields["scores"] = ev.scores_of(fields)
        del fields["metric_scores"], fields["loss_scores"]
    built = BUILDERS[example["event_type"]](run_id, **fields, now_ms=example["creation_ts"])
    assert ev.decode(ev.encode(built)) == example
    assert ev.project([example]).num_malformed == 0


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["event_type"])
def test_an_example_shows_every_field_with_its_type(example):
    kind = schema.TYPES[example["event_type"]]
    msgspec.convert(example["payload"], kind)
    left_out = {field.name for field in msgspec.structs.fields(kind) if field.default is msgspec.UNSET}
    assert set(kind.__struct_fields__) - left_out <= set(example["payload"]) <= set(kind.__struct_fields__)


def test_the_conversations_are_what_a_board_says(tmp_path):
    with board(tmp_path) as server:
        with server.publisher() as publisher:
            for who, text in TALKS["/ws/publish"]:
                if who == ">":
                    publisher.send(text)
                else:
                    assert json.loads(publisher.recv(timeout=20)) == json.loads(text)
        replayed, live = (text for _, text in TALKS["/ws/subscribe"])
        with server.subscriber(after=0) as subscriber, server.publisher() as publisher:
            assert json.loads(subscriber.recv(timeout=20)) == json.loads(replayed)
            publisher.send(live)
            assert json.loads(subscriber.recv(timeout=20)) == json.loads(live)
        shown = set(server.json("/grid_searches")[0])
        assert shown == set(document()["components"]["schemas"]["run"]["properties"])
        assert not {name for name in shown if f"`{name}`" not in RUNS_PAGE}
    assert (tmp_path / RUN / "event_storage.log").read_bytes().count(b"\n") == 3
