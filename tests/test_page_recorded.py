"""What is recorded besides scores, in a real browser: by epoch, in numbers, accessible, and markup is text."""

import hashlib
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from boards import RUN, BoardProcess, study_events, write_run
from browsers import PAGE, lacking
from PIL import Image
from sklearn.metrics import confusion_matrix

from mlgym_jax.events import schema

SVG = "{http://www.w3.org/2000/svg}"
MARKUP = '<img src=x onerror="document.title=1">'
TARGETS, PREDICTED = [0, 0, 0, 1, 1, 2, 2, 2, 2], [0, 0, 1, 1, 1, 2, 0, 2, 2]


def records(epoch, image):
    """Return an epoch's events: a curve of two lines, a matrix, and one of each kind of record."""
    told = {"experiment_id": 1, "epoch": epoch, "step": epoch}
    curve = {"metric": "roc", "split": "val", "kind": "curve", "x_name": "fpr", "y_name": "tpr", "thresholds": None}
    lines = [{**curve, "label": MARKUP, "x": [0, 0.5, 1], "y": [0, 0.8, 1]}, {**curve, "label": "b", "x": [], "y": []}]
    values = (epoch * confusion_matrix(TARGETS, PREDICTED)).tolist()
    names = {"x_name": "predicted", "y_name": "target", "classes": ["ape", "bee", "cat"]}
    matrix = {"metric": "confusion", "split": "val", "kind": "matrix", "values": values, **names}
    large = {**matrix, "metric": "large", "values": np.eye(30).tolist(), "classes": None}
    yield schema.evaluation_curves(RUN, **told, curves=[*lines, matrix, large], now_ms=1_100)
    for kind, more in {
        "histogram": {"counts": [1, 2], "edges": [0.0, 1.0, 2.0]},
        "image": {"file": image, "width": 4, "height": 3},
        "table": {"columns": {"n": [epoch, "NaN"], MARKUP: [1, 2]}},
        "text": {"text": f"{MARKUP} after {epoch}"},
    }.items():
        yield schema.recorded(RUN, **told, name=kind, split="val", kind=kind, **more, now_ms=1_100)


@pytest.fixture
def board(tmp_path):
    data = io.BytesIO()
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(data, "PNG")
    name = f"{hashlib.sha256(data.getvalue()).hexdigest()}.png"
    media = tmp_path / RUN / "1" / "media"
    media.mkdir(parents=True)
    (media / name).write_bytes(data.getvalue())
    gpu = {
        "index": 0,
        "name": "H100",
        "utilisation": 0.5,
        "memory_used": 1,
        "memory_total": 2,
        "watts": 9,
        "celsius": 6,
    }
    known = {"process_cores": 1.0, "machine_cores": 2, "machine_busy": 1.5, "process_bytes": 2**30, "memory_total": 9}
    rest = {"memory_available": 4, "disk_free": None, "disk_total": None, "gpus": [gpu]}
    machine = [schema.system(RUN, host="node", seconds=15.0, **known, **rest, now_ms=now) for now in (1_100, 16_100)]
    said = schema.message(RUN, level="warning", source="here", text=f"{MARKUP} is odd", now_ms=1_100)
    of_epochs = [*records(2, f"media/{name}"), *records(3, "../../config.json")]
    write_run(tmp_path, [*study_events()[:-1], *of_epochs, *machine, said])
    board = BoardProcess(tmp_path)
    yield board
    assert board.stop() == 0


def confusion(page):
    return [
        [int(text) for text in row.get_by_role("cell").all_inner_texts()]
        for row in page.get_by_role("group", name="val/confusion").locator("tbody tr").all()
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_kind_is_shown_by_epoch_and_by_everybody(open_tab, board, theme):
    axe = PAGE / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        lacking("axe-core is not installed; `make test` installs it where npm is")
    tab = open_tab(board.url, color_scheme=theme)
    tab.context.add_init_script(path=axe)
    page = tab.go(f"runs/{RUN}/experiments/1")
    page.get_by_role("heading", name="Recorded").wait_for()
    expected = confusion_matrix(TARGETS, PREDICTED)
    assert confusion(page) == (3 * expected).tolist()
    page.get_by_text("This image is not on this board.").wait_for()  # of no file of the experiment's own
    slider = page.get_by_label("Epoch 3")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_text(f"{MARKUP} after 2").wait_for()
    assert confusion(page) == (2 * expected).tolist()
    image = page.get_by_alt_text("val/image, 4 × 3 pixels")
    image.scroll_into_view_if_needed()
    tab.wait_until("() => document.querySelector('.recorded img')?.naturalWidth === 4")
    # Curves are charts as others: with a zoom, a legend in words, and a figure to be saved.
    curves = page.locator("figure", has=page.get_by_role("heading", name="val/roc"))
    curves.get_by_label("More of val/roc").click()
    with page.expect_download() as saved:
        curves.get_by_role("button", name="Save as SVG").click()
    figure = ElementTree.parse(saved.value.path())
    assert {MARKUP, "b", "the diagonal", "fpr", "↑ tpr", "val/roc"} <= {
        one.text.strip() for one in figure.iter(f"{SVG}text")
    }
    strokes = [path.get("d") for path in figure.iter(f"{SVG}path") if path.get("stroke-width") == "1.3"]
    (left, bottom), (middle, high), (right, top) = [map(float, at.split()) for at in re.split("[ML]", strokes[0])[1:]]
    assert ((middle - left) / (right - left), (bottom - high) / (bottom - top)) == pytest.approx((0.5, 0.8), abs=1e-3)
    assert page.get_by_label("val/histogram: 3 values in 2 bins").locator(".bin").count() == 2
    assert page.get_by_label("val/large: 30 rows (target), 30 columns (predicted)").evaluate("one => one.width") == 30
    problems = []
    for address in (f"runs/{RUN}/experiments/1", f"runs/{RUN}/throughput"):
        tab.show(address)
        page.wait_for_timeout(500)
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(250)
        if page.evaluate("Math.max(...['html', 'main'].map(one => document.querySelector(one).scrollWidth))") > 390:
            problems.append(f"{address}: wider than a phone")
        page.set_viewport_size({"width": 1440, "height": 900})
        violations = page.evaluate("axe.run({ resultTypes: ['violations'] }).then(found => found.violations)")
        problems += [f"{address}: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in violations]
    assert problems == []
    page.get_by_role("heading", name="GPU utilisation").wait_for()
    page.get_by_role("group", name="Messages").get_by_text(f"{MARKUP} is odd").wait_for()
    assert page.get_by_role("heading", name="free disk").count() == 0  # no sample says it
    assert page.title() != "1"
