"""What odd clients cost is bounded: idle ones in number, large messages in memory; the others go on."""

import base64
import contextlib
import json
import resource
import socket
import struct
import time
import zlib

import pytest
from boards import board, frame, say

from board_server.connections import MAX_IDLE

REQUEST = b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connection(stack, port, words):
    """Open a connection that says so much, reads its answer where it is a whole request, and stays open."""
    opened = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
    opened.sendall(words)
    if words == REQUEST:
        assert opened.recv(4096).startswith(b"HTTP/1.1 200")
    return opened


@pytest.mark.parametrize("words", [b"", REQUEST], ids=["silent", "one request"])
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
