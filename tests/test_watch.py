"""The board in a terminal: what it shows of a run that goes on, is lost, fails; its keys, driven by Textual's pilot."""

import asyncio
import json
import os
import subprocess
import sys
import time

import pytest
from boards import board
from conftest import ROOT
from forks import run as command
from study_files import here

from mlgym_jax import events as ev
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import EventLog, layout
from mlgym_jax.reading.board_in_terminal import RunBoard
from mlgym_jax.reading.braille import canvas
from mlgym_jax.reading.followed import FollowedLog, caught_up
from mlgym_jax.reading.watched import chart, columns_of, experiments_table, heading, verdict_lines

RUN = "2026-11-23--17-59-10"


def started(num=3):
    config = {"name": "[b]study[/b]", "num_epochs": 4}
    facts = {"num_experiments": num, "num_groups": 1, "resumed": False, "config_hash": "0" * 64}
    yield ev.run_started(RUN, name=config["name"], **facts, now_ms=1_000)
    for number in range(num):
        own = {"optimizer.learning_rate": 10.0 ** -(number % 3 + 1), "seed": number}
        yield ev.experiment_config(
            RUN, experiment_id=number, job_id=str(number), config=config, hyperparameters=own, fold=None, now_ms=1_000
        )


def epoch(number, at, accuracy, loss=0.5):
    scores = {"val/accuracy": accuracy, "val/loss": loss}
    return ev.evaluation_result(RUN, experiment_id=number, epoch=at, scores=scores, seconds=0.1, now_ms=2_000)


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / layout.STORAGE / RUN
    folder.mkdir(parents=True)
    with EventLog.open(folder / layout.LOG) as log:
        log.append(started())
        log.append([epoch(0, 1, 0.5), epoch(1, 1, 0.9), epoch(2, 1, 0.7), epoch(1, 2, 0.8)])
        yield log


def source_of(log):
    return FollowedLog(str(log.path.parent), RUN)


def piloted(log, act, size=(100, 30)):
    """Start the board, let `act(app, pilot)` drive it, and return what that returns."""

    async def drive():
        app = RunBoard(source_of(log))
        async with app.run_test(size=size) as pilot:
            await settled(app, pilot, lambda: app.view.experiments)
            return await act(app, pilot)

    return asyncio.run(drive())


async def settled(app, pilot, condition, timeout=20):
    limit = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < limit, shown(app)
        await pilot.pause(0.02)
    await pilot.pause()


def text_of(app, where):
    return str(app.screen_stack[0].query_one(where).render())


def table_of(app):
    from textual.widgets import DataTable

    widget = app.screen_stack[0].query_one(DataTable)
    return [[str(cell) for cell in widget.get_row_at(number)] for number in range(widget.row_count)]


def shown(app):
    return text_of(app, "#heading"), text_of(app, "#verdict"), table_of(app)


def ids(app):
    return [row[0] for row in table_of(app)]


def test_it_shows_heading_verdict_and_the_table_best_first(log):
    async def act(app, pilot):
        return *shown(app), text_of(app, "#chart")

    head, verdict, rows, curves = piloted(log, act)
    assert "[b]study[/b]" in head and "RUNNING" in head and "3 experiments" in head  # a name is no markup
    assert "best val/accuracy so far 0.9000, experiment 1" in verdict
    assert [row[0] for row in rows] == ["1", "2", "0"] and "0.9000 @ 1" in rows[0]
    assert "0.9" in curves and "val/accuracy" in curves


def test_it_follows_the_log(log):
    async def act(app, pilot):
        log.append([epoch(0, 2, 0.95)])
        await settled(app, pilot, lambda: ids(app)[0] == "0")
        log.append([epoch(0, 3, 0.94, loss=0.25)])  # the order stays, one cell changes
        await settled(app, pilot, lambda: "0.2500" in table_of(app)[0])
        return shown(app)

    _, verdict, rows = piloted(log, act)
    assert "0.9500" in verdict and "0.9500 @ 2" in rows[0]


def test_keys_sort_reverse_and_change_the_score(log):
    async def act(app, pilot):
        await pilot.press("s")
        by_id = ids(app)
        await pilot.press("s", "r")
        by_rate = [float(row[1]) for row in table_of(app)]
        for _ in range(8):
            if app._sort is not None:
                await pilot.press("s")
        await pilot.press("r", "m")
        return by_id, by_rate, ids(app), app.score, text_of(app, "#verdict")

    by_id, by_rate, ranked, score, verdict = piloted(log, act)
    assert by_id == ["0", "1", "2"] and by_rate == [0.1, 0.01, 0.001]
    assert score == "val/loss" and "val/loss so far 0.5" in verdict and ranked == ["0", "1", "2"]


@pytest.mark.parametrize(
    "typed, left", [("seed=1", ["1"]), ("optimizer.learning_rate < 0.05", ["1", "2"]), ("running 0.001", ["2"])]
)
def test_a_filter_is_words_or_a_condition(log, typed, left):
    async def act(app, pilot):
        await pilot.press("slash", *("space" if sign == " " else sign for sign in typed), "enter")
        found = ids(app)
        await pilot.press("escape")
        return found, ids(app)

    found, all_again = piloted(log, act)
    assert sorted(found) == left and len(all_again) == 3


def test_a_wrong_filter_is_told(log):
    async def act(app, pilot):
        await pilot.press("slash", *"sed=1", "enter")
        return text_of(app, "#problem"), len(table_of(app))

    problem, rows = piloted(log, act)
    assert "'sed'" in problem and "did you mean 'seed'" in problem and rows == 3


def test_an_experiment_opens_with_its_error_and_closes(log):
    said = {"error": "[red]diverged", "stacktrace": "Trace\n line"}
    error = ev.experiment_failed(RUN, experiment_id=1, epoch=3, **said, now_ms=3_000)

    async def act(app, pilot):
        log.append([error])
        await settled(app, pilot, lambda: "FAILED" in text_of(app, "#verdict") or "failed" in text_of(app, "#verdict"))
        await pilot.press("enter")
        await pilot.pause()
        opened = str(app.screen.query_one("#details").render())
        await pilot.press("escape")
        return opened, len(app.screen_stack)

    opened, depth = piloted(log, act)
    assert "experiment 1: FAILED" in opened and "[red]diverged" in opened and " line" in opened
    assert "optimizer.learning_rate = 0.01" in opened and "best 0.9 @ 1" in opened and depth == 1


@pytest.mark.parametrize("size", [(20, 6), (40, 12), (200, 60)])
def test_terminals_of_any_size(log, size):
    async def act(app, pilot):
        await pilot.press("j", "down", "enter")
        await pilot.pause()
        await pilot.press("escape", "s")
        return ids(app)

    assert piloted(log, act, size) == ["0", "1", "2"]


def test_q_ends_it(log):
    async def act(app, pilot):
        await pilot.press("q")
        await settled_exit(app)
        return app.return_code

    async def settled_exit(app):
        for _ in range(200):
            if not app.is_running or app._exit:
                return
            await asyncio.sleep(0.01)

    assert piloted(log, act) == 0


def test_no_colour(log, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    async def act(app, pilot):
        return [str(one) for one in app._filters], table_of(app)

    filters, rows = piloted(log, act)
    assert any("Monochrome" in one or "NoColor" in one for one in filters) and len(rows) == 3


def test_a_log_that_goes_away_is_told(log):
    async def act(app, pilot):
        log.path.rename(log.path.with_suffix(".away"))
        await settled(app, pilot, lambda: "cannot be read" in text_of(app, "#problem"))
        log.path.with_suffix(".away").rename(log.path)
        await settled(app, pilot, lambda: not app.query_one("#problem").has_class("open"))
        return table_of(app)

    assert len(piloted(log, act)) == 3


def test_a_lost_run_says_how_to_go_on(log):
    log.close()
    os.utime(log.path, (1, 1))
    source = source_of(log)
    caught_up(source)
    assert source.is_lost and "LOST" in heading(source.view, source.is_lost)
    lines = verdict_lines(source.view, source.name, source.is_lost)
    assert any(f"--resume={RUN}" in line for line in lines)


def test_a_torn_line_is_waited_for_and_another_file_read_anew(log):
    source = source_of(log)
    caught_up(source)
    line = ev.encode(epoch(2, 2, 0.99))
    with open(log.path, "ab") as file:
        file.write(line[:20])
    caught_up(source)
    assert source.view.experiments[2].epochs == 1
    with open(log.path, "ab") as file:
        file.write(line[20:] + b"\n")
    caught_up(source)
    assert source.view.experiments[2].epochs == 2
    log.path.rename(log.path.with_suffix(".old"))
    with EventLog.open(log.path) as other:
        other.append(started(1))
    caught_up(source)
    assert len(source.view.experiments) == 1


def test_many_experiments_are_shown_in_part(log):
    log.append(list(started(1500))[4:])
    source = source_of(log)
    caught_up(source)
    columns = columns_of(source.view, None)
    found = experiments_table(source.view, columns)
    assert (found.total, len(found.rows), found.ids[0]) == (1500, 200, 1)
    assert experiments_table(source.view, columns, "seed = 1499").ids == [1499]


def test_a_snapshot_where_nobody_watches(log, tmp_path):
    done = command("engine", RUN, module="mlgym_jax.watch", cwd=tmp_path, env={"COLUMNS": "60"})
    assert done.returncode == 0 and "\x1b" not in done.stdout
    assert "best val/accuracy so far 0.9000, experiment 1" in done.stdout and "RUNNING" in done.stdout
    done = command("engine", RUN, module="mlgym_jax.watch", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and "\\u28" not in done.stdout


def test_the_same_through_a_board(log, tmp_path):
    with board(tmp_path / layout.STORAGE) as server:
        status, out, err = here("watch", RUN, f"--url={server.url}", "--json")
        by_files = here("watch", log.path.parent, "--json")[1]
        assert status == 0, err
        assert json.loads(out)["experiments"] == json.loads(by_files)["experiments"]
        status, out, err = here("watch", "none", f"--url={server.url}", "--json")
        assert status == 2 and "404" in err and "none" in err
    status, _, err = here("watch", RUN, f"--url={server.url}", "--once")
    assert status == 2 and "cannot be reached" in err


@pytest.mark.parametrize(
    "words, said",
    [
        (["not_there"], "no run 'not_there'"),
        ([RUN, "--url=host:80"], "--url=host:80: the scheme is missing"),
        ([RUN, "--board_token_file=t"], "no --url=URL"),
        ([RUN, "--monitor=val/acuracy"], "did you mean 'val/accuracy'"),
    ],
)
def test_wrong_requests(log, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = here("watch", *words, "--json")
    assert status == 2 and said in err and json.loads(out)["error"]["message"] in err


def test_without_textual_it_says_what_to_install(log, tmp_path):
    code = (
        "import sys; sys.modules['textual'] = None; sys.modules['textual.app'] = None\n"
        "sys.stdout.isatty = lambda: True\n"
        "from mlgym_jax.watch import main; main()"
    )
    env = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(log.path.parent)], capture_output=True, text=True, env=env, timeout=60
    )
    assert done.returncode == 2 and "mlgym-jax[watch]" in done.stderr and "Traceback" not in done.stderr


def test_it_needs_neither_jax_nor_numpy():
    code = "import mlgym_jax.watch, mlgym_jax.reading.board_in_terminal, sys; print(*{'jax', 'numpy'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == ""


def test_curves_have_their_ends_where_they_belong():
    rows, owners = canvas([[0.0, 1.0]], width=3, height=2, low=0.0, high=1.0)
    assert ord(rows[1][0]) - 0x2800 & 0x40 and ord(rows[0][-1]) - 0x2800 & 0x08  # lower left, upper right
    assert owners[1][0] == 0 and owners[0][0] is None
    assert canvas([[float("nan")] * 3], width=2, height=1, low=0, high=1)[0] == ["  "]


def test_no_curve_yet(log):
    source = source_of(log)
    assert "no curve yet" in chart([], None, width=50, height=8).plain
    caught_up(source)
    one = source.view.experiments[0]
    assert "epochs 1-1" in chart([one], "val/accuracy", width=50, height=8).plain


def test_a_run_that_is_not_there_is_told():
    with pytest.raises(MlgymError, match="cannot be read"):
        FollowedLog("/nowhere").fetch()
