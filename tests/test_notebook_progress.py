"""A run in a notebook's cell: one display that is brought up to date, and says how to go on when it is cut short."""

import sys
import types
from html.parser import HTMLParser

import numpy as np
import pytest
from study_files import small

import mlgym_jax as mg
from mlgym_jax.events import LiveView, layout
from mlgym_jax.reading import cells, notebook
from mlgym_jax.reading.progress import duration


@pytest.fixture
def config(tmp_path):
    edit = """
    config.num_epochs = 3
    config.model = component("mlp", features=(4,))
    config.optimizer.learning_rate = grid(0.1, 1e30)
    """
    return mg.load_config(str(small(tmp_path, edit)), overrides={"name": "<b>café</b>"})


def test_a_run_is_one_display_of_which_the_last_state_is_saved(cell, config, tmp_path):
    mg.run(config, tmp_path / "runs", run_id="r")
    first, *others = cell.sent
    assert not first[2] and all(update for _, _, update in others)
    assert len({display_id for _, display_id, _ in cell.sent}) == 1
    last = cell.sent[-1][0]
    assert set(last) == {"text/plain", "text/html"} and len(last["text/html"]) < 500
    text = last["text/plain"]
    assert "r <b>café</b>: FAILED" in text and "2 experiments (1 done, 1 failed)" in text
    assert text.endswith(f"; run: {tmp_path}/runs/r")
    assert "<b>" not in last["text/html"] and "&lt;b&gt;café&lt;/b&gt;" in last["text/html"]
    assert "<progress" in first[0]["text/html"] and "<progress" not in last["text/html"]


def test_a_cell_that_was_interrupted_says_what_goes_on(cell, config, tmp_path, monkeypatch):
    def stop(first_event_id, events):
        if any(event["event_type"] == "evaluation_result" for event in events):
            raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        mg.run(config, "runs", run_id="r", sinks=[stop])
    command = cell.text.rsplit("go on with ", 1)[1]
    assert command == "mg.resume('runs/r')"
    monkeypatch.chdir("/")
    with pytest.raises(KeyboardInterrupt):
        mg.resume(tmp_path / "runs" / "r", sinks=[stop])
    command = cell.text.rsplit("go on with ", 1)[1]
    assert eval(command, {"mg": mg}).status == "FAILED"  # one of the two diverges


def test_data_that_a_run_has_not_kept_are_asked_for(cell, config, tmp_path):
    def stop(first_event_id, events):
        raise KeyboardInterrupt

    data = np.random.default_rng(0).normal(size=(60, 8)), np.arange(60) % 3
    for kept, words in ((False, "runs/unkept', data=…)"), (True, "runs/kept')")):
        with pytest.raises(KeyboardInterrupt):
            mg.run(config, tmp_path / "runs", data=data, keep_data=kept, run_id=words[5:].split("'")[0], sinks=[stop])
        assert cell.text.endswith(words)


def test_a_page_that_is_gone_ends_no_training(cell, config, tmp_path, caplog, monkeypatch):
    def publish(*_, **__):
        raise OSError("the socket is closed")

    monkeypatch.setattr(cell, "publish", publish)
    assert mg.run(config, tmp_path / "runs").experiment(0).num_epochs == 3
    assert [record.message for record in caplog.records if "progress" in record.message] == [
        "progress is shown no more: OSError: the socket is closed"
    ]


def test_nothing_is_shown_where_nobody_asked(cell, config, tmp_path, capsys):
    mg.run(config, tmp_path / "runs", progress=False)
    mg.run(config, tmp_path / "runs", live=LiveView())  # who gives a view shows it
    mg.find_learning_rate(config, num=3, num_steps=4)
    assert cell.sent == []
    del sys.modules["IPython"]
    mg.run(config, tmp_path / "runs")  # a script
    assert capsys.readouterr() == ("", "")


def test_a_script_may_ask_for_lines(config, tmp_path, capsys):
    mg.run(config, tmp_path / "runs", run_id="r", progress=True)
    said = capsys.readouterr().err
    assert "group 0: 2 experiments" in said and "experiment 1 failed: diverged" in said
    assert "runs/r" in said.replace("\n", "")
    with pytest.raises(mg.MlgymError, match="progress: True, False or None is expected, found 'yes'"):
        mg.run(config, tmp_path / "runs", progress="yes")


def test_the_shell_of_a_terminal_is_no_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace()))
    assert (cells.in_notebook(), cells.is_interactive()) == (False, True)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert (cells.in_notebook(), cells.is_interactive()) == (False, False)


class Bar(HTMLParser):
    def handle_starttag(self, tag, attrs):
        if tag == "progress":
            self.share = float(dict(attrs)["value"]) / float(dict(attrs)["max"])


def test_what_is_left_is_what_the_pace_since_the_first_epoch_leaves(cell):
    """Two experiments of 10 epochs: one was trained before, the other does an epoch in 2 s and has 8 to go."""
    now, live = [0.0], LiveView()
    shown = notebook.NotebookProgress(live, f"/runs/{layout.STORAGE}", clock=lambda: now[0])
    for number in (0, 1):
        item = live.view.experiments.setdefault(number, make_experiment(number))
        item.epoch_numbers += range(1, 11) if number == 0 else []
        item.status = "DONE" if number == 0 else "RUNNING"
    for epoch in (1, 2):
        now[0] = 100.0 + 2 * epoch
        live.view.experiments[1].epoch_numbers.append(epoch)
        shown(0, [{"event_type": "evaluation_result", "payload": {"experiment_id": 1}}])
    text, page = cell.text, Bar()
    page.feed(cell.sent[-1][0]["text/html"])
    assert page.share == pytest.approx(12 / 20) and "epoch 12 of 20" in text and "about 16 s left" in text


def make_experiment(number):
    from mlgym_jax.events.views import ExperimentView

    return ExperimentView(number, config={"num_epochs": 10})


@pytest.mark.parametrize(
    "seconds, words", [(4.21, "4.2 s"), (59.2, "1 min 0 s"), (200, "3 min 20 s"), (18_720, "5 h 12 min")]
)
def test_durations_are_said_as_people_do(seconds, words):
    assert duration(seconds) == words
