"""A board and a Chromium tab that is measured: what a person waits for, and what the processors did meanwhile."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_WATCH = """() => {
  globalThis.seen = [];
  globalThis.drawn = [];
  new PerformanceObserver((list) => {
    for (const { name, startTime, duration } of list.getEntries()) seen.push([name, startTime, duration]);
  }).observe({ type: 'event', durationThreshold: 16 });
  new PerformanceObserver((list) => {
    for (const { name, startTime } of list.getEntries()) if (name === 'charts drawn') drawn.push(startTime);
  }).observe({ type: 'mark' });
}"""
_EMPTY = "data:text/html,<button>an empty page</button>"

Step = Callable[[], object]


class Answer(NamedTuple):
    """What steps of a kind took, in ms, of the slowest step each.

    Attributes:
        paint: until the next frame after a key or click, as Chrome's INP counts it, in steps of 8; 0: less than 16.
        charts: until the last visible chart showed it; 0: none was drawn.
        work: processor time of the page's main thread; the machine may be busy with anything else.
    """

    paint: float
    charts: float
    work: float

    def __str__(self) -> str:
        paint = f"{self.paint:4.0f}" if self.paint else " <16"
        charts = f"   all charts {self.charts:4.0f} ms" if self.charts else ""
        return f"next paint {paint} ms   processor {self.work:4.0f} ms{charts}"


class Board(NamedTuple):
    """A board's process and its address."""

    url: str
    pid: int

    def seconds(self) -> float:
        """Return the processor time that it has used."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            user, system = file.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def serving(storage: str) -> Iterator[Board]:
    """Serve a folder of runs by a board that has just been started."""
    command = [sys.executable, "-m", "board_server", f"--event_storage={storage}", "--port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield Board(process.stdout.readline().split()[1].rstrip("/"), process.pid)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


class Tab:
    """A tab without a cache of its own, as of somebody who opens the board for the first time."""

    def __init__(self, browser: Any, *, width: int = 1440, height: int = 900):
        self._context = browser.new_context(viewport={"width": width, "height": height})
        self._context.add_init_script(f"({_WATCH})()")
        self.page = self._context.new_page()
        self._session = self._context.new_cdp_session(self.page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def close(self) -> None:
        self._context.close()

    def work(self) -> float:
        """Return the processor time of the main thread since the page was opened, in ms."""
        found = {one["name"]: one["value"] for one in self._session.send("Performance.getMetrics")["metrics"]}
        return 1000 * found["TaskDuration"]

    def opened(self, address: str, shown: str) -> tuple[float, float]:
        """Open an address; return the seconds until `shown` is true there, by the wall and of the main thread.

        Args:
            shown: JavaScript; the time at which it became true in ms, or null.
        """
        self.page.goto("about:blank")
        self.page.goto(address)
        at = self.page.wait_for_function(shown, timeout=120_000, polling=20).json_value()
        return at / 1000, self.work() / 1000

    def answer(self, steps: Sequence[Step], *, wait_ms: int = 600) -> Answer:
        """Do steps, each after the last one's answer, and return what the slowest took."""
        answers = []
        for step in steps:
            self.page.evaluate("() => { seen.length = drawn.length = 0 }")
            begun, worked = self.page.evaluate("performance.now()"), self.work()
            step()
            self.page.wait_for_timeout(wait_ms)
            seen, drawn = self.page.evaluate("[seen, drawn]")
            start = min((start for _, start, _ in seen), default=begun)
            paint = max((duration for _, _, duration in seen), default=0.0)
            answers.append(Answer(paint, max([at - start for at in drawn], default=0.0), self.work() - worked))
        return Answer(*(max(column) for column in zip(*answers, strict=True)))

    def idle(self) -> Answer:
        """Return what clicks on a page without anything cost: the least that this machine can show just now."""
        self.page.goto(_EMPTY)
        button = self.page.locator("button")
        return self.answer([button.click] * 5, wait_ms=200)


def zooming(page: Any, x: float, y: float) -> list[Step]:
    """Return steps that zoom into a chart whose lines begin at a corner, three times by dragging, and back."""

    def drag(left: float, right: float, height: float = 4) -> Step:
        def step() -> None:
            page.mouse.move(x + left, y + 60)
            page.mouse.down()
            page.mouse.move(x + right, y + 60 + height)
            page.mouse.up()

        return step

    return [drag(100, 250), drag(50, 300), drag(60, 200, 80), lambda: page.keyboard.press("z")]
