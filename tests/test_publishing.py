"""A board's copy of a log is the same, byte by byte, whatever happens on the way; and no training waits for it."""

import hashlib
import io
import json
import pathlib
import random
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
import zlib

import numpy as np
import pytest
from boards import BoardProcess
from faulty_boards import FaultyBoard, PrefixProxy, free_port
from PIL import Image
from study_files import events, finish, here, small, start, wait_until

import mlgym_jax as mg
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import EventLog, decode, encode, evaluation_result, run_finished
from mlgym_jax.publishing import Address, Boards, Publication, following
from mlgym_jax.publishing.board import BoardPublisher
from mlgym_jax.publishing.checkpoints import CheckpointUploads
from mlgym_jax.publishing.outgoing import OutgoingLog, Position
from mlgym_jax.publishing.pace import Pace
from mlgym_jax.publishing.requests import Requests

RUN = "run-1"


@pytest.fixture(autouse=True)
def no_proxy_and_no_token(monkeypatch):
    """A proxy that is set for other addresses, and that nobody answers at, is not asked for this machine's."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("MLGYM_JAX_BOARD_TOKEN", raising=False)


@pytest.fixture(autouse=True)
def settled_soon(monkeypatch):
    """Runs of these tests were written a moment ago; what is written behind their last event is there by then."""
    monkeypatch.setattr(following, "_SETTLED_SECONDS", 0.2)


@pytest.fixture
def board(tmp_path):
    """Return a function that starts a real board; all are ended with the test."""
    started = []

    def begin(*arguments, storage=None, **settings):
        started.append(BoardProcess(storage or tmp_path / f"board-{len(started)}", *arguments, **settings))
        return started[-1]

    yield begin
    for process in started:
        process.kill()


@pytest.fixture
def faulty():
    started = []

    def begin(fault):
        started.append(FaultyBoard(fault))
        return started[-1]

    yield begin
    for one in started:
        one.close()


def event(number, text=""):
    scores = {"train/loss": 1 / (number + 1), "val/accuracy": float("nan") if number % 7 == 0 else 0.5}
    made = evaluation_result(RUN, experiment_id=0, epoch=number, scores=scores, seconds=0.1, now_ms=1_790_000_000_000)
    made["payload"]["text"] = text
    return made


def finished():
    return run_finished(RUN, status="DONE", num_failed=0, seconds=1.0, now_ms=1_790_000_000_000)


def written(tmp_path, num_events, run_id=RUN):
    """Write a run's log of so many events; return its folder."""
    folder = tmp_path / "event_storage" / run_id
    folder.mkdir(parents=True)
    with EventLog.open(folder / "event_storage.log") as log:
        log.append([event(number, f"é{number}") for number in range(num_events)])
    return folder


def log_of(run_dir):
    return (pathlib.Path(run_dir) / "event_storage.log").read_bytes()


def fetch(url, token=None):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as response:
        return response.read()


def until(condition, seconds=30):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.01)


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url", "socket"),
    [
        ("http://localhost:8080", "http://localhost:8080/", "ws://localhost:8080/ws/publish?grid_search_id=run-1"),
        ("https://host/board/", "https://host/board/", "wss://host/board/ws/publish?grid_search_id=run-1"),
        ("https://host/a/b", "https://host/a/b/", "wss://host/a/b/ws/publish?grid_search_id=run-1"),
        ("http://[::1]:80", "http://[::1]:80/", "ws://[::1]:80/ws/publish?grid_search_id=run-1"),
    ],
)
def test_addresses(text, url, socket):
    address = Address.parse(text, "secret")
    assert (address.url, address.publish_socket(RUN)) == (url, socket)
    assert address.page(RUN) == f"{url}#/runs/{RUN}"
    assert address.headers == {"Authorization": "Bearer secret"} and "secret" not in repr(address)
    assert address.path("grid_searches", RUN, "config.py").endswith("/grid_searches/run-1/config.py")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("localhost:8080", ["scheme is missing", "http://localhost:8080"]),
        ("", ["a URL is expected"]),
        ("http://a b", ["a URL is expected"]),
        ("ws://host:8080/ws/publish", ["write http://host:8080"]),
        ("wss://host", ["write https://host"]),
        ("ftp://host", ["http or https is expected, not ftp"]),
        ("http://:8080", ["no host"]),
        ("http://host:x", ["no URL", "http://HOST:PORT"]),
        ("http://host:99999", ["no URL"]),
        ("http://host/#/runs/1", ["leave out", "write http://host/"]),
        ("http://me:hush@host:1/b", ["--board=http://host:1/b", "MLGYM_JAX_BOARD_TOKEN"]),
        ("http://host/b?token=hush", ["--board=http://host/b", "MLGYM_JAX_BOARD_TOKEN", "--board_token_file"]),
    ],
)
def test_wrong_addresses_say_what_to_type_before_anything_is_trained(tmp_path, text, words):
    for status, out, err in (
        here("run", f"--config={small(tmp_path)}", f"--event_storage={tmp_path / 'es'}", f"--board={text}"),
        here("publish", tmp_path, f"--board={text}"),
    ):
        assert (status, out) == (2, "") and err.count("\n") == 1
        assert all(word in err for word in words) and "hush" not in err, err
    assert not (tmp_path / "es").exists()


def test_several_boards_and_their_token(tmp_path, monkeypatch):
    monkeypatch.setenv("MLGYM_JAX_BOARD_TOKEN", "from-environment")
    boards = Boards.at(["http://a,http://b", "http://a/"])
    assert [address.url for address in boards.addresses] == ["http://a/", "http://b/"]
    assert {address.token for address in boards.addresses} == {"from-environment"}
    (tmp_path / "token").write_text("from-file\n")
    assert Boards.at("http://a", token_file=str(tmp_path / "token")).addresses[0].token == "from-file"
    assert Boards.at(None).addresses == ()
    for wrong in ("two words", "é", ""):
        (tmp_path / "token").write_text(wrong)
        with pytest.raises(MlgymError, match="--board_token_file"):
            Boards.at("http://a", token_file=str(tmp_path / "token"))
    with pytest.raises(MlgymError, match="cannot be read"):
        Boards.at("http://a", token_file=str(tmp_path / "none"))
    with pytest.raises(MlgymError, match="no --board=URL"):
        Boards.at(None, token_file=str(tmp_path / "token"))
    monkeypatch.setenv("MLGYM_JAX_BOARD_WAIT_SECONDS", "soon")
    with pytest.raises(MlgymError, match="MLGYM_JAX_BOARD_WAIT_SECONDS=soon"):
        Boards.at("http://a")


def test_other_options_may_still_be_given_once(tmp_path):
    status, _, err = here("publish", tmp_path, "--board=http://a", "--wait=1", "--wait=2")
    assert status == 2 and "--wait is given twice" in err


# -- what goes out ---------------------------------------------------------------------------------------------------


def all_of(path, **limits):
    lines, position = [], Position()
    with OutgoingLog(str(path), RUN) as log:
        while True:
            found, position = log.read(position, **limits)
            if not found:
                return lines, position
            lines += found


def test_lines_go_out_as_they_are(tmp_path):
    folder = written(tmp_path, 1000)
    lines, end = all_of(folder / "event_storage.log", max_bytes=5000)
    data = log_of(folder)
    assert b"".join(line + b"\n" for line in lines) == data
    assert end == Position(1000, len(data), len(data), zlib.crc32(data), zlib.crc32(data))
    with OutgoingLog(str(folder / "event_storage.log"), RUN) as log:
        for event_id in (0, 1, 500, 1000):
            part = b"".join(line + b"\n" for line in lines[:event_id])
            assert log.at(event_id) == (event_id, len(part), len(part), zlib.crc32(part), zlib.crc32(part))
        assert log.at(1001) is None
        assert log.read(Position(), until=3, max_events=10)[0] == lines[:3]


def test_damaged_lines_keep_their_number_and_a_torn_end_waits(tmp_path):
    """Ids stay line numbers; what is at the end would be cut off by the next writer, so it is not sent."""
    path = tmp_path / "event_storage.log"
    good = [encode(event(number)) for number in range(4)]
    damaged, foreign = b'{"event_type": \x00\xff', b'{"no": "event"}'
    path.write_bytes(
        b"\n".join([good[0], damaged, b" " + good[1] + b"\r", foreign, good[2], damaged, b""]) + good[3][:9]
    )
    lines, end = all_of(path)
    assert lines[0::2] == [good[0], good[1], good[2]] and end.event_id == 5
    for line, raw, reason in ((lines[1], damaged, "damaged"), (lines[3], foreign, "no event")):
        found = decode(line)
        assert found["event_type"] == "line_left_out" and found["payload"]["reason"] == reason
        assert found["payload"]["crc32"] == zlib.crc32(raw + b"\n")
    assert all_of(path)[0] == lines, "it is a pure function of the log"
    assert EventLog.open(path).close() is None and path.read_bytes().count(b"\n") == end.event_id


# -- a real board ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run with checkpoints, published nowhere."""
    folder = tmp_path_factory.mktemp("trained")
    study = small(folder, 'config.checkpointing = component("every_k", k=2); config.seed = grid(0, 1)')
    return pathlib.Path(mg.run(mg.load_config(str(study)), folder / "es", run_id="trained").run_dir)


def assert_published(run_dir, board, token=None):
    """See that a board has all of a run: the log to the byte, files, checkpoints."""
    run_id = run_dir.name
    assert board.log(run_id) == log_of(run_dir)
    assert fetch(f"{board.url}/grid_searches/{run_id}/event_storage.log", token) == log_of(run_dir)
    for name in ("config.py", "config.json", "run.json"):
        assert (board.storage / run_id / name).read_bytes() == (run_dir / name).read_bytes(), name
    result = mg.load_run(run_dir)
    listed = json.loads(fetch(f"{board.url}/checkpoint_list/{run_id}", token))
    assert [(entry["experiment_id"], entry["epoch"]) for entry in listed] == [
        (item.experiment_id, epoch) for item in result.experiments for epoch in item.checkpoints
    ]
    for item in result.experiments:
        for name in ("experiment_config.json", "model_card.json", "model_card.md"):
            path = pathlib.Path(str(item.experiment_id), name)
            assert (board.storage / run_id / path).read_bytes() == (run_dir / path).read_bytes(), path


def test_a_finished_run_is_sent_later_and_only_once(trained, board, tmp_path):
    there = board()
    status, out, err = here("publish", trained, f"--board={there.url}")
    assert status == 0, err
    assert f"{there.url}/#/runs/trained" in out and "nothing is left to send" in out
    assert_published(trained, there)
    for entry in json.loads(fetch(f"{there.url}/checkpoint_list/trained")):
        for resource in entry["checkpoints"]:
            where = f"{entry['experiment_id']}/{entry['epoch']}/{resource}"
            arguments = [f"--experiment={entry['experiment_id']}", f"--epoch={entry['epoch']}"]
            output = tmp_path / "exported"
            assert here("export", trained, *arguments, f"--resource={resource}", f"--output={output}")[0] == 0
            assert fetch(f"{there.url}/checkpoints/trained/{where}") == output.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in there.storage.rglob("*.safetensors")}
    assert here("publish", trained, f"--board={there.url}")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in there.storage.rglob("*.safetensors")} == before
    assert_published(trained, there)


def test_images_are_sent_and_are_what_their_names_say(trained, board, tmp_path):
    there, run_dir = board(), tmp_path / "es" / "trained"
    shutil.copytree(trained, run_dir)
    pixels = io.BytesIO()
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(pixels, "PNG")
    name = f"{hashlib.sha256(pixels.getvalue()).hexdigest()}.png"
    media = run_dir / "1" / "media"
    media.mkdir()
    (media / name).write_bytes(pixels.getvalue())
    (media / f"{name}.0123.tmp").write_bytes(b"half")
    status, _, err = here("publish", run_dir, f"--board={there.url}")
    assert status == 0, err
    assert [path.name for path in (there.storage / "trained/1/media").iterdir()] == [name]
    address = f"{there.url}/grid_searches/trained/1/media"
    assert fetch(f"{address}/{name}") == pixels.getvalue()

    def put(name, data):
        request = urllib.request.Request(f"{address}/{name}", data, method="PUT")
        with pytest.raises(urllib.error.HTTPError) as found:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
        with found.value as answer:
            return answer.code, answer.read().decode()

    other = pixels.getvalue() + b"more"
    code, said = put(name, other)
    assert code == 400 and hashlib.sha256(other).hexdigest() in said
    code, said = put(f"{hashlib.sha256(b'<svg/>').hexdigest()}.png", b"<svg/>")
    assert code == 400 and "a PNG file is expected" in said
    assert put("x.png", other)[0] == 404
    assert fetch(f"{address}/{name}") == pixels.getvalue()


def test_a_run_publishes_to_several_boards_while_it_goes_on(board, tmp_path):
    one, other = board(), board()
    study = small(tmp_path, 'config.checkpointing = component("last")')
    process = start(
        "run",
        f"--config={study}",
        f"--event_storage={tmp_path / 'es'}",
        "--run_id=live",
        f"--board={one.url},{other.url}",
        f"--board={one.url}/",
    )
    status, _, err = finish(process)
    assert status == 0 and "not sent" not in err, err
    for there in (one, other):
        assert err.count(f"board: {there.url}/#/runs/live") == 1
        assert_published(tmp_path / "es/live", there)
    # and a resumed one goes on where it was
    again = start(
        "run", "--resume=live", f"--event_storage={tmp_path / 'es'}", "--config.num_epochs=5", f"--board={one.url}"
    )
    status, _, err = finish(again)
    assert status == 0 and "not sent" not in err, err
    assert_published(tmp_path / "es/live", one)
    assert len(events(tmp_path / "es/live", "evaluation_result")) == 5


def test_from_python_and_behind_tokens(board, tmp_path, monkeypatch, capfd):
    there = board("--token=the-right-one", "--read_token=only-reads")
    config = mg.load_config(str(small(tmp_path)))
    for number, (token, status) in enumerate((("", 401), ("wrong", 401), ("only-reads", 403))):
        monkeypatch.setenv("MLGYM_JAX_BOARD_TOKEN", token)
        result = mg.run(config, tmp_path / "es", board=there.url, run_id=f"denied-{number}")
        said = capfd.readouterr().err
        assert result.status == "DONE" and said.count(f"answers {status}") == 2, said  # once, and at the end
        assert "MLGYM_JAX_BOARD_TOKEN" in said and "not sent" in said and "mlgym_jax.publish" in said
        assert not (there.storage / f"denied-{number}").exists()
    monkeypatch.delenv("MLGYM_JAX_BOARD_TOKEN")
    (tmp_path / "token").write_text("the-right-one\n")
    command = [tmp_path / "es/denied-0", f"--board={there.url}", f"--board_token_file={tmp_path / 'token'}"]
    status, out, err = here("publish", *command)
    assert status == 0 and "the-right-one" not in out + err, err
    assert_published(tmp_path / "es/denied-0", there, "only-reads")


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_behind_a_proxy_under_a_prefix(board, trained, tmp_path, monkeypatch, secure):
    certificate = None
    if secure:
        if shutil.which("openssl") is None:
            pytest.skip("openssl makes the certificate")
        certificate = tmp_path / "certificate.pem"
        made = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        files = ["-keyout", tmp_path / "key.pem", "-out", certificate]
        subprocess.run(["openssl", *made.split(), *files], check=True, capture_output=True)
        certificate.write_bytes(certificate.read_bytes() + (tmp_path / "key.pem").read_bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    there = board("--token=the-right-one")
    monkeypatch.setenv("MLGYM_JAX_BOARD_TOKEN", "the-right-one")
    proxy = PrefixProxy(there.port, certificate)
    try:
        status, out, err = here("publish", trained, f"--board={proxy.url}")
        assert status == 0 and f"{proxy.url}#/runs/trained" in out, err
        assert_published(trained, there, "the-right-one")
        if secure:  # and a certificate that nobody vouches for is refused
            monkeypatch.delenv("SSL_CERT_FILE")
            status, _, err = here("publish", trained, f"--board={proxy.url}", "--wait=0.5")
            assert status == 1 and "certificate verify failed" in err.lower(), err
    finally:
        proxy.close()


def test_a_board_killed_and_started_again_and_again_ends_with_the_same_bytes(board, tmp_path):
    there = board()
    folder = written(tmp_path, 100)
    boards, rng = Boards.at(there.url), random.Random(0)
    done = threading.Event()

    def disturb():
        for _ in range(4):
            time.sleep(rng.uniform(0.1, 0.6))
            there.kill()
            time.sleep(rng.uniform(0.0, 0.5))
            there.start()
        done.set()

    disturber = threading.Thread(target=disturb)
    with (
        Publication(str(folder), boards) as publication,
        EventLog.open(folder / "event_storage.log", sinks=[publication]) as log,
    ):
        publication.begin(log.next_event_id)
        disturber.start()
        number = log.next_event_id
        while not done.is_set():
            log.append([event(number + n, "x" * rng.randrange(2000)) for n in range(50)])
            number += 50
            time.sleep(0.005)
        disturber.join()
    assert there.log(RUN) == log_of(folder)
    assert len(log_of(folder).splitlines()) == number > 5000


def test_a_board_that_follows_the_same_folder_doubles_nothing(board, tmp_path):
    storage = tmp_path / "es"
    storage.mkdir()
    there = board(storage=storage)
    study = small(tmp_path, 'config.num_epochs = 40; config.checkpointing = component("last")')
    arguments = [f"--event_storage={storage}", f"--board={there.url}"]
    for number in range(3):
        status, _, err = here("run", f"--config={study}", f"--run_id=own-{number}", *arguments)
        assert status == 0 and "not sent" not in err, err
        assert len(events(storage / f"own-{number}", "evaluation_result")) == 40
        assert len(events(storage / f"own-{number}", "run_finished")) == 1
        before = log_of(storage / f"own-{number}")
        status, out, err = here("publish", storage / f"own-{number}", f"--board={there.url}")
        assert status == 0 and "nothing is left to send" in out, err
        assert log_of(storage / f"own-{number}") == before
        assert not list((storage / f"own-{number}").glob("checkpoints/received"))
    status, _, err = here("run", "--resume=own-0", "--config.num_epochs=45", *arguments)
    assert status == 0 and "not sent" not in err, err
    assert len(events(storage / "own-0", "evaluation_result")) == 45


def test_another_run_under_the_same_id_is_left_alone(board, tmp_path):
    there = board()
    mine, other = written(tmp_path / "mine", 50), written(tmp_path / "other", 60)
    lines = log_of(other).splitlines(keepends=True)
    (other / "event_storage.log").write_bytes(b"".join([encode(event(7, "other")) + b"\n", *lines[1:]]))
    (other / "config.py").write_text("other")
    assert here("publish", mine, f"--board={there.url}")[0] == 0
    before = log_of(there.storage / RUN)
    status, out, err = here("publish", other, f"--board={there.url}")
    assert (status, out) == (1, "") and "other events" in err and "rename" in err and "Send it later" not in err
    assert log_of(there.storage / RUN) == before and not (there.storage / RUN / "config.py").exists()
    (mine / "event_storage.log").write_bytes(b"".join(log_of(mine).splitlines(keepends=True)[:20]))
    status, out, err = here("publish", mine, f"--board={there.url}")
    assert status == 1 and "more than the log here" in err
    assert log_of(there.storage / RUN) == before


def test_large_and_damaged_lines(board, tmp_path):
    """One event of 3 MiB goes by a request of its own; of a line that is none, a note in its place."""
    there = board()
    folder = written(tmp_path, 10)
    path = folder / "event_storage.log"
    lines = log_of(folder).splitlines(keepends=True)
    large = encode(event(10, "L" * (3 << 20))) + b"\n"
    path.write_bytes(b"".join([*lines[:5], b"\x00damaged\n", large, *lines[5:], b"torn"]))
    status, out, err = here("publish", folder, f"--board={there.url}")
    assert status == 0 and "it has 12 events" in out, err
    copy = there.log(RUN).splitlines(keepends=True)
    assert copy[:5] + copy[6:] == [*lines[:5], large, *lines[5:]]
    assert decode(copy[5])["event_type"] == "line_left_out"
    with path.open("ab") as file:  # goes on, when something more is there
        file.write(b"\n" + encode(finished()) + b"\n")
    assert here("publish", folder, f"--board={there.url}")[0] == 0
    assert len(there.log(RUN).splitlines()) == 14 and there.log(RUN).endswith(encode(finished()) + b"\n")


def test_a_run_that_is_being_written_is_followed_to_its_end(board, tmp_path):
    there = board()
    folder = written(tmp_path, 10)
    with EventLog.open(folder / "event_storage.log") as log:
        process = start("publish", folder, f"--board={there.url}", fresh=True)
        wait_until(lambda: there.log(RUN) == log_of(folder), process, "the start")
        log.append([event(number) for number in range(10, 3000)])
        wait_until(lambda: there.log(RUN) == log_of(folder), process, "the rest")
        assert process.poll() is None
        log.append([finished()])
    (folder / "0").mkdir()
    (folder / "0/model_card.md").write_text("late")
    status, out, err = finish(process)
    assert status == 0 and "nothing is left to send" in out, err
    assert there.log(RUN) == log_of(folder) and (there.storage / RUN / "0/model_card.md").read_text() == "late"


def reads_of(process):
    """Return how often a process has read a file."""
    lines = pathlib.Path(f"/proc/{process.pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("syscr:"))


def test_follow_waits_for_a_run_that_nobody_writes_now(board, tmp_path):
    there = board()
    folder = written(tmp_path, 10)
    process = start("publish", folder, f"--board={there.url}", "--follow", "--quiet")
    wait_until(lambda: there.log(RUN) == log_of(folder), process, "the start")
    with EventLog.open(folder / "event_storage.log") as log:
        log.append([event(10)])
    wait_until(lambda: there.log(RUN) == log_of(folder), process, "what came")
    read = reads_of(process)
    wait_until(lambda: reads_of(process) > read + 10, process, "that it looks again and again")
    with EventLog.open(folder / "event_storage.log") as log:
        log.append([finished()])
    status, out, err = finish(process)
    assert (status, err) == (0, "") and out.count("\n") == 1
    assert there.log(RUN) == log_of(folder)


class _Recorded(Requests):
    """Requests that remember the first byte of each part that they sent."""

    def __init__(self, address):
        super().__init__(address)
        self.sent_from = []

    def send(self, method, path, body=None, headers=None):
        if headers and (found := re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))):
            self.sent_from.append(int(found[1]))
        return super().send(method, path, body, headers)


def test_a_checkpoint_goes_on_from_what_an_interrupted_upload_left(board, trained):
    there = board()
    assert here("publish", trained, f"--board={there.url}")[0] == 0
    whole = next(there.storage.rglob("0/*/model.safetensors"))
    data = whole.read_bytes()
    whole.unlink()
    whole.with_name("model.safetensors.sha256").unlink()
    address = Address.parse(there.url)
    for part, expected in ((data[:100], 100), (b"x" * 100, 100), (b"", 0)):
        whole.with_name("model.safetensors.part").write_bytes(part)
        requests = _Recorded(address)
        uploads = CheckpointUploads(address, str(trained), trained.name, requests, threading.Event(), chunk_bytes=64)
        uploads.send_new()
        requests.close()
        assert whole.read_bytes() == data and requests.sent_from[1] == expected
        assert not uploads.are_unsent() and uploads.missing == 0
        whole.unlink()
        whole.with_name("model.safetensors.sha256").unlink()


# -- boards that are not there or misbehave ----------------------------------------------------------------------------


def test_a_dead_board_delays_nothing(tmp_path, capfd):
    """Appending costs the same, and the end waits for a moment and says what to type."""
    folder = written(tmp_path, 0)
    boards = Boards.at(f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    with (
        Publication(str(folder), boards) as publication,
        EventLog.open(folder / "event_storage.log", sinks=[publication]) as log,
    ):
        publication.begin(0)
        for number in range(500):
            log.append([event(number)])
        seconds = time.monotonic() - began
    assert seconds < 5 and time.monotonic() - began < seconds + 6
    said = capfd.readouterr().err
    assert said.count("cannot be reached") == 2 and "500 events (from 0 on)" in said
    assert f"python -m mlgym_jax.publish {folder} --board={boards.addresses[0].url}" in said


def test_a_board_that_stands_still_delays_nothing(board, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MLGYM_JAX_BOARD_WAIT_SECONDS", "1")
    there = board()
    folder = written(tmp_path, 5)
    with Publication(str(folder), Boards.at(there.url)) as publication:
        with EventLog.open(folder / "event_storage.log", sinks=[publication]) as log:
            publication.begin(5)
            until(lambda: there.log(RUN) == log_of(folder))
            there.pause()
            began = time.monotonic()
            for number in range(200):
                log.append([event(5 + number, "x" * 100_000)])
            assert time.monotonic() - began < 10
        began = time.monotonic()
    assert time.monotonic() - began < 6
    assert "not sent" in capfd.readouterr().err
    there.go_on()
    assert here("publish", folder, f"--board={there.url}")[0] == 0
    assert there.log(RUN) == log_of(folder)


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_in_the_run_passes_through_after_a_short_wait(tmp_path, kind):
    folder = written(tmp_path, 1)
    began = time.monotonic()
    with pytest.raises(kind), Publication(str(folder), Boards.at("http://127.0.0.1:9")) as publication:
        publication.begin(1)
        raise kind
    assert time.monotonic() - began < 6


class _Whole:
    def __init__(self, over=True):
        self.over = over

    def head(self):
        return None

    def is_over(self):
        return self.over


FAULTS = {
    "drops at random": lambda rng: lambda number, frame: rng.choice(["drop", "drop-after", None, None]),
    "drops every third frame": lambda rng: lambda number, frame: "drop-after" if number % 3 == 0 else None,
    "answers late": lambda rng: lambda number, frame: rng.choice(["late", None, None]),
    "claims gaps": lambda rng: lambda number, frame: rng.choice(["gap", None, None]),
    "lies": lambda rng: lambda number, frame: "lie" if number % 4 == 2 and frame else None,
    "answers no JSON": lambda rng: lambda number, frame: "text" if number % 4 == 2 else None,
    "refuses for a while": lambda rng: lambda number, frame: "error" if number < 4 else None,
    "forgets": lambda rng: lambda number, frame: "forget" if number in (4, 9, 15) else None,
    "never answers, at first": lambda rng: lambda number, frame: "silent" if number in (2, 3) else None,
    "all of it": lambda rng: (
        lambda number, frame: rng.choice(["drop", "drop-after", "late", "gap", "text", "forget", *[None] * 12])
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_a_board_does_its_copy_ends_the_same(faulty, tmp_path, name):
    there = faulty(FAULTS[name](random.Random(name)))
    folder = written(tmp_path, 4000)
    said = []
    source = _Whole(over=False)
    publisher = BoardPublisher(
        Address.parse(there.url),
        str(folder),
        RUN,
        str(folder / "event_storage.log"),
        source,
        said.append,
        pace=Pace(first_delay=0.01, answer=0.5),
    )
    publisher.start()
    with EventLog.open(folder / "event_storage.log") as log:
        for number in range(4000, 5000, 100):
            log.append([event(number + n) for n in range(100)])
            publisher.wake()
            time.sleep(0.01)
    source.over = True
    publisher.end()
    until(publisher.is_done, 60)
    assert there.log == log_of(folder) and publisher.events.num_unsent() == 0
    assert len(said) <= 6, said
    publisher.close()


def test_a_board_that_never_answers_ends_with_a_bounded_wait(faulty, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MLGYM_JAX_BOARD_WAIT_SECONDS", "0.5")
    there = faulty(lambda number, frame: "silent")
    folder = written(tmp_path, 10)
    began = time.monotonic()
    with Publication(str(folder), Boards.at(there.url)) as publication:
        publication.begin(10)
    assert time.monotonic() - began < 3
    assert "10 events (from 0 on)" in capfd.readouterr().err


def test_frames_are_large_and_few(faulty, tmp_path):
    there = faulty(lambda number, frame: None)
    folder = written(tmp_path, 5000)
    publisher = BoardPublisher(
        Address.parse(there.url), str(folder), RUN, str(folder / "event_storage.log"), _Whole(), print
    )
    publisher.start()
    until(publisher.is_done)
    assert there.log == log_of(folder) and there.connections == 1 and len(there.frames) <= 14
    publisher.close()


def test_nothing_of_a_connection_is_tried_at_an_address_that_is_no_board(tmp_path):
    """A web server that answers everything with 404 is told apart from a board that is away."""
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            folder = written(tmp_path, 3)
            url = f"http://127.0.0.1:{server.server_port}/prefix"
            status, _, err = here("publish", folder, f"--board={url}", "--wait=0.5")
        finally:
            server.shutdown()
            thread.join()
    assert status == 1 and "answers 404; is this a board's URL?" in err and "3 events" in err


def test_two_launches_that_go_on_with_copies_of_a_run_are_not_mixed(board, tmp_path, capsys):
    """One is connected and has sent what both begin with; the other sends first what follows."""
    there = board()
    mine, other = (written(tmp_path / name, 3) for name in ("mine", "other"))
    with EventLog.open(other / "event_storage.log") as log:
        log.append([event(number, "other") for number in range(3, 5)])
    path = mine / "event_storage.log"
    with Publication(str(mine), Boards.at(there.url)) as publication, EventLog.open(path, sinks=[publication]) as log:
        publication.begin(3)
        until(lambda: (there.storage / RUN / "event_storage.log").exists() and there.log(RUN).count(b"\n") == 3)
        status, _, err = here("publish", other, f"--board={there.url}", "--quiet")
        assert status == 0, err
        log.append([event(number, "mine") for number in range(3, 6)])
    said = capsys.readouterr().err
    assert "other events (event 3 is another one there)" in said and "not sent: 6 events" in said
    assert log_of(there.storage / RUN) == log_of(other)
    status, out, err = here("publish", mine, f"--board={there.url}", "--quiet")
    assert (status, out) == (1, "") and "other events" in err and "not sent: 6 events" in err
    assert log_of(there.storage / RUN) == log_of(other)


def test_each_launch_of_a_run_has_a_writer_of_its_own(tmp_path):
    """Runs that began in one millisecond from one config, and launches that go on with copies, differ by it."""
    study = small(tmp_path, "config.num_epochs = 1")
    for storage in ("a", "b"):
        assert (
            here("run", f"--config={study}", f"--event_storage={tmp_path / storage}", "--run_id=r", "--quiet")[0] == 0
        )
    assert here("run", "--resume=r", f"--event_storage={tmp_path / 'b'}", "--quiet")[0] == 0
    writers = [it["writer"] for storage in ("a", "b") for it in events(tmp_path / storage / "r", "run_started")]
    assert len(writers) == len(set(writers)) == 3 and all(re.fullmatch("[0-9a-f]{16}", one) for one in writers)
