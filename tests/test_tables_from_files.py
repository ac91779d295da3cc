"""Parquet files and saved tables that are read while a study trains: by row groups, each once an epoch."""

import datasets
import numpy as np
import pandas
import pytest
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.data import arrow_tables, row_groups
from mlgym_jax.data.arrow_tables import parquet
from mlgym_jax.data.blocks import Blocks, Order
from mlgym_jax.data.huggingface import huggingface
from mlgym_jax.data.permutation import permuted
from mlgym_jax.data.streams import to_stream

RNG = np.random.default_rng(0)
ROWS = 120
FRAME = pandas.DataFrame(
    {
        "age": np.arange(ROWS),
        "sex": RNG.choice(["m", "f", "x"], ROWS),
        "weight": np.where(RNG.random(ROWS) < 0.2, np.nan, RNG.normal(70, 9, ROWS)),
        "day": pandas.date_range("2026-01-30", periods=ROWS, freq="D"),
        "outcome": RNG.choice(["ill", "well"], ROWS),
    }
)
BLOCKS = Blocks(np.array([0, 3, 10, 11, 30, 42, 50]), most=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tables")
    (made / "parts").mkdir()
    FRAME[:70].to_parquet(made / "parts" / "a.parquet", row_group_size=10)
    FRAME[70:].to_parquet(made / "parts" / "b.parquet", row_group_size=25)
    datasets.Dataset.from_pandas(FRAME).save_to_disk(made / "saved")
    return made


@pytest.fixture
def few_are_held(monkeypatch):
    for module in (row_groups, arrow_tables):
        monkeypatch.setattr(module, "HELD", 60 * 8 * 10)  # of about 14 columns, so that a window has 30 rows


def test_an_order_of_blocks_is_a_permutation_and_a_place_of_it_is_found_alone():
    mine = np.delete(np.arange(50), [4, 10, 33]) + 7  # block 2 has lost all
    order = Order(mine[::-1], 7, BLOCKS)
    whole = order.rows(np.arange(47), (1, 0), 1)
    assert sorted(whole.tolist()) == mine.tolist()
    assert order.rows(np.array([46, 5, 20]), (1, 0), 1).tolist() == whole[[46, 5, 20]].tolist()
    assert order.rows(np.arange(47), (1, 0), 2).tolist() != whole.tolist()
    assert order.in_turn.tolist() == mine[::-1].tolist()


def test_blocks_are_left_before_others_are_begun():
    """At no place are blocks open that have more than twice the examples of a window."""
    whole = Order(np.arange(50), 0, BLOCKS).rows(np.arange(50), (3, 0), 1)
    block = np.searchsorted(BLOCKS.starts, whole, "right") - 1
    span = {one: np.flatnonzero(block == one) for one in range(6)}
    for place in range(50):
        is_open = [one for one, at in span.items() if at[0] <= place <= at[-1]]
        assert sum(len(span[one]) for one in is_open) <= 12 + 19
    assert (np.diff(block) != 0).sum() > 6  # and they are mixed


def test_what_fits_is_ordered_as_what_is_read_one_by_one():
    rows = np.arange(50)[::-1]
    found = Order(rows, 0, BLOCKS._replace(most=50)).rows(np.arange(50), (1, 2), 3)
    assert found.tolist() == rows[permuted(np.arange(50), 50, (1, 2, 3))].tolist()


@pytest.mark.parametrize("missing", ["keep", "drop"])
def test_rows_are_those_of_the_whole_table(folder, few_are_held, missing):
    wanted = np.arange(ROWS)[::-3] if missing == "keep" else np.array([50, 3, 3, 71])
    kept = FRAME if missing == "keep" else FRAME.dropna()
    codes = {name: pandas.factorize(kept[name], sort=True)[0] for name in ("sex", "outcome")}
    for found in (
        parquet(path=str(folder / "parts"), target="outcome", missing=missing),
        huggingface(path=str(folder / "saved"), target="outcome", missing=missing),
    ):
        read = found.splits["train"].source.read(wanted)
        inputs = dict(zip(found.feature_names, read["inputs"].T, strict=True))
        for name, values in {"age": kept["age"], "weight": kept["weight"], "day.month": kept["day"].dt.month}.items():
            np.testing.assert_array_equal(inputs[name], values.to_numpy()[wanted], err_msg=name)
        np.testing.assert_array_equal(inputs["sex"], codes["sex"][wanted])
        np.testing.assert_array_equal(read["targets"], codes["outcome"][wanted])
        np.testing.assert_array_equal(found.splits["train"]["targets"], codes["outcome"])
    row = int(np.flatnonzero(kept.index == 101)[0])
    name = to_stream(parquet(path=str(folder / "parts"), target="outcome", missing=missing)).name_of(0, row)
    assert name.endswith("b.parquet', row 31)")


def test_a_saved_table_with_an_order_of_its_own_is_read_in_that(folder, monkeypatch):
    order = RNG.permutation(ROWS)
    monkeypatch.setattr(datasets, "load_from_disk", lambda path: datasets.Dataset.from_pandas(FRAME).select(order))
    found = huggingface(path=str(folder / "saved"), target="outcome", missing="keep").splits["train"].source
    np.testing.assert_array_equal(found.read(np.array([5, 90, 2]))["inputs"][:, 0], order[[5, 90, 2]])


def test_each_row_group_is_decoded_once_an_epoch(folder, monkeypatch):
    for module in (row_groups, arrow_tables):
        monkeypatch.setattr(module, "HELD", 2 * 8 * 60)
    source = parquet(path=str(folder / "parts"), target="outcome", features=("age", "sex")).splits["train"].source
    source.forget()
    decoded, own = [], source._decoded
    monkeypatch.setattr(source, "_decoded", lambda number: (decoded.append(number), own(number))[1])
    order = Order(np.arange(ROWS), 0, source.blocks)
    seen = []
    for start in range(0, ROWS, 4):
        seen += source.read(order.rows(np.arange(start, start + 4), (0, 0), 1))["inputs"][:, 0].tolist()
    assert sorted(seen) == list(range(ROWS)) and sorted(decoded) == list(range(9))


def test_training_from_files_is_training_from_memory(folder, few_are_held, tmp_path):
    config = ConfigDict({"num_epochs": 2})
    config.dataset = component("parquet", path=str(folder / "parts"), target="outcome", ignore=("weight",))
    config.validation = component("holdout", val=0.25, stratified=True)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=1e-7)
    scores = []
    for loader in ("streaming", "in_memory"):
        config.loader = component(loader, batch_size=7, shuffle=False)
        result = mg.run(config, tmp_path / loader)
        assert result.status == "DONE"
        scores.append(result.experiments[0].history["val/loss"])
    np.testing.assert_allclose(*scores, rtol=1e-6)
