"""What odd clients cost is bounded: idle ones in number, large messages in memory; the others go on."""

import asyncio
import base64
import contextlib
import errno
import json
import os
import re
import resource
import socket
import struct
import time
import zlib

import pytest
from boards import board, frame, say

from board_server.connections import MAX_IDLE
from board_server.errors import disk_refuses
from board_server.held import is_body_missing, is_head_missing, is_more, what_is_shown
from board_server.turns import MAX_BEGUN, Turns
from board_server.waiting import Waiting, address_of

REQUEST = b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connection(stack, port, words):
    """Open a connection that says so much, reads its answer where it is a whole request, and stays open."""
    opened = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
    opened.sendall(words)
    if words == REQUEST:
        assert opened.recv(4096).startswith(b"HTTP/1.1 200")
    return opened


HALF_SIGN_IN = b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
HALF_UPLOAD = HALF_SIGN_IN.replace(b"/session", b"/grid_searches/x/events")
WAITING = {"silent": b"", "request": REQUEST, "head": REQUEST[:20]}


@pytest.mark.parametrize("words", WAITING.values(), ids=WAITING)
def test_idle_connections_keep_nobody_out(tmp_path, words):
    with board(tmp_path) as server, contextlib.ExitStack() as stack:
        allowed = server.open_files() + MAX_IDLE + 200
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (allowed, allowed))
        publisher = stack.enter_context(server.publisher())
        first = connection(stack, server.port, REQUEST)
        for _ in range(MAX_IDLE + 300):
            connection(stack, server.port, words)
        began = time.monotonic()
        assert server.get("/healthz")[0] == 200
        assert time.monotonic() - began < 8  # no idle one ends by itself before 10 s
        assert first.recv(1) == b""  # the one that was idle longest made room
        assert say(publisher, frame(0)) == {"ack": 0}


def test_a_connection_ends_with_its_client(tmp_path):
    with board(tmp_path) as server:
        before = server.open_files()
        with contextlib.ExitStack() as stack:
            for words in (b"", REQUEST[:20], REQUEST) * 10:
                connection(stack, server.port, words)
        limit = time.monotonic() + 8  # less than a connection may be idle
        while server.open_files() > before:
            assert time.monotonic() < limit
            time.sleep(0.01)


@pytest.mark.parametrize("words", [HALF_SIGN_IN, HALF_UPLOAD], ids=["sign-in", "upload"])
def test_half_requests_keep_nobody_out(tmp_path, words):
    with board(tmp_path) as server, contextlib.ExitStack() as stack:
        allowed = server.open_files() + MAX_IDLE + 200
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (allowed, allowed))
        publisher = stack.enter_context(server.publisher())
        first = connection(stack, server.port, words)
        for _ in range(MAX_IDLE + 300):
            connection(stack, server.port, words)
        assert server.get("/healthz")[0] == 200
        assert first.recv(1) == b""  # the one that waited longest made room, without an answer
        assert say(publisher, frame(0)) == {"ack": 0}


@pytest.mark.parametrize(
    "words",
    [HALF_SIGN_IN, HALF_SIGN_IN.replace(b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n8\r\n")],
)
def test_a_sign_in_that_stays_half_is_ended(tmp_path, words):
    with board(tmp_path, "--token=a-token-to-write-with") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(words)
            assert client.recv(4096).startswith(b"HTTP/1.1 408")
        assert server.get("/healthz")[0] == 200


def test_running_out_of_files_is_not_the_disks_fault(tmp_path):
    with board(tmp_path) as server, server.publisher() as publisher:
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (server.open_files(), hard))
        answer = say(publisher, frame(0))
        assert answer["ack"] == -1 and "files and connections open" in answer["error"] and "disk" not in answer["error"]
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        with server.publisher() as again:
            assert say(again, frame(0)) == {"ack": 0}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the board's disk refuses: No space left on device"),
        (
            OSError(errno.ENFILE, "Too many open files in system"),
            "the board's machine has as many files open as it can",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "the board's machine has no memory left"),
        (MemoryError(), "the board's machine has no memory left"),
    ],
)
def test_what_ran_out_is_told_as_what_it_is(error, words):
    assert str(disk_refuses(error)).startswith(words)


NUM_UNREAD = int(os.environ.get("MLGYM_JAX_ATTACK_CONNECTIONS", "60"))


@pytest.mark.parametrize("early", [1, 200], ids=["one request", "pipelined"])
def test_readers_that_take_nothing_delay_nobody(tmp_path, early):
    with board(tmp_path) as server, contextlib.ExitStack() as stack:
        for _ in range(NUM_UNREAD):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
            client.connect(("127.0.0.1", server.port))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.send(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * early)
        seconds = []
        for _ in range(40):
            began = time.monotonic()
            assert server.get("/healthz")[0] == 200
            seconds.append(time.monotonic() - began)
        assert sorted(seconds)[len(seconds) // 2] < 0.25
        assert server.memory_bytes() < 400 << 20
    assert not [line for line in server.said if "Traceback" in line]


def test_who_asks_before_the_answer_is_answered_in_order_and_more_and_more_slowly(tmp_path):
    asked = b"".join(b"GET /grid_searches/none-%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number for number in range(6))
    with board(tmp_path) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        began = time.monotonic()
        client.sendall(asked)
        answers = b""
        while answers.count(b"no run 'none-") < 6:
            answers += client.recv(1 << 16)
        assert time.monotonic() - began > 0.04 + 0.08 + 0.16 + 0.32 - 0.01
    assert re.findall(rb"no run 'none-(\d)'", answers) == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_clients_that_leave_before_their_answer_write_no_traceback(tmp_path):
    body = b'{"token": "a-wrong-token"}'
    guess = b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with board(tmp_path, "--token=a-token-to-write-with") as server:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
                client.sendall(guess)
        time.sleep(0.5)
        assert server.get("/healthz")[0] == 200
    assert not [line for line in server.said if "Traceback" in line or "Error" in line]


def test_a_board_ends_in_order_while_clients_ask_before_their_answers(tmp_path):
    body = b'{"token": "a-wrong-token"}'  # answered after 0.2 s
    guess = b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with board(tmp_path, "--token=a-token-to-write-with") as server, contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5)).sendall(guess * 20)
        time.sleep(0.1)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 4.5  # the board waits 5 s for who does not end
    assert not [line for line in server.said if "Traceback" in line]


def test_of_many_who_ask_at_once_the_last_is_the_next():
    async def turns_of(names):
        turns, began = Turns(), []

        async def take(name):
            await turns.begin(name)
            began.append(name)
            turns.end(name)

        for number in range(MAX_BEGUN):
            await turns.begin(number)
        tasks = [asyncio.ensure_future(take(name)) for name in names]
        await asyncio.sleep(0)
        assert not began  # as many are begun as may
        turns.end(0)
        await asyncio.gather(*tasks)
        return began

    assert asyncio.run(turns_of("abc")) == ["c", "b", "a"]


class Waiter:
    def __init__(self, peer, is_known=False):
        self.address, self.is_known, self.is_gone = address_of((peer, 1234)), is_known, False

    def let_go(self):
        self.is_gone = True


def begun(peers):
    """Let connections of these addresses wait, one after the other, and return which were let go."""
    waiting, waiters = Waiting(), [Waiter(peer) for peer in peers]
    for one in waiters:
        waiting.begin(one)
    return [number for number, one in enumerate(waiters) if one.is_gone]


def test_of_one_address_only_so_many_wait():
    assert begun(["10.0.0.1", "10.0.0.2"] + ["10.0.0.1"] * 65) == [0, 2]
    assert begun(["2001:db8::1"] + ["2001:db8::2"] * 64) == [0]  # who has one address of a network has all
    assert begun(["::ffff:10.0.0.1"] + ["10.0.0.1"] * 64) == [0]
    assert begun(["127.0.0.1"] * MAX_IDLE) == []  # a proxy, and behind it everybody
    assert begun([f"10.0.{number // 250}.{number % 250}" for number in range(MAX_IDLE + 2)]) == [0, 1]


def test_who_holds_too_much_is_let_go_and_who_showed_a_token_last():
    waiting, known, others = Waiting(), Waiter("10.0.0.1", is_known=True), [Waiter("10.0.0.2") for _ in range(3)]
    waiting.begin(known, 1 << 20)
    for one in others:
        waiting.begin(one, 63 << 20)
    assert [one.is_gone for one in (known, *others)] == [False, True, False, False]
    waiting.end(others[0], 63 << 20)  # who was let go says so in the end
    waiting.end(others[1], 63 << 20)
    waiting.end(others[2], 63 << 20)
    waiting.begin(known, 128 << 20)
    assert known.is_gone and len(waiting) == 0


def publishing(port, extensions=""):
    """Open `/ws/publish` as a client that goes on sending after it was refused, as no library's client does."""
    opened = socket.create_connection(("127.0.0.1", port), timeout=20)
    key = base64.b64encode(b"0123456789abcdef").decode()
    opened.sendall(
        f"GET /ws/publish?grid_search_id=large HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{extensions}\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += opened.recv(1)
    assert answer.startswith(b"HTTP/1.1 101") and bool(extensions) == (b"permessage-deflate" in answer)
    return opened


def part(first_byte, data):
    """Return a part of a message: its first byte as in RFC 6455 section 5.2, and a mask of zeros."""
    return struct.pack(">BBQI", first_byte, 0x80 | 127, len(data), 0) + data


def test_a_message_without_end_is_refused_and_takes_no_memory(tmp_path):
    with board(tmp_path) as server, publishing(server.port) as client:
        before = server.peak_memory_bytes()
        client.sendall(part(0x01, b" " * (1 << 20)))
        for _ in range(127):
            client.sendall(part(0x00, b" " * (1 << 20)))
        assert client.recv(4) == b"\x88\x02" + struct.pack(">H", 1009)
        assert server.get("/healthz")[0] == 200
        assert server.peak_memory_bytes() - before < 64 << 20


def test_a_message_that_inflates_to_a_thousand_times_its_size_is_refused_and_takes_no_memory(tmp_path):
    deflate = zlib.compressobj(9, wbits=-15)
    data = b"".join(deflate.compress(b" " * (1 << 20)) for _ in range(256)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(data) < 1 << 20  # of the size that a frame may have
    extensions = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    with board(tmp_path) as server, publishing(server.port, extensions) as client:
        before = server.peak_memory_bytes()
        client.sendall(part(0xC1, data[:-4]))
        assert client.recv(4) == b"\x88\x02" + struct.pack(">H", 1009)
        assert server.get("/healthz")[0] == 200
        assert server.peak_memory_bytes() - before < 64 << 20


@pytest.mark.parametrize("text", ["x" * 1_000_000, "é" * 500_000], ids=["ASCII", "two bytes a letter"])
def test_large_compressed_messages_are_taken_one_after_the_other(tmp_path, text):
    with board(tmp_path) as server, server.socket("/ws/publish?grid_search_id=run", compression="deflate") as publisher:
        for number in range(4):
            event = {"event_type": "note", "creation_ts": 1, "payload": {"text": text}}
            message = json.dumps({"event_id": number, "data": event}, ensure_ascii=False)
            assert say(publisher, message) == {"ack": number}
        assert server.log("run").count(text.encode()) == 4


def said_to(port, words):
    """Say something, and return all that is answered until the board ends the connection, or says no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(words)
        answer = b""
        while not answer.endswith(b'{"status":"ok"}') and (more := client.recv(1 << 16)):
            answer += more
    return answer


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


@pytest.mark.parametrize("upgrade", [H2C, H2C.replace(b"h2c", b"h2"), H2C.replace(b"h2c", b"TLS/1.0")])
def test_an_upgrade_to_another_protocol_is_passed_over(tmp_path, upgrade):
    with board(tmp_path) as server:
        answer = said_to(server.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200") and answer.count(b"HTTP/1.1") == 1


SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # an empty frame of HTTP/2 settings, RFC 9113 section 6.5


@pytest.mark.parametrize(
    "words",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS,  # RFC 9113 section 3.4
        b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.5\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/0.9\r\nHost: localhost\r\n\r\n" * 3,
    ],
    ids=["preface", "2.0", "1.5", "0.9"],
)
def test_another_version_of_http_is_refused(tmp_path, words):
    with board(tmp_path) as server:
        before = server.open_files()
        answer = said_to(server.port, words)
        assert answer.startswith(b"HTTP/1.1 505") and answer.count(b"HTTP/1.1") == 1  # RFC 9110 section 15.6.6
        assert server.get("/healthz")[0] == 200
        limit = time.monotonic() + 8
        while server.open_files() > before:
            assert time.monotonic() < limit
            time.sleep(0.01)


HEAD = b"POST /session HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("data", "head_missing", "body_missing", "more"),
    [
        (b"", True, False, False),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", True, False, False),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", False, False, False),
        (b"GET / HTTP/1.1\nHost: x\n\n", False, False, False),  # RFC 9112, section 2.2: a line may end so
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT", False, False, True),
        (HEAD + b"Content-Length: 3\r\n\r\n{}", False, True, False),
        (HEAD + b"content-length:3 \r\n\r\n{} ", False, False, False),
        (HEAD + b"Content-Length: 3\r\n\r\n{} GET", False, False, True),
        (HEAD + b"Content-Length: 65536\r\n\r\n{}", False, False, False),  # too long to be kept
        (HEAD + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n", False, False, False),
        (HEAD + b"X-Content-Length: 3\r\n\r\n", False, False, False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False, True, False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", False, False, False),
        (b"\x16\x03\x01\x02\x00", False, False, False),  # TLS, at once refused
        (b"G" * (1 << 16), False, False, False),
    ],
)
def test_how_much_of_a_request_is_there(data, head_missing, body_missing, more):
    assert (is_head_missing(data), is_body_missing(data), is_more(data)) == (head_missing, body_missing, more)


def test_a_token_is_seen_in_the_head_alone():
    said = (
        b"GET / HTTP/1.1\r\nhost: x\r\nAUTHORIZATION:  Bearer abc \r\nCookie: a=b\r\nX-Cookie: c\r\n\r\nCookie: d\r\n"
    )
    assert what_is_shown(said) == [(b"authorization", b"Bearer abc"), (b"cookie", b"a=b")]


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_request_in_pieces_is_answered_once_it_is_whole(tmp_path, pieces):
    token = b'{"token": "a-token-to-write-with"}'
    said = HEAD + b"Content-Length: %d\r\n\r\n" % len(token) + token
    asked = [said, said.replace(b"Content-Length: %d" % len(token), b"Transfer-Encoding: chunked")]
    asked[1] = asked[1].replace(token, b"%x\r\n%s\r\n0\r\n\r\n" % (len(token), token))
    with board(tmp_path, "--token=a-token-to-write-with") as server:
        for words in asked:
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
                for _ in range(2):  # also the next one of a connection
                    for number in range(pieces):
                        client.sendall(words[len(words) * number // pieces : len(words) * (number + 1) // pieces])
                        time.sleep(0.01)
                    answer = b""
                    while not answer.endswith(b'{"write":true}'):
                        answer += client.recv(4096)
                    assert answer.startswith(b"HTTP/1.1 201")


def test_who_asks_too_early_takes_no_turn_from_others():
    async def turns_of(names):
        turns, began = Turns(), []

        async def take(name):
            await turns.begin(name, is_early=name.isupper())
            began.append(name)
            turns.end(name)

        for number in range(MAX_BEGUN):
            await turns.begin(number)
        tasks = [asyncio.ensure_future(take(name)) for name in names]
        await asyncio.sleep(0)
        turns.end(0)
        await asyncio.gather(*tasks)
        return began

    assert asyncio.run(turns_of("AbCdE")) == ["d", "b", "E", "C", "A"]


def test_a_turn_ends_by_itself_when_the_loop_went_around_often_enough():
    async def begin():
        turns = Turns()
        for number in range(MAX_BEGUN):
            await turns.begin(number)
        waiting = asyncio.ensure_future(turns.begin("next"))
        began, rounds = time.monotonic(), 0
        while not waiting.done():
            time.sleep(0.02)  # a busy loop: after 50 ms nobody has had more than a few steps
            await asyncio.sleep(0)
            rounds += 1
        return time.monotonic() - began, rounds

    seconds, rounds = asyncio.run(begin())
    assert seconds < 1 and rounds >= 10


@pytest.mark.parametrize("shown", ["token", "cookie"])
def test_who_shows_a_token_waits_behind_nobody_who_shows_none(tmp_path, shown):
    token = "a-token-to-write-with"
    with board(tmp_path, f"--token={token}") as server, contextlib.ExitStack() as stack:
        headers = {"Authorization": f"Bearer {token}"}
        if shown == "cookie":
            _, said, _ = server.request("POST", "/session", json.dumps({"token": token}).encode())
            headers = {"Cookie": said["Set-Cookie"].split(";")[0]}
        body = b'{"token": "a-wrong-token"}'  # answered after 0.2 s
        guess = b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5)).sendall(guess)
        began = time.monotonic()
        assert server.get("/grid_searches", **headers)[0] == 200
        assert time.monotonic() - began < 1  # 8 at a time, 50 ms each, they take 1.25 s


def test_a_board_ends_at_once_whoever_keeps_a_connection_open(tmp_path):
    with board(tmp_path) as server, contextlib.ExitStack() as stack:
        idle = [connection(stack, server.port, words) for words in (b"", REQUEST, REQUEST[:20]) * 3]
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 4.5  # it waits 5 s for who does not end
        for one in idle:
            with contextlib.suppress(ConnectionResetError):  # of one that had just been accepted
                assert one.recv(1) == b""


def test_who_asks_for_nothing_is_ended_after_a_while_and_who_asks_now_and_then_is_not(tmp_path):
    with board(tmp_path) as server, contextlib.ExitStack() as stack:
        silent, asked, asking = (connection(stack, server.port, words) for words in (b"", REQUEST, REQUEST))
        began = time.monotonic()
        for one in (silent, asked):
            one.settimeout(20)
        time.sleep(6)
        asking.sendall(REQUEST)
        assert asking.recv(4096).startswith(b"HTTP/1.1 200")
        assert silent.recv(1) == asked.recv(1) == b""
        assert 9 < time.monotonic() - began < 15  # keep_alive_timeout
        asking.sendall(REQUEST)
        assert asking.recv(4096).startswith(b"HTTP/1.1 200")
