"""`report RUN… --html`: one file that shows runs without a server, with what a board would answer, and nothing else."""

import base64
import gzip
import json
import re
import struct

import pytest
from browsers import PAGE, STATIC, Tab, agrees_but_for_events, lacking
from page_fixtures import DIGITS, SHOWN, rows
from study_files import here

from mlgym_jax.errors import MlgymError
from mlgym_jax.reading import page_file
from mlgym_jax.reading.all_curves import all_in_binary
from mlgym_jax.reading.results import load_run

STRANGE = ("no-results", "all-nan", "failures", "folds", "lost", "markup")


@pytest.fixture(autouse=True)
def built():
    if not (STATIC / "index.html").exists():
        lacking("the page is not built; `make page` builds it")


def header_and_columns(data):
    (length,) = struct.unpack("<I", data[4:8])
    return {**json.loads(data[8 : 8 + length]), "event_id": 0}, data[8 + length :]


def saved_in(path):
    [text] = re.findall(rb'<script type="text/plain" id="saved-runs">([A-Za-z0-9+/=]+)</script>', path.read_bytes())
    data = gzip.decompress(base64.b64decode(text))
    (length,) = struct.unpack("<I", data[:4])
    return json.loads(data[4 : 4 + length]), data[4 + length :]


# --- what is in it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_id", [DIGITS, *STRANGE])
def test_a_file_holds_what_a_board_answers(board, storage, tmp_path, run_id):
    page_file.write_page_file([load_run(str(storage / run_id))], str(tmp_path / "x.html"))
    saved, curves = saved_in(tmp_path / "x.html")
    run = saved["runs"][run_id]
    path = f"/grid_searches/{run_id}"
    begin, length = run["scores"]
    _, _, answer = board.get(f"{path}/scores?format=binary&columns=time")
    assert header_and_columns(curves[begin : begin + length]) == header_and_columns(answer)
    assert {**run["detail"], "event_id": 0} == {**board.json(path), "event_id": 0}
    assert run["experiments"] == board.json(f"{path}/experiments")
    (row,) = (one for one in board.json("/grid_searches") if one["grid_search_id"] == run_id)
    (saved_row,) = saved["grid_searches"]
    assert saved_row.keys() == row.keys()
    assert not row["summarised"] or saved_row == row
    wanted = board.json(f"{path}/verdict")
    name = {"resume": run["verdict"]["resume"], "load": run["verdict"]["load"]}  # by the folder, which is elsewhere
    assert {**run["verdict"], "sentences": 0} == {**wanted, "sentences": 0, **name}
    if run_id == DIGITS:
        assert json.loads(run["cards"]["3"]) == board.json(f"/model-card/{DIGITS}/3")
        assert set(run["verdicts"]) == set(run["detail"]["scores"])


def test_scores_that_some_epochs_lack_are_written_as_the_board_does(board, storage):
    result = load_run(str(storage / DIGITS))
    one = result.view.experiments[0]
    one._logged["val/loss"] = bytearray([1, 0, 1, 1, 0, 1])
    one.epoch_numbers[:] = [1, 2, 4, 5, 6, 9]
    header, columns = header_and_columns(all_in_binary(DIGITS, result.view))
    at = header["names"].index("val/loss")
    series = header["series"]
    place = list(zip(series["name"], series["experiment_id"], strict=True)).index((at, 0))
    assert (series["total"][place], series["last_epoch"][place]) == (4, 9)
    assert struct.unpack_from("<4i", columns, series["epochs_offset"][place]) == (1, 4, 5, 9)
    values = struct.unpack_from("<4d", columns, series["scores_offset"][place])
    assert values == tuple(one.history["val/loss"][i] for i in (0, 2, 3, 5))


def test_nothing_of_a_run_is_markup_of_the_file(storage, tmp_path):
    page_file.write_page_file([load_run(str(storage / "markup"))], str(tmp_path / "x.html"))
    text = (tmp_path / "x.html").read_text()
    assert "onerror" not in re.sub(r"(?s)<script.*?</script>|<style>.*?</style>|<title>.*?</title>", "", text)
    assert text.count("<script") - text.count("<\\script") == 2 + text.count("<script>alert") == 2
    assert "<title>&lt;img src=x onerror=" in text


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_tells_the_size_and_what_it_replaced(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = here("report", str(storage / DIGITS), "--html")
    size = (tmp_path / f"{DIGITS}.html").stat().st_size
    assert status == 0 and out == f"{DIGITS}.html: {size / 1e6:.1f} MB; open it in a browser, it needs no server\n"
    assert ", in place of an older one" in here("report", "--html", str(storage / DIGITS))[1]
    assert here("report", str(storage / DIGITS), str(storage / "lost"), "--html=two.html")[0] == 0
    assert list(saved_in(tmp_path / "two.html")[0]["runs"]) == [DIGITS, "lost"]
    status, _, _ = here("report", str(storage / DIGITS), "--html", "--monitor=val/loss")
    saved, _ = saved_in(tmp_path / f"{DIGITS}.html")
    assert saved["first"] == f"#/runs/{DIGITS}/overview?by=val%2Floss"
    assert saved["runs"][DIGITS]["verdict"]["mode"] == "min"


def test_what_cannot_be_is_said(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = str(storage / DIGITS)

    def said(*words, status=2):
        found, _, err = here("report", *words)
        assert found == status
        return err

    (tmp_path / "notes.txt").write_text("mine")
    assert "--html=notes.txt: a file is there that is no such report" in said(run, "--html=notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert "it is a folder; write --html=./report.html" in said(run, "--html=.")
    assert "/proc/x/y.html: cannot be written" in said(run, "--html=/proc/x/y.html", status=1)
    assert "--csv and --html: a report has one form" in said(run, "--csv", "--html")
    assert "--limit is for tables, and --html has all" in said(run, "--html", "--limit=3")
    assert "several go into one table by --csv" in said(run, str(storage / "lost"))
    assert "two of these runs have this id" in said(run, run, "--html")
    assert "no such score" in said(run, "--html", "--monitor=val/f2")
    monkeypatch.setattr(page_file, "MAX_VALUES", 10)
    assert "a file holds 10" in said(run, "--html")
    monkeypatch.setattr(page_file.resources, "files", lambda _: tmp_path)
    with pytest.raises(MlgymError, match="the board's page is not built here"):
        page_file._page()


# --- in a browser, which is offline ----------------------------------------------------------------------------------


@pytest.fixture
def open_file(browser, tmp_path):
    tabs = []

    def opened(runs, script=None, **options):
        path = tmp_path / f"{len(tabs)}.html"
        page_file.write_page_file(runs, str(path))
        tabs.append(Tab(browser, path.as_uri(), offline=True, **options))
        if script:
            tabs[-1].context.add_init_script(path=script)
        tabs[-1].page.goto(path.as_uri())
        return tabs[-1]

    yield opened
    for tab in tabs:
        assert tab.wrong == []
        assert [address for address in tab.asked if address != tab.url and not address.startswith("data:")] == []
        tab.close()


def test_it_shows_the_numbers_of_the_report(open_file, storage):
    result = load_run(str(storage / DIGITS))
    tab = open_file([result], viewport={"width": 1440, "height": 3000})
    page, verdict = tab.page, result.verdict()
    said = page.get_by_role("region", name="Verdict")
    said.wait_for()
    assert said.locator("strong span").get_attribute("title") == str(verdict["best"]["score"])
    assert page.get_by_role("status").filter(has_text="saved file").count() == 1
    tab.show(f"runs/{DIGITS}/analysis")
    tab.wait_until("() => board.store.value.run?.curves.size === 6 && board.store.value.loading.value === 0")
    agrees_but_for_events(tab, storage / DIGITS / "event_storage.log")
    assert page.locator("a[download]").count() == 0
    tab.show(f"runs/{DIGITS}/flow?sort=val/f1")
    assert rows(page).count() == 12
    tab.show(f"runs/{DIGITS}/experiments/3/model-card")
    page.get_by_text("Model card: digits-mlp, experiment 3").wait_for()
    assert page.locator("a[download]").count() == 0
    tab.show(f"runs/{DIGITS}/overview?by=val/loss")
    loss = result.verdict("val/loss")["best"]["score"]
    tab.wait_until("score => document.querySelector('[aria-label=Verdict] strong span')?.title === score", str(loss))
    tab.show("runs")
    page.get_by_role("link", name="digits-mlp").wait_for()


def test_a_rule_chooses_among_the_runs_of_a_file(open_file, storage):
    results = [load_run(str(storage / run_id)) for run_id in (DIGITS, "failures")]
    tab = open_file(results)
    for run_id in (DIGITS, "failures"):
        tab.page.locator(f"[data-row]:has(a[href*='runs/{run_id}/']) input").check()
    tab.page.get_by_role("link", name="Compare").click()
    tab.page.get_by_label("Rule").fill("top 1 by val/accuracy max per run")
    chosen = tab.page.get_by_role("table", name="Chosen experiments").locator(".body .row")
    chosen.nth(1).wait_for()
    found = {row.split()[1] for row in chosen.all_inner_texts()}
    assert found == {str(result.best("val/accuracy").experiment_id) for result in results}


def test_a_model_card_is_one_page_of_paper_with_its_score_and_interval(open_file, storage):
    result = load_run(str(storage / DIGITS))
    best = result.verdict()["best"]["experiment_id"]
    tab = open_file([result], color_scheme="dark")
    tab.show(f"runs/{DIGITS}/experiments/{best}/model-card")
    summary = tab.page.get_by_role("region", name="Summary")
    summary.wait_for()
    own = result.verdict()["candidate"]
    told = summary.inner_text()
    low, high = (f"{end:.4g}" for end in own["interval"])
    assert f"95 % interval of the mean of 3: {low} to {high}" in told
    assert summary.locator("strong span").get_attribute("title") == str(result.verdict()["best"]["score"])
    tab.wait_until("name => board.store.value.drawn.get(name)?.lines.length === 1", "val/f1")
    paper = tab.page.pdf(format="A4", print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) == 1
    tab.page.get_by_text("Everything that was recorded").click()
    tab.page.get_by_role("heading", name="Environment").wait_for()
    assert len(re.findall(rb"/Type\s*/Page\b", tab.page.pdf(format="A4"))) > 1


def test_who_goes_somewhere_while_the_file_is_unpacked_stays_there(open_file, storage, tmp_path):
    slow = tmp_path / "slow.js"
    slow.write_text(
        "const read = Response.prototype.arrayBuffer;"
        "Response.prototype.arrayBuffer = async function () {"
        "  if (!globalThis.unpack) await new Promise((go) => { globalThis.unpack = go });"
        "  return read.call(this);"
        "};"
    )
    tab = open_file([load_run(str(storage / DIGITS))], slow)
    tab.wait_until("() => globalThis.unpack !== undefined")
    tab.show(f"runs/{DIGITS}/selection")
    tab.wait_until("() => document.title.startsWith('selection')")
    tab.page.evaluate("() => { globalThis.unpack() }")
    tab.wait_until(SHOWN)
    assert tab.page.evaluate("location.hash") == f"#/runs/{DIGITS}/selection"


def test_every_view_of_every_run_is_accessible_and_markup_is_text(open_file, storage):
    axe = PAGE / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        lacking("axe-core is not installed; `make test` installs it where npm is")
    ids = (DIGITS, *STRANGE)
    tab = open_file([load_run(str(storage / run_id)) for run_id in ids], axe)
    tab.wait_until("() => document.querySelectorAll('.row').length > 6")
    problems = []
    views = [f"runs/{DIGITS}/{tab}" for tab in ("overview", "flow", "analysis", "hyperparameters", "selection")]
    views += ["runs", *(f"runs/{run_id}/overview" for run_id in STRANGE), f"runs/{DIGITS}/experiments/0"]
    views += ["runs/failures/experiments/1", "runs/markup/analysis", "runs/failures/experiments/1/model-card"]
    for view in views:
        tab.show(view)
        tab.page.wait_for_timeout(100)
        tab.wait_until(SHOWN)
        if re.search("cannot be shown|went wrong", tab.page.locator("#main").inner_text()):
            problems.append(view)
        violations = tab.page.evaluate("axe.run({ resultTypes: ['violations'] }).then(found => found.violations)")
        problems += [f"{view}: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in violations]
    assert problems == [] and tab.page.title() != "1"
