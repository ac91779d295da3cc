"""`python -m mlgym_jax.runs`: list, say, delete and purge, compare, lineage, watch; and `mg.load_runs`."""

import io
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from boards import ROOT, study_events, write_run
from scipy import stats

import mlgym_jax as mg
from mlgym_jax import events as ev
from mlgym_jax.command_line import guarded
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import run_summary
from mlgym_jax.events.annotation_log import annotate, read_annotations
from mlgym_jax.events.annotations import Deleted, NoteSet
from mlgym_jax.managing import purge
from mlgym_jax.managing.comparison import compare
from mlgym_jax.managing.lineage import lineage
from mlgym_jax.managing.listing import load_runs
from mlgym_jax.managing.watching import Watch, moment_of
from mlgym_jax.managing.words import duration, plain
from mlgym_jax.run_folder.folder import latest
from mlgym_jax.runs import _main


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A folder of three runs, `one` to `three`, whose best scores are 2.4, 3.4 and 1.4; the current one's."""
    monkeypatch.chdir(tmp_path)
    for shift, name in enumerate(("one", "two", "three")):
        best = (2.4, 3.4, 1.4)[shift]
        events = study_events(name, score=lambda e, epoch, best=best: best - 2.4 + e + epoch / 10)
        write_run(
            tmp_path / "event_storage",
            [{**event, "creation_ts": event["creation_ts"] + shift} for event in events],
            name,
        )
    return tmp_path / "event_storage"


@pytest.fixture
def ask(capsys):
    def asked(*words, status=0):
        assert guarded(_main, words) == status
        return capsys.readouterr()

    return asked


def rows(ask, *words):
    return json.loads(ask("list", "--json", *words).out)


def names(ask, *words):
    return [row["run_id"] for row in rows(ask, *words)]


def kept(store):
    """Return the folder of what was kept of a store's runs."""
    return pathlib.Path(run_summary._kept_in(str(store)))


# --- the list --------------------------------------------------------------------------------------------------------


def test_the_list_says_what_runs_reached(store, ask):
    (store / "one/run.json").write_text('{"made_by": "ada"}')
    row = next(row for row in rows(ask) if row["run_id"] == "one")
    expected = {"best_score": 2.4, "monitor": "val/accuracy", "best_experiment_id": 2, "status": "DONE", "owner": "ada"}
    assert row.items() >= {**expected, "progress": 1.0, "num_failed": 0, "seconds": 1.0}.items()
    shown = ask().out
    assert [line.split()[0] for line in shown.splitlines()] == ["id", "three", "two", "one"]
    assert "2.4 val/accuracy" in shown and "100 %" in shown and "1.0 s" in shown and "ada" in shown


def test_the_list_is_sorted_filtered_and_cut(store, ask):
    ask("tag", "one", "two", "+good"), ask("tag", "one", "+mine"), ask("note", "three", "It diverged\nor not")
    assert names(ask, "--sort=best") == ["two", "one", "three"] == names(ask, "--sort=-best")[::-1]
    assert names(ask, "--sort=started", "--limit=2") == ["one", "two"]
    assert names(ask, "--tag=good") == ["two", "one"] and names(ask, "--tag=good", "--tag=mine") == ["one"]
    assert names(ask, "--text=DIVERGED not") == ["three"] and names(ask, "--status=failed") == []
    ask("archive", "one")
    assert names(ask, "--archived") == ["one"] and names(ask) == ["three", "two"]
    assert "A tag is written +paper" in ask("tag", "two", "paper", status=2).err
    assert "did you mean 'best'" in ask("list", "--sort=bst", status=2).err
    assert "no such folder" in ask("list", "--event_storage=nowhere", status=2).err
    assert "did you mean 'archive'" in ask("archiv", "one", status=2).err


def test_what_was_read_of_a_log_is_not_read_again_until_it_changes(store, ask, monkeypatch):
    before = rows(ask)
    read = []
    monkeypatch.setattr(run_summary, "project_log", lambda path: read.append(path) or ev.project_log(path))
    assert rows(ask) == before and not read
    with ev.EventLog.open(store / "two/event_storage.log") as log:
        log.append(
            [ev.evaluation_result("two", experiment_id=0, epoch=9, scores={"val/accuracy": 9.0}, seconds=1.0, now_ms=1)]
        )
    assert rows(ask, "--text=two")[0]["best_score"] == 9.0 and len(read) == 1
    (kept(store) / "two.json").write_text("{")
    (kept(store) / "one.json").write_text(json.dumps({"version": 1, "key": [1, 2, 3], "summary": {}}))
    assert {row["run_id"]: row["best_score"] for row in rows(ask)} == {"one": 2.4, "two": 9.0, "three": 1.4}
    assert len(read) == 3


def test_runs_without_scores_and_damaged_ones_are_listed(store, ask):
    write_run(store, study_events("nan", score=lambda *_: float("nan"), finished=False), "nan")
    os.utime(store / "nan/event_storage.log", (1, 1))
    (store / "odd").mkdir()
    (store / "odd/event_storage.log").write_bytes(b"\x00\x01\n{}\n[[[")
    found = {row["run_id"]: row for row in rows(ask)}
    assert found["nan"]["status"] == "LOST" and found["nan"]["best_score"] is None
    assert found["odd"]["progress"] is None and "odd" in ask().out


def test_a_name_that_would_steer_the_terminal_is_spelled_out(store, ask):
    events = study_events("evil")
    events[0]["payload"]["name"] = "\x1b[2J[red]x\u202e"
    write_run(store, events, "evil")
    shown = ask().out
    assert "\\x1b[2J[red]x\\u202e" in shown and "\x1b" not in shown
    assert plain("a\tb\x9b") == "a\\tb\\x9b"


@pytest.mark.parametrize(
    "seconds, words",
    [
        (None, "-"),
        (0.04, "0.0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_times_are_said_as_people_do(seconds, words):
    assert duration(seconds) == words


# --- saying ----------------------------------------------------------------------------------------------------------


def test_notes_are_written_read_and_piped(store, ask, monkeypatch):
    ask("note", "one", "why\n<b>not</b>", "--by=ada")
    assert ask("note", "two", "why\nnot").out == "two: note: why\n"
    assert ask("note", "one").out == "why\n<b>not</b>\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe\n"))
    ask("note", "event_storage/one", "-", "--experiment=2")
    assert json.loads(ask("note", "one", "--experiment=2", "--json").out)["note"] == "from a pipe"
    assert "no experiment 7 in run 'one'; it has 0, 1, 2" in ask("note", "one", "x", "--experiment=7", status=2).err
    monkeypatch.setattr(sys, "stdin", io.StringIO("x" * 1_000_000))
    assert "65,536 are the most" in ask("note", "one", "-", status=2).err
    ask("note", "one", "")
    assert read_annotations(str(store / "one")).run.note == ""
    lines = (store / "one/annotations.log").read_text(encoding="utf-8").splitlines()
    said = [json.loads(line)["payload"]["by"] for line in lines]
    assert said[0] == "ada" and said[1]


def test_tags_come_and_go_on_several_runs(store, ask):
    assert (
        ask("tag", "one", "two", "+good", "+lr=0.1", "-bad").out == "one: tags: good lr=0.1\ntwo: tags: good lr=0.1\n"
    )
    assert ask("tag", "two", "-good").out == "two: tags: lr=0.1\n" and ask("tag", "three").out == "three: tags: none\n"
    assert "no blanks" in ask("tag", "one", "+a b", status=2).err
    assert "did you mean 'two'" in ask("tag", "one", "twoo", "+x", status=2).err
    assert names(ask, "--tag=x") == []  # the first was not changed, either


def test_archive_hides_and_delete_hides_everywhere_until_restored(store, ask):
    ask("archive", "one"), ask("delete", "three", "two")
    assert (
        names(ask) == []
        and names(ask, "--all") == ["three", "two", "one"]
        and names(ask, "--deleted") == ["three", "two"]
    )
    assert "(archived)" in ask("--all").out and latest(str(store)) == "one"
    assert "restore" in ask("delete", "one").out
    with pytest.raises(MlgymError, match="none is the latest"):
        latest(str(store))
    ask("restore", "one", "two", "three"), ask("unarchive", "one")
    assert names(ask) == ["three", "two", "one"] and latest(str(store)) == "three"


def test_a_run_that_goes_on_is_not_deleted(store, ask):
    with ev.EventLog.open(store / "one/event_storage.log"):
        assert "is being written, so it cannot be deleted" in ask("delete", "one", status=2).err


def test_a_published_run_says_that_nothing_is_sent_back(store, ask):
    (store / "one/.published").touch()
    assert "what is said here is not sent there" in ask("tag", "one", "+x").err


# --- purge -----------------------------------------------------------------------------------------------------------

DAY = 86_400_000


def delete(run_dir, days_ago):
    now = time.time_ns() // 1_000_000 - round(days_ago * DAY)
    os.utime(run_dir / "event_storage.log", (now / 1000 - 10, now / 1000 - 10))
    annotate(str(run_dir), [Deleted()], by=None, now_ms=now)


def test_purge_removes_what_was_deleted_long_ago_and_asks(store, ask, monkeypatch):
    delete(store / "one", 31), delete(store / "two", 29)
    rows(ask)
    assert (kept(store) / "one.json").exists()
    assert "say --yes" in ask("purge", status=2).err  # nobody is there to ask
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert "nothing was removed" in ask("purge").err and (store / "one").exists()
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert "removed: 1 of 1 runs" in ask("purge").out
    assert sorted(os.listdir(store)) == ["three", "two"] and names(ask) == ["three"]
    assert sorted(os.listdir(kept(store))) == ["three.json", "two.json"]
    assert json.loads(ask("purge", "--older_than=28.5", "--yes", "--json").out)["removed"] == [
        str(store / "two").replace(str(store), "event_storage")
    ]
    assert names(ask) == ["three"]


def test_purge_leaves_what_goes_on_or_went_on_or_is_a_link(store, ask, tmp_path):
    for name in ("one", "two", "three"):
        delete(store / name, 40)
    os.utime(store / "two/event_storage.log")  # it was resumed since
    (store / "three").rename(tmp_path / "elsewhere")
    (store / "three").symlink_to(tmp_path / "elsewhere")
    with ev.EventLog.open(store / "one/event_storage.log"):
        said = ask("purge", "--yes", status=1)
    assert "one stays: it is being written" in said.err and "removed: 0 of 1" in said.out
    assert "two stays: it went on after" in said.err and "three stays: its folder is a link" in said.err
    assert (store / "one/event_storage.log").exists()


def test_a_run_that_is_restored_meanwhile_stays_and_leftovers_go(store, ask):
    delete(store / "one", 40), delete(store / "two", 40)
    found, _ = purge.removable(str(store), older_than_days=30, now_ms=time.time_ns() // 1_000_000)
    ask("restore", "one")
    with pytest.raises(MlgymError, match="restored meanwhile"):
        purge.remove(found[0])
    (store / "two").rename(store / ".purged-two-0123abcd")  # as a kill would leave it
    assert purge.remove_leftovers(str(store)) == 1
    assert sorted(os.listdir(store)) == ["one", "three"]


# --- from Python -----------------------------------------------------------------------------------------------------


def test_runs_are_managed_from_python(store):
    runs = mg.load_runs("event_storage", sort="best")
    assert [run.run_id for run in runs] == ["two", "one", "three"] == [run.run_id for run in runs[:3]]
    best = runs[0]
    assert (best.best_score, best.monitor, best.num_experiments) == (3.4, "val/accuracy", 3)
    assert best.note("why") == best.note() == "why"
    best.tag("a", "b"), best.untag("a"), best.archive()
    assert (best.tags, best.archived, best.deleted) == (["b"], True, False)
    assert [run.run_id for run in mg.load_runs(tag="b", archived=None)] == ["two"] and not mg.load_runs(tag="b")
    best.unarchive(), best.delete()
    assert len(mg.load_runs()) == 2 and mg.load_runs(deleted=True)[0].deleted
    best.restore()
    assert best.load().run_id == "two"
    with pytest.raises(AttributeError, match="did you mean 'best_score'"):
        _ = best.best_scor


def test_a_notebook_shows_them_as_text(store):
    mg.load_runs()[0].note("<script>alert(1)</script>")
    shown = mg.load_runs()._repr_html_()
    assert "&lt;script&gt;" in shown and "<script>" not in shown and shown.count("<tr>") == 4
    assert mg.load_runs(text="nothing has this")._repr_html_() == "<p>no runs</p>"


# --- compare ---------------------------------------------------------------------------------------------------------


def swept(run_id, scores, *, folds=False, name="config"):
    """Return the events of a run: {learning rate: one score a seed, or a fold}, each reached in epoch 1 of 2."""
    config = {"name": name, "num_epochs": 2, "optimizer": {"component": "sgd"}, "metrics": {}}
    events = [
        ev.run_started(run_id, name=name, config_hash="x", num_experiments=9, num_groups=1, resumed=False, now_ms=1)
    ]
    events.append(ev.job_scheduled(run_id, job_id="j", config=config, now_ms=1))
    number = 0
    for rate, values in scores.items():
        for at, value in enumerate(values):
            swept_values = {"optimizer.learning_rate": rate, **({} if folds else {"seed": at})}
            more = {"hyperparameters": swept_values, "fold": at if folds else None}
            events.append(
                ev.experiment_config(run_id, experiment_id=number, job_id="j", config=config, **more, now_ms=2)
            )
            for epoch, score in ((1, value), (2, value - 0.5)):
                logged = {"val/accuracy": score, "test/accuracy": score - 0.0123 * at}
                events.append(
                    ev.evaluation_result(
                        run_id, experiment_id=number, epoch=epoch, scores=logged, seconds=1.0, now_ms=3
                    )
                )
            number += 1
    return events


ONE, OTHER = [0.9137, 0.9021, 0.9334, 0.9255], [0.8511, 0.8732, 0.8613]


def test_scores_are_compared_with_scipys_intervals(tmp_path):
    worse = [value - 0.1 for value in ONE]
    write_run(tmp_path, swept("a", {0.1: worse, 0.01: ONE}), "a")
    write_run(tmp_path, swept("b", {0.1: OTHER}, name="other"), "b")
    found = compare([str(tmp_path / "a"), str(tmp_path / "b")])
    assert found["config"] == {"name": ["config", "other"]}
    assert [one["experiments"] for one in found["selected"]] == [[4, 5, 6, 7], [0, 1, 2]]
    val, test = found["scores"]
    assert (val["name"], test["name"]) == ("val/accuracy", "test/accuracy")
    for side, values in zip(val["runs"], (ONE, OTHER), strict=True):
        expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (side["low"], side["high"]) == pytest.approx(expected, rel=1e-12)
    expected = stats.ttest_ind(OTHER, ONE, equal_var=False).confidence_interval()
    assert (val["differences"][1]["low"], val["differences"][1]["high"]) == pytest.approx(tuple(expected), rel=1e-10)
    at_best = np.array(ONE) - 0.0123 * np.arange(4)  # of the epoch that is best by validation
    assert test["runs"][0]["mean"] == pytest.approx(at_best.mean(), rel=1e-12)


def test_folds_are_compared_with_the_corrected_interval(tmp_path):
    write_run(tmp_path, swept("a", {0.1: ONE}, folds=True), "a")
    write_run(tmp_path, swept("b", {0.1: [0.5]}), "b")
    val = compare([str(tmp_path / "a"), str(tmp_path / "b")])["scores"][0]
    half = stats.t.ppf(0.975, 3) * np.std(ONE, ddof=1) * np.sqrt(1 / 4 + 1 / 3)
    assert val["runs"][0]["high"] - val["runs"][0]["mean"] == pytest.approx(half, rel=1e-12)
    assert val["runs"][1]["low"] is None and val["differences"][1]["low"] is None


def test_inner_folds_are_those_of_one_outer_part(tmp_path):
    scores = [*ONE, 0.9, 0.91]  # 3 outer x 2 inner folds: an inner fold tests as many as it trains on
    events = swept("a", {0.1: scores}, folds=True)
    events[1]["payload"]["config"]["validation"] = {"component": "nested_cross_validation", "inner_folds": 2}
    write_run(tmp_path, events, "a")
    side = compare([str(tmp_path / "a"), str(tmp_path / "a")])["scores"][0]["runs"][0]
    half = stats.t.ppf(0.975, 5) * np.std(scores, ddof=1) * np.sqrt(1 / 6 + 1 / 1)
    assert side["high"] - side["mean"] == pytest.approx(half, rel=1e-12)


def test_a_candidate_that_is_not_whole_comes_after_those_that_are(tmp_path):
    write_run(tmp_path, swept("a", {0.1: [0.99, float("nan")], 0.01: ONE}), "a")
    write_run(tmp_path, study_events("b")[:2], "b")  # nothing is known of it yet
    found = compare([str(tmp_path / "a"), str(tmp_path / "b")])
    assert found["selected"][0]["experiments"] == [2, 3, 4, 5] and found["selected"][1] is None
    assert found["scores"][0]["runs"][1] is None


def test_versions_and_code_are_compared_as_far_as_they_are_known(store, ask):
    record = {"git": {"commit": "c1", "dirty": False}, "launches": [{"versions": {"jax": "1"}}]}
    (store / "one/run.json").write_text(json.dumps(record))
    (store / "two/run.json").write_text(
        json.dumps({**record, "git": None, "launches": "odd", "versions": {"jax": "2"}})
    )
    (store / "three/run.json").write_text("[1]")
    found = json.loads(ask("compare", "one", "two", "three", "--json").out)
    assert found["versions"] == {"jax": ["1", "2", "(absent)"]} and found["code"]["git commit"] == ["c1", None, None]
    shown = ask("compare", "one", "two").out
    assert "config: no difference" in shown and "cannot be told apart" in shown
    assert "one: best by val/accuracy: experiments 0, 1, 2" in shown
    assert "two runs are expected" in ask("compare", "one", status=2).err
    assert "did you mean 'val/accuracy'" in ask("compare", "one", "two", "--monitor=val/acuracy", status=2).err


# --- lineage ---------------------------------------------------------------------------------------------------------


def test_lineage_follows_warm_starts_teachers_configs_and_launches(store, ask, tmp_path):
    started = ev.warm_started(
        "two",
        group=0,
        experiments=[0, 1],
        source="event_storage/one",
        loaded=[],
        left=[],
        mismatched={},
        checksum=1,
        now_ms=5,
    )
    with ev.EventLog.open(store / "two/event_storage.log") as log:
        log.append([started, {**started, "payload": {**started["payload"], "source": "/elsewhere/model.safetensors"}}])
    (store / "two/config.json").write_text(
        json.dumps({"warm_start": {"sweep": "absolute", "values": [{"run_dir": "event_storage/one"}]}})
    )
    (store / "two/run.json").write_text(
        json.dumps(
            {
                "working_directory": str(tmp_path),
                "launches": [{"started_ms": when, "status": "DONE"} for when in (1, "then")],
            }
        )
    )
    teacher = {"run_dir": str(store / "one"), "experiment_id": 2, "epoch": 3, "checksum": 1}
    record = {"teachers": {"config.loss": teacher}, "config_file": str(store / "two/1/experiment_config.json")}
    (store / "three/run.json").write_text(json.dumps(record))
    two = lineage(str(store / "two"))
    assert [(one["how"], one["run_id"]) for one in two["from"]] == [("warm_start", "one"), ("warm_start", None)]
    assert two["to"] == [{"how": "config", "run_id": "three"}] and len(two["launches"]) == 2
    one = lineage(str(store / "one"))
    assert one["from"] == [] and one["to"] == [
        {"how": "teacher", "run_id": "three"},
        {"how": "warm_start", "run_id": "two"},
    ]
    shown = ask("lineage", "three").out
    assert "resumed then DONE" in ask("lineage", "two").out
    assert "from one (teacher, experiment 2)" in shown and "from two (config)" in shown
    assert "from one" in next(line for line in ask().out.splitlines() if line.startswith("two"))


# --- watch -----------------------------------------------------------------------------------------------------------


def handed(watch):
    return [(one["grid_search_id"], one["event_id"]) for one in watch.new()]


def more(store, name, *numbers, now_ms=5_000):
    with ev.EventLog.open(store / name / "event_storage.log") as log:
        return log.append([{"event_type": "numbered", "creation_ts": now_ms, "payload": {"n": n}} for n in numbers])


def test_a_watch_hands_out_each_event_once_and_goes_on_by_its_cursor(store):
    watch = Watch(str(store), since=None, now_ms=0)
    assert handed(watch) == []
    first = more(store, "one", 1, 2)
    write_run(store, study_events("new")[:3], "new")
    with open(store / "two/event_storage.log", "ab") as file:
        file.write(b'{"event_type":"half')
    expected = [*(("new", number) for number in range(3)), ("one", first), ("one", first + 1)]
    assert handed(watch) == expected and handed(watch) == []
    cursor = watch.cursor
    later = more(store, "one", 3)
    assert handed(Watch(str(store), since=cursor, now_ms=0)) == [("one", later)] == handed(watch)
    assert handed(Watch(str(store), ["one"], since=str(first), now_ms=0)) == [("one", first + 1), ("one", later)]


def test_a_watch_begins_at_a_time(store):
    more(store, "one", 1, now_ms=50_000)
    found = handed(Watch(str(store), since="10s", now_ms=60_000))
    assert [name for name, _ in found] == ["one"]
    assert moment_of("2026-11-27T09:00+00:00", 0) == 1_795_770_000_000 == moment_of("1795770000000", 0)
    assert moment_of("1.5h", 10_000_000) == 10_000_000 - 5_400_000
    for odd in ("yesterday", "c1.xyz", "c1.", "17", "10y", "c1." + "A" * 50):
        with pytest.raises(MlgymError, match="write a cursor that was printed"):
            Watch(str(store), since=odd, now_ms=0)


def test_the_command_streams_lines_until_it_is_ended(store, ask):
    found = [json.loads(line) for line in ask("watch", "one", "--since=0", "--once", "--json").out.splitlines()]
    assert [one["event_id"] for one in found[:-1]] == list(range(1, len(found))) and set(found[-1]) == {"cursor"}
    assert "go on by --since=c1." in ask("watch", "--since=2h", "--once").out
    for name in ("event_storage/three", str(store / "three"), "latest"):
        lines = ask("watch", name, "--since=20", "--once", "--json").out.splitlines()
        assert [json.loads(line)["event_id"] for line in lines[:-1]] == list(range(21, len(found)))
    assert (
        "in several folders"
        in ask("watch", "one", str(write_run(store.parent / "b", study_events("x"), "x").parent), status=2).err
    )
    command = [sys.executable, "-m", "mlgym_jax.runs", "watch", "--json", f"--event_storage={store}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, f"--since={found[-1]['cursor']}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    line = process.stdout.readline()
    assert json.loads(line)["event_id"] == 0  # of a run that the cursor does not know
    more(store, "one", 77)
    while json.loads(line).get("event", {}).get("payload") != {"n": 77}:
        line = process.stdout.readline()
    process.send_signal(2)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and said == "interrupted\n"


def test_what_vanishes_meanwhile_is_left_out(store, ask, monkeypatch):
    watch = Watch(str(store), since="1795770000000", now_ms=0)
    (store / "one/event_storage.log").unlink()
    assert all(name != "one" for name, _ in handed(watch))
    original = run_summary.load

    def gone(run_dir):
        if run_dir.endswith("two"):
            raise MlgymError("two: cannot be read: Permission denied")
        return original(run_dir)

    monkeypatch.setattr(run_summary, "load", gone)
    said = ask()
    assert "three" in said.out and "left out: two: cannot be read: Permission denied" in said.err


def test_a_note_of_another_process_is_seen_at_once(store):
    [run] = load_runs(str(store), text="two")
    annotate(run.run_dir, [NoteSet("elsewhere")], by=None, now_ms=1)
    assert run.note() == "elsewhere"
