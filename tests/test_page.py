"""The board's page in a real browser, on a real server and a real run."""

import gzip
import json
import os
import re
import shutil
import subprocess

import pytest
from boards import BoardProcess
from browsers import PAGE, STATIC, agrees, lacking, prefixed
from page_fixtures import DIGITS, SHOWN, rows
from safetensors.numpy import load_file

from benchmarks.synthetic_runs import events, write_run
from mlgym_jax.events import EventLog, project, read_events

VIEWS = {
    "runs": "runs",
    "overview": f"runs/{DIGITS}",
    "overview of a lost run": "runs/lost/overview",
    "flow": f"runs/{DIGITS}/flow",
    "analysis": f"runs/{DIGITS}/analysis?pick=1,2&smooth=0.3",
    "coloured": f"runs/{DIGITS}/analysis?colour=rank&symlog=1&pin=train/loss&hide=3",
    "grouped": "runs/failures/analysis?group=optimizer.learning_rate&outliers=all",
    "hyperparameters": f"runs/{DIGITS}/hyperparameters",
    "hyperparameters of many kinds": "runs/failures/hyperparameters",
    "selection": f"runs/{DIGITS}/selection",
    "throughput": f"runs/{DIGITS}/throughput",
    "experiment": f"runs/{DIGITS}/experiments/3",
    "model card": f"runs/{DIGITS}/experiments/3/model-card",
    "failed experiment": "runs/failures/experiments/1",
    "no results": "runs/no-results/analysis",
    "runs chosen": f"runs?group=tag&runs={DIGITS},failures",
    "compare": f"compare?runs={DIGITS},failures,gone",
    "flow of several runs": f"compare/flow?runs={DIGITS},failures,gone",
    "selection of several runs": f"compare/selection?runs={DIGITS},failures",
    "settings": "settings",
}


# All that it knows, and that what is clicked is 24 pixels high and wide, or as far apart (WCAG 2.2).
AXE = (
    "axe.run({ resultTypes: ['violations'], rules: { 'target-size': { enabled: true } } }).then(one => one.violations)"
)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_is_accessible_fits_a_phone_and_asks_only_its_server(open_tab, theme):
    axe = PAGE / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        lacking("axe-core is not installed; `make test` installs it where npm is")
    tab = open_tab(color_scheme=theme)
    tab.context.add_init_script(path=axe)
    problems = []
    for name, address in VIEWS.items():
        page = tab.go(address)
        tab.page.set_viewport_size({"width": 390, "height": 844})
        tab.wait_until(SHOWN)
        page.wait_for_timeout(250)
        if page.evaluate("Math.max(...['html', 'main'].map(one => document.querySelector(one).scrollWidth))") > 390:
            problems.append(f"{name}: wider than a phone")
        for width in (390, 1440):
            tab.page.set_viewport_size({"width": width, "height": 900})
            violations = page.evaluate(AXE)
            problems += [f"{name}, {width}: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in violations]
    assert problems == []


def test_a_live_run_appears_and_its_state_is_the_logs_after_an_absence_and_a_restart(open_tab, storage, browser):
    log_path = storage / "live" / "event_storage.log"
    all_events = list(events("live", num_experiments=5, num_epochs=60, diverged=1, name="live study"))
    parts = [all_events[k * len(all_events) // 5 : (k + 1) * len(all_events) // 5] for k in range(5)]
    board = BoardProcess(storage)
    tab = open_tab(board.url)
    page = tab.go("runs")
    page.get_by_role("link", name=DIGITS).or_(page.get_by_text(DIGITS)).first.wait_for()
    log_path.parent.mkdir()
    with EventLog.open(log_path) as log:
        log.append(parts[0])
        page.get_by_role("link", name="live study").click()  # it appears by itself
        tab.show("runs/live/analysis")
        tab.wait_until("() => board.store.value.run?.curves.size === 3 && board.store.value.loading.value === 0")
        log.append(parts[1])
        agrees(tab, log_path)
        tab.context.set_offline(True)
        page.get_by_role("status").filter(has_text="not connected").wait_for()
        log.append(parts[2])
        tab.context.set_offline(False)
        page.locator("[data-state=live]").wait_for()
        agrees(tab, log_path)
        assert board.stop() == 0
        page.get_by_role("status").filter(has_text="not connected").wait_for()
        log.append(parts[3])
        board = BoardProcess(storage, f"--port={board.port}")
        page.locator("[data-state=live]").wait_for()
        log.append(parts[4])
        agrees(tab, log_path)
    board.stop()


def test_an_exported_analysis_opened_elsewhere_shows_the_same(open_tab, tmp_path):
    first = open_tab()
    page = first.go(f"runs/{DIGITS}/analysis?pick=4,7&smooth=0.4&logy=1&rule=top+3+by+val/f1+max")
    page.get_by_label("Filter experiments").fill("/learning_rate=0.0?1 /")
    page.get_by_label("Lines").select_option("optimizer.learning_rate")
    page.get_by_text("6 of 12 experiments").wait_for()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Export analysis").click()
    file = tmp_path / "analysis.json"
    downloading.value.save_as(file)
    content = json.loads(file.read_text())
    assert (content["format"], content["version"], content["grid_search_id"]) == ("mlgym_jax.analysis", 1, DIGITS)

    second = open_tab()
    other = second.go("runs")
    other.locator("input[type=file]").set_input_files(file)
    other.get_by_text("6 of 12 experiments").wait_for()
    view = "() => [location.hash, ...['.legend', '.active'].map(one => document.querySelector(one).innerText)]"
    assert other.evaluate(view) == page.evaluate(view)
    second.show(page.evaluate("location.hash").removeprefix("#/").replace("/analysis", "/selection"))
    assert other.get_by_label("Rule").input_value() == "top 3 by val/f1 max"

    file.write_text('{"format": "something else"}')
    other.locator("input[type=file]").set_input_files(file)
    other.get_by_text("This file has not the format").wait_for()


def test_every_step_from_the_runs_to_an_experiment_works_by_keyboard(open_tab):
    tab = open_tab()
    page = tab.go("runs")
    page.get_by_role("row").filter(has_text=DIGITS).wait_for()
    page.keyboard.press("/")
    page.keyboard.type(DIGITS)
    for _ in range(40):  # past the tools and the heads of columns
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('[data-row]')"):
            break
    assert DIGITS in page.evaluate("document.activeElement.innerText")
    page.keyboard.press("Enter")
    page.get_by_role("region", name="Verdict").wait_for()
    page.keyboard.press("3")
    page.get_by_role("group", name="Chart of val/f1").wait_for()
    page.keyboard.press("2")
    rows(page).first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.row") == "10"
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Pipeline").wait_for()
    assert page.evaluate("location.hash").endswith("/experiments/10")
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("go to the filter").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.get_by_role("table", name="Runs").wait_for()


def test_what_cannot_be_read_is_marked_and_the_last_good_one_stays(open_tab):
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/analysis?scores=loss")
    page.get_by_role("group", name="Chart of val/loss").wait_for()
    field = page.get_by_label("Scores")
    field.fill("(loss")
    assert field.get_attribute("aria-invalid") == "true"
    page.get_by_text("Unterminated group").wait_for()
    page.wait_for_timeout(200)
    assert page.locator("figure.chart").count() == 2
    assert page.evaluate("location.hash").endswith("?scores=loss")

    page = tab.show(f"runs/{DIGITS}/selection?rule=top 2 by val/f1 max")
    rule = page.get_by_label("Rule")
    assert rows(page, "Chosen experiments").count() == 2
    rule.fill("top 2 by val/f9 max")
    page.get_by_text("is neither a score").wait_for()
    assert page.locator(".behind mark").inner_text() == "val/f9"
    assert rows(page, "Chosen experiments").count() == 2
    rule.fill("top 3 by val/f1 max where optimizer.learning_rate < 0.01")
    tab.wait_until("() => document.querySelectorAll('.chosen .body .row').length === 3")


def test_a_selection_is_what_the_log_says_and_is_exported(open_tab, storage, tmp_path):
    view = project(event for _, event in read_events(storage / DIGITS / "event_storage.log"))
    scored = [(one.best("val/accuracy", "max"), one) for one in view.experiments.values()]
    best = sorted(scored, key=lambda pair: (-pair[0][1], pair[1].experiment_id))[:4]
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}/selection?rule=top 4 by val/accuracy max")
    rows(page, "Chosen experiments").first.wait_for()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="JSON").click()
    downloading.value.save_as(tmp_path / "selection.json")
    chosen = json.loads((tmp_path / "selection.json").read_text())["chosen"]
    assert [(one["experiment_id"], one["epoch"], one["score"], one["hyperparameters"]) for one in chosen] == [
        (one.experiment_id, epoch, score, one.hyperparameters) for (epoch, score), one in best
    ]


def test_a_trained_model_is_downloaded_by_a_click(open_tab, storage, tmp_path):
    page = open_tab().go(f"runs/{DIGITS}/experiments/3")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="model", exact=False).filter(has_text="↓").first.click()
    downloading.value.save_as(tmp_path / "model.safetensors")
    assert load_file(tmp_path / "model.safetensors")


def test_names_with_markup_are_text_and_strange_runs_are_shown(open_tab):
    tab = open_tab()
    page = tab.go("runs")
    page.get_by_role("link", name="<img src=x onerror").wait_for()
    lost = page.get_by_role("row").filter(has=page.locator("a[href^='#/runs/lost']"))
    lost.locator(".s-lost").wait_for()  # some seconds after its last event
    page = tab.show("runs/markup/analysis")
    page.get_by_role("heading", name="val/<script>alert(1)</script>").wait_for()
    page = tab.show("runs/failures/experiments/1")
    page.get_by_role("heading", name="FloatingPointError: overflow").wait_for()
    page.get_by_text("Traceback (most recent call last)").wait_for()
    page = tab.show("runs/all-nan/analysis")
    page.get_by_role("group", name="Chart of val/loss").wait_for()
    page = tab.show("runs/nowhere")
    page.get_by_role("heading", name="This run is not in the store").wait_for()
    page.get_by_role("status").filter(has_text="no such run").wait_for()
    assert page.evaluate("document.querySelectorAll('#page img, #page script').length") == 0
    assert page.title().endswith("mlgym board")


def test_an_address_with_foreign_state_shows_the_rest_and_says_so(open_tab):
    page = open_tab().go(f"runs/{DIGITS}/analysis?smooth=9&tomorrow=1&pick=2,900&by=val/gone&q=seed=0")
    page.get_by_text("This address also asks for").wait_for()
    shown = page.get_by_text("This address also asks for").inner_text()
    assert all(part in shown for part in ("smooth", "tomorrow", "1 chosen", "val/gone"))
    page.get_by_text("4 of 12 experiments").wait_for()
    page.get_by_role("button", name="Tidy up").click()
    assert page.get_by_text("This address also asks for").count() == 0


def test_the_page_works_behind_a_proxys_prefix(open_tab, board):
    with prefixed(board.port, "/board") as port:
        tab = open_tab(f"http://127.0.0.1:{port}/board")
        page = tab.go(f"runs/{DIGITS}/analysis?scores=val/f1")
        page.locator("[data-state=live]").wait_for()
        tab.wait_until("() => board.store.value.run.curves.get('val/f1')?.size === 12")


def test_a_token_is_asked_for_once_and_forgotten_on_request(open_tab, tmp_path):
    board = BoardProcess(tmp_path, "--token=a-long-enough-token-for-tests")
    tab = open_tab(board.url)
    page = tab.go("runs")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("heading", name="Sign in", level=1).wait_for()
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").wait_for()
    page.get_by_label("Token").fill("a-long-enough-token-for-tests")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="No runs yet").wait_for()
    assert "token" not in page.evaluate("document.cookie")
    page = tab.go("settings")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Token").wait_for()
    board.stop()


@pytest.mark.parametrize("while_away", [False, True])
def test_a_run_made_anew_under_its_id_is_shown_anew(open_tab, board, storage, while_away):
    """Also where the new log is the longer one: nothing of the old is kept."""
    run_id = f"anew-{while_away}"
    folder = storage / run_id
    write_run(storage, run_id, num_experiments=3, num_epochs=20, seed=1)
    tab = open_tab()
    tab.page.clock.install()
    tab.go(f"runs/{run_id}/analysis")
    tab.wait_until("() => board.store.value?.run?.curves.size === 3 && board.store.value.loading.value === 0")
    agrees(tab, folder / "event_storage.log")
    shutil.rmtree(folder)
    if while_away:
        tab.page.get_by_text(f"no run '{run_id}'").first.wait_for()
    write_run(storage, run_id, num_experiments=3, num_epochs=50, seed=2)
    tab.page.clock.fast_forward(15_000)  # when it looks for the run again
    tab.wait_until("() => board.store.value?.run?.experiments.get(0)?.epochs === 50")
    tab.wait_until("() => board.store.value.run.curves.size === 3 && board.store.value.loading.value === 0")
    agrees(tab, folder / "event_storage.log")


def test_scores_that_fail_are_asked_for_again_but_not_in_a_storm(open_tab):
    tab = open_tab()
    asked = []
    tab.page.clock.install()
    tab.page.route("**/scores?*", lambda route: (asked.append(1), route.fulfill(status=500, body="{}")))
    tab.go(f"runs/{DIGITS}/analysis")
    for _ in range(30):  # three seconds, in each tenth of which an answer has time to come
        tab.page.clock.run_for(100)
        tab.page.evaluate("() => fetch('healthz').then((answer) => answer.text())")
    assert 1 <= len(asked) <= 6
    tab.page.unroute("**/scores?*")
    tab.page.clock.run_for(5_000)
    tab.wait_until("() => board.store.value.run.curves.size > 0 && board.store.value.loading.value === 0")


@pytest.mark.parametrize(
    "parameters",
    [
        "constructor=1",
        "columns=abc&c.status==DONE",
        "c.constructor==1",
        "group=constructor",
        "zoom=0..5&logx=1",
        "zoom=-5..5&logx=1",
        "rule=top 3 by val/f1 where constructor != 3",
        "sort=toString&c.valueOf==1",
    ],
)
@pytest.mark.parametrize("tab_name", ["", "/overview", "/analysis", "/selection"])
def test_no_address_blanks_the_page(open_tab, parameters, tab_name):
    tab = open_tab()
    tab.go(f"runs/{DIGITS}{tab_name}?{parameters}")
    tab.wait_until(SHOWN)
    tab.wait_until("() => document.querySelector('#main').innerText.trim().length > 100")


def test_the_page_is_small_and_names_no_other_place():
    if not (STATIC / "index.html").exists():
        lacking("the page is not built; `make page` builds it")
    files = [*(STATIC / "assets").rglob("*.js"), *(STATIC / "assets").rglob("*.css")]
    sizes = {file.name: len(gzip.compress(file.read_bytes(), 9)) for file in files}
    index = (STATIC / "index.html").read_text()
    first = {name for name in sizes if f"assets/{name}" in index}
    # What any view loads when it is the first: what the page begins with, the file of the view, and what that asks for.
    for name in sizes.keys() - first:
        asked = {one for one in sizes if one in (STATIC / "assets/views" / name).read_text()}
        assert sum(sizes[one] for one in first | asked | {name}) <= 90_000
    assert len(first) == 2 and sum(sizes[one] for one in first) <= 82_000
    assert sum(sizes.values()) <= 98_000
    for file in [*files, STATIC / "whole.js", STATIC / "index.html"]:
        places = set(re.findall(r"https?://[^\s\"'`)]+", file.read_text()))
        assert places <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xhtml",
            "http://www.w3.org/1998/Math/MathML",
        }
    assert all(
        path.startswith("./") for path in re.findall(r'(?:src|href)="([^"]+)"', (STATIC / "index.html").read_text())
    )
    assert "resolved" not in (PAGE / "package-lock.json").read_text()


def test_the_pages_own_tests_pass():
    if not os.path.exists(PAGE / "node_modules" / "axe-core"):
        lacking("the page's packages are not installed; `make test` installs them where npm is")
    done = subprocess.run(["npm", "run", "--silent", "test"], cwd=PAGE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
