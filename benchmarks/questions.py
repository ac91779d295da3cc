"""Seven questions that people have of a run, from its address: clicks and seconds here, in TensorBoard and in Aim.

    python -m benchmarks.questions [--event_storage=DIR] [--aim=FOLDER/bin] [--pictures=DIR]

The same runs are shown by all three: two sweeps of configs/gs.py, an earlier and a later one, and one whose experiments
failed. Each question begins at the tool's address with a browser that has never been there, on a server that has
answered before. What is counted: clicks (what is typed into a field that was clicked is none more), and the seconds
from opening the address until the answer's text or picture is there. How long a person looks for it is not in them.
Where the tool says nothing that answers the question it is "no answer". "By eye" is a picture or a table that one has
to judge.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.browser import CHROMIUM_ARGUMENTS, serving
from benchmarks.synthetic_runs import write_run

EARLIER, LATER, FAILED = "digits-last-week", "digits-today", "digits-failed"
QUESTIONS = [
    "which is best, and why?",
    "is it still learning?",
    "which hyperparameter matters?",
    "why did this fail?",
    "give me the model",
    "show my professor",
    "is it better than last week's?",
]
BY_EYE = "by eye"
_WAIT_MS = 30_000


class Person:
    """Somebody at a browser, who is counted and timed."""

    def __init__(self, page: Any):
        self.page, self.clicks, self.begun = page, 0, time.perf_counter()
        page.set_default_timeout(_WAIT_MS)

    def click(self, found: Any) -> None:
        self.clicks += 1
        found.first.click()

    def type(self, found: Any, text: str) -> None:
        self.click(found)
        found.first.press_sequentially(text)

    def see(self, found: Any) -> str:
        found.first.wait_for()
        return " ".join(found.first.inner_text().split())


class Answer(NamedTuple):
    """What came of a question: clicks, seconds, and what was there to read; None: the tool has no answer."""

    clicks: int
    seconds: float
    text: str


Ask = Callable[[Person], str]
Tool = tuple[str, str, list[tuple[str, Ask] | None]]  # its name and address; where and what is done, a question


def board(url: str) -> Tool:
    """Return what one does on this project's board."""

    def run(name: str, ask: Ask) -> tuple[str, Ask]:
        return f"{url}/#/runs/{name}", ask

    def best(person: Person) -> str:
        person.see(person.page.locator(".verdict .score"))
        return person.see(person.page.locator(".verdict ul"))

    def learning(person: Person) -> str:
        return person.see(person.page.locator(".verdict li").filter(has_text="judged by the last"))

    def matters(person: Person) -> str:
        return person.see(person.page.locator(".card").filter(has_text="What matters for"))

    def failure(person: Person) -> str:
        person.click(person.page.get_by_role("link", name="Why experiment"))
        return person.see(person.page.locator(".failure h2")) + person.see(person.page.locator(".failure pre"))[-40:]

    def model(person: Person) -> str:
        with person.page.expect_download() as download:
            person.click(person.page.get_by_role("link", name="Download the model"))
        return f"{download.value.suggested_filename}, {os.path.getsize(download.value.path()):,} bytes"

    def professor(person: Person) -> str:
        person.page.evaluate("globalThis.print = () => console.log('printed')")
        person.click(person.page.get_by_role("link", name="Model card"))
        person.see(person.page.locator(".front .score"))
        with person.page.expect_console_message(lambda message: message.text == "printed"):
            person.click(person.page.get_by_role("button", name="Print"))
        return person.see(person.page.locator(".front"))

    def better(person: Person) -> str:
        person.click(person.page.get_by_role("link", name="Compare", exact=True))
        person.click(person.page.get_by_role("navigation", name="Compare it with").get_by_role("link"))
        return person.see(person.page.locator(".said li"))

    asked = [run(LATER, ask) for ask in (best, learning, matters)]
    return "this board", url, [*asked, run(FAILED, failure), *[run(LATER, ask) for ask in (model, professor, better)]]


def tensorboard(url: str, of_run: str) -> Tool:
    """Return what one does in TensorBoard; of a model, or to be shown to others, it has nothing.

    Args:
        of_run: the address of one that shows the later run alone: its parallel coordinates leave out what another run
            has not.
    """

    def sorted_table(person: Person) -> str:
        page = person.page
        person.click(page.get_by_role("tab", name="HPARAMS"))
        cells = page.locator("vaadin-grid-cell-content")
        first = cells.filter(has_text=re.compile(r"^\s*(digits-\S+/)?\d+\s*$"))
        before = person.see(first)
        panel = page.locator("tf-hparams-query-pane")
        person.click(panel.get_by_label("Sort by"))
        person.click(panel.get_by_role("option", name="val/f1").or_(page.get_by_text("val/f1", exact=True)).last)
        person.click(panel.get_by_label("Direction"))
        person.click(panel.get_by_role("option", name="Descending").or_(page.get_by_text("Descending")).last)
        until = time.monotonic() + _WAIT_MS / 1000
        while person.see(first) == before and time.monotonic() < until:
            page.wait_for_timeout(50)
        return f"{BY_EYE}: {person.see(first)} is on top"

    def curves(person: Person) -> str:
        person.type(person.page.get_by_placeholder("Filter tags"), "val/f1")
        chart = person.page.locator("scalar-card").filter(has_text="/f1")
        chart.locator("line-chart").first.wait_for(state="attached")
        return f"{BY_EYE}: a chart of all runs"

    def parallel(person: Person) -> str:
        person.click(person.page.get_by_role("tab", name="HPARAMS"))
        person.click(person.page.get_by_role("tab", name="PARALLEL COORDINATES VIEW"))
        person.page.locator("tf-hparams-parallel-coords-plot svg path").nth(20).wait_for(state="attached")
        return f"{BY_EYE}: lines over axes"

    def text(person: Person) -> str:
        person.click(person.page.get_by_role("tab", name="TEXT"))
        person.click(person.page.locator("paper-checkbox, tf-run-selector [role=checkbox]").nth(1))
        return person.see(person.page.get_by_text("FloatingPointError"))

    asked = [(of_run, ask) for ask in (sorted_table, curves, parallel)]
    return "TensorBoard", url, [*asked, (url, text), None, None, (url, sorted_table)]


def aim(url: str) -> Tool:
    """Return what one does in Aim; of a model, or to be shown to others, it has nothing."""

    def table(person: Person) -> str:
        person.click(person.page.get_by_role("link", name="Runs").first)
        return f"{BY_EYE}: {person.see(person.page.get_by_text('digits-mlp digits-'))} is on top of an unsorted table"

    def chosen(person: Person, explorer: str, adds: str, names: list[str]) -> None:
        page = person.page
        person.click(page.get_by_role("link", name=explorer).first)
        person.click(page.get_by_role("button", name=adds))
        for name in names:  # found among many by a word that is typed
            page.keyboard.press("Control+A")
            page.keyboard.type(name.partition(" ")[0])
            person.click(page.get_by_role("option").filter(has_text=name))
        page.keyboard.press("Escape")
        person.click(page.get_by_role("button", name="Search"))

    def curves(person: Person) -> str:
        chosen(person, "Metrics", "Metrics", ['f1 subset="val"'])
        person.page.locator("svg path").nth(20).wait_for(state="attached")
        return f"{BY_EYE}: a chart of all runs"

    def parallel(person: Person) -> str:
        chosen(person, "Params", "Run Params", ["learning_rate", 'f1 subset="val"'])
        person.page.locator("svg path").nth(20).wait_for(state="attached")
        return f"{BY_EYE}: lines over axes"

    def failure(person: Person) -> str:
        person.click(person.page.get_by_text(f"{FAILED}/0"))
        return person.see(person.page.get_by_text("FloatingPointError"))

    asked = [(url, ask) for ask in (table, curves, parallel, failure)]
    return "Aim", url, [*asked, None, None, (url, table)]


def ask(browser: Any, tool: Tool, pictures: str | None) -> list[Answer | str]:
    """Ask one tool all questions, and return its answers; a text where there is none, or where none was reached."""
    name, _, asked = tool
    found: list[Answer | str] = []
    for number, one in enumerate(asked):
        if one is None:
            found.append("no answer")
            continue
        address, does = one
        for is_last in (False, True):  # the server has answered once, the browser is a new one
            context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
            page = context.new_page()
            person = Person(page)
            page.goto(address)
            try:
                text = does(person)
                answer: Answer | str = Answer(person.clicks, time.perf_counter() - person.begun, text)
            except Exception as error:  # of Playwright, with all that it tried
                answer = f"not reached: {str(error).splitlines()[0]}"
            if pictures and is_last:
                page.screenshot(path=os.path.join(pictures, f"{name.replace(' ', '-')}-{number + 1}.png"))
            context.close()
        found.append(answer)
        print(f"{name:12s} {QUESTIONS[number]:32s} {answer}", flush=True)
    return found


@contextlib.contextmanager
def _served(words: list[str], url: str) -> Iterator[None]:
    import urllib.request

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, start_new_session=True, **quiet) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                    break
                time.sleep(0.1)
            time.sleep(10)  # what it reads, it reads now
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # with the workers that it started


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def make_runs(storage: str) -> None:
    """Train the two sweeps, and write the log of the run that failed, unless they are there."""
    for run_id, *options in ((EARLIER, "--config.model.features=(16,)", "--config.num_epochs=12"), (LATER,)):
        if not os.path.exists(os.path.join(storage, run_id)):
            words = [sys.executable, "-m", "mlgym_jax.run", "--config=configs/gs.py", f"--event_storage={storage}"]
            subprocess.run([*words, f"--run_id={run_id}", *options], check=True, stdout=subprocess.DEVNULL)
    if not os.path.exists(os.path.join(storage, FAILED)):
        write_run(storage, FAILED, num_experiments=20, num_epochs=30, failed=3, diverged=5, name="digits")


def _cell(answer: Answer | str) -> str:
    if isinstance(answer, str):
        return answer
    return f"{answer.clicks}, {answer.seconds:.1f} s" + (f", {BY_EYE}" if answer.text.startswith(BY_EYE) else "")


def main() -> None:
    """Ask, and print the table of docs/comparison.md."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--event_storage", help="keep the runs there, and use those that are there")
    parser.add_argument("--aim", help="the folder with the commands of an environment that has aim, and msgspec")
    parser.add_argument("--only", help="ask these tools alone: board, tensorboard, aim, with commas")
    parser.add_argument("--pictures", help="a folder for a picture of each answer")
    options = parser.parse_args()
    storage = options.event_storage or tempfile.mkdtemp()
    make_runs(storage)
    logs = os.path.join(storage, ".logs")
    only = (options.only or "board,tensorboard,aim").split(",")
    tools, answers = [(sys.executable, "tensorboard")] if "tensorboard" in only else [], {}
    if options.aim and "aim" in only:
        tools.append((os.path.join(options.aim, "python"), "aim"))
    for python, name in tools:
        paths = [os.path.join(storage, run_id) for run_id in (EARLIER, LATER, FAILED)]
        subprocess.run([python, "-m", "mlgym_jax.export_logs", *paths, f"--to={name}", f"--out={logs}"], check=False)
    if options.pictures:
        os.makedirs(options.pictures, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_ARGUMENTS])
        if "board" in only:
            with serving(storage) as own:
                answers["this board"] = ask(browser, board(own.url), options.pictures)
        for python, name in tools:
            port = _free_port()
            url, words = f"http://127.0.0.1:{port}", [python, "-m", "tensorboard.main", f"--logdir={logs}/tensorboard"]
            if name == "aim":
                words = [os.path.join(options.aim, "aim"), "up", f"--repo={logs}/aim"]
            with contextlib.ExitStack() as servers:
                servers.enter_context(_served([*words, "--host=127.0.0.1", f"--port={port}"], url))
                tool = aim(url)
                if name == "tensorboard":
                    other, words = _free_port(), [*words[:-1], f"{words[-1]}/{LATER}"]
                    of_run = f"http://127.0.0.1:{other}"
                    servers.enter_context(_served([*words, "--host=127.0.0.1", f"--port={other}"], of_run))
                    tool = tensorboard(url, of_run)
                answers[tool[0]] = ask(browser, tool, options.pictures)
        browser.close()
    print("\n| |", " | ".join(answers), "|\n|---|" + "---|" * len(answers))
    for number, question in enumerate(QUESTIONS):
        cells = [found[number] for found in answers.values()]
        told = [_cell(one) for one in cells]
        print("|", question, "|", " | ".join(told), "|")
    if not options.event_storage:
        shutil.rmtree(storage)


if __name__ == "__main__":
    main()
