"""Swept components in tables, in data frames and in what is said of a run: names, and their own values beside them."""

import contextlib
import io

import pytest
from study_files import here, small

import mlgym_jax as mg
from mlgym_jax.config.spelling import columns, spelled
from mlgym_jax.reading.table import print_table

SWEPT = """
    config.num_epochs = 1
    config.dataset.num_examples = 40
    config.optimizer = grid(component("adam", learning_rate=grid(0.01, 0.1)), component("sgd", learning_rate=0.5))
    config.seed = grid(0, 1)
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A run of two optimizers, one of them with two learning rates, and two seeds."""
    folder = tmp_path_factory.mktemp("components")
    return mg.run(mg.load_config(small(folder, SWEPT)), folder / "runs", run_id="r")


def test_a_data_frame_has_values_that_can_be_hashed(swept):
    frame = swept.to_dataframe()
    assert frame.groupby("optimizer").size().to_dict() == {"adam": 4, "sgd": 2}
    rates = frame.groupby(["optimizer", "optimizer.learning_rate"]).size().to_dict()
    assert rates == {("adam", 0.01): 2, ("adam", 0.1): 2, ("sgd", 0.5): 2}


def test_a_report_shows_names_and_a_column_for_what_differs(swept, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = here("report", swept.run_dir, "--monitor=train/loss")
    head, *rows = [line.split() for line in out.splitlines() if line.startswith(("│", "┃"))]
    assert status == 0 and len(rows) == 6  # a line an experiment
    assert head[1:10:2] == ["id", "optimizer", "optimizer.learning_rate", "seed", "status"]
    assert sorted((row[3], row[5]) for row in rows) == sorted([("adam", "0.01"), ("adam", "0.1"), ("sgd", "0.5")] * 2)


@pytest.mark.parametrize("wanted, width", [("200", 200), ("90", 90), ("", 120), ("many", 120), ("0", 40)])
def test_a_table_in_a_pipe_is_as_wide_as_asked_for(wanted, width, swept, monkeypatch):
    monkeypatch.setenv("COLUMNS", wanted)
    view = mg.load_run(swept.run_dir)
    for number in range(20):  # more columns than fit
        view.view.candidates[0].hyperparameters[f"a_long_name_{number}"] = "x" * 30
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_table(view, "train/loss", "min")
    table = [
        line for line in out.getvalue().splitlines() if line[:1] in ("┏", "┃", "┡", "│", "└")
    ]  # sentences are whole
    assert max(map(len, table)) == width


ADAM = {"component": "adam"}


@pytest.mark.parametrize(
    "values, cells",
    [
        # Alike by name, different inside.
        ([{**ADAM, "b1": 0.9}, {**ADAM, "b1": 0.8}], [{"o": "adam", "o.b1": 0.9}, {"o": "adam", "o.b1": 0.8}]),
        # Names suffice where each has one component.
        ([{**ADAM, "b1": 0.9}, {"component": "sgd", "momentum": 0.5}], [{"o": "adam"}, {"o": "sgd"}]),
        # What one has and the other has not.
        ([{**ADAM, "mask": None}, ADAM], [{"o": "adam", "o.mask": None}, {"o": "adam"}]),
        # Components among others, in tuples and by names.
        (
            [({**ADAM, "b1": 0.9}, {**ADAM, "b1": 0.7}), ({**ADAM, "b1": 0.8}, {**ADAM, "b1": 0.7})],
            [{"o": ("adam", "adam"), "o.0.b1": 0.9}, {"o": ("adam", "adam"), "o.0.b1": 0.8}],
        ),
        (
            [{"component": "partition", "of": {"a": ADAM}}, {"component": "partition", "of": {"a": {**ADAM, "b1": 1}}}],
            [{"o": "partition(of={a=adam})"}, {"o": "partition(of={a=adam})", "o.of.a.b1": 1}],
        ),
        # No components: lists are tuples, names are spelled, None and booleans stay.
        ([[1, [2, 3]], None, True], [{"o": (1, (2, 3))}, {"o": None}, {"o": True}]),
        ([{"a": 0.123456789}, {"a": [1]}], [{"o": "{a=0.123456789}"}, {"o": "{a=(1,)}"}]),
        ([{**ADAM, "b1": 1}, {**ADAM, "b1": True}], [{"o": "adam", "o.b1": 1}, {"o": "adam", "o.b1": True}]),
    ],
)  # fmt: skip
def test_columns(values, cells):
    found = columns([{"o": value} for value in values])
    assert found == cells
    assert [{hash(value) for value in cell.values()} for cell in found]


def test_a_swept_none_stays_none(tmp_path):
    edit = """
    config.num_epochs = 1
    config.optimizer = component("sgd", learning_rate=0.1, momentum=grid(None, 1))"""
    result = mg.run(mg.load_config(small(tmp_path, edit)), tmp_path / "runs")
    frame = mg.load_run(result.run_dir).to_dataframe()
    assert [*frame["optimizer.momentum"]] == [None, 1]
    assert [item.hyperparameters["optimizer.momentum"] for item in result.experiments] == [None, 1]


def test_a_line_writes_components_as_a_config_does():
    chain = {"component": "chain", "transforms": ({"component": "clip", "max_delta": 1.0}, ADAM), "of": {"a": (1,)}}
    assert spelled(chain) == "chain(transforms=(clip(max_delta=1), adam), of={a=(1,)})"


def test_what_folds_selected_is_said_by_name(tmp_path):
    edit = """
    config.num_epochs = 1
    config.optimizer = grid(component("sgd", learning_rate=grid(0.1, 0.2)))
    config.validation = component("cross_validation", folds=2)"""
    result = mg.run(mg.load_config(small(tmp_path, edit)), tmp_path / "runs")
    _, out, _ = here("report", result.run_dir)
    assert "selected: optimizer=sgd(learning_rate=0." in " ".join(out.split())
