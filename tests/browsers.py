"""A headless Chromium for tests of the page: it records what the page asks for, and what goes wrong in it."""

import pathlib
import shutil

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "board_server" / "page"
STATIC = ROOT / "board_server" / "static"
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
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
        if message.type == "error" and "Failed to load resource" not in message.text and "WebSocket" not in message.text:
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
            if found := self.page.evaluate(script, argument):
                return found
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never became true: {script} {argument}; wrong: {self.wrong}")

    def foreign(self):
        """What was asked of others than the board."""
        own = (f"{self.url}/", f"ws{self.url.removeprefix('http')}/", f"blob:{self.url}/")
        return [address for address in self.asked if not address.startswith(own)]

    def close(self):
        self.context.close()


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    path = chromium()
    if path is None:
        pytest.skip("no Chromium; `make test` installs one where apt-get is")
    if not (STATIC / "index.html").exists():
        pytest.skip("the page is not built; `make page` builds it")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()
