"""Real boards for tests: a server process on a free port of this machine, and events to give it."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request

from forks import popen
from websockets.sync.client import connect

from mlgym_jax import events as ev

ROOT = pathlib.Path(__file__).parent.parent
RUN = "2026-11-23--17-59-10"


class BoardProcess:
    """A running `python -m board_server`; ended by `stop` or `kill`, it may be started again, on the same port.

    `code` is that of another program that serves, in place of `-m board_server`, and `fresh` has a new interpreter
    started for it.
    """

    def __init__(self, storage, *options, port=0, code=None, fresh=False):
        self.storage, self._options, self.port = pathlib.Path(storage), options, port
        self._program = {"module": "board_server"} if code is None else {"code": code}
        self._program["fresh"] = fresh
        self.said: list[str] = []
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        words = [f"--event_storage={self.storage}", f"--port={self.port}", *self._options]
        ends = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = popen("board", *words, cwd=ROOT, **self._program, **ends)
        line = self.process.stdout.readline()
        found = re.match(r"board: http://127\.0\.0\.1:(\d+)/", line)
        assert found, line + self.process.stderr.read()
        self.port = int(found[1])
        self._reader = threading.Thread(target=self.said.extend, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def kill(self):
        """End it as a crash would."""
        self.process.kill()
        return self._ended()

    def stop(self):
        self.process.terminate()
        return self._ended()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def _ended(self):
        if self.process.stdout.closed:
            return self.process.returncode
        status = self.process.wait(timeout=20)
        self._reader.join(timeout=5)
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def log(self, run_id):
        path = self.storage / run_id / "event_storage.log"
        return path.read_bytes() if path.exists() else b""

    def memory_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmRSS"))

    def peak_memory_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def request(self, method, path, body=None, headers=()):
        """Return (status, headers, body) of a request, whatever the status."""
        request = urllib.request.Request(f"{self.url}{path}", body, dict(headers), method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def json(self, path, **headers):
        status, _, body = self.get(path, **headers)
        assert status == 200, body
        return json.loads(body)

    def socket(self, path, **options):
        return connect(f"ws://127.0.0.1:{self.port}{path}", max_size=None, open_timeout=20, **options)

    def publisher(self, run_id=RUN, **options):
        return self.socket(f"/ws/publish?grid_search_id={run_id}", compression=None, **options)

    def subscriber(self, run_id=RUN, after=-1, **options):
        return self.socket(f"/ws/subscribe?grid_search_id={run_id}&after={after}", **options)


@contextlib.contextmanager
def board(storage, *options, **settings):
    process = BoardProcess(storage, *options, **settings)
    try:
        yield process
    finally:
        process.stop()


def numbered(number, padding=0):
    return {"event_type": "numbered", "creation_ts": number, "payload": {"number": number, "padding": "x" * padding}}


def frame(*numbers):
    return json.dumps([{"event_id": number, "data": numbered(number)} for number in numbers])


def say(publisher, message):
    """Send a frame and return the answer."""
    publisher.send(message if isinstance(message, str | bytes) else json.dumps(message))
    return json.loads(publisher.recv(timeout=20))


def listen(subscriber, last, seconds=20):
    """Receive until event `last`, and return [(event_id, event)] as they came."""
    found = []
    while not found or found[-1][0] < last:
        message = json.loads(subscriber.recv(timeout=seconds))
        batched = message["event_id"] == "batched_events"
        found += [(one["event_id"], one["data"]) for one in (message["data"] if batched else [message])]
    return found


def study_events(run_id=RUN, *, experiments=3, epochs=4, score=None, finished=True):
    """Return the events of a small run, as the engine writes them; `score(experiment, epoch)` is its val/accuracy."""
    config = {"name": "a study", "num_epochs": epochs, "checkpointing": {"monitor": "val/accuracy", "mode": "max"}}
    score = score or (lambda experiment, epoch: experiment + epoch / 10)
    events = [
        ev.run_started(
            run_id,
            name="a study",
            config_hash="c0ffee",
            num_experiments=experiments,
            num_groups=1,
            resumed=False,
            now_ms=1_000,
        ),
        ev.job_scheduled(run_id, job_id=run_id, config=config, now_ms=1_000),
    ]
    for number in range(experiments):
        fields = {"experiment_id": number, "job_id": f"{run_id}-{number}"}
        events.append(
            ev.experiment_config(run_id, **fields, config=config, hyperparameters={"seed": number}, now_ms=1_001)
        )
        events.append(
            ev.job_status(run_id, **fields, status="RUNNING", starting_time=1_002, device="cpu", now_ms=1_002)
        )
    for epoch in range(1, epochs + 1):
        for number in range(experiments):
            scores = {"train/loss": 1 / epoch, "val/accuracy": score(number, epoch)}
            events.append(
                ev.evaluation_result(
                    run_id, experiment_id=number, epoch=epoch, scores=scores, seconds=0.5, now_ms=1_000 + 10 * epoch
                )
            )
    if finished:
        events.append(ev.run_finished(run_id, status="DONE", num_failed=0, seconds=2.0, now_ms=2_000))
    return events


def write_run(storage, events, run_id=RUN):
    """Write a run's log as a local process would, and return its path."""
    folder = pathlib.Path(storage) / run_id
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "event_storage.log"
    with ev.EventLog.open(path) as log:
        log.append(events)
    return path
