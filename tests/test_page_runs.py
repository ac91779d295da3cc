"""The list of runs and the comparison, in a real browser: searched, grouped, tagged, undone; read-only; live."""

import json
import re

import pytest
from boards import BoardProcess
from boards import write_run as write_events_of
from scipy import stats
from test_runs_command import ONE, OTHER, swept

import mlgym_jax as mg
from benchmarks.synthetic_runs import write_run
from mlgym_jax.events.annotation_log import annotate, read_annotations
from mlgym_jax.events.annotations import Archived, NoteSet, TagAdded

MARKUP = '<img src=x onerror="document.title=1">'


@pytest.fixture
def runs(tmp_path):
    """A store of its own: its runs are changed."""
    for run_id, rates in (("first", {0.1: [0.5] * 4, 0.01: ONE}), ("second", {0.1: OTHER})):
        write_events_of(tmp_path, swept(run_id, rates, name=f"{run_id} study"), run_id)
    write_run(str(tmp_path), "third", num_experiments=3, num_epochs=5, failed=1, name=MARKUP)
    (tmp_path / "first" / "run.json").write_text(json.dumps({"made_by": "ada", "git": {"commit": "c1"}}))
    annotate(str(tmp_path / "first"), [TagAdded("paper"), NoteSet("line one\nline two")], by="ada", now_ms=1)
    annotate(str(tmp_path / "third"), [TagAdded("<b>")], by="ada", now_ms=1)
    return tmp_path


@pytest.fixture
def tab(open_tab, runs):
    board = BoardProcess(runs)
    yield open_tab(board.url)
    assert board.stop() == 0


def names(page):
    return page.locator(".table .body .row:not(.grouphead) [role=cell]:first-child a").all_inner_texts()


def shows(tab, *wanted):
    """Wait until the list has these runs, in this order."""
    names_of = "[...document.querySelectorAll('.table .body .row:not(.grouphead) [role=cell]:first-child a')]"
    tab.wait_until(f"wanted => JSON.stringify({names_of}.map(one => one.textContent)) === wanted", _json(wanted))


def _json(texts):
    return json.dumps(list(texts), separators=(",", ":"), ensure_ascii=False)


def test_runs_are_searched_sorted_and_grouped_and_the_address_says_how(tab, runs):
    page = tab.go("runs")
    first, second, third = "first study", "second study", MARKUP
    page.get_by_text("3 runs").wait_for()
    # Logs are read behind the list.
    tab.wait_until("() => document.querySelectorAll('.spark').length === 3 && !/reading/.test(document.body.innerText)")
    page.get_by_role("row", name=re.compile("first study")).get_by_text("0.9334", exact=True).wait_for()
    page.get_by_role("button", name=re.compile("^Best")).click()
    shows(tab, *[run.name for run in mg.load_runs(str(runs), sort="best")])
    page.get_by_role("button", name="Name", exact=True).click()
    shows(tab, third, first, second)
    page.get_by_label("Search").fill("tag:paper")
    shows(tab, first)
    page.get_by_label("Search").fill("is:failed")
    shows(tab, third)
    page.get_by_label("Search").fill("")
    page.get_by_label("Group").select_option("tag")
    tab.wait_until("() => document.querySelectorAll('.grouphead').length === 3")
    page.get_by_role("button", name=re.compile("paper 1")).click()
    shows(tab, third, second)
    assert page.evaluate("document.title") != "1"  # markup is text
    tab.wait_until("() => location.href.includes('hideGroups=')")  # it is written a moment later
    other = tab.context.new_page()
    other.goto(page.evaluate("location.href"))
    other.locator(".grouphead").first.wait_for()
    assert names(other) == names(page)
    other.close()


def test_tags_are_typed_in_place_and_undone(tab, runs):
    page = tab.go("runs")
    page.get_by_role("button", name="Change the tags of first study").click()
    page.keyboard.type("draft")
    page.keyboard.press("Enter")
    page.get_by_text("tags changed").wait_for()
    assert read_annotations(str(runs / "first")).run.tags == ["paper", "draft"]
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("as before").wait_for()
    assert read_annotations(str(runs / "first")).run.tags == ["paper"]
    page.get_by_role("button", name="Change the tags of first study").click()
    page.keyboard.type("lost")
    page.keyboard.press("Escape")
    assert read_annotations(str(runs / "first")).run.tags == ["paper"]


def test_a_note_is_written_whole_and_somebody_elses_is_not_overwritten_unseen(tab, runs):
    page = tab.go("runs")
    page.get_by_role("button", name="Note of first study: line one").click()
    field = page.get_by_role("dialog").get_by_label("Note", exact=True)
    tab.wait_until("() => document.querySelector('dialog textarea')?.value === 'line one\\nline two'")
    annotate(str(runs / "first"), [NoteSet("of somebody else")], by="eve", now_ms=2)
    field.fill(MARKUP + "x" * 60_000)
    page.get_by_role("button", name="Save").click()
    page.get_by_role("alert").get_by_text("It says now: of somebody else").wait_for()
    assert read_annotations(str(runs / "first")).run.note == "of somebody else"
    page.get_by_role("button", name="Save").click()
    page.get_by_text("note saved").wait_for()
    assert read_annotations(str(runs / "first")).run.note == MARKUP + "x" * 60_000
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("as before").wait_for()
    assert read_annotations(str(runs / "first")).run.note == "of somebody else"
    page.get_by_role("button", name=re.compile("^Note of first")).click()
    field.fill("ä" * 33_000)
    page.get_by_role("dialog").get_by_text("66,000 bytes; 65,536 are the most").wait_for()
    assert page.get_by_role("button", name="Save").is_disabled()


def test_several_are_tagged_archived_and_deleted_at_once_and_what_fails_is_named(tab, runs):
    page = tab.go("runs?runs=first,second")
    page.get_by_text("2 chosen").wait_for()
    page.get_by_label("Tags of the chosen runs").fill("+both -paper")
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_text("2 runs: tagged").wait_for()
    assert [read_annotations(str(runs / name)).run.tags for name in ("first", "second")] == [["both"], ["both"]]
    page.get_by_role("button", name="Archive").click()
    shows(tab, MARKUP)
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("3 runs").wait_for()
    page.get_by_role("button", name="Delete").click()
    shows(tab, MARKUP)
    assert read_annotations(str(runs / "second")).run.deleted
    page.get_by_role("button", name="Undo").click()
    tab.wait_until("() => document.querySelectorAll('.table .body .row').length === 3")
    assert not read_annotations(str(runs / "second")).run.deleted
    # What was deleted at any time is found, and restored.
    page.get_by_role("button", name="Delete").click()
    shows(tab, MARKUP)
    page.get_by_label("Search").fill("is:deleted study")
    page.get_by_text("2 runs", exact=True).wait_for()
    page.get_by_role("button", name="Restore").click()
    page.get_by_text("No run fits this search").wait_for()
    assert not read_annotations(str(runs / "second")).run.deleted
    page.get_by_label("Search").fill("")
    tab.wait_until("() => document.querySelectorAll('.table .body .row').length === 3")
    # One of them vanishes while it is chosen.
    page.route("**/grid_searches/second/annotations", lambda route: route.fulfill(status=404, body='{"error": "gone"}'))
    page.get_by_role("button", name="Archive").click()
    page.get_by_text("second is not in the store any more").wait_for()
    assert read_annotations(str(runs / "first")).run.archived


def test_who_may_only_read_is_told_and_asked_for_a_token(open_tab, runs, monkeypatch):
    board = BoardProcess(runs, f"--token={'w' * 20}", f"--read_token={'r' * 20}")
    tab = open_tab(board.url)
    page = tab.go("runs")
    page.get_by_label("Token").fill("r" * 20)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Change the tags of first study").click()
    dialog = page.get_by_role("dialog", name="Writing needs a token")
    dialog.get_by_text("may only read").wait_for()
    dialog.get_by_label("Token").fill("w" * 20)
    dialog.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Change the tags of first study").click()
    page.keyboard.type("mine")
    page.keyboard.press("Enter")
    page.get_by_text("tags changed").wait_for()
    assert read_annotations(str(runs / "first")).run.tags == ["paper", "mine"]
    assert board.stop() == 0


def test_ticked_runs_are_compared_with_the_engines_own_statistics(tab, runs):
    page = tab.go("runs")
    page.get_by_label("Choose first study (first)").check()
    page.get_by_label("Choose second study (second)").check()
    page.get_by_role("link", name="Compare").click()
    expected = stats.ttest_ind(OTHER, ONE, equal_var=False).confidence_interval()
    low, high = sorted(abs(end) for end in expected)
    said = f"by 0.0568 in val/accuracy (95 % interval {low:.4f} to {high:.4f}): can be told apart."
    page.get_by_text(f"first study is better than second study {said}").wait_for()
    differing = page.get_by_role("group", name="What differs")
    assert differing.get_by_role("row", name="git commit").inner_text().split() == ["git", "commit", "c1", "–"]
    tab.wait_until("() => performance.getEntriesByName('charts drawn').length > 0")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    head, *lines = download.value.path().read_text().splitlines()
    assert head.startswith("run,experiment_id,fold,") and {line.split(",")[0] for line in lines} == {"first", "second"}
    tab.page.get_by_label("Lines").select_option("best experiment")
    tab.wait_until("() => location.hash.includes('each=best')")
    # A run that is not there takes nothing away from the others.
    tab.show("compare?runs=first,gone,second")
    page.get_by_text("no run 'gone'").wait_for()
    page.get_by_text(f"first study is better than second study {said}").wait_for()
    asked = "performance.getEntriesByType('resource').filter(({name}) => name.includes('/first/scores')).length"
    assert page.evaluate(asked) == 1  # what was read is not read again for another run beside it
    # By another score all are read anew; until then they are shown as they were.
    held, done = [], []
    page.route(re.compile("/comparison.*monitor="), lambda one: one.continue_() if done else held.append(one))
    tab.show("compare?runs=first,second&by=val/accuracy")
    tab.wait_until("() => /0 of 2 runs are read/.test(document.body.innerText)")
    assert page.locator(".plot").count() == 2 and page.get_by_role("link", name="first study", exact=True).count() == 1
    done.append(True)
    for route in held:
        route.continue_()
    page.get_by_text(f"first study is better than second study {said}").wait_for()
    assert page.evaluate(asked) == 2


def test_archived_runs_are_found_only_where_they_are_asked_for(tab, runs):
    annotate(str(runs / "second"), [Archived()], by="ada", now_ms=1)
    page = tab.go("runs?sort=name")
    shows(tab, MARKUP, "first study")
    page.get_by_label("Search").fill("is:archived")
    shows(tab, "second study")
    page.get_by_label("Search").fill("second")
    page.get_by_text("archived ones are found with is:archived").wait_for()


def test_a_run_is_compared_with_another_one_in_two_clicks(tab):
    page = tab.go("runs/first")
    page.get_by_role("link", name="Compare", exact=True).click()
    offered = page.get_by_role("navigation", name="Compare it with")
    offered.get_by_role("link", name="second study").click()
    page.get_by_text("first study is better than second study").wait_for()
    assert offered.count() == 0
