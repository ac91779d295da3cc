"""Alerts: `python -m mlgym_jax.runs watch --on=…`, its webhook and its command, once each, whatever these do."""

import base64
import json
import os
import subprocess
import sys
import time
import zlib

import pytest
from boards import ROOT, study_events, write_run
from hooks import Hook

from mlgym_jax import events as ev
from mlgym_jax.command_line import guarded
from mlgym_jax.errors import MlgymError
from mlgym_jax.events.alert_conditions import Condition, conditions_of
from mlgym_jax.managing import delivery
from mlgym_jax.managing.alert_watch import Alerting
from mlgym_jax.managing.alerts import noticed
from mlgym_jax.managing.delivery import Channel, Undelivered, command, variables, webhook
from mlgym_jax.runs import _main

BEGINNING = f"--since=c1.{base64.urlsafe_b64encode(zlib.compress(b'{}')).decode()}"  # a cursor that knows no run
ALL = "finished,failed,diverged,lost,better:val/accuracy>2.25"


def failed(run_id, number, error):
    return ev.experiment_failed(run_id, experiment_id=number, epoch=1, error=error, stacktrace=None, now_ms=1_500)


def records(run_id, events):
    return [{"grid_search_id": run_id, "event_id": number, "event": event} for number, event in enumerate(events)]


def told(text, run_id, events, already=()):
    return noticed(conditions_of(text), records(run_id, events), {run_id: already})


# --- what is told ----------------------------------------------------------------------------------------------------


def test_conditions_are_read_and_refused_in_words():
    assert conditions_of("finished, better:val/loss<1e-3") == [
        Condition("finished"),
        Condition("better", "val/loss", -1, 0.001),
    ]
    for text, said in {
        "finishd": "did you mean 'finished'?",
        "": "no such alert",
        "better": "in quotes, as a shell takes > and < for itself",
        "better:val/accuracy": "write --on='better:val/accuracy>0.97'",
        "better:val/accuracy>much": "a number are expected",
        "better:val/accuracy>nan": "a number are expected",
        "failed:3": "only better takes a score; write failed",
    }.items():
        with pytest.raises(MlgymError, match="--on=") as error:
            conditions_of(text)
        assert said in str(error.value)


def test_a_run_is_told_when_it_ends_and_when_it_is_better_first():
    events = study_events("r")  # val/accuracy is 2.1 to 2.4 in experiment 2
    better, finished = told(ALL, "r", events)
    assert better.facts == {
        "monitor": "val/accuracy", "score": 2.3, "bound": 2.25, "experiment_id": 2, "epoch": 3
    }  # fmt: skip
    assert better.text == "r: val/accuracy 2.3 is better than 2.25: experiment 2 after epoch 3"
    assert finished.text == "r: finished, DONE after 2.0 s" and finished.facts["num_failed"] == 0
    assert told(ALL, "r", events, [*better.keys, *finished.keys]) == []
    assert [one.facts["score"] for one in told("better:train/loss<0.3", "r", events)] == [0.25]


def test_failures_of_a_moment_are_one_alert_and_divergence_is_told_as_such():
    events = [failed("r", 4, "ValueError: x"), failed("r", 1, "ValueError: y"), failed("r", 2, "diverged: nan")]
    failures, diverged = told(ALL, "r", events)
    assert failures.text == "r: 2 experiments (1, 4) failed: ValueError: y (experiment 1)"
    assert failures.facts["errors"] == {"1": "ValueError: y", "4": "ValueError: x"}
    assert diverged.text == "r: experiment 2 diverged: nan"
    [both] = told("failed", "r", events)
    assert both.facts["experiments"] == [1, 2, 4]
    assert told("finished", "r", events) == []
    [rest] = told("failed", "r", events, ["failed 4", "failed 1"])
    assert rest.facts["experiments"] == [2]
    crash = ev.run_finished("r", status="FAILED", num_failed=0, seconds=1, now_ms=9)
    assert [one.text for one in told("failed", "r", [crash])] == ["r: finished, FAILED after 1.0 s"]


def test_what_a_log_says_is_no_markup_and_no_control_in_a_text():
    [alert] = told("failed", "r", [failed("r", 0, "<!channel> \x1b[31m<script>&amp;\nmore")])
    assert alert.text == "r: experiment 0 failed: ‹!channel› \\x1b[31m‹script›+amp;"
    assert alert.facts["error"].startswith("<!channel>")
    odd = [{"event_type": "run_finished", "payload": {"status": ["x"], "seconds": float("inf"), "num_failed": "7"}}]
    odd += [{"event_type": "evaluation_result", "payload": {}}, {"event_type": "experiment_failed", "payload": None}]
    assert [one.text for one in told(ALL, "r", odd)] == ["r: finished, ['x']"]


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLGYM_JAX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MLGYM_JAX_ALERT_WEBHOOK", raising=False)
    write_run(tmp_path / "event_storage", study_events("old"), "old")
    return tmp_path / "event_storage"


@pytest.fixture
def ask(capsys):
    def asked(*words, status=0):
        assert guarded(_main, ("watch", *words)) == status
        return capsys.readouterr()

    return asked


def test_each_is_told_once_also_over_restarts(store, ask):
    assert ask(f"--on={ALL}", "--once").out == ""  # from now on
    write_run(store, study_events("new"), "new")
    write_run(store, [failed("old", 1, "boom")], "old")
    lines = ask(f"--on={ALL}", "--once").out.splitlines()
    assert lines == [
        "old: experiment 1 failed: boom",
        "new: val/accuracy 2.3 is better than 2.25: experiment 2 after epoch 3",
        "new (a study): finished, DONE after 2.0 s; best val/accuracy 2.4, experiment 2",
    ]
    assert ask(f"--on={ALL}", "--once").out == ""
    assert ask(f"--on={ALL}", "--once", BEGINNING).out.count("\n") == 2  # of `old`, which was not told before
    assert len(ask("--on=finished", "--once", BEGINNING, "--json", "--state=elsewhere").out.splitlines()) == 2
    assert len(list((store.parent / "cache/alerts").iterdir())) == 1


def test_a_state_file_that_is_damaged_is_told_and_begun_anew(store, ask):
    (store.parent / "state").write_text('{"version": 1, "cursor": 3, "told": [], ')
    assert "state: what was told is not known: it is damaged" in ask("--on=lost", "--once", "--state=state").err
    assert ask("--on=lost", "--once", "--state=state").err == ""
    said = ask("--on=lost", "--once", "--state=/proc/no/such", status=1)
    assert "what was told cannot be kept: No such file" in said.err


def test_a_run_that_nobody_writes_any_more_is_lost_once_a_launch(store):
    def alerting():
        return Alerting(str(store), [], conditions_of("lost"), since=None, path=str(store.parent / "s"), now_ms=0)

    def age(seconds):
        at = time.time() - seconds
        os.utime(store / "new/event_storage.log", (at, at))

    first = alerting()
    write_run(store, study_events("new", finished=False), "new")
    assert list(first.new(look=True)) == []  # quiet for a moment only
    first.keep({}, now=True)
    age(60)
    second = alerting()
    with ev.EventLog.open(store / "new/event_storage.log"):
        age(60)
        assert list(second.new(look=True)) == []  # somebody holds it
    [alert] = second.new(look=True)
    assert (alert.kind, alert.run_id, alert.keys) == ("lost", "new", ("lost 0",))
    second.keep({}, now=True)
    third = alerting()
    assert list(third.new(look=True)) == []
    write_run(store, study_events("new", finished=False)[:1], "new")
    assert list(third.new(look=True)) == []
    age(60)
    assert [one.keys for one in third.new(look=True)] == [("lost 20",)]
    write_run(store, study_events("new")[-1:], "new")
    age(60)
    assert list(third.new(look=True)) == []
    (store / "new/.published").touch()  # another machine writes it, whose silence may be an epoch
    write_run(store, study_events("new", finished=False)[:1], "new")
    assert list(third.new(look=True)) == []
    age(60)
    assert list(third.new(look=True)) == []
    age(700)
    assert [one.kind for one in third.new(look=True)] == ["lost"]


# --- a webhook -------------------------------------------------------------------------------------------------------


def message(number=0):
    return {"alert": "lost", "grid_search_id": "r", "text": f"t{number}", "facts": {"n": number}}


def channel(url, **settings):
    name, deliver = webhook(url, "--webhook")
    return Channel(name, deliver, pauses=(0.01, 0.02, 0.03), **settings)


def test_a_webhook_gets_text_and_facts(hook, store, ask):
    hook.answers = [503]
    write_run(store, study_events("new"), "new")
    said = ask("--on=finished", BEGINNING, f"--webhook={hook.url}", "--once", "new")
    assert said.err == "" and said.out.startswith("new (a study): finished")
    (path, first), (_, second) = hook.got
    assert path == "/secret?key=1" and first == second
    assert first["text"] == said.out.removesuffix("\n")
    assert first["facts"] == {
        "status": "DONE", "num_failed": 0, "seconds": 2.0, "name": "a study", "monitor": "val/accuracy",
        "score": 2.4, "experiment_id": 2,
    }  # fmt: skip


def test_a_webhook_that_fails_is_tried_three_times_more_and_told_once(hook, capsys):
    hook.answers = [500] * 6
    way = channel(hook.url)
    for number in range(4):
        way.put(message(number))
    assert way.finish(10)
    assert [body["text"] for _, body in hook.got] == ["t0"] * 4 + ["t1", "t2", "t3"]
    host = hook.url.removesuffix("/secret?key=1")
    assert capsys.readouterr().err.splitlines() == [
        f"webhook {host}: it answers 500; alerts that it does not take are left out",
        f"webhook {host}: it takes alerts again (3 were left out)",
    ]


def test_a_webhook_that_hangs_costs_nobody_its_time(hook, capsys, monkeypatch):
    monkeypatch.setattr(delivery, "DEADLINE_SECONDS", 0.2)
    hook.answers = [1.0] * 6
    way = channel(hook.url)
    began = time.monotonic()
    way.put(message(0))
    way.put(message(1))
    assert time.monotonic() - began < 0.1 and len(way.waiting) == 2
    assert way.finish(10) and way.num_left_out == 2
    assert time.monotonic() - began < 3
    assert capsys.readouterr().err.count("no answer in 0.2 s") == 1


def test_no_redirect_is_followed(hook, capsys):
    other = Hook()
    try:
        for status in (301, 302, 303, 307, 308):
            hook.answers, hook.headers = [status], {"Location": other.url.replace("127.0.0.1", "localhost")}
            way = channel(hook.url)
            way.put(message())
            assert way.finish(10) and way.num_left_out == 1
            assert f"it answers {status} and points to localhost, which is not followed" in capsys.readouterr().err
        assert other.got == [] and len(hook.got) == 5
    finally:
        other.server.shutdown()
        other.server.server_close()


def test_what_is_not_delivered_yet_goes_out_with_the_next_start(hook, store, ask, monkeypatch):
    monkeypatch.setattr("mlgym_jax.managing.telling._END_SECONDS", 0.3)
    hook.answers = [2.0]
    words = ("--on=finished", BEGINNING, f"--webhook={hook.url}", "--once")
    assert "1 alerts are not delivered yet; the next start sends them" in ask(*words).err
    monkeypatch.setattr("mlgym_jax.managing.telling._END_SECONDS", 10)
    said = ask(*words)
    assert said.out == said.err == ""
    assert [body["text"] for _, body in hook.got][-1].startswith("old (a study): finished")


def test_urls_that_are_none_are_refused_without_their_secrets(ask, store):
    for url in ("ftp://x/secret", "x/secret", "http://", "http://u:secret@x/", "http://x:99999/secret", "http://a b"):
        said = ask("--on=lost", "--once", f"--webhook={url}", status=2).err
        assert said.startswith("error: --webhook: ") and "secret" not in said
    assert "write --on=" in ask("--once", "--webhook=http://x", status=2).err
    with pytest.raises(Undelivered, match="cannot be reached"):
        webhook("http://127.0.0.1:9/x", "--webhook")[1](message())


# --- a command -------------------------------------------------------------------------------------------------------


def test_a_command_gets_facts_as_variables_and_nothing_of_a_run_in_its_line(tmp_path):
    hostile = {"alert": "failed", "grid_search_id": "r", "text": '$(touch evil); `touch evil` "', "facts": {}}
    hostile["facts"] = {"error": "'; touch evil; '\x00\ud800", "experiments": [1], "score": 0.5}
    line = f'cd {tmp_path} && printf %s "$MLGYM_JAX_ALERT_TEXT|$MLGYM_JAX_ALERT_SCORE" > said && cat > body'
    command(line)(hostile)
    assert (tmp_path / "said").read_text() == '$(touch evil); `touch evil` "|0.5'
    assert json.loads((tmp_path / "body").read_text()) == hostile
    assert not (tmp_path / "evil").exists()
    assert variables(hostile)["MLGYM_JAX_ALERT_ERROR"] == "'; touch evil; '?"


def test_a_command_that_fails_or_hangs_is_ended_and_told(monkeypatch):
    with pytest.raises(Undelivered, match="exit status 3"):
        command("exit 3")(message())
    monkeypatch.setattr(delivery, "COMMAND_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(Undelivered, match="not ended after"):
        command("sleep 30 & wait")(message())
    assert time.monotonic() - began < 5


def test_the_command_watches_until_it_is_ended(store, tmp_path, hook):
    line = f'echo "$MLGYM_JAX_ALERT $MLGYM_JAX_ALERT_RUN_ID" >> {tmp_path}/said'
    words = ["-m", "mlgym_jax.runs", "watch", "--on=finished,failed", f"--command={line}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MLGYM_JAX_ALERT_WEBHOOK": hook.url}
    process = subprocess.Popen([sys.executable, *words], stdout=-1, stderr=-1, text=True, env=env)
    while not list(tmp_path.glob("cache/alerts/*.json")) and process.poll() is None:
        time.sleep(0.02)
    write_run(store, study_events("new"), "new")
    assert process.stdout.readline().startswith("new (a study): finished, DONE")
    write_run(store, [failed("new", 1, "boom")], "new")
    assert process.stdout.readline() == "new: experiment 1 failed: boom\n"
    for _ in range(500):
        if len(hook.got) == 2 and (tmp_path / "said").exists() and (tmp_path / "said").read_text().count("\n") == 2:
            break
        time.sleep(0.02)
    process.send_signal(2)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and said == "interrupted\n"
    assert (tmp_path / "said").read_text() == "finished new\nfailed new\n"
    assert [body["alert"] for _, body in hook.got] == ["finished", "failed"]
