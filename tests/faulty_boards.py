"""For tests of publishing: a board that misbehaves as it is told, and a proxy that stands before a real one."""

import contextlib
import re
import socket
import ssl
import threading
import time
import zlib

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class _Item(msgspec.Struct):
    event_id: int
    data: msgspec.Raw


class FaultyBoard:
    """Takes events as a board does; `fault(number, frame)` is asked before each frame and may return what to do.

    drop: end the connection and store nothing; drop-after: store, and end it without an answer; silent: store and
    never answer; late: answer after a while; lie: say that nothing is here; gap: claim a gap; text: answer no JSON;
    error: refuse; forget: lose the second half of what is stored, and end the connection.
    """

    def __init__(self, fault=lambda number, frame: None):
        self.lines, self.frames, self.connections = [], [], 0
        self._fault, self._lock = fault, threading.Lock()
        self._server = serve(self._serve, "127.0.0.1", 0, max_size=1 << 20, compression=None)
        self.url = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join(30)

    @property
    def log(self):
        return b"".join(line + b"\n" for line in self.lines)

    def _serve(self, connection):
        self.connections += 1
        with contextlib.suppress(ConnectionClosed):
            for frame in connection:
                with self._lock:
                    if not self._answer(connection, frame):
                        connection.socket.shutdown(socket.SHUT_RDWR)
                        return

    def _answer(self, connection, frame):
        items = msgspec.json.decode(frame, type=list[_Item] | _Item)
        items = items if isinstance(items, list) else [items]
        self.frames.append([item.event_id for item in items])
        what = self._fault(len(self.frames), items)
        if what == "drop":
            return False
        if what == "forget":
            del self.lines[len(self.lines) // 2 :]
            return False
        if what in ("gap", "error", "lie"):
            answer = {"ack": len(self.lines) - 1}
            connection.send(msgspec.json.encode({**answer, "error": what} if what != "lie" else {"ack": -1}).decode())
            return True
        answer = {}
        for item in items:
            if item.event_id > len(self.lines):
                answer = {"expected": len(self.lines), "error": "gap"}
                break
            if item.event_id == len(self.lines):
                self.lines.append(bytes(item.data))
        answer["ack"] = len(self.lines) - 1
        if not items:
            answer.update(bytes=len(self.log), crc32=zlib.crc32(self.log))
        if what == "drop-after":
            return False
        if what == "silent":
            return True
        if what == "late":
            time.sleep(0.2)
        connection.send("no JSON" if what == "text" else msgspec.json.encode(answer).decode())
        return True


class PrefixProxy:
    """Stands before a board as nginx would: serves it under /board/, and takes TLS off where it has a certificate."""

    def __init__(self, port, certificate=None):
        self._port, self._listening = port, socket.create_server(("127.0.0.1", 0))
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}/board/"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(30)  # of one that still waits for a client, a daemon, no more is wanted

    def _accept(self):
        while True:
            try:
                client = self._listening.accept()[0]
            except OSError:
                return
            if self._tls is not None:
                try:
                    client = self._tls.wrap_socket(client, server_side=True)
                except OSError:  # a client that does not trust the certificate
                    client.close()
                    continue
            board = socket.create_connection(("127.0.0.1", self._port))
            ends = (client, board, _without_prefix), (board, client, bytes)
            pair = [threading.Thread(target=self._pass_on, args=end, daemon=True) for end in ends]
            self._threads += [*pair, threading.Thread(target=self._close, args=(pair, client, board), daemon=True)]
            for thread in self._threads[-3:]:
                thread.start()

    @staticmethod
    def _pass_on(source, target, change):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(change(data))
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _close(pair, *ends):
        for thread in pair:
            thread.join()
        for end in ends:
            end.close()


def _without_prefix(data):
    return re.sub(rb"^([A-Z]+ )/board/", rb"\1/", data)
