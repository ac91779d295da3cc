"""Who may do what: tokens, sessions, origins, hosts, on every route; and that paths stay inside of the store."""

import asyncio
import base64
import gzip
import hashlib
import json
import re
import socket
import subprocess
import sys
import time

import forks
import numpy as np
import pytest
import safetensors.numpy
import websockets
from boards import ROOT, RUN, board, frame, listen, numbered, say, study_events, write_run

from board_server.app import create_app
from board_server.auth import Access
from board_server.errors import without_folders
from board_server.store import Store

WRITE, READ = "a-token-to-write-with", "a-token-to-read-with"
FILL = {"run_id": RUN, "name": "config.json", "experiment_id": "0", "epoch": "1", "resource": "model"}
FOR_ALL = {"/", "/assets/{name}", "/healthz", "/session", "/openapi.json"}
READING = ("get", "head")


def every_route():
    """Return (method, path) of all that the application answers, also what its document leaves out."""
    found = set()
    for rule in create_app(Store("nowhere"), Access()).url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        found |= {(method.lower(), path) for method in rule.methods - {"OPTIONS"}}
    return sorted(found)


ROUTES = every_route()


async def asked(app, method, path, **request):
    response = await app.test_client().open(path, method=method.upper(), **request)
    return response.status_code, response.headers, await response.get_data(as_text=False)


def ask(app, method, path, **request):
    return asyncio.run(asked(app, method, path, **request))


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    write_run(folder, study_events())
    return folder


@pytest.fixture(scope="module")
def guarded(storage):
    return create_app(Store(storage), Access(token=WRITE, read_token=READ))


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open")
    write_run(folder, study_events())
    return create_app(Store(folder), Access())


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_asks_for_a_token(guarded, method, path):
    async def answers():
        yield await asked(guarded, method, path.format(**FILL))
        for wrong in ("nonsense", "", WRITE[:-1], WRITE + "x", "ä"):
            yield await asked(guarded, method, path.format(**FILL), headers=bearer(wrong))
        yield await asked(guarded, method, path.format(**FILL), headers={"Authorization": f"Basic {WRITE}"})

    found = asyncio.run(collected(answers()))
    assert len(found) == 7
    for status, headers, body in found:
        if path in FOR_ALL:
            assert status in (200, 400, 404)
        else:
            assert status == 401 and headers["WWW-Authenticate"] == "Bearer"
            assert method == "head" or json.loads(body)["error"]


async def collected(answers):
    return [answer async for answer in answers]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_token_for_reading_writes_nothing(guarded, storage, method, path):
    before = sorted(str(one) for one in storage.rglob("*"))
    status, _, _ = ask(guarded, method, path.format(**FILL), headers=bearer(READ), data=b"x")
    if path not in FOR_ALL:
        assert (status == 403) == (method not in READING)
    assert sorted(str(one) for one in storage.rglob("*")) == before
    assert ask(guarded, method, path.format(**FILL), headers=bearer(WRITE), data=b"x")[0] not in (401, 403)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://127.evil.example", "null", "http://localhost.evil.example", "file://", "http://["],
)
def test_another_sites_page_changes_nothing(open_to_all, method, path, origin):
    status, headers, _ = ask(open_to_all, method, path.format(**FILL), headers={"Origin": origin}, data=b"x")
    assert (status == 403) == (method not in READING)
    assert "Access-Control-Allow-Origin" not in headers  # so that its script may not read an answer


def test_the_boards_own_page_and_allowed_sites_may(tmp_path):
    app = create_app(Store(tmp_path), Access(allowed_origins=frozenset({"https://lab.example"})))
    put = ("put", "/grid_searches/remote/config.json")
    assert ask(app, *put, headers={"Origin": "http://localhost"}, data=b"{}")[0] == 201
    status, headers, _ = ask(app, *put, headers={"Origin": "https://lab.example"}, data=b"{}")
    assert status == 200 and headers["Access-Control-Allow-Origin"] == "https://lab.example"
    status, headers, _ = ask(app, "options", "/grid_searches", headers={"Origin": "https://lab.example"})
    assert status == 204 and "Authorization" in headers["Access-Control-Allow-Headers"] and "Origin" in headers["Vary"]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "192.0.2.1",
        "",
        "localhost.evil.example",
        "127.evil.example",
        "evil.example@localhost",
        "localhost@evil.example",
        "evil.example/@localhost",
        "localhost/",
        "localhost?",
        "localhost:x",
        "a b@127.0.0.1",
        "evil.example#@localhost",
        "\\localhost",
    ],
)
def test_an_open_board_answers_to_no_foreign_name(open_to_all, host):
    app = open_to_all
    for path in ("/", "/grid_searches", "/healthz", "/assets/x.js"):
        assert ask(app, "get", path, headers={"Host": host})[0] == 403
    assert ask(app, "get", "/grid_searches", headers={"Host": "127.0.0.1:8080"})[0] == 200
    assert ask(app, "get", "/grid_searches", headers={"Host": "[::1]:8080"})[0] == 200


def test_no_route_of_an_open_board_answers_to_a_foreign_name(open_to_all):
    async def ask_all():
        for method, path in ROUTES:
            for host in ("evil.example", "evil.example:8080", "localhost.evil.example"):
                status, _, answer = await asked(open_to_all, method, path.format(**FILL), headers={"Host": host})
                assert status == 403 and (method == "head" or "a name of this machine" in answer.decode()), path

    asyncio.run(ask_all())


def test_a_session_of_the_page(guarded):
    async def sign_in():
        client = guarded.test_client()
        answers = [(await client.get("/session")), await client.post("/session", json={"token": "wrong"})]
        answers.append(await client.post("/session", json={"token": READ}))
        cookie = answers[-1].headers["Set-Cookie"]
        answers += [await client.get("/grid_searches"), await client.put("/grid_searches/x/config.json", data=b"{}")]
        said = await (await client.get("/session")).get_json()
        answers.append(await client.delete("/session"))
        answers.append(await client.get("/grid_searches"))
        return [answer.status_code for answer in answers], cookie, said

    statuses, cookie, said = asyncio.run(sign_in())
    assert statuses == [200, 401, 201, 200, 403, 200, 401]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and READ not in cookie
    assert said == {"read": True, "write": False, "token_required": True}


def cookies(session):
    return {Access().cookie: session}


def test_a_session_outlives_a_restart_with_the_same_token_and_ends_with_it():
    for token, role in ((WRITE, "write"), (READ, "read")):
        session = Access(token=WRITE, read_token=READ).open_session(token)
        restarted = Access(token=WRITE, read_token=READ)
        assert restarted.role({}, cookies(session)) == role
        assert Access(token=READ, read_token=WRITE).role({}, cookies(session)) != role  # each by its own key
        assert Access(token="another-token", read_token="yet-another").role({}, cookies(session)) is None
        restarted.close_session(session)
        assert restarted.role({}, cookies(session)) is None
        assert restarted.role({}, cookies(restarted.open_session(token))) == role
        assert token not in session


def test_a_session_that_was_altered_or_has_ended_is_none(monkeypatch):
    access = Access(token=WRITE)
    session = access.open_session(WRITE)
    until, number, seal = session.split(".")
    for wrong in (
        *(f"{int(until) + 1}.{number}.{seal}", f"{until}.{number[::-1]}.{seal}", f"{until}.{number}.{seal[::-1]}"),
        *(f"{until}.{number}.", f"{until}.{number}", "", "..", session + "=", f" {session}", "x" * 5_000, "ä.ö.ü"),
    ):
        assert access.role({}, cookies(wrong)) is None, wrong
    assert int(until) - time.time() == pytest.approx(30 * 24 * 3600, abs=5)
    monkeypatch.setattr("board_server.auth.time.time", lambda: int(until) - 0.5)
    assert access.role({}, cookies(session)) == "write"
    monkeypatch.setattr("board_server.auth.time.time", lambda: int(until))
    assert access.role({}, cookies(session)) is None


def test_a_browser_keeps_one_cookie_of_a_board_however_often_it_is_restarted(tmp_path):
    names, signed_in = set(), []
    with board(tmp_path, f"--token={WRITE}") as server:
        for _restart in range(3):
            _, headers, _ = server.request("POST", "/session", json.dumps({"token": WRITE}).encode())
            cookie = headers["Set-Cookie"].split(";")[0]
            names.add(cookie.split("=")[0])
            server.stop()
            server.start()
            signed_in.append(server.json("/session", Cookie=cookie)["write"])
        port = server.port
    assert names == {f"mlgym_board_{port}"} and signed_in == [True] * 3


@pytest.mark.parametrize(
    "request_line", ["GET /healthz", "OPTIONS /", "GET /metrics", "GET /grid_searches", "HEAD /healthz"]
)
def test_a_request_of_http_1_0_without_host_is_answered(tmp_path, request_line):
    with board(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(f"{request_line} HTTP/1.0\r\n\r\n".encode())
            assert re.match(rb"HTTP/1.[01] 20[04] ", client.recv(4096))
        for origin in ("http://", "http://localhost", "null"):  # which no program sends
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
                client.sendall(f"POST /session HTTP/1.0\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n".encode())
                assert client.recv(4096).split()[1] == b"403"


def test_guesses_delay_nobody_else(guarded):
    async def sign_in():
        client = guarded.test_client()
        guesses = [asyncio.ensure_future(client.post("/session", json={"token": f"guess {n}"})) for n in range(50)]
        await asyncio.sleep(0)
        began = time.monotonic()
        right = await guarded.test_client().post("/session", json={"token": READ})
        seconds = time.monotonic() - began
        return right.status_code, seconds, {answer.status_code for answer in await asyncio.gather(*guesses)}

    status, seconds, others = asyncio.run(sign_in())
    assert status == 201 and others == {401} and seconds < 2  # one after the other they took 10 s


PNG = b"\x89PNG\r\n\x1a\n an image"
IMAGE = f"{hashlib.sha256(PNG).hexdigest()}.png"
LINKED = [
    *("run", "log", "config.json", "run.json", "0", "0/media", f"0/media/{IMAGE}", "annotations.log"),
    *("checkpoints", "checkpoints/received/0/1"),
]


@pytest.mark.parametrize("linked", LINKED)
def test_links_out_of_the_store_are_not_followed(tmp_path, linked):
    outside, storage = tmp_path / "outside", tmp_path / "store"
    write_run(outside, study_events(), "theirs")
    (outside / "theirs/.published").touch()
    for name in (
        *("config.json", "run.json", "annotations.log", "0/model_card.json", f"0/media/{IMAGE}"),
        "checkpoints/received/0/1/model.safetensors",
    ):
        (outside / "theirs" / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / "theirs" / name).write_text(SECRET)
    if linked == "run":
        storage.mkdir()
        (storage / RUN).symlink_to(outside / "theirs")
    else:
        name = {"log": "event_storage.log"}.get(linked, linked)
        write_run(storage, study_events())
        (storage / RUN / ".published").touch()
        (storage / RUN / name).unlink(missing_ok=True)
        (storage / RUN / name).parent.mkdir(parents=True, exist_ok=True)
        (storage / RUN / name).symlink_to(outside / "theirs" / name)
    before = {str(one): one.read_bytes() for one in outside.rglob("*") if one.is_file()}
    app, data = create_app(Store(storage), Access()), safetensors.numpy.save({"w": np.zeros(2, np.float32)})
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    headers = {"Repr-Digest": f"sha-256=:{digest}:"}

    async def ask_all():
        for method, path in ROUTES:
            for image in (False, True):  # by its own name, and as an image's, which is the SHA-256 of its bytes
                fill = {**FILL, "name": IMAGE} if image else FILL
                _, _, body = await asked(app, method, path.format(**fill), data=PNG if image else data, headers=headers)
                assert SECRET.encode() not in body, path

    asyncio.run(ask_all())
    assert {str(one): one.read_bytes() for one in outside.rglob("*") if one.is_file()} == before
    listed = json.loads(ask(app, "get", "/grid_searches")[2])
    assert bool(listed) == (linked not in ("run", "log"))


@pytest.mark.parametrize("linked", ["run", "log", "new log"])
def test_nothing_is_published_through_a_link_out_of_the_store(tmp_path, linked):
    outside, run = tmp_path / "outside", tmp_path / "store/linked"
    outside.mkdir()
    run.parent.mkdir()
    (outside / ".published").touch()
    if linked == "run":
        run.symlink_to(outside)
    else:
        run.mkdir()
        (run / ".published").touch()
        (run / "event_storage.log").symlink_to(outside / "theirs")
        if linked == "log":
            (outside / "theirs").touch()
    before = {one.name: one.read_bytes() for one in outside.iterdir()}
    app = create_app(Store(tmp_path / "store"), Access())
    status, _, body = ask(app, "post", "/grid_searches/linked/events", data=frame(0))
    assert status == 404 and "a link out of the board's folder" in json.loads(body)["error"]
    assert {one.name: one.read_bytes() for one in outside.iterdir()} == before


@pytest.mark.parametrize(
    "linked", ["checkpoints", "checkpoints/group_0", "checkpoints/group_0/4", "checkpoints/received/0"]
)
def test_checkpoints_behind_a_link_out_of_the_store_are_not_listed(tmp_path, linked):
    meta = {"experiments": [0], "row_epochs": [4], "kept": [[0, 4]], "wanted": [[0, 4]]}
    theirs, ours = tmp_path / "outside/theirs", tmp_path / "store" / RUN
    for run in (theirs, ours):
        write_run(run.parent, study_events(), run.name)
    files = {"checkpoints/group_0/4/meta/metadata": json.dumps(meta), "checkpoints/received/0/1/model.safetensors": "x"}
    for name, text in files.items():
        (theirs / name).parent.mkdir(parents=True)
        (theirs / name).write_text(text)
    app = create_app(Store(tmp_path / "outside"), Access())
    listed = json.loads(ask(app, "get", "/checkpoint_list/theirs")[2])
    assert [(one["experiment_id"], one["epoch"]) for one in listed] == [(0, 1), (0, 4)]
    (ours / linked).parent.mkdir(parents=True, exist_ok=True)
    (ours / linked).symlink_to(theirs / linked)
    app = create_app(Store(tmp_path / "store"), Access())
    assert json.loads(ask(app, "get", f"/checkpoint_list/{RUN}")[2]) == []
    for epoch in (1, 4):
        assert ask(app, "get", f"/checkpoints/{RUN}/0/{epoch}/model")[0] == 404


def test_links_inside_of_the_store_are_followed(tmp_path):
    write_run(tmp_path / "disk", study_events(), "first")
    (tmp_path / "disk/second").symlink_to("first")
    (tmp_path / "store").symlink_to("disk")
    app = create_app(Store(tmp_path / "store"), Access())
    assert len(json.loads(ask(app, "get", "/grid_searches")[2])) == 2
    assert ask(app, "get", "/grid_searches/second/scores")[0] == 200


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("error: /home/someone/es/run/checkpoints/group_0/4: damaged", "error: 4: damaged"),
        ("[Errno 13] Permission denied: '/data/x y/config.json'", "[Errno 13] Permission denied: 'config.json'"),
        ("see https://host/docs/board and 1/2 of it", "see https://host/docs/board and 1/2 of it"),
        ("no epoch 3 or 4", "no epoch 3 or 4"),
    ],
)
def test_messages_call_files_by_their_names_alone(said, shown):
    assert without_folders(said) == shown


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": 1}', b"\xff", b"null"])
def test_a_wrong_sign_in_is_answered(guarded, body):
    assert ask(guarded, "post", "/session", data=body)[0] == 400


@pytest.mark.parametrize(
    "path", ["/", "/grid_searches", "/nothing", f"/grid_searches/{RUN}/event_storage.log", "/healthz"]
)
def test_every_answer_carries_what_keeps_a_browser_safe(guarded, path):
    headers = ask(guarded, "get", path, headers=bearer(WRITE))[1]
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"


SECRET = "what lies outside of the store"


@pytest.mark.parametrize(
    "escape",
    [
        "..",
        "../outside",
        "%2e%2e",
        "%2e%2e%2foutside",
        "..%2foutside",
        "....//outside",
        "%252e%252e",
        "/etc",
        "..\\outside",
        "outside%00",
        ".",
        "~",
        "\u202e..",
        "..;",
        "a/../../outside",
        "x" * 10_000,
        "%ff%fe",
        "%c0%ae%c0%ae",
        "a%0d%0aX-Bad:1",
    ],
)
def test_no_path_leads_out_of_the_store(tmp_path, escape):
    (tmp_path / "outside").mkdir()
    for name in ("config.json", "event_storage.log", "model_card.json"):
        (tmp_path / "outside" / name).write_text(SECRET)
        (tmp_path / name).write_text(SECRET)
    storage = tmp_path / "store"
    write_run(storage, study_events())
    before = {str(one): one.stat().st_mtime_ns for one in tmp_path.rglob("*") if one.is_file()}
    app = create_app(Store(storage), Access())

    async def ask_all():
        for method, path in ROUTES:
            for field in set(FILL) & {part[1:-1] for part in path.split("/") if part.startswith("{")}:
                place = path.format(**{**FILL, field: escape})
                try:
                    status, _, body = await asked(app, method, place, data=b"{}")
                except ValueError:
                    continue  # the client refuses to send it
                assert SECRET.encode() not in body, place
                assert status in (200, 201, 304, 308, 400, 404, 405, 409), place

    asyncio.run(ask_all())
    # what PUT and POST made lies inside of the store, if anywhere
    new = [str(one) for one in tmp_path.rglob("*") if one.is_file() and str(one) not in before]
    assert all(one.startswith(f"{storage}/") for one in new)
    assert {name: (tmp_path / name).read_text() for name in ("config.json", "event_storage.log")} == {
        "config.json": SECRET,
        "event_storage.log": SECRET,
    }


ODD_BODIES = {
    "deep": b"[" * 200_000,
    "deep in a change": b'{"changes":' + b'[{"a":' * 50_000,
    "deep in an event": b'{"event_id":0,"data":{"payload":' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
    "NaN": b'{"changes":[{"event_type":"note_set","note":NaN}]}',
    "1e999": b'[{"event_id":21,"data":{"event_type":"x","creation_ts":1e999,"payload":{}}}]',
    "9...": b'{"changes":[{"event_type":"archived","experiment_id":' + b"9" * 5_000 + b"}]}",
    "no UTF-8": b'{"changes":[{"event_type":"note_set","note":"\xff\xfe"}]}',
    "half a character": b'{"changes":[{"event_type":"note_set","note":"\\ud800"}],"token":"\\ud800"}',
    "NUL": b'{"changes":[{"event_type":"note_set","note":"\\u0000"}],"token":"\\u0000"}',
    "UTF-16": '{"changes":[{"event_type":"archived"}]}'.encode("utf-16"),
    "packed": gzip.compress(b" " * 20_000_000),
    "a megabyte": json.dumps({"changes": [{"event_type": "note_set", "note": "x" * 1_000_000}]}).encode(),
    "a long tag": json.dumps({"changes": [{"event_type": "tag_added", "tag": "x" * 10_000}]}).encode(),
}


@pytest.mark.parametrize("body", ODD_BODIES.values(), ids=ODD_BODIES)
def test_no_body_is_too_odd_to_be_answered(guarded, storage, body):
    said = (storage / RUN / "event_storage.log").read_bytes()

    async def ask_all():
        for method, path in ROUTES:
            if method not in READING:
                for headers in ({}, bearer(WRITE), {**bearer(WRITE), "Content-Encoding": "gzip"}):
                    place = path.format(**{**FILL, "run_id": RUN})
                    status, _, answer = await asked(guarded, method, place, data=body, headers=headers)
                    if headers or path in FOR_ALL:
                        assert status in (400, 401, 404, 409, 413) or method == "delete", (path, status, answer)
                    else:
                        assert status == 401

    asyncio.run(ask_all())
    assert (storage / RUN / "event_storage.log").read_bytes() == said
    assert not (storage / RUN / "annotations.log").exists()


def test_of_two_fields_of_one_name_the_last_holds_for_whoever_reads_it(tmp_path):
    write_run(tmp_path, study_events())
    app = create_app(Store(tmp_path), Access())
    body = b'{"changes": [{"event_type": "deleted"}], "changes": [{"event_type": "archived"}]}'
    status, _, answer = ask(app, "post", f"/grid_searches/{RUN}/annotations", data=body)
    assert status == 200 and json.loads(answer)["archived"] and not json.loads(answer)["deleted"]  # as JSON.parse


# --- sockets and the process -----------------------------------------------------------------------------------------


def refused(connect, *place, **options):
    with pytest.raises(websockets.InvalidStatus) as found, connect(*place, **options):
        pass
    return found.value.response.status_code


def test_sockets_ask_for_tokens_and_origins_too(tmp_path):
    write_run(tmp_path, [numbered(0)])
    with board(tmp_path, f"--token={WRITE}", f"--read_token={READ}") as server:
        for path in (f"/ws/subscribe?grid_search_id={RUN}", "/ws/publish?grid_search_id=remote", "/ws/grid_searches"):
            assert refused(server.socket, path) == 401
            assert refused(server.socket, path, additional_headers=bearer("wrong")) == 401
            assert refused(server.socket, path, additional_headers=bearer(WRITE), origin="https://evil.example") == 403
        assert refused(server.publisher, "remote", additional_headers=bearer(READ)) == 403
        with server.subscriber(additional_headers=bearer(READ)) as subscriber:
            listen(subscriber, 0)
        with server.publisher("remote", additional_headers=bearer(WRITE)) as publisher:
            assert say(publisher, frame(0)) == {"ack": 0}
        status, headers, _ = server.request("POST", "/session", json.dumps({"token": READ}).encode())
        assert status == 201
        cookie = {"Cookie": headers["Set-Cookie"].split(";")[0]}
        own = f"http://127.0.0.1:{server.port}"
        with server.subscriber(additional_headers=cookie, origin=own) as subscriber:
            listen(subscriber, 0)
        server.get("/grid_searches?token=not-here", **bearer(WRITE))
    assert not [line for line in server.said if WRITE in line or READ in line]


def test_an_open_boards_sockets_refuse_other_sites(tmp_path):
    write_run(tmp_path, [numbered(0)])
    with board(tmp_path) as server:
        for path in (f"/ws/subscribe?grid_search_id={RUN}", "/ws/publish?grid_search_id=x", "/ws/grid_searches"):
            assert refused(server.socket, path, origin="https://evil.example") == 403
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
                fields = f"Host: evil.example\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'a' * 22}==\r\n"
                upgrade = f"Connection: Upgrade\r\nUpgrade: websocket\r\n{fields}\r\n"
                client.sendall(f"GET {path} HTTP/1.1\r\n{upgrade}".encode())
                assert client.recv(12) == b"HTTP/1.1 403"
        with server.subscriber(origin=f"http://127.0.0.1:{server.port}") as subscriber:
            listen(subscriber, 0)
    allowed = "--cors_allowed_origins=https://lab.example,https://other.example"
    with board(tmp_path, allowed) as server, server.subscriber(origin="https://lab.example") as subscriber:
        listen(subscriber, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host=0.0.0.0"], "the board needs a token"),
        (["--host=127.evil.example"], "the board needs a token"),
        (["--port=70000"], "a number from 0 to 65535"),
        (["--port=web"], "invalid int value"),
        (["--tokn=x"], "unknown option --tokn; did you mean '--token'"),
        (["--token=two words"], "printable ASCII"),
        (["--token="], "printable ASCII"),
        (["--token=x"], "found 1 characters"),
        (["--host=0.0.0.0", f"--token={WRITE}", "--read_token=2short!"], "--read_token: found 7 characters"),
        ([f"--token={WRITE}", f"--read_token={WRITE}"], "the same as --token"),
        (["--cors_allowed_origins=lab.example"], "write it like https://example.org"),
        (["--event_storage=README.md"], "it is no folder"),
        (["--event_storage="], "it is no folder"),
        (["--host=no.such.host.invalid", f"--token={WRITE}"], "--host=no.such.host.invalid"),
    ],
)
def test_wrong_options_are_answered_in_one_line_with_status_2(options, words):
    done = forks.run("board", *options, module="board_server", cwd=ROOT, timeout=30)
    assert done.returncode == 2 and words in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_taken_port_is_said_with_the_next_one(tmp_path):
    with board(tmp_path) as server:
        words = [sys.executable, "-m", "board_server", f"--port={server.port}", f"--event_storage={tmp_path}"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert done.returncode == 2 and f"--port={server.port + 1}" in done.stderr


def test_the_server_never_imports_jax():
    heavy = "{'jax', 'flax', 'orbax', 'sklearn', 'ml_collections'}"
    code = f"import board_server.__main__, sys; print(*{heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == ""
