"""A board holds each event of a run once, and of one run alone."""

import asyncio
import json
import os
import time

import pytest
from boards import RUN, numbered, write_run

from board_server.errors import Conflict
from board_server.live import receive
from board_server.store import Run, Store


def encoded(number, text="x"):
    return json.dumps({**numbered(number, 0), "text": text}).encode()


def frame(first, lines):
    return json.dumps(
        [{"event_id": number, "data": json.loads(line)} for number, line in enumerate(lines, first)]
    ).encode()


def published(tmp_path, num_events):
    """Make a published log of so many events, without a board."""
    folder = tmp_path / RUN
    folder.mkdir()
    (folder / ".published").touch()
    (folder / "event_storage.log").write_bytes(b"".join(encoded(number) + b"\n" for number in range(num_events)))
    return folder / "event_storage.log"


@pytest.fixture
def slow_disk(monkeypatch):
    """A disk that takes its time for each block."""
    pread = os.pread

    def slow(*arguments):
        time.sleep(0.003)
        return pread(*arguments)

    monkeypatch.setattr("board_server.run_log.os.pread", slow)


@pytest.mark.parametrize("first_asks", [True, False])
def test_events_that_come_while_a_log_is_counted_are_not_doubled(tmp_path, slow_disk, first_asks):
    path = published(tmp_path, 50_000)
    before = path.read_bytes()

    async def publish():
        store = Store(tmp_path)
        reading = asyncio.ensure_future(store.opened(RUN))
        await asyncio.sleep(0.02)  # it is counting
        run = store.receiving(RUN)
        if first_asks:
            await run.prepare()
            assert receive(run, b"[]")[0]["ack"] == 49_999
        answers = []
        for first in (3_000, 30_000, 49_990):
            lines = [encoded(number) for number in range(first, first + 20)]
            answers.append(receive(run, frame(first, lines)))
            await asyncio.sleep(0)
        await reading
        await run.look()
        head = run.log.head
        store.close()
        return answers, head

    answers, head = asyncio.run(publish())
    new = b"".join(encoded(number) + b"\n" for number in range(50_000, 50_010))
    added = path.read_bytes().removeprefix(before)
    assert added == new if first_asks else added in (b"", new)  # who has not asked may be told of a gap
    assert head == (50_000 + added.count(b"\n"), len(before + added))
    if first_asks:
        assert answers == [({"ack": 49_999}, 0), ({"ack": 49_999}, 0), ({"ack": 50_009}, 10)]


def test_who_asks_for_a_run_while_it_is_counted_sees_all_of_it(tmp_path, slow_disk):
    path = write_run(tmp_path, [numbered(number, 100) for number in range(20_000)], "local")

    async def ask():
        store = Store(tmp_path)
        one, other = await asyncio.gather(store.opened("local"), store.opened("local"))
        assert isinstance(one, Run) and one is other
        return other.log.head

    assert asyncio.run(ask()) == (20_000, path.stat().st_size)


def test_two_writers_of_one_id_are_not_mixed(tmp_path):
    store = Store(tmp_path)
    run = store.receiving("same")
    a, b = ([encoded(number, f"{name}{number}") for number in range(4)] for name in "AB")
    assert receive(run, frame(0, a[:1])) == ({"ack": 0}, 1)
    for lines in (b[:2], b[:1], [a[0].replace(b'"A0"', b'"A0 "'), b[1]]):
        with pytest.raises(Conflict, match="event 0 of 'same' is another one"):
            receive(run, frame(0, lines))
    assert receive(run, frame(1, a[1:3])) == ({"ack": 2}, 2)
    with pytest.raises(Conflict) as refused:  # one that has begun alike
        receive(run, frame(1, [a[1], b[2], b[3]]))
    assert refused.value.details == {"conflict": 2}
    assert receive(run, frame(0, a)) == ({"ack": 3}, 1)
    store.close()
    held = (tmp_path / "same/event_storage.log").read_bytes()
    assert [json.loads(line)["text"] for line in held.splitlines()] == ["A0", "A1", "A2", "A3"]
