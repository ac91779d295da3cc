"""The board's page says what is so: of values, and of what a chart leaves out."""

import csv
import json

import pytest
from boards import BoardProcess
from page_fixtures import rows, see

from benchmarks.synthetic_runs import events, write_events
from mlgym_jax.reading.results import load_run

RATE = 3.8433531869183315e-4
OPTIMIZERS = [{"component": "adam", "learning_rate": 1e-3}, {"component": "sgd", "learning_rate": 1e-3}]


def log_of(run_id, swept, change=None, **options):
    """A run's events, with hyperparameters `swept(experiment)`, and results that `change(payload)` changes."""
    log = list(events(run_id, **options))
    for event in log:
        payload = event["payload"]
        if event["event_type"] == "experiment_config":
            payload["hyperparameters"] = swept(payload["experiment_id"])
        elif event["event_type"] == "evaluation_result" and change:
            change(payload)
        elif event["event_type"] == "job_scheduled" and options.get("folds"):
            payload["config"]["validation"] = {
                "component": "nested_cross_validation",
                "outer_folds": options["folds"] // 2,
                "inner_folds": 2,
                "monitor": "val/accuracy",
                "mode": "max",
            }
    return log


def _values(number):
    return {
        "optimizer.learning_rate": RATE * 10**number,
        "momentum": [None, 0.5, 0.9][number % 3],
        "seed": 20240131 + number,
        "optimizer": OPTIMIZERS[number % 2],
        "size": 1_000_000,
        "nesterov": number % 2 == 1,
        "model.features": [64, 32],
        "note": ["=HYPERLINK(1)", "+1+1", "@SUM(A1)"][number % 3],
    }


def _below_zero_or_far(payload):
    number, epoch = payload["experiment_id"], payload["epoch"]
    for entry in payload["loss_scores"]:
        if entry["split"] == "val" and number < 2:
            entry["score"] = -abs(entry["score"])
        if entry["split"] == "train" and number == 2 and epoch > 4:
            entry["score"] = 10.0 ** (2 * epoch)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_events(str(folder), "values", log_of("values", _values, num_experiments=6, num_epochs=4))
    write_events(
        str(folder), "far", log_of("far", lambda i: {"width": i}, _below_zero_or_far, num_experiments=6, num_epochs=10)
    )
    failed = [
        event
        for event in log_of("failed", lambda i: {"width": i}, num_experiments=4, num_epochs=2)
        if event["event_type"] != "evaluation_result" or event["payload"]["experiment_id"] != 1
    ]
    write_events(str(folder), "failed", failed)
    (folder / "my run").mkdir()
    (folder / "my run" / "event_storage.log").touch()
    scores = ("train/loss", "val/accuracy", "test/accuracy")
    write_events(
        str(folder),
        "nested",
        log_of("nested", lambda i: {"width": 2 ** (i // 6)}, num_experiments=18, num_epochs=5, folds=6, scores=scores),
    )
    return folder


@pytest.fixture(scope="module")
def board(storage):
    process = BoardProcess(storage)
    yield process
    process.stop()


def test_values_are_written_so_that_they_can_be_read_and_told_apart(open_tab):
    tab = open_tab()
    page = tab.go("runs/values?show=optimizer.learning_rate,momentum,seed,optimizer,size,model.features")
    rows(page).first.wait_for()
    cells = rows(page).first.locator("[role=cell]")
    assert cells.all_inner_texts() == ["3.84335e-4", "None", "20240131", "adam", "1000000", "[64,32]"]
    assert cells.first.locator("span").get_attribute("title") == "3.8433531869183315e-4"
    assert cells.nth(3).locator("span").get_attribute("title") == "adam(learning_rate=0.001)"
    cut = "() => [...document.querySelectorAll('.body [role=cell]')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert page.evaluate(cut) == 0
    for column, text, found in [
        ("momentum", "none", 2),
        ("momentum", "None, >0.6", 4),
        ("optimizer", "=adam", 3),
        ("optimizer.learning_rate", "3.84335e-4", 1),
    ]:
        tab.show(f"runs/values?c.{column}={text}")
        page.get_by_text(f"{found} of 6 experiments").wait_for()
    tab.show("runs/failed/hyperparameters")
    page.get_by_text("1 of them has no finite val/accuracy: grey, at “(none)” of its axis.").wait_for()
    tab.show("runs/values/hyperparameters")
    page.get_by_role("heading", name="Importance").wait_for()
    tab.show("runs/values/selection?rule=all by val/accuracy where model.features = [64,32] and momentum != None")
    tab.wait_until("() => document.querySelectorAll('.chosen .body .row').length === 4")
    tab.show("runs/values/selection?rule=all by val/accuracy where learning_rate < 0.01")
    page.get_by_text("did you mean optimizer.learning_rate?").wait_for()
    page.get_by_label("Rule").fill("")
    page.get_by_text("the usual rule is in force").wait_for()
    assert page.get_by_label("Rule").get_attribute("aria-invalid") == "false"


def test_both_tables_of_a_run_are_alike_and_hold_no_formula(open_tab, board, tmp_path):
    tab = open_tab()
    page = tab.go("runs/values/selection?rule=all by val/accuracy")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="CSV", exact=True).click()
    downloading.value.save_as(tmp_path / "selection.csv")
    _, _, body = board.get("/grid_searches/values/scores?format=csv")
    with open(tmp_path / "selection.csv", encoding="utf-8", newline="") as file:
        chosen = {row["experiment_id"]: row for row in csv.DictReader(file)}
    logged = {row["experiment_id"]: row for row in csv.DictReader(body.decode().splitlines())}
    assert len(chosen) == 6
    for name in set(_values(0)) - {"optimizer.learning_rate"}:
        assert {i: row[name] for i, row in chosen.items()} == {i: row[name] for i, row in logged.items()}, name
    assert {row["note"] for row in chosen.values()} == {"'=HYPERLINK(1)", "'+1+1", "'@SUM(A1)"}
    assert {row["nesterov"] for row in chosen.values()} == {"True", "False"}


def test_the_nested_result_is_that_of_the_engine(open_tab, storage):
    wanted = load_run(str(storage / "nested")).estimate()
    page = open_tab().go("runs/nested/selection")
    says = f"test/accuracy {wanted['mean']:.4f} ± {wanted['std']:.4f} over 3 folds"
    page.get_by_text(says).wait_for()


def test_a_chart_says_what_it_leaves_out_and_y_is_zoomed(open_tab):
    tab = open_tab()
    page = tab.go("runs/far/analysis?logy=1&scores=val/loss")
    page.get_by_text("2 lines have no positive value").wait_for()
    tab.show("runs/far/analysis?logy=1&scores=val/loss&c.width=<2")  # nothing at all: no invented axis
    see(tab, "val/loss", 2)
    assert (
        page.evaluate(
            "document.querySelector('.plot canvas').getContext('2d').getImageData(0, 0, 45, 250).data.some(Boolean)"
        )
        is False
    )
    tab.show("runs/far/analysis?scores=train/loss&outliers=all")
    page.get_by_role("button", name="without outliers").click()
    page.get_by_text("1 line goes beyond, up to 1e20").wait_for()
    chart = page.get_by_role("group", name="Chart of train/loss")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 24, box["y"] + 120, steps=3)
    page.mouse.up()
    tab.wait_until("() => /y.train\\/loss=/.test(location.hash)")
    low, high = page.evaluate("board.view.value.ranges['train/loss']")
    assert 0 < low < high < 3
    page.get_by_label("More of train/loss").click()
    page.get_by_label("y from..to").fill("0.5..1.5")
    tab.wait_until("() => /y.train\\/loss=0.5..1.5/.test(location.hash)")
    page.get_by_role("button", name="all of y").click()
    tab.wait_until("() => !/y.train/.test(location.hash)")
    page.keyboard.press("Escape")
    chart.focus()
    for key in ("ArrowRight", "Home", "Shift+ArrowUp"):
        page.keyboard.press(key)
    value = float(chart.get_by_role("status").locator("b").inner_text())
    low, high = page.evaluate("board.view.value.ranges['train/loss']")
    assert low < value < high < 3
    tab.show("runs/far/analysis?q=nothing-is-called-so")
    page.get_by_text("no experiment fits the filters").first.wait_for()
    assert page.get_by_text("no values yet").count() == 0


def test_what_is_wrong_with_a_file_is_said_where_it_was_opened_alone(open_tab, tmp_path):
    (tmp_path / "analysis.json").write_text(json.dumps({"format": "something else"}))
    tab = open_tab()
    page = tab.go("runs")
    field = page.locator("input[type=file]")
    field.set_input_files(tmp_path / "analysis.json")
    page.get_by_text("This file has not the format").wait_for()
    field.focus()
    assert field.bounding_box()["width"] <= 1
    for address in ("settings", "runs"):
        tab.show(address)
        page.get_by_role("heading", name=address.title()).wait_for()
        assert page.get_by_text("This file has not the format").count() == 0


def test_an_experiment_fits_its_place(open_tab):
    tab = open_tab()
    page = tab.go("runs/nested/experiments/3")
    page.locator(".pipeline rect").first.wait_for()
    for width in (390, 760, 1000, 1160, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        fits = "one => one.scrollWidth <= one.clientWidth"
        tab.wait_until(f"() => [...document.querySelectorAll('.pair > .card, .pipeline')].every({fits})")


def test_forced_colours_leave_what_only_a_background_shows(open_tab):
    tab = open_tab(forced_colors="active")
    page = tab.go("runs/far/analysis")
    see(tab, "val/loss", 6)
    shown = """() => [['.key i', null], ['.status', '::before'], ['.connection', '::before']].map(([where, part]) =>
      getComputedStyle(document.querySelector(where), part).forcedColorAdjust)"""
    assert page.evaluate(shown) == ["none"] * 3


def test_a_screen_of_other_pixels_draws_anew(open_tab):
    tab = open_tab()
    page = tab.go("runs/far/analysis?scores=val/loss")
    see(tab, "val/loss", 6)
    wide = "() => document.querySelector('.plot canvas').width / document.querySelector('.plot').clientWidth"
    assert page.evaluate(wide) == 1
    session = tab.context.new_cdp_session(page)
    metrics = {"width": 1440, "height": 900, "deviceScaleFactor": 2, "mobile": False}
    session.send("Emulation.setDeviceMetricsOverride", metrics)
    tab.wait_until(f"() => ({wide})() === 2")


def test_a_folder_that_is_not_shown_is_named(open_tab):
    page = open_tab().go("runs")
    page.get_by_text("1 folder is not shown").click()
    assert "my run: its name is no id" in page.locator(".notshown").inner_text()
