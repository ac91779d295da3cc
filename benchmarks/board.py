"""What storing, streaming and showing events costs, against appending JSON lines to a file.

    python -m benchmarks.board [--events=100000] [--rounds=3] [--peers]

The server is a process of its own, asked over real sockets of this machine. Ratios are of one run, medians of rounds.
With `--peers`, TensorBoard and MLflow (on SQLite), where they are installed, take in and give back the same points.
"""

import argparse
import contextlib
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from websockets.sync.client import connect

from benchmarks import board_peers
from mlgym_jax import events as ev

RUN = "2026-11-23--17-59-10"


class Server:
    """A board over a folder."""

    def __init__(self, storage):
        words = [sys.executable, "-m", "board_server", f"--event_storage={storage}", "--port=0", "--log_level=warning"]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.port = int(re.search(r":(\d+)/", self.process.stdout.readline())[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.process.stdout.close()

    def get(self, path, **headers):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request) as answer:
            return answer.headers, answer.read()
        return None, b""

    def socket(self, path):
        return connect(f"ws://127.0.0.1:{self.port}{path}", compression=None, max_size=None)

    def memory(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def result(experiment, epoch):
    scores = {"train/loss": 1 / epoch, "train/accuracy": 0.9, "val/loss": 0.1234567 + experiment, "val/accuracy": 0.75}
    return ev.evaluation_result(RUN, experiment_id=experiment, epoch=epoch, scores=scores, seconds=0.1, now_ms=10**12)


def write_points(folder, experiments, epochs):
    """Write a log of results, 4 scores each."""
    path = pathlib.Path(folder) / RUN
    path.mkdir(parents=True)
    with ev.EventLog.open(path / "event_storage.log") as log:
        for epoch in range(1, epochs + 1):
            log.append([result(experiment, epoch) for experiment in range(experiments)])


def timed(work):
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


# -- taking in -------------------------------------------------------------------------------------------------------


def append_lines(events, folder):
    with open(pathlib.Path(folder) / "lines", "w") as file:
        for event in events:
            file.write(json.dumps(event) + "\n")
            file.flush()


def log_events(events, folder):
    folder = tempfile.mkdtemp(dir=folder)
    with ev.EventLog.open(pathlib.Path(folder) / "event_storage.log") as log:
        for begin in range(0, len(events), 100):
            log.append(events[begin : begin + 100])


def publish(server, run_id, frames, num_events):
    """Send frames of 100, several under way, until all is acknowledged."""
    with server.socket(f"/ws/publish?grid_search_id={run_id}") as publisher:
        waiting, acknowledged = 0, -1
        rest = iter(frames)
        while acknowledged < num_events - 1:
            while waiting < 8 and (frame := next(rest, None)) is not None:
                publisher.send(frame)
                waiting += 1
            acknowledged = json.loads(publisher.recv())["ack"]
            waiting -= 1


SUBSCRIBER = """
import sys
from websockets.sync.client import connect
port, run_id, last = sys.argv[1:]
with connect(f"ws://127.0.0.1:{port}/ws/subscribe?grid_search_id={run_id}", compression=None, max_size=None) as one:
    print("ready", flush=True)
    for frame in one:
        if f'"event_id":{last},' in frame:
            break
"""


@contextlib.contextmanager
def subscribers(server, run_id, number, last):
    """Let processes listen, so that what they do themselves is not the server's."""
    words = [sys.executable, "-c", SUBSCRIBER, str(server.port), run_id, str(last)]
    listening = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(number)]
    for one in listening:
        one.stdout.readline()
    yield
    for one in listening:
        one.wait(timeout=120)
        one.stdout.close()


def taking_in(num_events, rounds):
    events = [result(number % 100, 1 + number // 100) for number in range(num_events)]
    lines = [ev.encode(event).decode() for event in events]
    frames = [
        "[" + ",".join(f'{{"event_id":{n},"data":{lines[n]}}}' for n in range(begin, begin + 100)) + "]"
        for begin in range(0, num_events, 100)
    ]
    found = {"lines": [], "log": [], "board": [], "board, 20 subscribers": []}
    with tempfile.TemporaryDirectory() as folder, Server(folder) as server:
        for number in range(rounds):
            found["lines"].append(timed(lambda: append_lines(events, folder)))
            found["log"].append(timed(lambda: log_events(events, folder)))
            found["board"].append(timed(lambda n=number: publish(server, f"alone-{n}", frames, num_events)))
            run_id = f"watched-{number}"
            publish(server, run_id, frames[:1], 100)
            with subscribers(server, run_id, 20, num_events - 1):
                took = timed(lambda r=run_id: publish(server, r, frames, num_events))
            found["board, 20 subscribers"].append(took)
    floor = statistics.median(found["lines"])
    print(f"{num_events:,} events of 4 scores, {sum(map(len, lines)) / 1e6:.0f} MB")
    for name, took in found.items():
        middle = statistics.median(took)
        rate = num_events / middle
        print(f"  {name:24} {middle:7.3f} s {rate:9,.0f}/s {middle / floor:5.2f}x of appending lines")
    watched = statistics.median(found["board, 20 subscribers"]) / statistics.median(found["board"])
    print(f"  20 live subscribers make taking in {watched:.2f}x as long")


def growing(rounds):
    """Append one event to a log of 1,000 and to one of 1,000,000; read one back."""
    event = result(0, 1)
    took = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in (1_000, 1_000_000):
            path = pathlib.Path(folder) / f"{size}.log"
            path.write_bytes((ev.encode(event) + b"\n") * size)
            with ev.EventLog.open(path) as log:
                took[size] = statistics.median(timed(lambda log=log: log.append([event])) for _ in range(500))
        print(f"appending event 1,000,000 costs {took[1_000_000] / took[1_000]:.2f}x of event 1,000")
        path, ratios = pathlib.Path(folder) / "100000.log", []
        path.write_bytes((ev.encode(event) + b"\n") * 100_000)
        for _ in range(rounds):
            parsed = timed(lambda: [json.loads(line) for line in path.read_bytes().splitlines()])
            ratios.append(timed(lambda: ev.read_log(path)) / parsed)
        print(f"reading a log back takes {statistics.median(ratios):.2f}x of json.loads on its lines")


# -- giving back -----------------------------------------------------------------------------------------------------


def giving_back(experiments, epochs, rounds):
    path = f"/grid_searches/{RUN}/scores?name=val/accuracy&format=binary"
    with tempfile.TemporaryDirectory() as folder:
        write_points(folder, experiments, epochs)
        with Server(folder) as server:
            server.get("/healthz")
            before = server.memory()
            cold = timed(lambda: server.get(f"{path}&points=1000"))
            warm = statistics.median(timed(lambda: server.get(path)) for _ in range(5 * rounds))
            headers, data = server.get(path)
            same = {"If-None-Match": headers["ETag"]}
            unchanged = statistics.median(timed(lambda: server.get(path, **same)) for _ in range(5 * rounds))
            memory = server.memory() - before
    print(f"{experiments:,} experiments x {epochs:,} epochs, {4 * experiments * epochs:,} scores")
    print(f"  cold to the first chart {cold:.2f} s; memory {memory:+.0f} MB")
    print(f"  one score of all: {1000 * warm:.1f} ms, {len(data) / 1e6:.1f} MB; unchanged {1000 * unchanged:.1f} ms")


def many_runs():
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3_000):
            path = pathlib.Path(folder) / f"run-{number}"
            path.mkdir()
            (path / "event_storage.log").write_bytes(ev.encode(result(0, 1)) + b"\n")
        with Server(folder) as server:
            server.get("/healthz")
            first = timed(lambda: server.get("/grid_searches"))
            again = statistics.median(timed(lambda: server.get("/grid_searches")) for _ in range(5))
    print(f"listing 3,000 runs: {1000 * first:.0f} ms at first, then {1000 * again:.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="also TensorBoard and MLflow, where installed")
    options = parser.parse_args()
    taking_in(options.events, options.rounds)
    growing(options.rounds)
    for experiments, epochs in ((20, 1_000), (1_000, 250), (1_000, 1_000)):
        giving_back(experiments, epochs, options.rounds)
    many_runs()
    if options.peers:
        board_peers.compare(20, 1_000, 5)


if __name__ == "__main__":
    main()
