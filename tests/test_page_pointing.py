"""What pointer and keys do to the charts of the board's page."""

import pytest
from page_fixtures import DIGITS, see

from benchmarks.synthetic_runs import events
from mlgym_jax.events import EventLog, project, read_events

# How many pixels of each chart's upper layer are drawn on: the cursor is a thin line, a line under it is more.
INK = """() => [...document.querySelectorAll('.plot')].map(({ children: [, canvas] }) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let i = 3; i < data.length; i += 4) found += data[i] > 0;
  return found;
})"""


def chart_of(page, name):
    chart = page.get_by_role("group", name=f"Chart of {name}")
    return chart, chart.bounding_box(), chart.get_by_role("status")


def test_a_line_pointed_at_is_drawn_in_all_charts_and_from_the_legend(open_tab):
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=loss")
    see(tab, "val/loss", 12)
    page.locator(".legend [data-experiment='3']").hover()
    tab.wait_until(f"() => ({INK})().every(ink => ink > 500)")
    _, box, tip = chart_of(page, "val/loss")
    page.mouse.move(box["x"] + 54 + (box["width"] - 70) * 2 / 5, box["y"] + 120)
    tip.wait_for()
    tab.wait_until(f"() => ({INK})().every(ink => ink > 500)")


def test_a_drag_beside_the_lines_changes_nothing_and_one_to_the_left_zooms(open_tab):
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=val/loss")
    see(tab, "val/loss", 12)
    _, box, _ = chart_of(page, "val/loss")
    left, width = box["x"] + 54, box["width"] - 70
    for start, end in ((box["x"] + 8, left - 8), (left + width + 14, left + width + 4)):
        page.mouse.move(start, box["y"] + 90)
        page.mouse.down()
        page.mouse.move(end, box["y"] + 90, steps=3)
        page.mouse.up()
    page.wait_for_timeout(300)
    assert "zoom" not in page.evaluate("location.hash")
    page.mouse.move(left + width * 4 / 5, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(left + width / 5, box["y"] + 60, steps=4)
    page.mouse.up()
    assert page.evaluate("board.view.value.zoom") == [pytest.approx(2, abs=0.02), pytest.approx(5, abs=0.02)]


def test_keys_read_what_a_zoom_shows_to_its_ends(open_tab, storage):
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=val/loss&zoom=2.3..4.4")
    see(tab, "val/loss", 12)
    chart, _, tip = chart_of(page, "val/loss")
    chart.focus()
    for key, epoch in (("ArrowRight", 3), ("End", 4), ("Home", 3), ("ArrowLeft", 3)):
        page.keyboard.press(key)
        assert tip.locator("small").inner_text() == f"epoch {epoch}", key
    tab.show(f"runs/{DIGITS}/analysis?scores=val/loss&logx=1")
    see(tab, "val/loss", 12)
    chart.focus()
    for key in ("ArrowRight", "+", "-"):
        page.keyboard.press(key)
        page.wait_for_timeout(100)
    assert page.evaluate("board.view.value.zoom") is None  # all of x again, logarithms or not
    # The first experiments of this run failed at epoch 10, before what the zoom shows.
    tab.show("runs/failures/analysis?scores=val/loss&zoom=20..30&pick=0")
    see(tab, "val/loss", 20)
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert tip.locator("span").inner_text().startswith("#3 ")


def test_a_click_chooses_experiments_only(open_tab):
    """Not what has the number of a group or of another chart's line, whatever was shown before."""
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=val/loss")
    see(tab, "val/loss", 12)
    chart, _, tip = chart_of(page, "val/loss")

    def press(shown):
        chart.focus()
        page.keyboard.press("ArrowRight")
        assert tip.locator("span").inner_text().startswith(shown)
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")

    press("#0 ")
    assert page.evaluate("board.view.value.pick") == [0]
    page.get_by_label("Lines").select_option("seed")
    see(tab, "val/loss", 3)
    press("seed = 0")
    assert page.evaluate("board.view.value.pick") == [0]
    tab.show(f"runs/{DIGITS}/throughput")
    chart, _, tip = chart_of(page, "training examples a second")
    tab.wait_until("() => board.store.value.run.times && performance.getEntriesByName('charts drawn').length")
    page.wait_for_timeout(500)
    press("examples a second")
    assert page.evaluate("board.view.value.pick") == []
    chart.focus()
    page.keyboard.press("+")
    assert page.evaluate("board.view.value.zoom") is None


def test_what_is_said_of_a_line_stays_true_while_it_grows(open_tab, storage):
    """The tip of a mean says how many it is of, also when more come while the pointer rests."""
    path = storage / "growing" / "event_storage.log"
    path.parent.mkdir()
    log_events = list(events("growing", num_experiments=4, num_epochs=8))
    results = [i for i, event in enumerate(log_events) if event["payload"].get("epoch") == 5]
    tab = open_tab()
    with EventLog.open(path) as log:
        log.append(log_events[: results[1]])
        page = tab.go("runs/growing/analysis?scores=val/loss&group=(all)")
        see(tab, "val/loss", 1)
        chart, _, tip = chart_of(page, "val/loss")
        chart.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("End")
        assert tip.locator("small").inner_text() == "epoch 5 · mean of 1 of 4"
        log.append(log_events[results[1] : results[-1] + 1])
        page.get_by_text("epoch 5 · mean of 4 of 4").wait_for()
    view = project(event for _, event in read_events(path))
    mean = sum(one.history["val/loss"][4] for one in view.experiments.values()) / 4
    assert float(tip.locator("b").inner_text()) == pytest.approx(mean, abs=1e-4)
    tab.show("runs/growing/analysis?scores=val/loss&group=(all)&zoom=1..3")
    tip.wait_for(state="hidden")
