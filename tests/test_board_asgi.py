"""Under any ASGI server a client is read from no faster than it is answered, whichever version of Quart is there."""

import asyncio
import contextlib

from board_server.app import create_app
from board_server.auth import Access
from board_server.store import Store


def scope(kind, path, query=b"", **more):
    """Return what an ASGI server says of a connection to a board on this machine."""
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8080),
        **more,
    }


def test_who_does_not_read_its_answers_is_not_read_from(tmp_path):
    taken = 0

    async def receive():
        nonlocal taken
        taken += 1
        await asyncio.sleep(0)
        return (
            {"type": "websocket.connect"} if taken == 1 else {"type": "websocket.receive", "bytes": None, "text": "[]"}
        )

    async def send(message):
        if message["type"] == "websocket.send":
            await asyncio.Event().wait()  # the client has stopped reading

    async def talk():
        app = create_app(Store(tmp_path), Access())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await app(scope("websocket", "/ws/publish", b"grid_search_id=one", subprotocols=[]), receive, send)

    asyncio.run(talk())
    assert taken <= 1 + 1 + 4 + 1  # the handshake, what is being answered, what waits, what waits to wait


def test_a_socket_that_the_board_closes_ends_though_the_client_talks_on(tmp_path):
    async def receive():
        await asyncio.sleep(0)
        return {"type": "websocket.receive", "bytes": None, "text": "nonsense"}

    async def send(message):
        said.append(message["type"])

    async def talk():
        app = create_app(Store(tmp_path), Access())
        async with asyncio.timeout(20):
            await app(scope("websocket", "/ws/publish", b"", subprotocols=[]), receive, send)

    said = []
    asyncio.run(talk())
    assert said and said[-1] in ("websocket.close", "websocket.http.response.body")


def test_of_a_body_without_an_end_no_more_is_kept_than_one_may_have(tmp_path):
    taken, said = 0, []

    async def receive():
        nonlocal taken
        await asyncio.sleep(0)
        if said and said[-1].get("more_body") is False:
            return {"type": "http.disconnect"}
        taken += 1
        assert taken < 200
        return {"type": "http.request", "body": bytes(1 << 20), "more_body": True}

    async def send(message):
        said.append(message)

    async def ask():
        async with asyncio.timeout(20):
            await create_app(Store(tmp_path), Access())(
                scope("http", "/grid_searches/one/config.json", method="PUT"), receive, send
            )

    asyncio.run(ask())
    assert said[0]["status"] == 413
    assert taken < 50  # of mebibytes; 16 may be sent
