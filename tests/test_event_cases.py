"""One list of events, and what the board answers after each: the page's reducer is held to the same by Vitest.

`event_cases.jsonl` holds the logs of several runs, an event a line: `run`, `event`, `why` it is there, and under `disk`
which step of a checkpoint came or went (`meta` is null) before it. `event_states.jsonl` says what has changed by each
event in the board's answers, and at the end of each run its curves. `python tests/test_event_cases.py` writes it, to be
read before it is committed; board_server/page/tests/event_cases.test.ts reads both.
"""

import collections
import itertools
import json
import pathlib
import shutil
import tempfile

import pytest
from boards import ROOT
from test_board_rest import Client
from test_events_page import BUILDERS

from mlgym_jax import events as ev

CASES = ROOT / "tests" / "event_cases.jsonl"
STATES = ROOT / "tests" / "event_states.jsonl"
# Everything that the board answers is compared, but what it knows from elsewhere than from the run's events.
NOT_OF_EVENTS = {"grid_search_id", "event_id", "published", "experiment_id"}


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rounded(seconds):
    """Sums of floats end in other digits in Python 3.11, in Python 3.12 and in JavaScript."""
    return round(seconds, 12) if isinstance(seconds, float) else seconds


def answers(client, run_id):
    """What the board says of a run: {"run": {field: value}, "0": {field: value} of experiment 0, …}."""
    found = {"run": client.json(f"/grid_searches/{run_id}")}
    for row in client.json(f"/grid_searches/{run_id}/experiments?config=0"):
        found[str(row["experiment_id"])] = {**row, "seconds": rounded(row["seconds"])}
    return {
        who: {key: value for key, value in fields.items() if key not in NOT_OF_EVENTS} for who, fields in found.items()
    }


def curves(client, run_id):
    """A run's curves (score, experiment, epochs, values) and times (experiment, epochs, when, seconds until then)."""
    body = client.json(f"/grid_searches/{run_id}/scores?columns=time")
    series = [[one[key] for key in ("name", "experiment_id", "epochs", "scores")] for one in body["series"]]
    times = [
        [*(one[key] for key in ("experiment_id", "epochs", "time_ms")), [*map(rounded, one["seconds"])]]
        for one in body["times"]
    ]
    return {"curves": series, "times": times}


def put_on_disk(folder, step):
    path = folder / "checkpoints" / f"group_{step['group']}" / str(step["step"])
    shutil.rmtree(path, ignore_errors=True)
    if step["meta"] is not None:
        (path / "meta").mkdir(parents=True)
        (path / "meta" / "metadata").write_text(json.dumps(step["meta"]))


def states(storage):
    """Write the cases' logs event by event, ask the board after each, and yield what has changed."""
    client = Client(storage)
    for run_id, cases in itertools.groupby(lines(CASES), key=lambda case: case["run"]):
        folder = pathlib.Path(storage) / run_id
        folder.mkdir()
        before = {}
        with ev.EventLog.open(folder / "event_storage.log") as log:
            for event_id, case in enumerate(cases):
                if "disk" in case:
                    put_on_disk(folder, case["disk"])
                log.append([case["event"]])
                after = answers(client, run_id)
                changed = {
                    who: {key: value for key, value in fields.items() if before.get(who, {}).get(key, ...) != value}
                    for who, fields in after.items()
                }
                yield {"run": run_id, "event_id": event_id, "changed": {who: c for who, c in changed.items() if c}}
                before = after
        yield {"run": run_id, **curves(client, run_id)}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return list(states(tmp_path_factory.mktemp("cases")))


def test_the_board_says_after_each_event_what_the_page_is_held_to(found):
    for one, other in zip(found, lines(STATES), strict=True):
        assert one == other, f"`python {pathlib.Path(__file__).relative_to(ROOT)}` writes {STATES.name} anew"


def test_every_type_of_event_is_among_them():
    assert {case["event"]["event_type"] for case in lines(CASES)} >= set(BUILDERS)


def test_every_field_of_an_answer_changes_at_some_event(found):
    """What stays as it began proves nothing."""
    seen = collections.defaultdict(set)
    for one in found:
        for who, fields in one.get("changed", {}).items():
            for name, value in fields.items():
                seen["of the run" if who == "run" else "of an experiment", name].add(json.dumps(value))
    assert len(seen) > 30
    assert [name for name, values in seen.items() if len(values) < 2] == []


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, open(STATES, "w", encoding="utf-8") as file:
        for state in states(folder):
            file.write(json.dumps(state, ensure_ascii=False, separators=(",", ":")) + "\n")
