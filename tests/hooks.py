"""A local webhook, as chats have them."""

import http.server
import json
import threading
import time

import pytest


class Hook:
    """A local server that notes what is posted, and answers what `answers` says, in turn: a status or seconds."""

    def __init__(self):
        self.got, self.answers, self.headers = [], [], {}
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                hook.got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                answer = hook.answers.pop(0) if hook.answers else 200
                if isinstance(answer, float):
                    time.sleep(answer)
                    answer = 200
                self.send_response(answer)
                for name, value in hook.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/secret?key=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook():
    found = Hook()
    yield found
    found.server.shutdown()
    found.server.server_close()
