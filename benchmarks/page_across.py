"""Measure the views across runs: 20 runs x 200 experiments x 500 epochs compared, a list of 1,000 runs, an overview.

    python -m benchmarks.page_across [--event_storage=DIR] [--runs=20] [--listed=1000]

What is measured is as in `benchmarks.page`; beside it stands what a click on an empty page takes on the same machine at
the same time. "Server warm" is a browser that opens the address for the first time, on a board that has answered it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from typing import Any

from benchmarks.browser import CHROMIUM_ARGUMENTS, Board, Step, Tab, serving, zooming
from benchmarks.synthetic_runs import write_run

_HOUR_MS = 3_600_000
_BEGIN_MS = 1_790_000_000_000
_FIRST_CHART = """() => {
  const scores = performance.getEntriesByType('resource').find(({ name }) => name.includes('/scores?'));
  const at = scores && globalThis.drawn?.find((at) => at > scores.responseEnd);
  return at ?? null;
}"""
_ALL_RUNS = """() => {
  const read = performance.getEntriesByType('resource').filter(({ name }) => name.includes('/comparison?runs='));
  const last = read.find(({ name }) => name.split('runs=').length > RUNS);
  const at = last && globalThis.drawn?.find((at) => at > last.responseEnd);
  return at ?? null;
}"""
_PARALLEL = "() => document.querySelector('.sideways canvas') && performance.now()"
_ROWS = "() => document.querySelector('[data-row]') && performance.now()"
_VERDICT = "() => document.querySelector('.verdict li') && performance.now()"


def write_runs(storage: str, *, runs: int, listed: int) -> tuple[str, str]:
    """Write runs to compare and runs to list, unless they are there, into two folders, whose paths are returned."""
    across, many = os.path.join(storage, "across"), os.path.join(storage, "many")
    for k in range(runs):
        if not os.path.exists(os.path.join(across, f"c{k:02d}")):
            write_run(
                across,
                f"c{k:02d}",
                num_experiments=200,
                num_epochs=500,
                diverged=4,
                failed=1,
                seed=k,
                name=f"run {k}",
                start_ms=_BEGIN_MS + k * _HOUR_MS,
            )
    for k in range(listed):
        if not os.path.exists(os.path.join(many, f"m{k:04d}")):
            write_run(
                many,
                f"m{k:04d}",
                num_experiments=4,
                num_epochs=20,
                diverged=int(k % 3 == 0),
                failed=int(k % 7 == 0),
                seed=k,
                name=f"study {k % 40}",
                start_ms=_BEGIN_MS + k * _HOUR_MS,
                finished=k % 50 != 0,
            )
    return across, many


def _opened(browser: Any, storage: str, address: str, shown: str, what: str) -> None:
    with serving(storage) as board:
        for server in ("cold", "warm"):
            tab, before = Tab(browser), board.seconds()
            wall, work = tab.opened(board.url + address, shown)
            print(
                f"{what + ', server ' + server:34s} {wall:6.2f} s   processor: page {work:5.2f} s, "
                f"server {board.seconds() - before:5.2f} s",
                flush=True,
            )
            tab.page.wait_for_timeout(1000)
            tab.close()


def _told(tab: Tab, kinds: dict[str, list[Step]]) -> None:
    for name, steps in kinds.items():
        print(f"{name:34s} {tab.answer(steps)}", flush=True)


def _compare(browser: Any, board: Board, storage: str, runs: int) -> None:
    address = "/#/compare?" + "runs=" + ",".join(f"c{k:02d}" for k in range(runs))
    whole = _ALL_RUNS.replace("RUNS", str(runs))
    _opened(browser, storage, address, _FIRST_CHART, "first chart of the comparison")
    _opened(browser, storage, address, whole, "all runs of the comparison")
    tab = Tab(browser)
    print(f"{'a click on an empty page':34s} {tab.idle()}")
    tab.opened(board.url + address, whole)
    page = tab.page
    page.wait_for_timeout(1000)
    box = page.locator(".plot").first.bounding_box()
    x, y = box["x"] + 54, box["y"] + 8

    judged, lines = page.get_by_label("Judged by"), page.get_by_label("Lines")
    log, smoothing = page.get_by_role("button", name="log y", exact=True), page.get_by_label("Smoothing")
    _told(
        tab,
        {
            "compare: hover": [lambda k=k: page.mouse.move(x + 40 + 12 * k, y + 40 + 4 * k) for k in range(12)],
            "compare: zoom": zooming(page, x, y),
            "compare: log y, lines, smoothing": [
                log.click,
                log.click,
                lambda: lines.select_option("best"),
                lambda: lines.select_option("mean"),
                lambda: smoothing.press("ArrowRight"),
            ],
        },
    )
    for name in ("val/loss", "train/loss", "val/loss"):
        before = board.seconds()
        answer = tab.answer([lambda name=name: judged.select_option(name)], wait_ms=4000)
        print(f"{'compare: judged by ' + name:34s} {answer}   server {board.seconds() - before:5.2f} s")
    tab.close()


def _as_one(browser: Any, board: Board, runs: int) -> None:
    """All experiments of the runs as if they were of one."""
    tab = Tab(browser)
    runs_of = "runs=" + ",".join(f"c{k:02d}" for k in range(runs))
    before = board.seconds()
    wall, work = tab.opened(f"{board.url}/#/compare/hyperparameters?{runs_of}", _PARALLEL)
    print(
        f"{'parallel coordinates of all':34s} {wall:6.2f} s   processor: page {work:5.2f} s, "
        f"server {board.seconds() - before:5.2f} s"
    )
    page = tab.page
    page.wait_for_timeout(1000)
    words = page.get_by_label("Filter experiments")
    box = page.locator(".sideways canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 60
    hover = [lambda k=k: page.mouse.move(x + 9 * k, y + 4 * k) for k in range(8)]
    typed = [words.focus, *[lambda letter=letter: page.keyboard.type(letter) for letter in "adam"]]
    _told(tab, {"parallel coordinates: hover": hover, "parallel coordinates: a filter's key": typed})
    page.evaluate("address => { location.hash = address }", f"#/compare/selection?{runs_of}")
    rule = page.get_by_label("Rule")
    rule.fill("top 5 by val/accuracy max per run")
    page.wait_for_timeout(1000)
    keys = [rule.focus, lambda: page.keyboard.press("End"), *[lambda: page.keyboard.press("Backspace")] * 8]
    _told(tab, {"a rule over all: a key": [*keys, lambda: page.keyboard.type(" where run != c00")]})
    tab.close()


def _list(browser: Any, board: Board, storage: str) -> None:
    _opened(browser, storage, "/#/runs", _ROWS, "first rows of the list")
    tab = Tab(browser)
    print(f"{'a click on an empty page':34s} {tab.idle()}")
    tab.opened(board.url + "/#/runs", _ROWS)
    page = tab.page
    page.wait_for_timeout(8000)  # until its logs are summed up
    table = page.get_by_role("table", name="Runs")
    search, group = page.get_by_label("Search"), page.get_by_label("Group", exact=True)
    _told(
        tab,
        {
            "list: a key of the search": [
                search.focus,
                *[lambda letter=letter: page.keyboard.type(letter) for letter in "study 17"],
                lambda: search.fill(""),
            ],
            "list: sort": [
                table.get_by_role("button", name=name).first.click for name in ("Best", "Status", "Done", "Started")
            ],
            "list: group": [lambda: group.select_option("name"), lambda: group.select_option("")],
            "list: tick a run": [lambda k=k: table.locator("input").nth(k).click() for k in range(3)],
        },
    )
    page.get_by_role("button", name="None").click()
    table.locator("[data-row]").nth(1).focus()
    keys = ["PageDown"] * 8 + ["End", "Home"] + ["ArrowDown"] * 5
    _told(
        tab,
        {
            "list: page by page, by keys": [lambda key=key: page.keyboard.press(key) for key in keys],
            "list: the wheel": [lambda: page.mouse.wheel(0, 5000), lambda: page.mouse.wheel(0, -5000)],
        },
    )
    before, worked = board.seconds(), tab.work()
    page.wait_for_timeout(5000)
    print(f"{'list, 5 s untouched':34s} page {tab.work() - worked:.0f} ms, server {board.seconds() - before:.2f} s")
    tab.close()


def main() -> None:
    """Measure and print."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--listed", type=int, default=1000)
    parser.add_argument("--only", choices=["compare", "overview", "list"], help="measure only this")
    parser.add_argument("--event_storage", help="keep the runs there, and use those that are there")
    options = parser.parse_args()
    storage = options.event_storage or tempfile.mkdtemp()
    across, many = write_runs(storage, runs=options.runs, listed=options.listed)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_ARGUMENTS])
        if options.only in (None, "compare"):
            print(f"{options.runs} runs x 200 experiments x 500 epochs x 3 scores, compared")
            with serving(across) as board:
                _compare(browser, board, across, options.runs)
                _as_one(browser, board, options.runs)
        if options.only in (None, "overview"):
            _opened(browser, across, "/#/runs/c00/overview", _VERDICT, "verdict of an overview")
        if options.only in (None, "list"):
            print(f"{options.listed} runs, listed")
            with serving(many) as board:
                _list(browser, board, many)
        browser.close()
    if not options.event_storage:
        shutil.rmtree(storage)


if __name__ == "__main__":
    main()
