"""Random, malformed and mutated messages against a real board, with honest traffic beside them."""

import asyncio
import contextlib
import json
import os
import random
import socket
import threading
import time

import websockets
from boards import board, frame, listen, numbered, say, study_events, write_run
from hypothesis import HealthCheck, Phase, given, settings
from websockets.asyncio.client import connect

from board_server.openapi import document
from mlgym_jax import events as ev

# The suite sends this many; MLGYM_BOARD_FUZZ=100000 sends more.
MESSAGES = int(os.environ.get("MLGYM_BOARD_FUZZ", "3000"))
WORDS = [
    "event_id",
    "data",
    "event_type",
    "creation_ts",
    "payload",
    "NaN",
    "null",
    "true",
    "1e400",
    "-0",
    "\\ud800",
    "{",
    "[",
    '"',
]


def anything(chance, depth=0):
    kinds = [
        None,
        True,
        chance.randint(-(2**70), 2**70),
        chance.random(),
        chance.choice(WORDS),
        "\x00\u202e💥",
        -1,
        0,
        1,
    ]
    kind = chance.randrange(len(kinds) + (6 if depth < 6 else 0))
    if kind < len(kinds):
        return kinds[kind]
    if kind % 2:
        return [anything(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(WORDS): anything(chance, depth + 1) for _ in range(chance.randrange(4))}


def message(chance):
    """Return a text or bytes that may be anything, most often nearly a frame."""
    kind = chance.randrange(8)
    if kind == 0:
        return chance.randbytes(chance.randrange(300))
    if kind == 1:
        return json.dumps(anything(chance))
    if kind == 2:
        return "".join(chance.choice([*WORDS, ":", ",", "}", "]", " ", "\n"]) for _ in range(chance.randrange(60)))
    if kind == 3:
        return json.dumps(
            {"event_id": anything(chance), "data": {**numbered(1), chance.choice(WORDS): anything(chance)}}
        )
    if kind == 4:
        return json.dumps([{"event_id": chance.randrange(50), "data": anything(chance)} for _ in range(3)])
    text = bytearray(frame(*range(chance.randrange(4))).encode())
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(text) + 1)
        text[place : place + chance.randrange(3)] = chance.choice(
            [b"", chance.randbytes(1), chance.choice(WORDS).encode()]
        )
    return text.decode(errors="replace") if kind % 2 else bytes(text)


async def send_all(port, seed, count):
    """Send `count` messages over connections that are opened anew whenever the board ends one.

    Returns how many were published while their connection lived, and how many of those were answered. It has ended with
    the answer that says why, or where this side breaks it off; what is sent behind that may be answered or not.
    """
    chance, sent, asked, answered = random.Random(seed), 0, 0, 0
    while sent < count:
        path = chance.choice(["publish"] * 6 + ["subscribe", "grid_searches"])
        place = f"ws://127.0.0.1:{port}/ws/{path}?grid_search_id=fuzzed-{seed % 10}"
        with contextlib.suppress(websockets.ConnectionClosed, websockets.InvalidStatus):
            async with connect(place, compression=chance.choice(["deflate", None]), open_timeout=60) as connection:
                lives = True
                for _ in range(chance.randrange(1, 20)):
                    await connection.send(message(chance))
                    sent += 1
                    if path == "publish":
                        asked += lives
                        answer = json.loads(await asyncio.wait_for(connection.recv(), 60))
                        assert "ack" in answer
                        answered += lives
                        lives = lives and ("error" not in answer or "expected" in answer)
                    if chance.random() < 0.05:
                        connection.transport.abort()
                        lives = False
    return asked, answered


def raw_garbage(port, chance):
    """Speak to the socket as no client does: broken requests, broken WebSocket frames, half of everything."""
    upgrade = (
        f"GET /ws/publish?grid_search_id=raw HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()
    starts = [
        b"",
        upgrade,
        upgrade[: chance.randrange(len(upgrade))],
        b"GET / HTTP/1.1\r\nHost: [\r\n\r\n",
        b"GET /%ff%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"PUT /grid_searches/raw/config.json HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000000\r\n\r\nx",
        b"PUT /grid_searches/raw/config.json HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5_000,
        b"POST /session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain, contextlib.suppress(OSError):
        plain.sendall(chance.choice(starts) + chance.randbytes(chance.randrange(200)))
        plain.settimeout(chance.choice([0.001, 0.05]))
        plain.recv(1000)


def test_no_message_harms_the_board_or_the_traffic_beside(tmp_path):
    with board(tmp_path) as server:
        stop, done = threading.Event(), []

        def honest():
            with server.publisher("honest") as publisher, server.publisher("other") as other:
                number = 0
                while not stop.is_set():
                    assert say(publisher, frame(number)) == {"ack": number}
                    assert say(other, frame(number)) == {"ack": number}
                    number += 1
                    time.sleep(0.002)
                done.append(number)

        beside = threading.Thread(target=honest)
        beside.start()
        seeds, chance = range(40), random.Random(7)

        async def fuzz(count):
            found = await asyncio.gather(*(send_all(server.port, seed, count // len(seeds)) for seed in seeds))
            return [sum(numbers) for numbers in zip(*found, strict=True)]

        asyncio.run(fuzz(400))  # what is allocated once is not a leak
        memory, files = server.memory_bytes(), server.open_files()
        started = time.monotonic()
        asked, answered = asyncio.run(fuzz(MESSAGES))
        print(f"{MESSAGES} messages, {asked} published, {answered} answers in {time.monotonic() - started:.0f} s")
        for _ in range(200):
            raw_garbage(server.port, chance)
        stop.set()
        beside.join(timeout=30)
        assert done and answered == asked
        with server.subscriber("honest") as subscriber:
            assert listen(subscriber, done[0] - 1) == [(number, numbered(number)) for number in range(done[0])]
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and server.open_files() > files:
            time.sleep(0.1)
        print(f"memory {memory} -> {server.memory_bytes()}, files {files} -> {server.open_files()}")
        assert server.open_files() <= files
        assert server.memory_bytes() - memory < 20_000_000
        assert server.json("/healthz") == {"status": "ok"}
    assert not [line for line in server.said if "Traceback" in line]
    for log in tmp_path.glob("*/event_storage.log"):
        events, damaged = ev.read_log(log)
        assert not damaged and log.read_bytes().count(b"\n") == len(events)


def test_what_the_openapi_document_allows_and_forbids_is_answered(tmp_path):
    """Let schemathesis ask all that the document allows, and much that it does not."""
    import schemathesis

    write_run(tmp_path, study_events())
    with board(tmp_path) as server:
        statuses = set()

        @settings(
            max_examples=15,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        def answered(case):
            response = case.call(base_url=server.url, timeout=20)
            statuses.add(response.status_code)
            assert response.status_code != 500, response.text
            assert str(response.status_code) in case.operation.definition.raw["responses"] or response.status_code in (
                *(308, 405),
            ), (response.status_code, response.text)

        for operation in schemathesis.openapi.from_dict(document()).get_all_operations():
            given(operation.ok().as_strategy())(answered)()
        assert {200, 404} <= statuses
        assert not [line for line in server.said if "Traceback" in line]
