"""What an honest client waits beside attacks on a board, and what these cost the board.

    python -m benchmarks.attacks [NAME …] [--seconds=6] [--connections=500]

The board, the honest client and the attacker are a process each. The honest client shows a token and asks for the list
of runs every 50 ms, each time on a new connection: first undisturbed, then beside the attack. An attack is a number of
connections that say the same, whose answers are read or not, and that are opened anew as soon as they are ended.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time

from benchmarks.board import RUN, Server
from mlgym_jax import events as ev

TOKEN = "a-token-to-write-with"
HOST = "Host: localhost\r\n"
SHOWN = f"Authorization: Bearer {TOKEN}\r\n"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)
EVERY_SECONDS = 0.05


def get(path, more=""):
    return f"GET {path} HTTP/1.1\r\n{HOST}{more}\r\n".encode()


def half(method, path, more="", length=100, body=b"{"):
    return f"{method} {path} HTTP/1.1\r\n{HOST}{more}Content-Length: {length}\r\n\r\n".encode() + body


def message(first_byte, data):
    """Return a part of a WebSocket message, as in RFC 6455, section 5.2, with a mask of zeros."""
    return struct.pack(">BBQI", first_byte, 0x80 | 127, len(data), 0) + data


NOTES = f"/grid_searches/{RUN}/annotations"
IMAGE = f"/grid_searches/{RUN}/0/media/{'0' * 64}.png"
GUESS = b'{"token": "a-wrong-token"}'
SUBSCRIBE = get(f"/ws/subscribe?grid_search_id={RUN}&after=-1", SHOWN + UPGRADE)
PUBLISH = get("/ws/publish?grid_search_id=flood", SHOWN + UPGRADE)

# By name: what each connection says, whether answers are read. Those with a star show a token.
ATTACKS = {
    "silent": (b"", True),
    "half heads": (b"GET /healthz HTTP/1.1\r\nHo", True),
    "half sign-ins": (half("POST", "/session"), True),
    "half notes": (half("POST", NOTES), True),
    "half uploads": (half("PUT", IMAGE, length=10_000_000), True),
    "half uploads*": (half("PUT", IMAGE, SHOWN, length=10_000_000, body=b"x" * 200_000), True),
    "chunks without end": (f"POST /session HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n1\r\n{{".encode(), True),
    "long cookies": (get("/grid_searches", f"Cookie: {';' * 60_000}\r\n"), True),
    "many fields": (get("/healthz", "a:b\r\n" * 12_000), True),
    "long paths": (get("/" + "%41" * 20_000), True),
    "long queries*": (get(f"/grid_searches/{RUN}/scores?{'names=*a&' * 6_000}", SHOWN), True),
    "no request": (b"\x16\x03\x01\x02\x00" + bytes(200), True),
    "refused": (get("/comparison?runs=x"), True),
    "refused sockets": (get("/ws/grid_searches", UPGRADE), True),
    "guesses": (half("POST", "/session", length=len(GUESS), body=GUESS), True),
    "small requests": (get("/healthz", "Connection: close\r\n"), True),
    "pipelined": (get("/openapi.json") * 200, False),
    "pipelined, read": (get("/healthz") * 500, True),
    "pipelined*, read": (get("/grid_searches", SHOWN) * 200, True),
    "answers not read": (get("/openapi.json"), False),
    "events*, not read": (get(f"/grid_searches/{RUN}/events", SHOWN) * 20, False),
    "comparisons*": (get(f"/comparison?runs={RUN}", SHOWN) * 5, True),
    "verdicts*": (get(f"/grid_searches/{RUN}/verdict", SHOWN) * 5, True),
    "subscribers*, not reading": (SUBSCRIBE, False),
    "subscribers* that talk": (SUBSCRIBE + message(0x81, b"x") * 3_000, True),
    "half messages*": (PUBLISH + message(0x01, b"[" * 100_000), True),
}


def attack(port, words, is_read, seconds, number):
    """Hold so many connections that say so; return how many were opened."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 8192),) * 2)
    waiting, left, opened, until = selectors.DefaultSelector(), {}, 0, time.monotonic() + seconds

    def open_one():
        client = socket.socket()
        client.setblocking(False)
        if not is_read:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        client.connect_ex(("127.0.0.1", port))
        left[client] = memoryview(words)
        waiting.register(client, selectors.EVENT_WRITE)

    for _ in range(number):
        open_one()
    opened = number
    while time.monotonic() < until:
        for key, kind in waiting.select(0.05):
            client = key.fileobj
            is_over = False
            try:
                if kind & selectors.EVENT_WRITE:
                    left[client] = left[client][client.send(left[client][: 1 << 16]) if left[client] else 0 :]
                    if not left[client]:
                        waiting.modify(client, selectors.EVENT_READ)
                elif not client.recv(1 << 16 if is_read else 1):
                    is_over = True
                elif not is_read:
                    waiting.unregister(client)
            except BlockingIOError:
                pass
            except OSError:
                is_over = True
            if is_over:
                with contextlib.suppress(KeyError):
                    waiting.unregister(client)
                client.close()
                del left[client]
                open_one()
                opened += 1
    return opened


def honest(port, seconds):
    """Ask now and then; return the milliseconds until each answer was there, None for what failed."""
    found, until = [], time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(get("/grid_searches", SHOWN + "Connection: close\r\n"))
                answer = b""
                while more := client.recv(1 << 16):
                    answer += more
            found.append(1000 * (time.monotonic() - began) if answer.startswith(b"HTTP/1.1 200") else None)
        except OSError:
            found.append(None)
        time.sleep(max(began + EVERY_SECONDS - time.monotonic(), 0))
    return found


def part(milliseconds, share):
    """Return the milliseconds within which such a share was answered; what failed was not."""
    known = sorted(float("inf") if one is None else one for one in milliseconds)
    return known[min(int(share * len(known)), len(known) - 1)] if known else float("nan")


def beside(what, port, *words):
    """Start this program as a process of its own that does one of the above."""
    command = [sys.executable, "-m", "benchmarks.attacks", f"--do={what}", f"--port={port}", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def board_seconds(pid):
    words = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def measure(storage, name, options):
    os.environ["MLGYM_BOARD_TOKEN"] = TOKEN
    with Server(storage) as server:
        pid, seconds = server.process.pid, f"--seconds={options.seconds}"
        alone = json.loads(beside("honest", server.port, seconds).communicate()[0])
        asking = beside("honest", server.port, seconds)
        time.sleep(0.3)
        before, began = board_seconds(pid), time.monotonic()
        attacking = beside("attack", server.port, seconds, f"--connections={options.connections}", f"--attack={name}")
        waited = json.loads(asking.communicate()[0])
        spent = (board_seconds(pid) - before) / (time.monotonic() - began)
        opened = int(attacking.communicate()[0])
        print(
            f"{name:26} {part(alone, 0.5):5.0f} {part(alone, 0.99):5.0f}   {part(waited, 0.5):5.0f} "
            f"{part(waited, 0.99):5.0f} {waited.count(None):6} {spent:8.2f} {peak_megabytes(pid):6.0f} {opened:8}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(ATTACKS)}; all by default")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--connections", type=int, default=500)
    for hidden in ("--do", "--port", "--attack"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.do == "honest":
        print(json.dumps(honest(int(options.port), options.seconds)))
    elif options.do == "attack":
        print(attack(int(options.port), *ATTACKS[options.attack], options.seconds, options.connections))
    else:
        if unknown := set(options.names) - set(ATTACKS):
            parser.error(f"no attack {sorted(unknown)[0]!r}; there are {', '.join(ATTACKS)}")
        with tempfile.TemporaryDirectory() as storage:
            write(storage)
            print(f"{'':26} alone p50, p99   beside p50, p99 failed  board s/s   peak MB  opened")
            for name in options.names or ATTACKS:
                measure(storage, name, options)


def write(storage):
    """Write a run of 20 experiments and 50 epochs."""
    folder = pathlib.Path(storage) / RUN
    folder.mkdir()
    with ev.EventLog.open(folder / "event_storage.log") as log:
        named = {"name": "attacked", "config_hash": "x", "num_groups": 1, "resumed": False, "now_ms": 1}
        log.append([ev.run_started(RUN, num_experiments=20, **named)])
        for epoch in range(1, 51):
            for number in range(20):
                scores = {"train/loss": 1 / epoch, "val/accuracy": number / 20 + epoch / 1_000}
                log.append(
                    [
                        ev.evaluation_result(
                            RUN, experiment_id=number, epoch=epoch, scores=scores, seconds=1.0, now_ms=epoch
                        )
                    ]
                )


if __name__ == "__main__":
    main()
