"""What stands between a browser and a board: it forwards bytes, until it does not."""

import contextlib
import socket
import threading


class Relay:
    """Forwards connections to the board of `port`, from a port of its own.

    Attributes:
        stalled: what comes is taken, and nothing is forwarded any more; no connection ends.
        bars_sockets: handshakes of WebSockets are answered 400, as by a proxy that knows none.
    """

    def __init__(self, port):
        self._board = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.stalled = self.bars_sockets = False
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                board = socket.create_connection(("127.0.0.1", self._board))
                self._sockets += [client, board]
                for source, target in ((client, board), (board, client)):
                    threading.Thread(target=self._pump, args=(source, target, client), daemon=True).start()

    def _pump(self, source, target, client):
        was_live = not self.stalled
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self.stalled or not was_live:
                    was_live = False  # it forwards nothing later, either: this connection is dead
                elif self.bars_sockets and source is client and b"upgrade: websocket" in data.lower():
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    break
                else:
                    target.sendall(data)
            for one in (source, target) if was_live else ():
                one.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        for one in (self._listener, *self._sockets):
            one.close()
