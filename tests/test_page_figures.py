"""How the charts of the board's page are drawn, read as figures: scales, colours, what is hidden, pinned and saved."""

import io
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from page_fixtures import DIGITS, see
from PIL import Image

from benchmarks.synthetic_runs import events
from mlgym_jax.events import EventLog, project, read_events

SVG = "{http://www.w3.org/2000/svg}"
VALUE = "name => board.store.value.drawn.get(name).lines.map(({ id, rgb, n }) => [id, rgb.join(), n])"


def view_of(storage):
    return project(event for _, event in read_events(storage / DIGITS / "event_storage.log"))


def saved(page, name, kind="SVG"):
    page.get_by_label(f"More of {name}").click()
    with page.expect_download() as downloading:
        page.get_by_role("button", name=f"Save as {kind}").click()
    page.keyboard.press("Escape")
    with open(downloading.value.path(), "rb") as file:
        return file.read()


def texts_of(svg):
    return [one.text for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def drag(page, start, end, steps=6, shift=False):
    page.mouse.move(*start)
    page.mouse.down()
    if shift:
        page.keyboard.down("Shift")
    page.mouse.move(*end, steps=steps)
    page.mouse.up()
    if shift:
        page.keyboard.up("Shift")


def test_a_box_zooms_both_axes_shift_x_alone_and_a_double_click_shows_all(open_tab, storage):
    losses = [loss for one in view_of(storage).experiments.values() for loss in one.history["val/loss"]]
    low, high = min(losses), max(losses)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)  # the chart's margin
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=val/loss&outliers=all")
    see(tab, "val/loss", 12)
    box = page.get_by_role("group", name="Chart of val/loss").bounding_box()
    left, top, width, height = box["x"] + 54, box["y"] + 8, box["width"] - 70, box["height"] - 46
    corners = (left + width / 5, top + height / 4), (left + width * 3 / 5, top + height * 3 / 4)
    before = page.evaluate("history.length")
    drag(page, *corners)
    tab.wait_until("() => board.view.value.zoom && board.view.value.ranges['val/loss']")
    assert page.evaluate("board.view.value.zoom") == [pytest.approx(2, abs=0.02), pytest.approx(4, abs=0.02)]
    quarter = (high - low) / 4
    found = page.evaluate("board.view.value.ranges['val/loss']")
    assert found == [pytest.approx(low + quarter, rel=0.02), pytest.approx(high - quarter, rel=0.02)]
    assert page.evaluate("history.length") == before + 1  # one step back shows all again
    page.wait_for_timeout(300)
    assert re.search(r"y\.val/loss=.*&zoom=|zoom=.*&y\.val/loss=", page.evaluate("location.hash"))
    page.mouse.dblclick(left + 50, top + 30)
    tab.wait_until("() => !board.view.value.zoom && !board.view.value.ranges['val/loss']")
    drag(page, *corners, shift=True)
    tab.wait_until("() => board.view.value.zoom")
    assert page.evaluate("board.view.value.ranges") == {}


def test_a_symmetric_logarithm_shows_zeros_and_negatives(open_tab, storage):
    log = list(events("signed", num_experiments=3, num_epochs=20))
    values = {0: 0.0, 1: -1000.0, 2: 1000.0}
    for event in log:
        payload = event["payload"]
        if event["event_type"] == "evaluation_result":
            payload["loss_scores"][0]["score"] = values[payload["experiment_id"]] / payload["epoch"]
    (storage / "signed").mkdir()
    with EventLog.open(storage / "signed" / "event_storage.log") as file:
        file.append(log)
    tab = open_tab()
    page = tab.go("runs/signed/analysis?scores=train/loss&logy=1")
    page.get_by_text("2 lines have no positive value").wait_for()
    page.get_by_role("button", name="symlog y").click()
    page.get_by_text("symmetric log, linear up to ±10").wait_for()  # 1000 / 20 is the least
    assert page.get_by_role("button", name="log y", exact=True).get_attribute("aria-pressed") == "false"
    texts = texts_of(saved(page, "train/loss"))
    assert {"-1,000", "-100", "0", "100", "1,000"} <= set(texts)
    assert any("symmetric log" in text for text in texts)
    assert not any("positive" in text for text in texts)


def test_lines_are_coloured_by_rank_and_by_a_hyperparameter_with_a_key(open_tab, storage):
    view = view_of(storage)
    best = {number: one.best("val/f1", "max")[1] for number, one in view.experiments.items()}
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=val/loss&by=val/f1")
    see(tab, "val/loss", 12)
    page.get_by_label("Colour").select_option("rank")
    page.get_by_text("rank by best val/f1 (max)").wait_for()
    see(tab, "val/loss", 12)
    rgb = {number: colour for number, colour, _ in page.evaluate(VALUE, "val/loss")}
    assert rgb[max(best, key=best.get)] == "68,1,84"  # the dark end of viridis
    green = {number: int(colour.split(",")[1]) for number, colour in rgb.items()}
    ranked = sorted(best, key=best.get, reverse=True)
    assert [green[number] for number in ranked] == sorted(green.values())
    swatch = page.get_by_role("button", name=f"Draw experiment {ranked[0]}", exact=True).locator("i")
    assert swatch.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(68, 1, 84)"
    page.get_by_label("Colour").select_option("optimizer.learning_rate")
    page.get_by_text("optimizer.learning_rate, log").wait_for()
    see(tab, "val/loss", 12)
    rates = {number: one.hyperparameters["optimizer.learning_rate"] for number, one in view.experiments.items()}
    colours = {rates[number]: colour for number, colour, _ in page.evaluate(VALUE, "val/loss")}
    assert len(set(colours.values())) == len(set(rates.values())) == 4
    texts = texts_of(saved(page, "val/loss"))
    assert {"optimizer.learning_rate, log", "1e-4", "0.1", "val/loss", "epoch"} <= set(texts)
    assert not any(text.startswith("#") for text in texts)  # the key is their legend


def test_a_click_hides_a_line_and_a_shift_click_shows_it_alone(open_tab, storage):
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=val/loss")
    see(tab, "val/loss", 12)

    def names():
        return [text for text in texts_of(saved(page, "val/loss")) if text.startswith(("#", "seed"))]

    swatch = page.get_by_role("button", name="Draw experiment 3", exact=True)
    swatch.focus()
    page.keyboard.press("Enter")
    tab.wait_until("() => board.view.value.hide.join() === '3'")
    assert swatch.get_attribute("aria-pressed") == "false"
    page.wait_for_timeout(300)
    assert len(names()) == 11
    assert not any(name.startswith("#3 ") for name in names())
    swatch.click()
    swatch.click(modifiers=["Shift"])
    page.wait_for_timeout(400)
    assert "hide=0-2,4-11" in page.evaluate("location.hash")
    assert [name[:3] for name in names()] == ["#3 "]
    page.get_by_role("button", name="11 hidden").click()
    page.get_by_label("Lines").select_option("seed")
    see(tab, "val/loss", 3)
    page.get_by_role("button", name="seed = 1").click()
    page.wait_for_timeout(300)
    assert names() == ["seed = 0", "seed = 2"]


def test_a_pinned_chart_comes_first_and_stays_whatever_scores_are_wanted(open_tab):
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis")
    see(tab, "val/f1", 12)
    heads = "() => [...document.querySelectorAll('.chart h2')].map(one => one.innerText)"
    assert page.evaluate(heads)[0] != "train/loss"
    page.get_by_label("More of train/loss").click()
    page.get_by_role("button", name="Pin first").click()
    tab.wait_until(f"() => ({heads})()[0].endsWith('train/loss')")
    tab.show(f"runs/{DIGITS}/analysis?scores=val/f1&pin=train/loss")
    tab.wait_until(f"() => ({heads})().map(one => one.replace('★ ', '')).join() === 'train/loss,val/f1'")


def test_a_picture_holds_a_title_axes_and_every_name(open_tab):
    """44 lines are named, too: a PNG is as high as the SVG, three pixels for one."""
    tab = open_tab()
    page = tab.go("runs/failures/analysis?scores=val/loss")
    see(tab, "val/loss", 20)
    svg = saved(page, "val/loss")
    names = [text for text in texts_of(svg) if text.startswith("#")]
    assert len(names) == 20
    sideways = [one for one in ElementTree.fromstring(svg).iter(f"{SVG}text") if "rotate" in one.get("transform", "")]
    assert [one.text for one in sideways] == ["val/loss"]
    picture = Image.open(io.BytesIO(saved(page, "val/loss", "PNG"))).convert("RGB")
    height = float(ElementTree.fromstring(svg).get("height"))
    assert picture.height / 3 == pytest.approx(height, abs=40)  # texts have another width there
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 50  # lines in their colours


def test_a_score_is_drawn_over_another_at_the_same_epochs(open_tab, storage):
    view = view_of(storage)
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=val/f1")
    see(tab, "val/f1", 12)
    page.get_by_label("x", exact=True).select_option("train/loss")
    tab.wait_until("() => board.store.value.drawn.get('val/f1').lines[0]?.epochs")
    found = page.evaluate(
        "() => board.store.value.drawn.get('val/f1').lines.map(({ id, x, y, n }) =>"
        " [id, [...x].slice(0, n), [...y].slice(0, n)])"
    )
    assert {number: (x, y) for number, x, y in found} == {
        number: (one.history["train/loss"], one.history["val/f1"]) for number, one in view.experiments.items()
    }
    chart = page.get_by_role("group", name="Chart of val/f1")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    chart.focus()
    page.keyboard.press("ArrowRight")
    said = chart.get_by_role("status").locator("small").inner_text()
    epoch, loss = re.fullmatch(r"epoch (\d) · train/loss ([\d.]+)", said).groups()
    number = int(chart.get_by_role("status").locator("span").inner_text().split()[0].removeprefix("#"))
    assert math.isclose(view.experiments[number].history["train/loss"][int(epoch) - 1], float(loss), rel_tol=1e-3)
    tab.show(f"runs/{DIGITS}/analysis?scores=val/f1&x=train/loss&group=seed")
    page.get_by_text("Means are taken at equal epochs: x is the epoch.").wait_for()


def test_a_drawn_number_is_averaged_in_bins(open_tab, storage):
    view = project(event for _, event in read_events(storage / "failures" / "event_storage.log"))
    rates = sorted(one.hyperparameters["optimizer.learning_rate"] for one in view.experiments.values())
    tab = open_tab()
    page = tab.go("runs/failures/analysis?scores=val/loss&group=optimizer.learning_rate")
    see(tab, "val/loss", 5)
    page.get_by_label("Its numbers").select_option("4")
    see(tab, "val/loss", 4)
    labels = page.evaluate("() => [...board.store.value.drawn.get('val/loss').labels.values()]")
    ends = [tuple(map(float, label.split(" = ")[1].split(".."))) for label in labels]
    assert ends == [(rates[5 * k], rates[5 * k + 4]) for k in range(4)]
    page.get_by_label("Its numbers").select_option("0")
    see(tab, "val/loss", 20)


def test_dots_are_saved_where_their_scores_are_and_so_is_the_best_so_far(open_tab, storage):
    best = [one.best("val/f1", "max")[1] for one in view_of(storage).experiments.values()]
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/hyperparameters?by=val/f1")
    page.get_by_label("More of optimizer.learning_rate").wait_for()

    def heights(svg):
        paths = [one.get("d") for one in ElementTree.fromstring(svg).iter(f"{SVG}path")]
        return [float(found[1]) for path in paths if (found := re.match(r"M[\d.]+ ([\d.]+)a", path))]

    svg = saved(page, "optimizer.learning_rate")
    assert len(heights(svg)) == 12
    assert np.corrcoef(sorted(best), sorted(heights(svg), reverse=True))[0, 1] < -0.9999  # a hundredth of a pixel off
    assert {"optimizer.learning_rate", "best val/f1"} <= set(texts_of(svg))
    history = saved(page, "best val/f1 after experiments that finished")
    assert len(heights(history)) == 12 and "experiments finished" in texts_of(history)
    picture = Image.open(io.BytesIO(saved(page, "optimizer.learning_rate", "PNG")))
    assert picture.height == 3 * (210 + 26)
