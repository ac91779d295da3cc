"""Several runs as one in a real browser: a rule, parallel coordinates, table and curves over all their experiments."""

import csv
import re
import statistics

import pytest
from boards import BoardProcess, write_run
from test_runs_command import ONE, OTHER, swept

RUNS = {"first": {0.1: [0.5, 0.6], 0.01: ONE}, "second": {0.1: OTHER}}


@pytest.fixture
def tab(open_tab, tmp_path):
    for run_id, rates in RUNS.items():
        write_run(tmp_path, swept(run_id, rates, name="study"), run_id)
    board = BoardProcess(tmp_path)
    yield open_tab(board.url)
    assert board.stop() == 0


def rows(tab, number):
    """The texts of a table's rows, once there are so many of them."""
    every = "[...document.querySelectorAll('.table .body .row')].map(row => row.innerText.split(/\\s+/))"
    return tab.wait_until(f"number => (rows => rows.length === number && rows)({every})", number)


def test_a_rule_chooses_among_the_experiments_of_several_runs(tab):
    tab.go("compare/selection?runs=first,second&rule=top 3 by val/accuracy max")
    scores = [
        (score, run_id, number)
        for run_id, rates in RUNS.items()
        for number, score in enumerate(score for values in rates.values() for score in values)
    ]
    best = [(str(place), str(number), run_id) for place, (_, run_id, number) in enumerate(sorted(scores)[:-4:-1], 1)]
    found = rows(tab, 3)
    assert [(row[0], row[1], row[3]) for row in found] == best
    # The engine knows a mean's run by its name; a row leads to the experiment of its own run.
    tab.show("compare/selection?runs=first,second&rule=top 1 by val/accuracy max mean over seed per run")
    found = rows(tab, 2)
    means = {run_id: max(statistics.fmean(values) for values in rates.values()) for run_id, rates in RUNS.items()}
    assert {row[3]: float(row[1]) for row in found} == {run: round(mean, 5) for run, mean in means.items()}
    tab.page.get_by_role("row", name=re.compile("second")).first.click()
    tab.page.get_by_role("heading", name="second").or_(tab.page.get_by_text("experiment 0")).first.wait_for()
    assert "#/runs/second/experiments/0" in tab.page.url


def test_the_run_is_an_axis_a_column_and_a_group_and_the_views_share_their_filters(tab):
    page = tab.go("compare?runs=first,second")
    page.get_by_role("link", name="Hyperparameters", exact=True).click()
    page.get_by_role("img", name="Parallel coordinates of run, optimizer.learning_rate, seed, val/accuracy").wait_for()
    page.get_by_label("run", exact=True).fill("second")
    page.get_by_text("3 of 9 experiments").first.wait_for()
    page.get_by_role("link", name="Flow", exact=True).click()
    assert all("second" in row for row in rows(tab, 3))
    tab.show("compare/analysis?runs=first,gone,second&group=run")
    page.get_by_text("no run 'gone'").wait_for()  # which takes nothing away from the others
    page.get_by_role("button", name=re.compile("run = first 6")).or_(page.get_by_text("run = first")).first.wait_for()
    drawn = "() => [...(board.store.value.drawn.get('val/accuracy')?.lines ?? [])].map(line => [...line.y])"
    lines = tab.wait_until(f"() => (lines => lines.length === 2 && lines)(({drawn})())")
    means = [statistics.fmean(score for values in rates.values() for score in values) for rates in RUNS.values()]
    assert [line[0] for line in lines] == pytest.approx(means)
    # What was logged of those that are shown is one table: of a run of which no more is chosen, all of it.
    tab.show("compare/analysis?runs=first,second&scores=accuracy&c.seed=0")
    page.get_by_text("3 of 9 experiments").wait_for()
    page.get_by_label("More of val/accuracy").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Logged values as CSV").click()
    with open(download.value.path(), newline="") as file:
        found = list(csv.DictReader(file))
    of_seed = [(run_id, values[0]) for run_id, rates in RUNS.items() for values in rates.values()]
    assert [(row["run"], float(row["val/accuracy"])) for row in found if row["epoch"] == "1"] == of_seed
