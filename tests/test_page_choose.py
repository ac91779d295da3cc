"""Choosing on the board's page, in a real browser: by the mean over folds as the engine does, by hand, by filters."""

import csv
import json
import shutil
import statistics

import forks
import pytest
from boards import BoardProcess
from browsers import ROOT, STATE, Tab, expected
from study_files import write

from benchmarks.synthetic_runs import events, write_events, write_run
from mlgym_jax.events import EventLog
from mlgym_jax.reading.results import load_run

CV = "tabular"
STUDY = """
import runpy

from mlgym_jax import component, grid


def get_config():
    config = runpy.run_path("configs/tabular.py")["get_config"]()
    config.num_epochs = 2
    config.seed = grid(0, 1)
    config.model.features = (8,)
    config.metrics = dict(auroc=component("auroc"))
    return config
"""
CHOSEN = """count => {
  const rows = [...document.querySelectorAll('.chosen .body .row')].map(row => row.innerText.split(/\\s*\\n\\s*/));
  return rows.length === count && rows;
}"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """A folder with a real run over 5 folds and 2 seeds with its refit, and a synthetic one."""
    folder = tmp_path_factory.mktemp("runs")
    words = f"--config={write(folder.parent, STUDY, 'tabular.py')}", f"--event_storage={folder}", f"--run_id={CV}"
    forks.run("engine", *words, module="mlgym_jax.run", cwd=ROOT).check_returncode()
    write_run(str(folder), "plain", num_experiments=8, num_epochs=12)
    write_run(str(folder), "lost", num_experiments=3, num_epochs=8, finished=False)
    return folder


@pytest.fixture(scope="module")
def board(storage):
    process = BoardProcess(storage)
    yield process
    process.stop()


@pytest.fixture
def tab(open_tab):
    return open_tab()


def exported(page, button, path):
    with page.expect_download() as downloading:
        page.get_by_role("button", name=button, exact=True).click()
    downloading.value.save_as(path)
    return path.read_text()


def test_the_usual_rule_of_a_run_with_folds_chooses_what_the_engine_selects(tab, storage, tmp_path):
    result = load_run(str(storage / CV))
    kind, selection = result.selection()
    refit = result.view.refits[0].refit
    page = tab.go(f"runs/{CV}/selection")
    tab.wait_until(CHOSEN, 2)
    assert page.get_by_label("Rule").input_value() == "top 5 by val/auroc max mean over fold, seed"
    page.get_by_text("2 refits are left out").wait_for()
    found = json.loads(exported(page, "JSON", tmp_path / "selection.json"))["chosen"][0]
    assert kind == "cross_validation"
    assert (found["mean"], found["hyperparameters"]) == (selection["mean"], selection["selected"])
    assert found["deviation"] == pytest.approx(selection["std"], rel=1e-9)
    assert (found["scored"], found["of"]) == (10, 10)
    assert [one["experiment_id"] for one in found["members"]] == refit["experiments"]
    by_fold = [statistics.fmean(one["score"] for one in found["members"] if one["fold"] == fold) for fold in range(5)]
    assert by_fold == selection["scores"]
    assert [(one["epoch"], one["score"]) for one in found["members"]] == [
        result.view.experiments[one["experiment_id"]].best("val/auroc", "max") for one in found["members"]
    ]
    rows = list(csv.DictReader(exported(page, "CSV", tmp_path / "selection.csv").splitlines()))
    assert [int(row["experiment_id"]) for row in rows if row["place"] == "1"] == refit["experiments"]
    page.get_by_role("button", name="Choose these 20").click()
    page.get_by_role("button", name="Compare the 20 chosen").wait_for()


def test_refits_are_marked_filtered_and_left_out_of_what_is_compared(tab, storage):
    page = tab.go(f"runs/{CV}/flow")
    wanted = expected(storage / CV / "event_storage.log")
    tab.wait_until("head => board.store.value?.run?.eventId === head", wanted["eventId"])
    assert page.evaluate(STATE)["experiments"] == wanted["experiments"]
    refits = [view.experiment_id for view in load_run(str(storage / CV)).view.refits]
    tab.show(f"runs/{CV}?c.refit==yes")
    page.get_by_text("0 of 20 experiments and 2 refits").wait_for()
    shown = page.get_by_role("table", name="Experiments", exact=True).locator(".body .row")
    assert [shown.nth(i).locator("a").inner_text() for i in range(2)] == [str(one) for one in refits]
    assert shown.filter(has_text="refit").count() == 2
    tab.show(f"runs/{CV}/hyperparameters?by=train/loss")
    page.get_by_text("2 refits are left out").wait_for()
    page.get_by_role("heading", name="Parallel coordinates").wait_for()
    tab.show(f"runs/{CV}/experiments/{refits[0]}")
    page.get_by_text("refit of experiments").wait_for()


def test_a_candidate_with_a_fold_that_fails_does_not_win(tab, storage):
    """Its four folds are the best there are, the fifth has no score."""
    log = [one for one in events("four", num_experiments=10, num_epochs=4, folds=5)]
    kept = []
    for event in log:
        payload = dict(event["payload"])
        number = payload.get("experiment_id")
        if event["event_type"] == "experiment_config":
            payload |= {"hyperparameters": {"lr": number // 5}, "fold": number % 5}
        if event["event_type"] == "evaluation_result":
            score = "NaN" if number == 3 else 0.9 if number < 5 else 0.5 + 0.01 * (number - 7)
            scores = [{"metric": "accuracy", "split": "val", "score": score}]
            payload |= {"metric_scores": scores, "loss_scores": []}
        kept.append({**event, "payload": payload})
    write_events(str(storage), "four", kept)
    page = tab.go("runs/four/selection")
    # 0.48, 0.49, 0.50, 0.51, 0.52: mean 0.5, deviation sqrt(0.001 / 4)
    first, second = tab.wait_until(CHOSEN, 2)
    assert first[1:] == ["0.50000", "0.01581", "1", "5 of 5", "1", "5 done", "5 6 7 8 9"]
    assert second[1:-1] == ["0.90000", "0", "0", "4 of 5", "1", "4 done, 1 diverged"]
    page.get_by_text("not all members have a score").wait_for()


def test_the_chosen_ones_are_compared_as_the_address_says(tab):
    page = tab.go("runs/plain/selection?pick=2,5&smooth=0.6&logy=1&zoom=2..9&group=model.width&best=auto")
    page.get_by_role("button", name="Compare the 2 chosen").click()
    tab.wait_until("() => location.hash.includes('compare=chosen')")
    tab.wait_until(CHOSEN, 2)
    assert page.get_by_role("columnheader", name="Place").count() == 0  # who is compared is not ranked
    heads = page.get_by_role("group", name="Differences of configs").locator("thead a")
    tab.wait_until("() => document.querySelectorAll('.scroll thead a').length === 2")
    assert heads.all_inner_texts() == ["2", "5"]
    for chip in ("mean by model.width", "smoothing 0.60", "best so far", "log y", "zoom 2–9"):
        page.get_by_role("button", name=chip).click()
    tab.wait_until("() => /selection\\?compare=chosen&pick=2,5$/.test(location.hash)")
    tab.show("runs/plain/experiments/2?group=model.width&smooth=0.3")
    page.get_by_role("button", name="smoothing 0.30").wait_for()
    assert page.get_by_role("button", name="mean by").count() == 0


def test_all_foreign_state_is_named_left_out_and_removed(tab):
    page = tab.go(
        "runs/plain?c.old==1&group=gone&sort=-zz&show=unknown&by=val/gone&rule=top 2 by val/f9 where width = 1"
    )
    said = page.get_by_text("This address also asks for")
    said.wait_for()
    for name in ("old", "gone", "zz", "unknown", "val/gone", "val/f9", "width"):
        assert f"“{name}”" in said.inner_text()
    page.get_by_text("8 experiments", exact=True).first.wait_for()
    page.get_by_role("columnheader").filter(has_text="Epoch").wait_for()  # the usual columns
    page.get_by_role("button", name="Tidy up").click()
    tab.wait_until("() => location.hash === '#/runs/plain/flow'")
    assert said.count() == 0
    tab.show("runs/plain/selection?rule=top of the world")
    page.get_by_text("nothing is chosen").wait_for()
    page.get_by_label("Rule").fill("top 2 by val/accuracy")
    page.get_by_label("Rule").fill("top 2 by val/accuracy max where")
    page.get_by_text("“top 2 by val/accuracy” stays in force").wait_for()


def test_going_back_and_forward_keeps_the_last_edit(tab):
    page = tab.go("runs/plain/flow")
    page.get_by_text("8 experiments", exact=True).first.wait_for()
    tab.show("runs/plain/analysis")
    page.get_by_label("Scores").wait_for()
    # Within the moment in which the address is not written yet.
    page.get_by_label("Smoothing").evaluate(
        "one => { one.value = '0.5'; one.dispatchEvent(new Event('input', { bubbles: true })); history.back() }"
    )
    tab.wait_until("() => location.hash === '#/runs/plain/flow'")
    page.wait_for_timeout(300)
    assert page.evaluate("location.hash") == "#/runs/plain/flow"
    page.evaluate("history.forward()")
    tab.wait_until("() => location.hash === '#/runs/plain/analysis?smooth=0.5'")
    assert page.get_by_label("Smoothing").input_value() == "0.5"


def test_a_view_that_fails_leaves_the_others(browser, board):
    tab = Tab(browser, board.url)
    page = tab.go("runs/plain/flow")
    page.get_by_text("8 experiments", exact=True).first.wait_for()
    page.evaluate("board.store.value.run.experiments.get(3).hyperparameters = null")
    tab.show("runs/plain/hyperparameters")
    page.get_by_role("heading", name="This view cannot be shown").wait_for()
    page.get_by_role("button", name="Reload").wait_for()
    page.get_by_role("link", name="Throughput").click()
    page.get_by_role("heading", name="This view cannot be shown").wait_for(state="hidden")
    tab.show("runs/plain/hyperparameters")
    page.get_by_role("heading", name="This view cannot be shown").wait_for()
    page.evaluate("board.store.value.run.experiments.get(3).hyperparameters = {}")
    tab.show("runs/plain/hyperparameters?at=last")  # another address of the same view tries anew, too
    page.get_by_role("heading", name="Parallel coordinates").wait_for()
    assert tab.wrong
    tab.close()


def test_what_a_lost_run_does_no_more_is_not_said_and_times_are_found_as_seen(tab):
    page = tab.go("runs/lost/flow")
    page.get_by_role("row").filter(has_text="lost").first.wait_for()
    assert page.get_by_text("training").count() == 0
    start = page.evaluate("new Date(board.store.value.run.experiments.get(0).started).getFullYear()")
    tab.show(f"runs/plain?c.started=> {start}-01-01")
    page.get_by_text("8 experiments", exact=True).first.wait_for()
    tab.show(f"runs/plain?c.started=> {start + 1}-01-01")
    page.get_by_text("0 of 8 experiments").wait_for()


def test_a_config_and_a_model_card_that_come_late_are_shown(tab, storage):
    shutil.copytree(storage / CV, storage / "late", ignore=shutil.ignore_patterns("checkpoints", "model_card*"))
    tab.page.clock.install()
    page = tab.go("runs/late/experiments/0/model-card")
    page.get_by_role("heading", name="no model card yet").wait_for()
    shutil.copy(storage / CV / "0" / "model_card.json", storage / "late" / "0" / "model_card.json")
    page.clock.fast_forward(5_000)
    page.get_by_role("heading", name="Model card: ").wait_for()


def test_the_newest_run_is_followed_from_run_to_run(tab, storage):
    page = tab.go("runs")
    page.get_by_role("button", name="Follow the newest").click()
    page.get_by_role("link", name="breast-cancer").first.wait_for()
    for number, run_id in enumerate(["next-1", "next-2"]):
        (storage / run_id).mkdir()
        with EventLog.open(storage / run_id / "event_storage.log") as log:
            start_ms = 1_990_000_000_000 + number
            log.append(list(events(run_id, num_experiments=2, num_epochs=3, name=run_id, start_ms=start_ms)))
        tab.wait_until("hash => location.hash === hash", f"#/runs/{run_id}/analysis?follow=1")
    page.get_by_role("button", name="the next run that appears").click()
    tab.wait_until("() => location.hash === '#/runs/next-2/analysis'")


def test_a_list_is_written_the_same_everywhere(tab, storage):
    log = list(events("lists", num_experiments=2, num_epochs=1))
    for event in log:
        if event["event_type"] == "experiment_config":
            event["payload"]["hyperparameters"] = {"model.features": [32] * event["payload"]["experiment_id"]}
    write_events(str(storage), "lists", log)
    for number, shown in enumerate(("[]", "[32]")):
        page = tab.go(f"runs/lists/experiments/{number}")
        page.locator("section", has_text="Hyperparameters").get_by_text(shown, exact=True).wait_for()


def test_what_hides_all_experiments_is_said(tab):
    page = tab.go("runs/plain/hyperparameters?c.model.width=>9999")
    page.get_by_role("heading", name="No experiment fits the filters").wait_for()


def test_means_say_that_refits_are_left_out(tab):
    page = tab.go(f"runs/{CV}/analysis?group=fold")
    page.get_by_text("2 refits are left out").wait_for()
    tab.show(f"runs/{CV}/analysis")
    page.get_by_text("2 refits are left out").wait_for(state="hidden")


def test_groups_that_are_not_named_are_counted(tab, storage):
    write_run(str(storage), "many", num_experiments=30, num_epochs=2)
    tab.go("runs/many/analysis?group=optimizer.learning_rate&bins=0").get_by_text("and 6 more", exact=True).wait_for()
