"""Who connects costs next to nothing before it is served; what needs a token and shows none is refused at the door."""

import asyncio
import contextlib
import json
import re
import select
import socket
import time

import pytest
from boards import RUN, board, study_events, write_run

from board_server.app import create_app
from board_server.auth import Access
from board_server.store import Store
from board_server.turns import MAX_BEGUN, Turns

WRITE, READ = "a-token-to-write-with", "a-token-to-read-with"
FILL = {"run_id": RUN, "name": "config.json", "experiment_id": "0", "epoch": "1", "resource": "model"}
OWN_HEADERS = {"date", "connection", "content-length", "vary", "cache-control", "server"}


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("door")
    write_run(folder, study_events(epochs=1_000))
    return folder


@pytest.fixture(scope="module")
def guarded(storage):
    with board(storage, f"--token={WRITE}", f"--read_token={READ}") as server:
        yield server
    assert not [line for line in server.said if "Traceback" in line]


def said_to(port, words, *, take=True):
    """Say something on a new connection, and return (status, headers, body) of the first answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(words)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := client.recv(1 << 16)):
            answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        while take and len(body) < int(headers.get("content-length", 0)) and (more := client.recv(1 << 16)):
            body += more
        return int(lines[0].split()[1]), headers, body


def routes(app):
    """Return (method, path) of all that the application answers, WebSockets as "WS"."""
    found = set()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: FILL[name[1]], rule.rule)
        found |= {("WS" if rule.websocket else method, path) for method in rule.methods - {"OPTIONS"}}
    return sorted(found)


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "a" * 24,
}
VARIANTS = {
    "no token": {},
    "wrong token": {"Authorization": "Bearer wrong"},
    "no bearer": {"Authorization": f"Basic {WRITE}"},
    "wrong session": {"Cookie": f"mlgym_board=1.{'a' * 16}.{'b' * 43}"},
    "other site": {"Origin": "https://evil.example"},
    "other site, as a folded line": {"Origin": "\r\n https://evil.example"},
    "own site": {"Origin": "http://127.0.0.1"},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_what_is_refused_at_the_door_is_what_the_application_would_answer(guarded, storage, variant):
    app = create_app(Store(storage), Access(token=WRITE, read_token=READ))
    unfolded = {name: value.strip() for name, value in variant.items()}

    async def asked():
        client, found = app.test_client(), {}
        for method, path in routes(app):
            if method != "WS":
                answer = await client.open(path, method=method, headers={**unfolded, "Host": "127.0.0.1"}, data=b"")
                found[method, path] = answer.status_code, dict(answer.headers), await answer.get_data(as_text=False)
        return found

    expected = asyncio.run(asked())
    assert {status for status, *_ in expected.values()} >= {200, 401}
    for method, path in routes(app):
        lines = [f"{'GET' if method == 'WS' else method} {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 0"]
        fields = {**variant, **(UPGRADE if method == "WS" else {})}
        words = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode()
        status, headers, body = said_to(guarded.port, words, take=method != "HEAD")
        if method == "WS":
            assert status == (403 if "evil" in variant.get("Origin", "") else 401) and json.loads(body)["error"]
            continue
        assert status == expected[method, path][0], (method, path)
        if status in (401, 403):
            their = {name.lower(): value for name, value in expected[method, path][1].items()}
            drop = OWN_HEADERS | {name for name in their if name.startswith("access-control")}
            assert {k: v for k, v in headers.items() if k not in drop} == {
                k: v for k, v in their.items() if k not in drop
            }
            assert body == (b"" if method == "HEAD" else expected[method, path][2])


def test_a_token_in_a_folded_line_is_read(guarded):
    words = f"GET /grid_searches HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization:\r\n Bearer {READ}\r\n\r\n"
    assert said_to(guarded.port, words.encode())[0] == 200  # RFC 7230, section 3.2.4


@pytest.mark.parametrize("size", [10, 60_000, 900_000])
def test_who_sends_all_before_it_reads_still_reads_why_it_is_refused(guarded, size):
    head = f"PUT /grid_searches/x/config.json HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=10) as client:
        client.sendall(head.encode())
        for _ in range(10):
            client.sendall(b"x" * (size // 10))
            time.sleep(0.001)
        assert client.recv(12) == b"HTTP/1.1 401"


@pytest.mark.parametrize("words", [b"\x16\x03\x01\x02\x00", b"\r\n\r\n", b"\x00"], ids=["TLS", "empty line", "NUL"])
def test_what_is_no_request_is_told_so(guarded, words):
    assert said_to(guarded.port, words)[0] == 400


def test_a_head_without_end_is_told_so(guarded):
    assert said_to(guarded.port, b"GET /healthz HTTP/1.1\r\nX: " + b"x" * (1 << 16))[0] == 431  # RFC 6585, section 5


def test_who_is_refused_again_and_again_waits_and_costs_little(guarded):
    refused = b"GET /grid_searches HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        waiting = []
        for _ in range(400):
            waiting.append(stack.enter_context(socket.create_connection(("127.0.0.1", guarded.port), timeout=10)))
            waiting[-1].sendall(refused)
        assert guarded.get("/grid_searches", Authorization=f"Bearer {READ}")[0] == 200
        answered = 0
        while waiting:
            ready = select.select(waiting, [], [], 10)[0]
            assert ready
            for one in ready:
                assert one.recv(4096).startswith(b"HTTP/1.1 401")
                waiting.remove(one)
            answered += len(ready)
            assert answered <= 60 + 500 * (time.monotonic() - began)


def test_who_shows_no_token_begins_one_at_a_time_while_others_are_answered():
    async def begun():
        known = Turns()
        others = Turns(behind=known)
        await known.begin("known")
        await others.begin("first")
        waiting = [others.asked(number) for number in range(MAX_BEGUN)]
        before = sum(one.done() for one in waiting)
        known.end("known")
        others.end("nobody")  # by which it looks again; else it does in 2 ms
        return before, sum(one.done() for one in waiting)

    assert asyncio.run(begun()) == (0, MAX_BEGUN - 1)


def test_who_took_long_to_ask_has_no_turn_before_who_began_later():
    async def order():
        turns, found = Turns(), []
        for number in range(MAX_BEGUN):
            turns.note(number)
        for name, since in (("alone", 3.0), ("slow", 1.0), ("left", 4.0), ("slower", 0.5), ("last", 5.0)):
            turns.asked(name, since=since).add_done_callback(lambda _, name=name: found.append(name))
        turns.end("left")
        for number in range(MAX_BEGUN):
            turns.end(number)
            await asyncio.sleep(0)
        return found

    assert asyncio.run(order()) == ["left", "last", "alone", "slow", "slower"]


def test_subscribers_that_take_nothing_do_not_each_keep_a_copy(guarded, storage):
    size = (storage / RUN / "event_storage.log").stat().st_size
    before = guarded.memory_bytes()
    path = f"/ws/subscribe?grid_search_id={RUN}&after=-1"
    fields = {"Host": "127.0.0.1", "Authorization": f"Bearer {READ}", **UPGRADE}
    words = "\r\n".join([f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""])
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(100):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
            client.connect(("127.0.0.1", guarded.port))
            client.sendall(words.encode())
            clients.append(client)
        for client in clients:
            assert client.recv(12) == b"HTTP/1.1 101"
        while (
            f"subscribers {len(clients)}.0" not in guarded.get("/metrics", Authorization=f"Bearer {READ}")[2].decode()
        ):
            time.sleep(0.01)
        assert guarded.memory_bytes() - before < 50 * size  # each kept 2.9 times the log


LONG = {
    "cookies": "GET /grid_searches HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: " + ";" * 60_000,
    "fields": "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + "a:b\r\n" * 101,
    "one field": "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: " + "a;q=.1," * 1_300,
    "folded": "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\na: b" + "\r\n b" * 200,
    "path": "GET /" + "%41" * 20_000 + " HTTP/1.1\r\nHost: 127.0.0.1",
}


@pytest.mark.parametrize("head", LONG.values(), ids=LONG)
@pytest.mark.parametrize("more", ["", f"\r\nAuthorization: Bearer {READ}"], ids=["no token", "token"])
def test_a_head_that_takes_long_to_read_is_not_read(guarded, head, more):
    # RFC 6585, section 5; of these each cost 20 to 100 ms, in which nobody else was answered
    assert said_to(guarded.port, f"{head}{more}\r\n\r\n".encode())[0] == 431
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=10) as client:  # nor as a second request
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + f"{head}{more}\r\n\r\n".encode())
        answers = b""
        while part := client.recv(1 << 16):
            answers += part
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"431"]


@pytest.mark.parametrize("size", [0, 90, 8_000])
def test_fields_as_browsers_send_them_are_read_however_long_the_body_is(guarded, size):
    fields = "".join(f"X-{number}: {'x' * (size // 90)}\r\n" for number in range(90))
    words = f"POST /session HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: 4000\r\n\r\n" + "{\n" * 2_000
    assert said_to(guarded.port, words.encode())[0] == 400  # it is no JSON


def test_a_query_of_more_parts_than_can_be_meant_is_told_so(guarded):
    status, _, answer = guarded.get(f"/grid_searches?{'a&' * 2_000}", Authorization=f"Bearer {READ}")
    assert status == 400 and "2001 parts" in json.loads(answer)["error"]


@pytest.mark.parametrize(("num_chunks", "size", "status"), [(2_000, 1, 400), (100, 1, 200), (400, 100, 200)])
def test_a_body_of_very_many_very_small_chunks_is_not_read_to_its_end(guarded, num_chunks, size, status):
    text = b"[]" + b" " * (num_chunks * size - 2)
    chunks = [b"%x\r\n%s\r\n" % (size, text[at : at + size]) for at in range(0, len(text), size)]
    head = f"POST /grid_searches/chunks/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {WRITE}\r\n"
    words = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks) + b"0\r\n\r\n"
    assert said_to(guarded.port, words)[0] == status
