"""A disk that does not answer keeps waiting who asks for what lies on it, and nobody else."""

import asyncio
import contextlib
import json
import socket
import threading
import time

from boards import board, frame, listen, numbered, say, study_events, write_run

from board_server.file_work import Lane, Rounds

# A board for which whatever lies in a folder `slow…` is on a disk that does not answer while there is a file `hang`.
SERVE = """
import builtins, os, runpy, sys, threading

def hanging(real):
    def asked(path, *rest, **named):
        if isinstance(path, str) and "/slow" in path and os.access(HANG, os.F_OK):
            threading.Event().wait()
        return real(path, *rest, **named)
    return asked

HANG = sys.argv.pop()
for name in ("stat", "lstat", "open", "listdir", "scandir"):
    setattr(os, name, hanging(getattr(os, name)))
builtins.open = hanging(open)
runpy.run_module("board_server", run_name="__main__", alter_sys=True)
"""
WORDS = [
    "GET /grid_searches/{run}",
    "GET /grid_searches/{run}/experiments",
    "GET /grid_searches/{run}/scores",
    "GET /grid_searches/{run}/events",
    "GET /grid_searches/{run}/event_storage.log",
    "GET /model-card/{run}/0",
    "GET /checkpoint_list/{run}",
    "GET /checkpoints/{run}/0/1/model",
    "PUT /grid_searches/{run}/config.json",
    "POST /grid_searches/{run}/events",
    "DELETE /checkpoints/{run}/0/1",
]
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"


def asking(stack, server, words, more="Content-Length: 2\r\n", body="[]"):
    """Ask, and do not wait for an answer."""
    opened = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
    opened.sendall(f"{words} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n{body}".encode())
    return opened


def test_a_disk_that_does_not_answer_delays_nobody_else(tmp_path):
    store, hang = tmp_path / "store", tmp_path / "hang"
    for run_id in ("quick", "slow-1", "slow-2"):
        write_run(store, study_events(run_id, finished=False), run_id)
    write_run(store, [numbered(0)], "slow-published")
    (store / "slow-published/.published").touch()
    with (
        board(store, str(hang), code=SERVE, fresh=True) as server,
        contextlib.ExitStack() as stack,
        server.subscriber("quick") as subscriber,
        server.subscriber("slow-1") as waiting,
        server.publisher("slow-published") as held,
    ):
        last = len(study_events(finished=False)) - 1
        listen(subscriber, last)
        listen(waiting, last)
        assert say(held, frame(1)) == {"ack": 1}
        assert len(server.json("/grid_searches")) == 4
        hang.touch()
        write_run(store, study_events("slow-new"), "slow-new")
        held.send(frame(2))
        asked = [
            asking(stack, server, words.format(run=f"slow-{number}")) for number in range(1, 4) for words in WORDS * 2
        ]
        key = UPGRADE.format(key="A" * 22 + "==")
        for path in ("subscribe", "publish"):
            asked.append(asking(stack, server, f"GET /ws/{path}?grid_search_id=slow-2", key, ""))
        seconds = []
        for number in range(8):
            began = time.monotonic()
            assert server.json("/healthz") == {"status": "ok"}
            assert server.json("/grid_searches/quick")["num_experiments"] == 3
            assert server.get("/grid_searches/quick/scores")[0] == 200
            assert server.request("PUT", "/grid_searches/mine/config.json", b"{}")[0] in (200, 201)
            with server.publisher("mine") as publisher:
                assert say(publisher, frame(number)) == {"ack": number}
            listed = server.json("/grid_searches?not_shown=1")
            seconds.append(time.monotonic() - began)
        assert max(seconds) < 4, seconds  # they wait for each other for ever, if for anybody
        assert {row["grid_search_id"] for row in listed["grid_searches"]} == {
            *("quick", "mine", "slow-1", "slow-2", "slow-published")
        }  # those that were seen stand as they did
        assert listed["not_shown"] == [{"name": "slow-new", "reason": "its files do not answer"}]
        with open(store / "quick/event_storage.log", "a") as log:
            log.write(json.dumps(numbered(7)) + "\n")
        assert listen(subscriber, last + 1) == [(last + 1, numbered(7))]
        for one in asked:
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                assert not one.recv(1), "it was answered"
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 18  # nor does it keep the board from ending


def test_of_one_run_so_many_threads_wait_at_once():
    async def work():
        lane, other, free, begun = Lane(2), Lane(), threading.Event(), []

        def wait(name):
            begun.append(name)
            free.wait(10)
            return name

        futures = [lane.do(wait, name) for name in "abcd"]
        assert await other.do(len, "xyz") == 3
        while len(begun) < 2:
            await asyncio.sleep(0.001)
        futures[2].cancel()  # who asked has left before it began
        await asyncio.sleep(0.05)
        assert sorted(begun) == ["a", "b"]
        free.set()
        return [await futures[number] for number in (0, 1, 3)], begun

    found, begun = asyncio.run(work())
    assert found == ["a", "b", "d"] and sorted(begun) == ["a", "b", "d"]


def test_what_work_raises_comes_to_who_waits():
    async def work():
        lane, said = Lane(), []
        for one in ("1", "x", "3"):
            try:
                said.append(await lane.do(int, one))
            except ValueError:
                said.append(None)
        return said

    assert asyncio.run(work()) == [1, None, 3]


def test_a_round_over_many_that_do_not_answer_is_short():
    free, looked = threading.Event(), []

    def look(number):
        if number % 2:
            free.wait(10)
        looked.append(number)

    async def go():
        began = time.monotonic()
        await Rounds(look).go(range(100))
        seconds, found = time.monotonic() - began, sorted(looked)
        free.set()
        return seconds, found

    seconds, found = asyncio.run(go())
    assert found == list(range(0, 100, 2)) and seconds < 4  # one after the other it would be 10 s


def test_a_round_leaves_behind_who_takes_long_until_it_is_quick_again():
    free, looked = {name: threading.Event() for name in "abcdef"}, []
    for name in "acdf":
        free[name].set()

    def look(name):
        free[name].wait(10)
        looked.append(name)

    async def go():
        rounds = Rounds(look)
        await rounds.go("abcdef")
        first, late = sorted(looked), [name for name in "abcdef" if rounds.is_late(name)]
        began = time.monotonic()
        for _ in range(3):
            await rounds.go("abcdef")  # which waits for neither again, nor gives them more threads
        seconds = time.monotonic() - began
        for name in "be":
            free[name].set()
        while not {"b", "e"} <= set(looked):
            await asyncio.sleep(0.001)
        looked.clear()
        for _ in range(3):
            await rounds.go("abcdef")
            await asyncio.sleep(0.05)
        return first, late, seconds, [rounds.is_late(name) for name in "abcdef"], looked

    first, late, seconds, still, after = asyncio.run(go())
    assert first == list("acdf") and late == ["b", "e"] and seconds < 0.4
    assert not any(still) and sorted(after) == sorted("abcdef" * 3)
