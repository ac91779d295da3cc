"""The board's page knows whether it hears the board: through relays that stall, or that know no WebSockets."""

import pytest
from boards import BoardProcess
from browsers import agrees
from page_fixtures import rows, see
from relays import Relay

from benchmarks.synthetic_runs import events, write_run
from mlgym_jax.events import EventLog


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_run(str(folder), "plain", num_experiments=3, num_epochs=2)
    return folder


@pytest.fixture(scope="module")
def board(storage):
    process = BoardProcess(storage)
    yield process
    process.stop()


@pytest.fixture
def relay(board):
    between = Relay(board.port)
    yield between
    between.close()


def test_a_connection_that_is_silent_for_a_minute_is_not_live(open_tab, relay, storage):
    log_path = storage / "silent" / "event_storage.log"
    log_path.parent.mkdir()
    half = list(events("silent", num_experiments=2, num_epochs=6))
    with EventLog.open(log_path) as log:
        log.append(half[:12])
        tab = open_tab(relay.url)
        tab.page.clock.install()
        page = tab.go("runs/silent/analysis")
        see(tab, "val/loss", 2)
        live, lost = page.locator("[data-state=live]"), page.locator("[data-state=offline], [data-state=connecting]")
        live.wait_for()
        relay.stalled = True
        log.append(half[12:])
        page.clock.run_for(40_000)
        assert live.count() == 1  # it may just have nothing to say
        page.clock.run_for(30_000)
        lost.wait_for()
        page.clock.run_for(40_000)  # attempts that hang are given up, too
        assert live.count() == 0
        relay.stalled = False
        for _ in range(100):
            page.clock.run_for(2000)
            if live.count():
                break
        page.clock.resume()
        agrees(tab, log_path)


def test_a_tab_that_is_seen_again_asks_at_once(open_tab, relay):
    tab = open_tab(relay.url)
    tab.page.clock.install()
    page = tab.go("runs/plain")
    page.locator("[data-state=live]").wait_for()
    relay.stalled = True
    page.clock.set_system_time(4e12)  # a machine that slept: its timers rested
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.locator("[data-state=offline], [data-state=connecting]").wait_for()


def test_a_view_that_could_not_be_loaded_comes_with_the_connection_or_asks_for_a_reload(open_tab):
    tab = open_tab()
    for before, view, shown in [("runs/plain", "runs/plain/throughput", "Steps"), ("runs", "compare", "Nothing")]:
        tab.go(before).locator("[data-state=live]").wait_for()
        tab.page.route("**/assets/views/*", lambda route: route.abort())
        tab.show(view).get_by_text("The board has another version than this page by now, or cannot be").wait_for()
        assert tab.page.get_by_role("button", name="Reload").is_visible()
        tab.page.unroute("**/assets/views/*")
        tab.page.evaluate("() => { for (const name of ['offline', 'online']) dispatchEvent(new Event(name)); }")
        tab.page.get_by_text(shown).first.wait_for()


def test_without_websockets_the_list_is_there_and_the_reason(open_tab, relay):
    relay.bars_sockets = True
    tab = open_tab(relay.url)
    page = tab.go("runs")
    rows(page, "Runs").filter(has=page.locator("a[href^='#/runs/plain']")).wait_for()
    page.get_by_text("not live: your proxy passes no WebSockets").wait_for()
    tab.show("runs/plain/flow")
    rows(page).first.wait_for()
    page.get_by_text("not live: your proxy passes no WebSockets").wait_for()
    relay.bars_sockets = False
    page.locator("[data-state=live]").wait_for()
