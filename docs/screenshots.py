"""Make the pictures of docs/board.md: every view of the board's page, light and dark, on a desk and on a phone.

python docs/screenshots.py    # needs Chromium and Playwright, writes docs/images/*.png
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from benchmarks.synthetic_runs import events, write_strange_runs  # noqa: E402
from mlgym_jax.events import EventLog  # noqa: E402
from mlgym_jax.events.annotation_log import annotate  # noqa: E402
from mlgym_jax.events.annotations import NoteSet, TagAdded  # noqa: E402

IMAGES = os.path.join(ROOT, "docs", "images")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
VIEWS = {
    "runs": "runs",
    "compare": "compare?runs=digits,digits-wide,sweep",
    "overview": "runs/digits",
    "flow": "runs/sweep/flow?sort=-best val/accuracy",
    "analysis": "runs/sweep/analysis?pick=7,22,38&smooth=0.5",
    "groups": "runs/sweep/analysis?group=model.width&scores=val",
    "colours": "runs/sweep/analysis?colour=rank&x=train/loss&scores=val",
    "hyperparameters": "runs/sweep/hyperparameters",
    "selection": "runs/digits/selection?rule=top 4 by val/f1 max where seed in (0, 1) and status = DONE",
    "folds": "runs/tabular/selection",
    "selection-of-runs": "compare/selection?runs=digits,digits-wide&rule=top 5 by val/f1 max mean over seed",
    "hyperparameters-of-runs": "compare/hyperparameters?runs=digits,digits-wide",
    "throughput": "runs/sweep/throughput",
    "experiment": "runs/digits/experiments/7",
    "failure": "runs/failures/experiments/1",
    "model-card": "runs/digits/experiments/7/model-card",
    "settings": "settings",
}
SIZES = {1440: 900, 390: 844}
LOST_SECONDS = 6  # after which a run that nobody writes is lost
COLOURS = 96  # enough for a page of greys and one accent, and a third of the bytes


def main() -> None:
    """Make a store, show it, and take the pictures."""
    from playwright.sync_api import sync_playwright

    os.makedirs(IMAGES, exist_ok=True)
    now = int(time.time() * 1000)
    with tempfile.TemporaryDirectory() as storage, EventLog.open(_made(storage, "sweep")) as log:
        command = [sys.executable, "-m", "mlgym_jax.run", f"--event_storage={storage}"]
        for run_id, *options in [
            ("tabular", "--config=configs/tabular.py", "--config.num_epochs=4"),
            ("digits", "--config=configs/gs.py"),
            ("digits-wide", "--config=configs/gs.py", "--config.model.features=(256,256)", "--config.num_epochs=12"),
        ]:
            subprocess.run([*command, f"--run_id={run_id}", *options], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
            _anonymise(os.path.join(storage, run_id), options)
        write_strange_runs(storage)
        annotate(
            os.path.join(storage, "digits"),
            [TagAdded("paper"), NoteSet("the baseline of the paper")],
            by="ada",
            now_ms=now,
        )
        annotate(os.path.join(storage, "digits-wide"), [TagAdded("paper"), TagAdded("wide")], by="ada", now_ms=now)
        sweep = events(
            "sweep",
            num_experiments=80,
            num_epochs=60,
            name="optimizer sweep",
            diverged=3,
            finished=False,
            start_ms=now - 90_000,
            batch_ms=1500,
        )
        log.append(list(sweep)[: 80 * 50])  # it still runs: this process holds its log
        server = subprocess.Popen(
            [sys.executable, "-m", "board_server", f"--event_storage={storage}", "--port=0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert server.stdout is not None
        try:
            url = server.stdout.readline().split()[1].rstrip("/")
            with sync_playwright() as playwright:
                chromium = shutil.which("chromium") or shutil.which("google-chrome")
                browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
                time.sleep(LOST_SECONDS)
                for theme in ("light", "dark"):
                    for width, height in SIZES.items():
                        page = browser.new_context(
                            viewport={"width": width, "height": height}, color_scheme=theme
                        ).new_page()
                        for name, address in VIEWS.items():
                            page.goto(f"{url}/#/{address}")
                            page.wait_for_timeout(1200)
                            _save(page.screenshot(), f"{name}-{theme}-{width}.png")
                browser.close()
        finally:
            server.terminate()
            server.wait(20)
            server.stdout.close()


def _made(storage: str, run_id: str) -> str:
    os.makedirs(os.path.join(storage, run_id))
    return os.path.join(storage, run_id, "event_storage.log")


def _anonymise(run: str, options: list[str]) -> None:
    """Write the command and a name as a reader would: who made the pictures, and where, is nobody's concern."""
    path = os.path.join(run, "run.json")
    with open(path, encoding="utf-8") as file:
        record = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**record, "made_by": "ada"}, file)
    for folder, _, names in os.walk(run):
        if "model_card.json" not in names:
            continue
        path = os.path.join(folder, "model_card.json")
        with open(path, encoding="utf-8") as file:
            card = json.load(file)
        card["command"] = ["python", "-m", "mlgym_jax.run", *options]
        with open(path, "w", encoding="utf-8") as file:
            json.dump(card, file)


def _save(picture: bytes, name: str) -> None:
    with Image.open(io.BytesIO(picture)) as image:
        small = image.convert("RGB").quantize(
            COLOURS, method=Image.Quantize.FASTOCTREE, kmeans=1, dither=Image.Dither.NONE
        )
    small.save(os.path.join(IMAGES, name), optimize=True)


if __name__ == "__main__":
    main()
