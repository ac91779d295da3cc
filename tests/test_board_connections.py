"""Idle connections are bounded in number, and end with their clients; the others go on."""

import contextlib
import resource
import socket
import time

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
