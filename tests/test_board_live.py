"""Events over real WebSockets against a real server process: live, replayed, after crashes, in order, once."""

import contextlib
import json
import resource
import threading
import time

import pytest
import websockets
from boards import RUN, board, frame, listen, numbered, say, study_events, write_run

from mlgym_jax import events as ev


def published_log(storage, run_id=RUN):
    return (storage / run_id / "event_storage.log").read_bytes()


def lines(*numbers):
    return b"".join(json.dumps(numbered(number)).encode() + b"\n" for number in numbers)


def test_frames_are_acknowledged_and_stored_as_they_were_sent(tmp_path):
    with board(tmp_path) as server, server.publisher() as publisher:
        assert say(publisher, "[]") == {"ack": -1, "bytes": 0, "crc32": 0}
        assert say(publisher, {"event_id": 0, "data": numbered(0)}) == {"ack": 0}
        assert say(publisher, frame(1, 2)) == {"ack": 2}
        assert say(publisher, frame(0, 1, 2, 3)) == {"ack": 3}  # what is there already is passed over
        assert say(publisher, frame(1)) == {"ack": 3}
        gap = say(publisher, frame(6))
        assert (gap["ack"], gap["expected"]) == (3, 4) and "send from event 4 on" in gap["error"]
        assert say(publisher, frame(4, 5, 9))["expected"] == 6  # what comes before a gap is kept
        assert say(publisher, b'[{"event_id": 6, "data": %s}]' % lines(6).strip()) == {"ack": 6}  # binary frames, too
        import zlib

        whole = lines(*range(7))
        assert say(publisher, "[]") == {"ack": 6, "bytes": len(whole), "crc32": zlib.crc32(whole)}
        assert published_log(tmp_path) == whole


def test_a_subscriber_gets_what_was_and_what_comes(tmp_path):
    with board(tmp_path) as server, server.publisher() as publisher:
        say(publisher, frame(0, 1, 2))
        with server.subscriber(after=0) as subscriber:
            first = json.loads(subscriber.recv(timeout=10))
            assert first["event_id"] == "batched_events" and first["last_event_id"] == 2
            assert first["data"] == [{"event_id": 1, "data": numbered(1)}, {"event_id": 2, "data": numbered(2)}]
            say(publisher, frame(3))
            assert json.loads(subscriber.recv(timeout=10)) == {"event_id": 3, "data": numbered(3)}
            say(publisher, frame(*range(4, 300)))
            assert [number for number, _ in listen(subscriber, 299)] == list(range(4, 300))


def test_the_first_frame_comes_also_where_there_is_nothing_to_replay(tmp_path):
    with board(tmp_path) as server, server.publisher() as publisher:
        say(publisher, frame(0))
        with server.subscriber(after=0) as subscriber:
            assert json.loads(subscriber.recv(timeout=10)) == {
                "event_id": "batched_events",
                "data": [],
                "last_event_id": 0,
            }


def test_a_run_written_in_the_same_folder_is_followed_without_any_address(tmp_path):
    path = write_run(tmp_path, [numbered(0)])
    with board(tmp_path) as server, server.subscriber() as subscriber, ev.EventLog.open(path) as log:
        assert listen(subscriber, 0) == [(0, numbered(0))]
        for number in range(1, 20):
            started = time.monotonic()
            log.append([numbered(number)])
            assert listen(subscriber, number) == [(number, numbered(number))]
            assert time.monotonic() - started < 5


def test_subscribers_of_every_age_see_each_event_once_while_it_is_written(tmp_path):
    path, total = write_run(tmp_path, [numbered(0, 200)]), 5_000
    seen = {}

    def subscribe(server, after):
        with server.subscriber(after=after) as subscriber:
            seen[after] = listen(subscriber, total - 1)

    with board(tmp_path) as server, ev.EventLog.open(path) as log:
        threads = []
        for number in range(1, total):
            log.append([numbered(number, 200)])
            if number % 500 == 1:
                threads.append(threading.Thread(target=subscribe, args=(server, number - 2)))
                threads[-1].start()
        for thread in threads:
            thread.join(timeout=60)
    assert len(seen) == 10
    for after, found in seen.items():
        assert [number for number, _ in found] == list(range(after + 1, total))
        assert all(event == numbered(number, 200) for number, event in found)


def test_a_board_killed_again_and_again_ends_with_the_same_bytes(tmp_path):
    total, position, kills = 20_000, 0, 0
    seen: list[tuple[int, dict]] = []
    while position < total:
        with board(tmp_path) as server:
            after = seen[-1][0] if seen else -1
            try:
                with server.publisher() as publisher:
                    position = say(publisher, "[]")["ack"] + 1
                    if after >= 0:
                        assert position > after  # nothing that a subscriber saw was lost
                    if kills < 6:
                        threading.Timer(0.1, server.process.kill).start()
                        kills += 1
                    while position < total:
                        position = say(publisher, frame(*range(position, min(position + 7, total))))["ack"] + 1
                        if kills < 6 or position < total / 2:
                            time.sleep(0.001)
            except websockets.ConnectionClosed:
                server.kill()
                continue
            with server.subscriber(after=after) as subscriber:
                seen += listen(subscriber, total - 1)
    assert kills == 6
    assert published_log(tmp_path) == lines(*range(total))
    assert [number for number, _ in seen] == list(range(total))


def test_a_subscriber_that_was_away_comes_back_without_gap_or_double(tmp_path):
    seen = []
    with board(tmp_path) as server, server.publisher() as publisher:
        for begin in range(0, 500, 100):
            say(publisher, frame(*range(begin, begin + 50)))
            with server.subscriber(after=seen[-1][0] if seen else -1) as subscriber:
                seen += listen(subscriber, begin + 49)
            say(publisher, frame(*range(begin + 50, begin + 100)))
        with server.subscriber(after=seen[-1][0]) as subscriber:
            seen += listen(subscriber, 499)
    assert [number for number, _ in seen] == list(range(500))


def test_a_slow_subscriber_holds_nobody_up(tmp_path):
    import socket

    with board(tmp_path) as server, server.publisher() as publisher:
        slow = socket.create_connection(("127.0.0.1", server.port))
        slow.sendall(
            f"GET /ws/subscribe?grid_search_id={RUN} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: "
            "Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        say(publisher, frame(0))
        before = server.memory_bytes()
        payload = [{"event_id": number, "data": numbered(number, 8_000)} for number in range(1, 5_001)]
        for begin in range(0, 5_000, 50):  # 40 MB that nobody reads at the other end
            say(publisher, payload[begin : begin + 50])
        with server.subscriber(after=4_990) as subscriber:
            assert len(listen(subscriber, 5_000)) == 10
        assert server.memory_bytes() - before < 30_000_000
        slow.close()


def test_clients_that_vanish_leave_nothing_behind(tmp_path):
    with board(tmp_path) as server:
        with server.publisher() as publisher:
            say(publisher, frame(0))
        for _ in range(3):
            with server.subscriber() as subscriber:
                listen(subscriber, 0)
        before = server.open_files()
        for _ in range(50):
            subscriber = server.subscriber()
            subscriber.socket.close()  # without a word
        assert_all_left(server, before)


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ("{", 1008, "no frame of events"),
        ("7", 1008, "no frame of events"),
        ('{"event_id": "0", "data": {}}', 1008, "no frame of events"),
        ('{"event_id": -1, "data": {}}', 1008, "no frame of events"),
        ('{"event_id": true, "data": {}}', 1008, "no frame of events"),
        ('{"event_id": 1.5, "data": {}}', 1008, "no frame of events"),
        ('{"data": {}}', 1008, "no frame of events"),
        ('{"event_id": 1, "data": []}', 1008, "no event"),
        ('{"event_id": 1, "data": {"event_type": "x"}}', 1008, "creation_ts must be an integer"),
        (
            '{"event_id": 1, "data": {"event_type": 1, "creation_ts": 1, "payload": {}}}',
            1008,
            "event_type must be a string",
        ),
        ('{"event_id": 1, "data": {"event_type": "x", "creation_ts": true, "payload": {}}}', 1008, "creation_ts"),
        ('{"event_id": 1, "data": {"event_type": "x", "creation_ts": NaN, "payload": {}}}', 1008, "no frame of events"),
        ("[" * 100_000, 1008, "no frame of events"),
        ('{"event_id": 1, "data": ' + '{"a":' * 50_000 + "1" + "}" * 50_001, 1008, ""),
        (b"\xff\xfe", 1008, "no frame of events"),
    ],
)
def test_malformed_frames_are_answered_and_end_the_connection_alone(tmp_path, message, code, words):
    with board(tmp_path) as server, server.publisher() as healthy:
        say(healthy, frame(0))
        with server.publisher() as publisher:
            answer = say(publisher, message)
            assert answer["ack"] == 0 and words in answer["error"]
            with pytest.raises(websockets.ConnectionClosed) as closed:
                publisher.recv(timeout=10)
            assert closed.value.rcvd.code == code
        assert say(healthy, frame(1)) == {"ack": 1}
    assert published_log(tmp_path) == lines(0, 1)


def test_what_comes_before_a_malformed_event_of_a_frame_is_kept(tmp_path):
    with board(tmp_path) as server, server.publisher() as publisher:
        good = {"event_id": 0, "data": numbered(0)}
        answer = say(publisher, [good, {"event_id": 1, "data": {"event_type": "x"}}])
        assert answer["ack"] == 0
    assert published_log(tmp_path) == lines(0)


def test_a_frame_over_one_mebibyte_is_refused_with_1009(tmp_path):
    with board(tmp_path) as server, server.publisher() as publisher:
        publisher.send(json.dumps({"event_id": 0, "data": numbered(0, 1 << 20)}))
        with pytest.raises(websockets.ConnectionClosed) as closed:
            publisher.recv(timeout=10)
        assert closed.value.rcvd.code == 1009
        assert server.json("/healthz") == {"status": "ok"}


def test_an_event_on_several_lines_becomes_one_line(tmp_path):
    with board(tmp_path) as server, server.publisher() as publisher:
        spread = json.dumps(numbered(0), indent=2)
        assert say(publisher, f'{{"event_id": 0, "data": {spread}}}') == {"ack": 0}
        assert server.json(f"/grid_searches/{RUN}/events")["data"] == [{"event_id": 0, "data": numbered(0)}]
    assert published_log(tmp_path).count(b"\n") == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ws/subscribe", 400),
        ("/ws/subscribe?grid_search_id=nobody", 404),
        ("/ws/subscribe?grid_search_id=..", 400),
        ("/ws/subscribe?grid_search_id=%2e%2e%2fx", 400),
        (f"/ws/subscribe?grid_search_id={RUN}&after=x", 400),
        ("/ws/publish", 400),
        ("/ws/publish?grid_search_id=a/b", 400),
        ("/ws/nothing", 404),
    ],
)
def test_wrong_sockets_are_refused_at_the_handshake(tmp_path, path, status):
    with board(tmp_path) as server, pytest.raises(websockets.InvalidStatus) as refused:
        server.socket(path)
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body)["error"]


def test_a_cursor_from_another_log_is_told_so(tmp_path):
    write_run(tmp_path, [numbered(0)])
    with board(tmp_path) as server, server.subscriber(after=7) as subscriber:
        assert json.loads(subscriber.recv(timeout=10)) == {"event_id": "batched_events", "data": [], "last_event_id": 0}
        with pytest.raises(websockets.ConnectionClosed) as closed:
            subscriber.recv(timeout=10)
        assert closed.value.rcvd.code == 4000


def test_a_log_replaced_under_a_subscriber_ends_the_subscription(tmp_path):
    path = write_run(tmp_path, [numbered(number) for number in range(5)])
    with board(tmp_path) as server, server.subscriber() as subscriber:
        listen(subscriber, 4)
        path.unlink()
        write_run(tmp_path, [numbered(100)])
        with pytest.raises(websockets.ConnectionClosed) as closed:
            subscriber.recv(timeout=10)
        assert closed.value.rcvd.code == 4000
        with server.subscriber() as again:
            assert listen(again, 0) == [(0, numbered(100))]


def test_damaged_lines_are_passed_over(tmp_path):
    path = write_run(tmp_path, [numbered(0)])
    with open(path, "ab") as file:
        file.write(b"\x00\xff damaged\n" + lines(2) + b'{"torn": ')
    with board(tmp_path) as server, server.subscriber() as subscriber:
        assert listen(subscriber, 2) == [(0, numbered(0)), (2, numbered(2))]


def test_the_list_of_runs_is_live(tmp_path):
    with board(tmp_path) as server, server.socket("/ws/grid_searches") as listing:
        assert json.loads(listing.recv(timeout=10)) == {"grid_searches": []}
        write_run(tmp_path, study_events(finished=False))
        found = json.loads(listing.recv(timeout=10))["grid_searches"]
        assert [(run["grid_search_id"], run["status"]) for run in found] == [(RUN, "RUNNING")]
        write_run(tmp_path, study_events()[-1:])
        assert json.loads(listing.recv(timeout=10))["grid_searches"][0]["status"] == "DONE"


def test_who_only_listens_may_not_talk_for_ever(tmp_path):
    write_run(tmp_path, [numbered(0)])
    with board(tmp_path) as server, server.subscriber() as subscriber:
        listen(subscriber, 0)
        with pytest.raises(websockets.ConnectionClosed):
            for _ in range(5_000):
                subscriber.send("hello")
            subscriber.recv(timeout=10)
        assert_all_left(server)


def assert_all_left(server, files=None):
    """Wait until the server holds no WebSocket any more, and no more files than `files`."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if "mlgym_board_websockets 0.0" in server.get("/metrics")[2].decode() and server.open_files() <= (
            files or 10**6
        ):
            return
        time.sleep(0.05)
    raise AssertionError(server.get("/metrics")[2].decode(), server.open_files(), files)


def test_a_publisher_that_sends_on_after_its_error_leaves_nothing_behind(tmp_path):
    with board(tmp_path) as server:
        assert server.json("/healthz") == {"status": "ok"}
        before = server.open_files() + 1
        for _ in range(20):
            with contextlib.suppress(websockets.ConnectionClosed), server.publisher() as publisher:
                publisher.send("nonsense")
                for _ in range(100):
                    publisher.send("x" * 10_000)
        assert_all_left(server, before)


def test_a_run_written_here_is_not_published_to(tmp_path):
    path = write_run(tmp_path, [numbered(0)])
    with ev.EventLog.open(path) as log, board(tmp_path) as server, server.publisher() as publisher:
        log.append([numbered(1)])
        assert say(publisher, frame(0, 1)) == {"ack": 1}  # it is in the file already
        answer = say(publisher, frame(2))
        assert answer["ack"] == 1 and "nothing to publish" in answer["error"]
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("how", ["stop", "interrupt"])
def test_an_orderly_end_says_goodbye_and_keeps_everything(tmp_path, how):
    import signal

    write_run(tmp_path, [numbered(0)], "watched")
    with board(tmp_path) as server, server.publisher() as publisher, server.subscriber("watched") as subscriber:
        say(publisher, frame(*range(100)))
        listen(subscriber, 0)
        started = time.monotonic()
        server.process.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGTERM)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            subscriber.recv(timeout=10)
        assert closed.value.rcvd.code == 1001
        with pytest.raises(websockets.ConnectionClosed) as closed:
            publisher.recv(timeout=10)
        assert closed.value.rcvd.code == 1012
        assert server.process.wait(timeout=10) == 0 and time.monotonic() - started < 8
    assert published_log(tmp_path) == lines(*range(100))
    assert not [line for line in server.said if "Traceback" in line or "ERROR" in line]


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path):
    with board(tmp_path) as server, server.publisher("other") as other:
        say(other, frame(0))
        with server.publisher() as publisher:
            assert say(publisher, frame(0, 1)) == {"ack": 1}
            pid, size = server.process.pid, len(lines(0, 1, 2)) + 10
            free = resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            assert say(publisher, frame(2)) == {"ack": 2}
            answer = say(publisher, frame(3, 4))
            assert answer["ack"] == 2 and "disk refuses" in answer["error"]
            with pytest.raises(websockets.ConnectionClosed) as closed:
                publisher.recv(timeout=10)
            assert closed.value.rcvd.code == 1013
        assert published_log(tmp_path) == lines(0, 1, 2)
        assert say(other, frame(1)) == {"ack": 1}  # whose log is small yet
        assert server.request("PUT", f"/grid_searches/{RUN}/config.json", b"x" * 1_000)[0] == 503
        assert server.json(f"/grid_searches/{RUN}/events")["last_event_id"] == 2
        resource.prlimit(pid, resource.RLIMIT_FSIZE, free)
        with server.publisher() as publisher:
            assert say(publisher, "[]")["ack"] == 2
            assert say(publisher, frame(3, 4)) == {"ack": 4}
    assert published_log(tmp_path) == lines(*range(5))
    assert sorted(path.name for path in (tmp_path / RUN).iterdir()) == [".published", "event_storage.log"]


def test_a_store_that_may_only_be_read_is_still_shown(tmp_path):
    """Root may write anywhere, so the folder is a file of the wrong kind for what would be made in it."""
    write_run(tmp_path, study_events())
    (tmp_path / "remote").write_text("no folder")
    with board(tmp_path) as server:
        with server.publisher("remote") as publisher:
            answer = say(publisher, frame(0))
            assert answer["ack"] == -1 and "no published run" in answer["error"]
        assert server.request("PUT", "/grid_searches/remote/config.json", b"{}")[0] == 409
        assert [run["grid_search_id"] for run in server.json("/grid_searches")] == [RUN]
        assert server.json(f"/grid_searches/{RUN}")["status"] == "DONE"
