"""A run's first view in a real browser: what it says is the engine's verdict, live, and leads to the model."""

import pytest
from boards import BoardProcess
from page_fixtures import DIGITS, rows
from safetensors.numpy import load_file

from benchmarks.synthetic_runs import events
from mlgym_jax.events import EventLog
from mlgym_jax.reading.results import load_run


def verdict_of(storage, run_id):
    return load_run(str(storage / run_id)).verdict()


def test_a_run_opens_with_the_engines_verdict(open_tab, storage):
    wanted = verdict_of(storage, DIGITS)
    page = open_tab().go("runs")
    page.get_by_role("link", name="digits-mlp").click()
    said = page.get_by_role("region", name="Verdict")
    said.wait_for()
    assert page.evaluate("location.hash") == f"#/runs/{DIGITS}/overview"
    text = said.inner_text()
    own = wanted["candidate"]
    assert said.locator("strong span").get_attribute("title") == str(wanted["best"]["score"])
    assert f"{own['mean']:.4f} ± {own['std']:.4f} over its 3 seeds" in text
    assert f"95 % interval {own['interval'][0]:.4f} to {own['interval'][1]:.4f}" in text
    for about in ("next", "influence", "learning"):
        assert wanted["sentences"][about] in text
    best = page.locator("section", has_text="The best 5").locator("tbody tr")
    assert [row.split()[0] for row in best.all_inner_texts()] == [str(one["experiment_id"]) for one in wanted["top"]]
    share = wanted["influence"][0]["share"]
    matters = page.locator("section", has_text="What matters").locator("tbody tr").first
    assert matters.inner_text().split() == ["optimizer.learning_rate", f"{100 * share:.0f}", "%"]
    assert wanted["sentences"]["experiments"] in page.locator("section", has_text="Where it stands").inner_text()


def test_the_model_is_one_click_away_and_the_line_that_loads_it_another(open_tab, storage, tmp_path):
    tab = open_tab()
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = tab.go(f"runs/{DIGITS}")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download the model").click()
    downloading.value.save_as(tmp_path / "model.safetensors")
    best = load_run(str(storage / DIGITS)).best("val/f1")
    params = best.restore().params
    (first,) = [name for name in load_file(tmp_path / "model.safetensors") if name.endswith("Dense_0/kernel")]
    assert (load_file(tmp_path / "model.safetensors")[first] == params["Dense_0"]["kernel"]).all()
    page.get_by_role("button", name="Copy the Python").click()
    page.get_by_text("copied", exact=True).wait_for()
    lines = f'import mlgym_jax as mg\n\nbest = mg.load_run("{DIGITS}").best("val/f1")\nstate = best.restore()'
    assert page.evaluate("navigator.clipboard.readText()") == lines
    page.get_by_role("link", name="Model card").click()
    page.get_by_text(
        f"the best of 12 experiments; {verdict_of(storage, DIGITS)['candidate']['mean']:.4f} ± "
    ).wait_for()


def test_a_lost_run_says_how_to_go_on_and_a_failed_one_why(open_tab):
    tab = open_tab()
    page = tab.go("runs/lost")
    page.get_by_text("python -m mlgym_jax.run --resume=lost").wait_for()
    page.get_by_role("button", name="Copy the command that resumes the run").wait_for()
    tab.show("runs/failures")
    page.get_by_text("3 failed: FloatingPointError.").wait_for()
    page.get_by_role("link", name="Why experiment 0 did").click()
    page.get_by_role("heading", name="FloatingPointError: overflow").wait_for()


@pytest.mark.parametrize(
    ("run_id", "words"),
    [("all-nan", "no experiment has a finite val/accuracy"), ("no-results", "no experiment was evaluated yet")],
)
def test_a_run_without_a_best_claims_none(open_tab, run_id, words):
    page = open_tab().go(f"runs/{run_id}")
    page.get_by_role("heading", name=words).wait_for()
    assert page.get_by_role("heading", name="The best").count() == 0


def test_links_of_old_show_what_they_showed(open_tab):
    tab = open_tab()
    page = tab.go(f"runs/{DIGITS}?sort=-best val/f1&q=seed=1")
    rows(page).first.wait_for()
    page.get_by_text("4 of 12 experiments").wait_for()
    assert page.evaluate("location.hash.split('?')[0]") == f"#/runs/{DIGITS}/flow"
    tab.show(f"runs/{DIGITS}?smooth=0.5")
    page.get_by_role("button", name="smoothing 0.50").wait_for()
    assert page.evaluate("location.hash") == f"#/runs/{DIGITS}/overview?smooth=0.5"
    page.go_back()
    rows(page).first.wait_for()


def test_another_score_judges_anew_and_is_in_the_address(open_tab, storage):
    page = open_tab().go(f"runs/{DIGITS}/overview")
    page.get_by_label("Judged by").select_option("val/loss")
    best = load_run(str(storage / DIGITS)).best("val/loss")
    said = page.get_by_role("region", name="Verdict")
    said.get_by_text("best val/loss").wait_for()
    assert said.get_by_role("link").inner_text() == f"experiment {best.experiment_id}"
    page.get_by_label("Better is").select_option("max")
    said.get_by_role("link", name=f"experiment {best.experiment_id}", exact=True).wait_for(state="detached")
    page.wait_for_timeout(300)
    assert page.evaluate("location.hash") == f"#/runs/{DIGITS}/overview?by=val/loss&mode=max"


def test_a_live_verdict_follows_the_results_and_is_not_asked_for_while_nothing_comes(open_tab, storage):
    whole = list(events("overviewed", num_experiments=4, num_epochs=8, name="overviewed"))
    first = next(i for i, event in enumerate(whole) if event["event_type"] == "evaluation_result")
    folder = storage / "overviewed"
    folder.mkdir()
    board = BoardProcess(storage)
    asked = []
    with EventLog.open(folder / "event_storage.log") as log:
        log.append(whole[:first])
        tab = open_tab(board.url)
        tab.page.on("request", lambda request: asked.append(request.url) if "/verdict" in request.url else None)
        page = tab.go("runs/overviewed")
        page.get_by_role("heading", name="no experiment was evaluated yet").wait_for()
        log.append(whole[first : first + 4])
        page.get_by_text("best val/accuracy so far").wait_for()
        page.get_by_text("4 of 32 epochs").wait_for()
        page.wait_for_timeout(500)
        before = len(asked)
        page.wait_for_timeout(3000)
        assert len(asked) == before
        log.append(whole[first + 4 :])
        page.get_by_text("Experiments: 4 of 4 done.").wait_for()
        wanted = verdict_of(storage, "overviewed")
        title = page.get_by_role("region", name="Verdict").locator("strong span").get_attribute("title")
        assert title == str(wanted["best"]["score"])
    assert board.stop() == 0


def test_paper_is_white_and_names_the_run(open_tab):
    tab = open_tab(color_scheme="dark")
    page = tab.go("runs/failures/overview")
    page.get_by_role("heading", name="Where it stands").wait_for()
    page.emulate_media(media="print")
    assert page.get_by_role("heading", name="synthetic").is_visible()
    assert not page.get_by_role("link", name="Compare", exact=True).is_visible()
    ink = page.get_by_role("link", name="Choose and compare").evaluate("one => getComputedStyle(one).color")
    assert ink == "rgb(23, 87, 194)"  # as by day
    tab.go(f"runs/{DIGITS}/experiments/3/model-card").locator(".paper").wait_for()
    assert not page.locator(".runhead").is_visible()  # the card has a heading of its own
