"""`report --csv`, `--markdown` and `--latex`: other programs read in them what the run recorded."""

import csv
import io
import json
import math
import os
import re
import shutil
import subprocess

import forks
import pandas
import pytest
from markdown_it import MarkdownIt
from study_files import edit_log, finish, here, small, start

import mlgym_jax as mg
from mlgym_jax.reading.forms import written
from mlgym_jax.reading.rows import Column

NOTES = (r"a|b_c \| __d__ `*~~", 'say "x",\r\nthen é <b>', r"50% & \$ #{~^} _\ ~ ^ [a](b)")
# From pandas 3.1 on all digits are read by default, and asking for it warns.
EXACT = {"float_precision": "round_trip"} if tuple(map(int, pandas.__version__.split(".")[:2])) < (3, 1) else {}
NOTED = f"""
import optax

NOTES = {NOTES!r}


@register("loss", "noted")
def noted(note: str):
    def loss(outputs, batch):
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, batch["targets"])
        return jnp.where(jnp.abs(outputs).max() < 1e9, losses, jnp.nan)

    return loss
"""
SWEPT = """
    config.num_epochs = 2
    config.validation = component("holdout", val=0.2, test=0.2)
    config.optimizer.learning_rate = grid(1 / 3, 1e38)
    config.loss = component("noted", note=grid(*NOTES))"""


FAILED = "".join(f"experiment {number} failed: diverged: train/loss is nan after epoch 1\n" for number in (1, 3, 5))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Six experiments: three texts that mean something in every form, a learning rate of many digits, one too high."""
    folder = tmp_path_factory.mktemp("forms")
    small(folder, SWEPT, NOTED)
    status, _, err = finish(start("run", "--config=study.py", "--event_storage=.", "--run_id=r", "--quiet", cwd=folder))
    assert status == 1 and err == FAILED
    return folder / "r"


def report(run, *words):
    status, out, err = here("report", run, *words)
    assert (status, err) == (0, FAILED if {"--csv", "--markdown", "--latex"} & set(words) else "")
    return out


def listed_as_json(run):
    """Return `report --json`'s experiments by their ids, numbers that JSON does not have as floats."""
    found = json.loads(report(run, "--json"))["experiments"]
    for item in found:
        item["last"] = {name: float(score) for name, score in item["last"].items()}
    return {item["experiment_id"]: item for item in found}


def same(text, value):
    """Tell whether a cell of csv is a float to the bit; an empty one is none."""
    return text == "" if value is None else float(text) == value or (math.isnan(value) and math.isnan(float(text)))


def test_the_csv_module_reads_what_json_says(run):
    rows = list(csv.DictReader(io.StringIO(report(run, "--csv"), newline="")))
    told = listed_as_json(run)
    assert {int(row["id"]) for row in rows} == set(told) and len(rows) == len(told) == 6
    assert any(math.isnan(item["last"]["train/loss"]) for item in told.values())
    for row in rows:
        item = told[int(row["id"])]
        assert row["loss.note"] == item["hyperparameters"]["loss.note"]
        assert float(row["optimizer.learning_rate"]) == item["hyperparameters"]["optimizer.learning_rate"]
        assert (row["status"], row["epochs"]) == (item["status"], str(item["epochs"]))
        best = item["best"] or {"score": None, "epoch": None}
        assert same(row[f"best {told[0]['best']['monitor']}"], best["score"])
        assert row["best epoch"] == ("" if best["epoch"] is None else str(best["epoch"]))
        assert all(same(row[name], item["last"][name]) for name in ("train/loss", "val/loss"))


def test_pandas_reads_what_to_dataframe_has(run):
    text = report(
        run, "--csv", "--columns=id,loss.note,optimizer.learning_rate,status,train/loss,val/accuracy,val/loss"
    )
    read = pandas.read_csv(io.StringIO(text, newline=""), **EXACT).set_index("id").sort_index()
    frame = mg.load_run(run).to_dataframe()
    last = frame[frame["epoch"] == frame.groupby("experiment_id")["epoch"].transform("max")]
    pandas.testing.assert_frame_equal(
        read, last.set_index("experiment_id")[read.columns], check_exact=True, check_names=False, check_dtype=False
    )


def test_every_epoch_of_several_runs_is_one_table(run, tmp_path):
    """As `to_dataframe` has it of each, below each other; of a run that lacks a score its cells are empty."""
    other = shutil.copytree(run, tmp_path / "other")
    edit_log(other, lambda number, line: line.replace(b'"loss":"loss","split":"val"', b'"loss":"cost","split":"val"'))
    _, out, _ = here("report", run, other, "--csv", "--every_epoch", "--monitor=train/loss")
    found = pandas.read_csv(io.StringIO(out), **EXACT).set_index(["run", "id", "epoch"]).sort_index()
    frames = {folder.name: mg.load_run(folder).to_dataframe() for folder in (run, other)}
    expected = pandas.concat(frames, names=["run"]).rename(columns={"experiment_id": "id"}).reset_index()
    expected = expected.set_index(["run", "id", "epoch"]).sort_index()
    assert len(found) == len(expected) > 12
    for name in ("train/loss", "val/loss", "val/cost"):
        pandas.testing.assert_series_equal(found[name], expected[name])
    shown = here("report", run, other, "--markdown", "--columns=run,id", "--limit=1", "--monitor=train/loss")[1]
    assert [line.split(" | ")[0] for line in shown.splitlines()[2:]] == ["| r", "| other"]


def test_rows_are_sorted_by_the_score_that_is_asked_for(run):
    told = listed_as_json(run)
    read = pandas.read_csv(io.StringIO(report(run, "--csv", "--monitor=val/loss"), newline=""))
    best = read["best val/loss"]
    finite = best[best.notna()]
    assert finite.is_monotonic_increasing and best.notna().tolist() == sorted(best.notna(), reverse=True)
    assert len(finite) == sum(math.isfinite(item["last"]["val/loss"]) for item in told.values()) == 3
    first = read["id"].tolist()
    assert (
        pandas.read_csv(io.StringIO(report(run, "--csv", "--monitor=val/loss", "--limit=2")))["id"].tolist()
        == first[:2]
    )
    out = report(run, "--monitor=val/loss", "--limit=2", "--columns=best epoch,id")
    assert [re.findall(r"\d+", line)[1] for line in out.splitlines() if line.startswith("│")] == list(
        map(str, first[:2])
    )


def test_a_markdown_parser_reads_the_cells(run):
    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(report(run, "--markdown"))
    cells = [token for token in parsed if token.type == "inline"]
    assert {child.type for cell in cells for child in cell.children} <= {"text", "text_special"}
    columns = sum(token.type == "th_open" for token in parsed)
    texts = ["".join(child.content for child in cell.children) for cell in cells]
    rows = [
        dict(zip(texts[:columns], texts[at : at + columns], strict=True)) for at in range(columns, len(texts), columns)
    ]
    told = listed_as_json(run)
    assert len(rows) == 6
    for row in rows:
        item = told[int(row["id"])]
        assert row["loss.note"] == item["hyperparameters"]["loss.note"].replace("\r\n", " ")
        assert row["train/loss"] == f"{item['last']['train/loss']:.4f}"
        best = item["best"]
        assert row[f"best {told[0]['best']['monitor']}"] == (f"{best['score']:.4f} @ {best['epoch']}" if best else "-")


TEXTS = [*NOTES[::2], "~", "^ ", r"\\ x", "a_b", "{}", "50 % of $x$", "C# & co", "plain (8, 8)"]


def test_latex_is_escaped_as_pandas_does():
    words = [text.replace("|", "").replace("<", "") for text in TEXTS]  # pandas leaves these
    column = Column("a_b %", "everywhere", words, words, is_words=True)
    other = pandas.DataFrame({"a_b %": words}).style.hide().format(escape="latex").format_index(escape="latex", axis=1)
    assert written([column], "latex").splitlines()[1:] == other.to_latex(column_format="l", hrules=True).splitlines()


def test_latex_where_pandas_does_not_escape():
    shown = ["a < b > c|d", "[1ex] x", "* y", "two\r\n lines"]
    body = written([Column("n", "everywhere", shown, shown)], "latex").splitlines()[5:-2]
    assert body == [
        r"a \textless \space b \textgreater \space c\textbar d \\",
        r"{[}1ex] x \\",
        r"{*} y \\",
        r"two lines \\",
    ]


def test_latex_of_a_run_has_a_row_an_experiment(run):
    lines = report(run, "--latex").splitlines()
    sides = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", lines[1])[1]
    rows = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert len(rows) == 6 and lines[-1] == r"\end{tabular}"
    assert all(
        row.endswith(r" \\") and len(re.findall(r"(?<!\\)&", row)) == len(sides) - 1 for row in [lines[3], *rows]
    )


def test_columns_are_chosen_and_ordered(run):
    lines = report(run, "--csv", "--columns= val/loss , id,train/accuracy").splitlines()
    assert lines[0] == "val/loss,id,train/accuracy" and len(lines) == 7
    assert report(run, "--markdown", "--columns=id", "--limit=1").splitlines()[:2] == ["| id |", "| ---: |"]


def test_a_single_empty_cell_is_a_row():
    assert list(csv.reader(io.StringIO(written([Column("a,b", "csv", ["-", "1"], ["", "1"])], "csv")))) == [
        ["a,b"],
        [""],
        ["1"],
    ]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--csv", "--latex"], "--csv and --latex: a report has one form; give one of them"),
        (["--json", "--markdown", "--csv"], "--json and --csv and --markdown: a report has one form"),
        (["--json", "--limit=2"], "--limit is for tables, and --json has all"),
        (["--json", "--columns=id"], "--columns is for tables, and --json has all"),
        (["--csv", "--columns=id,val/lss"], "--columns: no column 'val/lss'; did you mean 'val/loss'? Columns: id, "),
        (["--columns=idd"], "--columns: no column 'idd'; did you mean 'id'? Columns: id, "),
        (["--csv", "--columns=id,id"], "--columns: 'id' is given twice; give it once"),
        (["--csv", "--columns=id,,epochs"], "--columns=id,,epochs: a name is missing; write --columns=id,epochs"),
        (["--columns="], "--columns=: a name is missing"),
        *((["--csv", f"--limit={text}"], f"--limit={text}: it is how many") for text in ("0", "-1", "1.5", "x", "")),
    ],
)
def test_wrong_words(run, words, message):
    status, out, err = here("report", run, *words)
    assert (status, err.count("\n")) == (2, 1)
    assert (json.loads(out)["error"]["message"] in err) if "--json" in words else out == ""
    assert err.startswith(f"error: {message}")


@pytest.mark.parametrize("form", ["csv", "markdown", "latex"])
def test_the_terminal_changes_nothing(run, form):
    env = {"COLUMNS": "40", "PYTHONIOENCODING": "ascii", "TERM": "dumb"}
    status, out, err = finish(start("report", str(run), f"--{form}", cwd=run, env=env), timeout=60)
    assert (status, err) == (0, FAILED) and "é" in out
    assert out == report(run, f"--{form}").replace("\r\n", "\n")  # the process's pipe is read as text


def test_warnings_go_beside_the_form(run):
    whole = report(run, "--csv")
    log = (run / "event_storage.log").read_bytes()
    try:
        edit_log(run, lambda number, line: line + b"{half\n" if number == 0 else line)
        status, out, err = here("report", run, "--csv")
    finally:
        (run / "event_storage.log").write_bytes(log)
    assert (status, out) == (0, whole)
    assert err == FAILED + "unreadable lines of the log were left out: 1\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_a_full_disk_is_told_in_words(run, form):
    with open("/dev/full", "wb") as full:
        ends = {"stdout": full, "stderr": subprocess.PIPE, "text": True}
        process = forks.popen("engine", str(run), form, module="mlgym_jax.report", cwd=run, **ends)
        status, _, err = finish(process, timeout=60)
    assert (status, err) == (1, "error: the report could not be written: No space left on device\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_other_commands_tell_of_a_full_disk_alike(run):
    with open("/dev/full", "wb") as full:
        ends = {"stdout": full, "stderr": subprocess.PIPE, "text": True}
        process = forks.popen("engine", str(run), "--list", module="mlgym_jax.export", cwd=run, **ends)
        status, _, err = finish(process, timeout=60)
    assert (status, err) == (1, "error: the output could not be written: No space left on device\n")


def test_the_verdict_stands_above_the_table_and_in_json(run):
    told = mg.load_run(run).verdict("val/loss")
    assert told["headline"].startswith("best val/loss") and told["headline"].endswith("3 failed: diverged")
    lines = report(run, "--monitor=val/loss").splitlines()
    assert lines[0] == told["headline"]
    assert told["sentences"]["next"] in map(str.strip, lines[1:10])
    assert json.loads(report(run, "--json", "--monitor=val/loss"))["verdict"] == json.loads(json.dumps(told))
