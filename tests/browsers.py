"""A headless Chromium for tests of the page: it records what the page asks for, and what goes wrong in it."""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import threading

import pytest

from mlgym_jax.events import project, read_events

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "board_server" / "page"
STATIC = ROOT / "board_server" / "static"
SLOW_MS = 20_000  # for machines that do many things at once


def chromium():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    return None


class Tab:
    """One page in a browser context of its own, at an address of one board."""

    def __init__(self, browser, url, **options):
        self.context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        self.context.set_default_timeout(SLOW_MS)
        self.url = url
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))
        self.page.on("console", self._note)

    def _note(self, message):
        # A missing file is said by the server and shown by the page; it is nothing that the page did wrong.
        if (
            message.type == "error"
            and "Failed to load resource" not in message.text
            and "WebSocket" not in message.text
        ):
            self.wrong.append(message.text)

    def go(self, address):
        self.page.goto(f"{self.url}/#/{address}")
        return self.page

    def show(self, address):
        """Go there within the page, as a link does."""
        self.page.evaluate("address => { location.hash = address }", f"#/{address}")
        return self.page

    def wait_until(self, script, argument=None):
        """Wait until a function in the page returns something true; the page's policy forbids Playwright's own way."""
        for _ in range(SLOW_MS // 50):
            try:
                if found := self.page.evaluate(script, argument):
                    return found
            except Exception as error:
                if "context was destroyed" not in str(error):  # the page is loading itself anew
                    raise
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never became true: {script} {argument}; wrong: {self.wrong}")

    def foreign(self):
        """What was asked of others than the board."""
        own = (f"{self.url}/", f"ws{self.url.removeprefix('http')}/", f"blob:{self.url}/")
        return [address for address in self.asked if not address.startswith(own)]

    def close(self):
        self.context.close()


@contextlib.contextmanager
def prefixed(port, prefix):
    """A proxy that serves the board of `port` under a prefix, and nothing else; yield its own port."""

    def pump(source, target, is_request):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_request:
                    found = re.match(rb"(GET|POST|PUT|DELETE|HEAD) (\S+)", data)
                    if found and not found[2].startswith(prefix.encode() + b"/"):
                        break
                    data = data.replace(b" " + prefix.encode() + b"/", b" /", 1) if found else data
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                sockets.extend([client, server])
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    sockets: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    for one in sockets:
        one.close()


# What the page knows of a run: per experiment its status, epochs and seconds trained, and per score its curve.
STATE = """() => {
  const { run } = board.store.value;
  const curves = {};
  for (const [name, byId] of run.curves)
    for (const [id, curve] of byId)
      curves[`${name} ${id}`] = [
        [...curve.epochs.subarray(0, curve.n)], [...curve.values.subarray(0, curve.n)].map(String)
      ];
  const experiments = Object.fromEntries(
    [...run.experiments].map(([id, e]) => [id, [e.status, e.epochs, e.seconds.toFixed(6), e.refit]])
  );
  return { eventId: run.eventId, status: run.status, experiments, curves };
}"""


def expected(log):
    """The same of the log, by the engine's own projection."""
    pairs = list(read_events(log))
    view = project(event for _, event in pairs)
    curves = {
        f"{name} {number}": [one.epoch_numbers, values]
        for number, one in view.experiments.items()
        for name, values in one.history.items()
    }
    experiments = {
        str(number): [one.status, one.epochs, f"{sum(one.epoch_seconds):.6f}", one.refit]
        for number, one in view.experiments.items()
    }
    return {"eventId": pairs[-1][0], "status": view.status, "experiments": experiments, "curves": curves}


def agrees(tab, log):
    """Wait until the page has seen the log's last event, and compare everything with the log."""
    wanted = expected(log)
    tab.wait_until("head => board.store.value?.run?.eventId === head", wanted["eventId"])
    _compare(tab, wanted)


def agrees_but_for_events(tab, log):
    """Compare everything with the log that a page of a saved run knows, which has no events."""
    _compare(tab, {**expected(log), "eventId": 0})


def _compare(tab, wanted):
    found = tab.page.evaluate(STATE)
    found["curves"] = {
        key: [epochs, [float("nan") if text == "NaN" else float(text) for text in scores]]
        for key, (epochs, scores) in found["curves"].items()
    }
    assert found["curves"].keys() == wanted["curves"].keys()
    assert {**found, "curves": repr(sorted(found["curves"].items()))} == {
        **wanted,
        "curves": repr(sorted(wanted["curves"].items())),
    }


def lacking(what):
    """Skip a test for which something is not installed; in continuous integration that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
