"""Where the board's page says what came out: the flow board's first columns, the map of two, the best so far."""

import statistics

import pytest
from page_fixtures import DIGITS, rows

from mlgym_jax.events import project, read_events


def experiments_of(storage, run_id):
    return project(event for _, event in read_events(storage / run_id / "event_storage.log")).experiments


def test_the_flow_board_begins_with_the_best_score_and_what_led_to_it(open_tab):
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}?sort=-best val/f1")
    rows(page).first.wait_for()
    heads = page.evaluate(
        "() => [...document.querySelectorAll('[role=columnheader] button')].map((one) => one.title.replace(/,.*/, ''))"
    )
    assert heads[:5] == ["Experiment", "val/f1", "Job status", "optimizer.learning_rate", "seed"]
    for address, label in (("runs/failures/flow", "Experiments"), ("runs", "Runs")):  # of another day, which is said
        tab.show(address)
        rows(page, label).first.wait_for()
        tab.wait_until("() => (one => one.scrollWidth === one.clientWidth)(document.querySelector('.table'))")


@pytest.mark.parametrize("width", [390, 1440])
def test_ids_and_ticks_stay_in_sight_and_decimal_points_stand_below_each_other(open_tab, width):
    tab = open_tab(viewport={"width": width, "height": 900})
    page = tab.go(f"runs/{DIGITS}/flow")
    rows(page).first.wait_for()
    points = page.evaluate(
        """() => [...document.querySelectorAll('[role=cell]:nth-child(2), [role=cell]:nth-child(4)')].map((cell) => {
          const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
          const text = walker.nextNode();
          const at = text.data.indexOf('.');
          if (at < 0) return null;
          const range = document.createRange();
          range.setStart(text, at);
          range.setEnd(text, at + 1);
          return [[...cell.parentNode.children].indexOf(cell), range.getBoundingClientRect().left];
        })"""
    )
    for column in (1, 3):
        places = [place for at, place in filter(None, points) if at == column]
        assert len(places) >= 8
        assert max(places) - min(places) < 1.5, column
    page.evaluate("document.querySelector('.table').scrollLeft = 5000")
    hidden = page.evaluate(
        "(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.querySelector('.table'))"
    )
    table = page.locator(".table").bounding_box()
    for one in (rows(page).first.locator("input"), rows(page).first.locator("a").first):
        assert table["x"] <= one.bounding_box()["x"] < table["x"] + 74
    assert page.evaluate("document.querySelector('.table').scrollLeft") == pytest.approx(hidden, abs=1)
    assert hidden > 50 or width == 1440  # where all of it may fit
    # It is what is seen there, not covered by a cell that scrolled below it.
    box = rows(page).first.locator("input").bounding_box()
    hit = page.evaluate("([x, y]) => document.elementFromPoint(x, y).type", [box["x"] + 5, box["y"] + 5])
    assert hit == "checkbox"


def test_a_map_of_two_hyperparameters_says_means_and_chooses_a_cell(open_tab, storage):
    groups = {}
    for one in experiments_of(storage, DIGITS).values():
        key = one.hyperparameters["optimizer.learning_rate"], one.hyperparameters["seed"]
        groups.setdefault(key, []).append(one)
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/hyperparameters?by=val/accuracy&mapX=optimizer.learning_rate&mapY=seed")
    grid = page.get_by_role("group", name="Map of optimizer.learning_rate and seed")
    grid.wait_for()
    assert grid.get_by_role("button").count() == len(groups) == 12
    (wanted,) = groups[0.01, 2]
    cell = grid.get_by_role("button", name="optimizer.learning_rate 0.01, seed 2:")
    _, best = wanted.best("val/accuracy", "max")
    assert float(cell.inner_text().split(":")[1].split()[0]) == pytest.approx(best, abs=1e-4)
    cell.focus()
    page.keyboard.press("Enter")
    tab.wait_until("id => board.view.value.pick.join() === String(id)", wanted.experiment_id)
    assert cell.get_attribute("aria-pressed") == "true"
    # Over seeds together: the mean of a rate, and its deviation.
    page.get_by_label("Up").select_option("optimizer.learning_rate")
    of_rate = [one.best("val/accuracy", "max")[1] for (rate, _), some in groups.items() if rate == 0.01 for one in some]
    cell = grid.page.get_by_role("button", name="optimizer.learning_rate 0.01, optimizer.learning_rate 0.01:")
    said = cell.get_attribute("title").split(": ")[1]
    mean, deviation = said.removesuffix(", of 3").split(" ± ")
    assert float(mean) == pytest.approx(statistics.fmean(of_rate), abs=1e-4)
    assert float(deviation) == pytest.approx(statistics.stdev(of_rate), rel=0.3, abs=0.01)
    page.get_by_label("Up").select_option("val/loss")
    page.get_by_role("heading", name="val/loss over optimizer.learning_rate").wait_for()


def test_the_best_so_far_is_of_those_that_have_finished(open_tab):
    tab = open_tab()
    page = tab.go("runs/lost/hyperparameters")
    page.get_by_text("No experiment has finished yet.").wait_for()
    tab.show(f"runs/{DIGITS}/hyperparameters")
    page.get_by_role("heading", name="after experiments that finished").wait_for()
    page.get_by_role("img", name="Scatter of experiments finished against best val/f1").wait_for()
    page.get_by_label("After", exact=True).select_option("time")
    page.get_by_role("img", name="Scatter of time against best val/f1").wait_for()
    page.wait_for_timeout(300)
    assert "history=time" in page.evaluate("location.hash")
