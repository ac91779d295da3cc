"""The charts of the board's page: read, zoomed, saved."""

import csv
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from page_fixtures import DIGITS, see

from benchmarks.synthetic_runs import events, write_run
from mlgym_jax.events import EventLog, project, read_events


def test_a_chart_is_read_zoomed_and_chosen_from_by_keyboard(open_tab, storage):
    view = project(event for _, event in read_events(storage / DIGITS / "event_storage.log"))
    losses = {number: one.history["val/loss"] for number, one in view.experiments.items()}
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=val/loss&pick=3")
    see(tab, "val/loss", 12)
    chart = page.get_by_role("group", name="Chart of val/loss")
    tip = chart.get_by_role("status")
    chart.focus()
    page.keyboard.press("ArrowRight")  # the chosen one, in the middle
    page.keyboard.press("End")
    assert tip.locator("b").inner_text() == f"{losses[3][-1]:.5f}"
    assert tip.locator("small").inner_text() == "epoch 6"
    page.keyboard.press("ArrowLeft")
    assert tip.locator("b").inner_text() == f"{losses[3][-2]:.5f}"
    page.keyboard.press("ArrowUp")
    above = min((values[-2], number) for number, values in losses.items() if values[-2] > losses[3][-2])
    assert tip.locator("span").inner_text().startswith(f"#{above[1]} ")
    page.keyboard.press("Enter")
    page.get_by_text("2 chosen").wait_for()
    page.keyboard.press("+")  # half of 1..6, around epoch 5
    assert page.evaluate("board.view.value.zoom") == [3, 5.5]
    page.keyboard.press("-")
    assert page.evaluate("board.view.value.zoom") is None
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_a_pointer_reads_a_line_a_click_chooses_it_and_a_drag_zooms_all_charts(open_tab, storage):
    view = project(event for _, event in read_events(storage / DIGITS / "event_storage.log"))
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=loss")
    see(tab, "val/loss", 12)
    box = page.get_by_role("group", name="Chart of val/loss").bounding_box()
    left, width = box["x"] + 54, box["width"] - 54 - 16  # epochs 1 to 6 lie between the margins
    page.mouse.move(left + width * 2 / 5, box["y"] + 120)
    tip = page.get_by_role("group", name="Chart of val/loss").get_by_role("status")
    number = int(tip.locator("span").inner_text().split()[0].removeprefix("#"))
    assert tip.locator("small").inner_text() == "epoch 3"
    assert tip.locator("b").inner_text() == f"{view.experiments[number].history['val/loss'][2]:.5f}"
    page.mouse.down()
    page.mouse.up()
    page.get_by_text("1 chosen").wait_for()
    assert page.evaluate("board.view.value.pick") == [number]
    page.mouse.move(left + width / 5, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(left + width * 3 / 5, box["y"] + 90, steps=4)
    page.mouse.up()
    low, high = page.evaluate("board.view.value.zoom")
    assert (low, high) == (pytest.approx(2, abs=0.02), pytest.approx(4, abs=0.02))
    page.mouse.dblclick(left + 50, box["y"] + 60)
    assert page.evaluate("board.view.value.zoom") is None


def test_a_chart_becomes_a_figure_and_a_table_and_larger(open_tab, storage, tmp_path):
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=val/loss&q=seed=0")
    see(tab, "val/loss", 4)
    page.get_by_label("More of val/loss").click()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Save as SVG").click()
    downloading.value.save_as(tmp_path / "figure.svg")
    figure = ElementTree.parse(tmp_path / "figure.svg").getroot()
    svg = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in figure.iter(f"{svg}text")]
    assert {"val/loss", "epoch", "6"} <= set(texts)
    assert sum(text.startswith("#") for text in texts) == 4  # a name for each line
    curves = [one for one in figure.iter(f"{svg}path") if one.get("fill") == "none" and one.get("d").count("L") == 5]
    assert len(curves) == 4  # six epochs each
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Logged values as CSV").click()
    downloading.value.save_as(tmp_path / "values.csv")
    with open(tmp_path / "values.csv", encoding="utf-8") as file:
        found = {(int(row["experiment_id"]), int(row["epoch"])): float(row["val/loss"]) for row in csv.DictReader(file)}
    view = project(event for _, event in read_events(storage / DIGITS / "event_storage.log"))
    assert found == {
        (number, epoch): loss
        for number, one in view.experiments.items()
        if one.hyperparameters["seed"] == 0
        for epoch, loss in enumerate(one.history["val/loss"], 1)
    }
    small = page.get_by_role("group", name="Chart of val/loss").bounding_box()
    page.get_by_role("button", name="Larger").click()
    tab.wait_until("() => document.querySelector('.plot').clientHeight > 500 && /wide=val/.test(location.hash)")
    assert page.get_by_role("group", name="Chart of val/loss").bounding_box()["width"] > small["width"] * 1.5


def test_outliers_that_stretch_a_chart_are_left_out_said_and_shown_by_a_click(open_tab, storage):
    """Where one of 40 explodes, the others can still be told apart: SVG shows where a chart ends on y."""
    log = list(events("outlier", num_experiments=40, num_epochs=30))
    for event in log:
        payload = event["payload"]
        if event["event_type"] == "evaluation_result" and payload["experiment_id"] == 7 and payload["epoch"] > 20:
            payload["loss_scores"][0]["score"] = 1e6
    (storage / "outlier").mkdir()
    with EventLog.open(storage / "outlier" / "event_storage.log") as file:
        file.append(log)
    tab = open_tab()
    page = tab.go("runs/outlier/analysis?scores=train/loss")
    see(tab, "train/loss", 40)

    def top():
        page.get_by_label("More of train/loss").click()
        with page.expect_download() as downloading:
            page.get_by_role("button", name="Save as SVG").click()
        page.keyboard.press("Escape")
        texts = [
            one.text
            for one in ElementTree.parse(downloading.value.path()).iter()
            if one.get("text-anchor") == "end" and one.text != "train/loss"
        ]
        return texts[-1]

    page.get_by_text("1 line goes beyond, up to 1M").wait_for()
    assert float(top()) < 3
    page.get_by_role("button", name="show all").click()
    page.get_by_role("button", name="without outliers").wait_for()
    assert page.evaluate("board.view.value.outliers") == "all"
    assert top() == "1M"
    page.locator("summary", has_text=re.compile("^More$")).click()
    page.get_by_label("Range of y").select_option("cut")
    page.get_by_text("1 line goes beyond, up to 1M").wait_for()
    assert float(top()) < 3


def test_decimation_is_said_and_a_zoom_fetches_the_detail(open_tab, storage):
    write_run(str(storage), "long", num_experiments=2, num_epochs=1500)
    tab = open_tab()
    page = tab.go("runs")
    page.evaluate("board.limits.points = 1000")
    tab.show("runs/long/analysis?scores=val/loss")
    page.get_by_text(re.compile(r"[\d,]+ of 3,000 points")).wait_for()
    tab.show("runs/long/analysis?scores=val/loss&zoom=1..100")
    tab.wait_until("() => !/ of .* points/.test(document.querySelector('figcaption').innerText)")
    assert any("epochs=1-100" in address and "experiments" not in address for address in tab.asked)
    with page.expect_request(lambda request: "epochs=200-301" in request.url):
        tab.show("runs/long/analysis?scores=val/loss&x=time&zoom=2.005..3.005")  # an epoch takes 0.01 s
    tab.wait_until("() => !/ of .* points/.test(document.querySelector('figcaption').innerText)")
    with page.expect_request(lambda request: "epochs=1-200" in request.url) as asked:
        tab.show("runs/long/experiments/1?zoom=1..200")
        page.get_by_role("group", name="Chart of val/loss").scroll_into_view_if_needed()
    assert asked.value.url.endswith("&points=1000&experiments=1&format=binary")


MEANS = """() => {
  const line = board.store.value.drawn.get("val/loss")?.lines[0];
  return line && ["x", "y", "count"].map((name) => [...line[name]].slice(0, line.n));
}"""


def means_of(log, epochs):
    """The mean of val/loss over the experiments whose value is finite, and how many these are."""
    view = project(event for _, event in read_events(log))
    curves = [dict(zip(one.epoch_numbers, one.history["val/loss"], strict=True)) for one in view.experiments.values()]
    values = np.array([[curve.get(epoch, np.nan) for epoch in epochs] for curve in curves])
    return np.nanmean(values, axis=0), np.isfinite(values).sum(0)


def test_means_of_a_large_run_are_exact_at_every_kth_epoch_also_live_and_in_a_zoom(open_tab, storage):
    log_path = storage / "large" / "event_storage.log"
    log_path.parent.mkdir()
    all_events = list(events("large", num_experiments=20, num_epochs=1600, diverged=2))
    epochs = [event["payload"].get("epoch", 0) for event in all_events]
    cut = epochs.index(1501) + 7  # 7 of 20 experiments have evaluated an epoch that is no multiple of 4 ...
    later = epochs.index(1510) + 7  # ... and here another one
    tab = open_tab()
    tab.go("runs").evaluate("board.limits.points = 10_000")
    with EventLog.open(log_path) as log:

        def shown(last):
            tab.wait_until("head => board.store.value?.run?.eventId === head", log.next_event_id - 1)
            tab.wait_until("last => board.store.value.drawn.get('val/loss')?.lines[0]?.x.at(-1) === last", last)
            return [np.array(column) for column in tab.page.evaluate(MEANS)]

        log.append(all_events[:cut])
        tab.show("runs/large/analysis?scores=val/loss&group=(all)")
        tab.page.get_by_text("every 4th epoch: 7,500 of 30,007 points").wait_for()
        for end, last in ((cut, 1500), (later, 1508), (len(all_events), 1600)):
            log.append(all_events[log.next_event_id : end])
            x, y, count = shown(last)
            grid = np.arange(4, last + 1, 4)
            mean, finite = means_of(log_path, grid)
            np.testing.assert_array_equal(x, grid)
            np.testing.assert_allclose(y, mean, rtol=1e-12)
            np.testing.assert_array_equal(count, finite)
        tab.page.get_by_text("every 4th epoch: 8,000 of 32,000 points").wait_for()
    tab.show("runs/large/analysis?scores=val/loss&group=(all)&zoom=701..900")
    tab.wait_until("() => !/points/.test(document.querySelector('figcaption').innerText)")
    x, y, count = (np.array(column) for column in tab.page.evaluate(MEANS))
    inside = (x >= 701) & (x <= 900)
    mean, finite = means_of(log_path, range(701, 901))
    np.testing.assert_array_equal(x[inside], np.arange(701, 901))
    np.testing.assert_allclose(y[inside], mean, rtol=1e-12)
    np.testing.assert_array_equal(count[inside], finite)


def test_a_drag_along_an_axis_of_parallel_coordinates_is_a_filter(open_tab, storage):
    view = project(event for _, event in read_events(storage / "failures" / "event_storage.log"))
    scored = [one.hyperparameters for one in view.experiments.values() if one.best("val/accuracy", "max")]
    rates = sorted(swept["optimizer.learning_rate"] for swept in scored)
    middle = (rates[0] * rates[-1]) ** 0.5  # of a logarithmic axis
    tab = open_tab()
    page = tab.go("runs/failures/hyperparameters")
    canvas = page.get_by_role("img", name="Parallel coordinates")
    box = canvas.bounding_box()
    x, top, bottom = box["x"] + 60 + (box["width"] - 120) / 3, box["y"] + 34, box["y"] + 300 - 14
    page.mouse.move(x, top - 8)
    page.mouse.down()
    page.mouse.move(x, (top + bottom) / 2, steps=5)
    page.mouse.up()
    limit = page.evaluate("board.view.value.columns['optimizer.learning_rate']")
    assert limit.startswith(">=")
    assert float(limit[2:]) == pytest.approx(middle, rel=0.03)
    kept = sum(one.hyperparameters["optimizer.learning_rate"] >= float(limit[2:]) for one in view.experiments.values())
    page.get_by_text(f"{kept} of 20 experiments").wait_for()


def test_a_zoom_of_seconds_is_none_of_epochs(open_tab):
    """Means have epochs on x: what was zoomed in time before they were asked for shows all, and a new zoom counts."""
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=val/loss&x=time&zoom=0.01..0.02&group=seed")
    see(tab, "val/loss", 3)
    chart = page.get_by_role("group", name="Chart of val/loss")
    chart.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    assert chart.get_by_role("status").locator("small").inner_text() == "epoch 6 · mean of 4 of 4"
    page.keyboard.press("+")
    tab.wait_until("() => board.view.value.zoom[1] === 6 && board.view.value.x === 'epoch'")


def test_a_chart_of_nothing_offers_no_values(open_tab):
    page = open_tab().go(f"runs/{DIGITS}/analysis?scores=val/loss&q=nothing-is-called-so")
    page.get_by_label("More of val/loss").click()
    page.get_by_role("button", name="Save as SVG").wait_for()
    assert page.get_by_role("link", name="Logged values as CSV").count() == 0


def test_what_changes_charts_out_of_sight_is_said(open_tab):
    page = open_tab().go(f"runs/{DIGITS}/analysis?scores=val/loss&best=auto&outliers=cut")
    page.get_by_role("button", name="best so far").wait_for()
    page.get_by_role("button", name="y without outliers").click()
    page.get_by_role("button", name="y without outliers").wait_for(state="hidden")
    assert page.evaluate("board.view.value.outliers") == ""
