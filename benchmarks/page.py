"""Measure the board's page in Chromium on a large run: 1,000 experiments x 1,000 epochs, three scores.

    python -m benchmarks.page [--experiments=1000] [--epochs=1000] [--event_storage=DIR]

"next paint" is what a person waits for an answer to a key or click (Event Timing, as Chrome's INP counts it, in steps
of 8 ms); "all charts" is until the last visible chart shows the new state; "processor" is what the page's main thread
worked. Each is of the slowest of all steps of a kind. `benchmarks.page_across` measures the views across runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from typing import Any

from benchmarks.browser import CHROMIUM_ARGUMENTS, Step, Tab, serving, zooming
from benchmarks.synthetic_runs import write_run

_DRAWN = """() => {
  const store = globalThis.board?.store.value;
  if (!store?.loaded.value || store.loading.value) return false;
  const loaded = [...store.run.curves.values()].some((curves) => curves.size > 0);
  const [drawn] = performance.getEntriesByName('charts drawn');
  const scores = performance.getEntriesByType('resource').find(({ name }) => name.includes('/scores?'));
  return loaded && drawn && scores && drawn.startTime > scores.responseEnd ? drawn.startTime : null;
}"""


def _resident_bytes(browser: Any) -> dict[str, int]:
    session = browser.new_browser_cdp_session()
    sizes: dict[str, int] = {}
    for process in session.send("SystemInfo.getProcessInfo")["processInfo"]:
        with open(f"/proc/{process['id']}/status", encoding="ascii") as file:
            resident = next(1024 * int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        sizes[process["type"]] = max(resident, sizes.get(process["type"], 0))
    return sizes


def main() -> None:
    """Measure and print."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--event_storage", help="keep the run there, and use the one that is there")
    options = parser.parse_args()
    storage = options.event_storage or tempfile.mkdtemp()
    if not os.path.exists(os.path.join(storage, "big")):
        write_run(storage, "big", num_experiments=options.experiments, num_epochs=options.epochs, diverged=20, failed=5)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with serving(storage) as board, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_ARGUMENTS])
        tab = Tab(browser)
        page = tab.page
        address = f"{board.url}/#/runs/big/analysis"
        print(f"{options.experiments} experiments x {options.epochs} epochs x 3 scores")
        for server in ("cold", "warm"):
            wall, work = tab.opened(address, _DRAWN)
            print(f"first chart, server {server}   {wall:6.2f} s   processor {work:5.2f} s")
        page.wait_for_timeout(500)
        box = page.locator(".plot").first.bounding_box()
        x, y = box["x"] + 54, box["y"] + 8  # the corner of the lines

        def typed(text: str) -> Step:
            return lambda: page.keyboard.type(text)

        hovers = [lambda k=k: page.mouse.move(x + 40 + 12 * k, y + 40 + 4 * k) for k in range(12)]
        zooms = zooming(page, x, y)
        field = page.get_by_label("Filter experiments")
        filters = [lambda: field.focus(), *map(typed, "width=64"), lambda: field.fill("")]
        more = [
            lambda: page.get_by_role("button", name="log y", exact=True).click(),
            lambda: page.get_by_role("button", name="log y", exact=True).click(),
            lambda: page.get_by_label("Lines").select_option("optimizer.component"),
            lambda: page.get_by_label("Lines").select_option(""),
            lambda: page.locator(".legend input").first.click(),
            lambda: page.locator(".legend input").first.click(),
        ]
        colours = page.get_by_label("Colour")
        drawn = [
            lambda: page.get_by_role("button", name="symlog y").click(),
            lambda: page.get_by_role("button", name="symlog y").click(),
            lambda: colours.select_option("rank"),
            lambda: colours.select_option("optimizer.learning_rate"),
            lambda: page.locator(".legend .swatch").first.click(),
            lambda: page.locator(".legend .swatch").first.click(modifiers=["Shift"]),
            lambda: page.locator(".legend .swatch").first.click(modifiers=["Shift"]),
            lambda: colours.select_option(""),
        ]
        over = [
            lambda: page.get_by_label("x", exact=True).select_option("train/loss"),
            *hovers[:4],
            lambda: page.get_by_label("x", exact=True).select_option("epoch"),
        ]
        smooth = [lambda: page.get_by_label("Smoothing").press("ArrowRight") for _ in range(3)]
        for name, steps in [
            ("hover", hovers),
            ("zoom", zooms),
            ("filter, a key", filters),
            ("scale, group, choose", more),
            ("symlog, colour, hide", drawn),
            ("a score over a score", over),
            ("smoothing", smooth),
        ]:
            print(f"{name:24s} {tab.answer(steps)}")
        page.goto(f"{board.url}/#/runs/big/flow")
        page.wait_for_timeout(600)
        rows = page.get_by_role("table", name="Experiments")
        table = [
            lambda: rows.get_by_role("button", name="val/accuracy").first.click(),
            lambda: page.mouse.wheel(0, 5000),
        ]
        print(f"{'table: sort, scroll':24s} {tab.answer(table)}")
        heap = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
        for kind, size in sorted(_resident_bytes(browser).items()):
            print(
                f"memory, {kind:16s} {size / 1e6:6.0f} MB resident"
                + (f" ({heap:.0f} MB of objects)" if kind == "renderer" else "")
            )
        browser.close()
    if not options.event_storage:
        shutil.rmtree(storage)


if __name__ == "__main__":
    main()
