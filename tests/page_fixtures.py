"""A board with one real run and several strange ones, and tabs in a browser on it."""

import forks
import pytest
from boards import BoardProcess
from browsers import ROOT, STATIC, Tab, chromium, lacking

from benchmarks.browser import CHROMIUM_ARGUMENTS
from benchmarks.synthetic_runs import write_strange_runs

DIGITS = "digits"
SHOWN = "() => !/Loading/.test(document.querySelector('#main').innerText) && !document.querySelector('#main [title=x]')"


@pytest.fixture(scope="module")  # no longer: while it is open, no other test can run an event loop
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    path = chromium()
    if path is None:
        lacking("no Chromium; `make test` installs one where apt-get is")
    if not (STATIC / "index.html").exists():
        lacking("the page is not built; `make page` builds it")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def storage(tmp_path_factory):
    """A folder with one real run and several strange ones."""
    folder = tmp_path_factory.mktemp("runs")
    words = "--config=configs/gs.py", "--config.num_epochs=6", f"--event_storage={folder}", f"--run_id={DIGITS}"
    forks.run("engine", *words, module="mlgym_jax.run", cwd=ROOT).check_returncode()
    write_strange_runs(str(folder))
    return folder


@pytest.fixture(scope="session")
def board(storage):
    process = BoardProcess(storage)
    yield process
    process.stop()


@pytest.fixture
def open_tab(browser, board):
    tabs = []

    def open_one(url=board.url, **options):
        tabs.append(Tab(browser, url, **options))
        return tabs[-1]

    yield open_one
    for tab in tabs:
        tab.close()
    for tab in tabs:
        assert tab.wrong == []
        assert tab.foreign() == []


def see(tab, name, lines):
    """Wait until the chart of a score has drawn so many lines."""
    tab.wait_until("([name, n]) => board.store.value?.drawn?.get(name)?.lines.length === n", [name, lines])
    tab.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 150)))")


def rows(page, label="Experiments"):
    return page.get_by_role("table", name=label, exact=True).locator(".body .row")
