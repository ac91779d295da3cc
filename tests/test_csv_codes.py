"""Columns of a csv file whose words become numbers that say little are told of: dates, identifiers, free text."""

import csv
import datetime
import logging

import numpy as np
import pandas
import pytest

from mlgym_jax.data.column_codes import encoded_by
from mlgym_jax.data.csv_files import csv as read
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import MlgymError
from mlgym_jax.reading.frames import columns_of

DAYS = [datetime.date(2026, 2, 1) + datetime.timedelta(days=number) for number in range(28)]


def said(folder, caplog, column, *, target=None, **parameters):
    path = folder / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "column", "y"])
        writer.writerows((number, value, (target or [0, 1] * 500)[number]) for number, value in enumerate(column))
    with caplog.at_level(logging.WARNING):
        read(path=str(path), target="y", **{"task": "classification", **parameters})
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "spelled",
    [
        "{:%Y-%m-%d}",
        "{:%d.%m.%Y}",
        "{:%m/%d/%y}",
        "{:%Y-%m}",
        "{:%d %b %Y}",
        "{:%Y-%m-%dT12:30:00Z}",
        "{:%Y-%m-%d} 12:30",
        "{:%d}:15",
    ],
)
def test_dates_and_times(spelled, tmp_path, caplog):
    [told] = said(tmp_path, caplog, [spelled.format(day) for day in DAYS])
    codes = len({spelled.format(day) for day in DAYS}) - 1
    assert told.startswith("config.dataset: the column 'column' holds dates or times (")
    assert f"the codes 0 … {codes}, " in told and "ignore=('column',)" in told
    is_iso = spelled.startswith("{:%Y-%m-%d")  # the form that is read as a date
    assert ("dates=('column',)" in told) is is_iso
    by_pandas = "frame['column'] = pandas.to_datetime(frame['column'], dayfirst=…), and give the frame, data=(frame, …)"
    assert (by_pandas in told) is not is_iso or "such as hours" in told


def test_words_that_hardly_come_again(tmp_path, caplog):
    [told] = said(tmp_path, caplog, [f"patient {number}" for number in range(28)])
    assert "the column 'column' holds 28 different words in 28 rows (patient 0, patient 1, patient 10, …" in told
    assert "ignore=('column',)" in told and "categorical=('column',)" in told


def test_one_class(tmp_path, caplog):
    [told] = said(tmp_path, caplog, [1.5, 2.0, 0.5], target=["yes"] * 3)
    assert told == "config.dataset.target: 'y' is 'yes' in all 3 rows, one class, and there is nothing to tell apart"


def test_very_many_words(tmp_path, caplog):
    assert "holds 101 different words in 1000 rows" in said(tmp_path, caplog, [f"w{n % 101}" for n in range(1000)])[0]


@pytest.mark.parametrize(
    "column, parameters",
    [
        (["red", "green", "blue"] * 10, {}),
        (["a", "b", "c", "d"], {}),  # of so few rows nothing can be said
        ([f"w{number % 100}" for number in range(1000)], {}),
        ([f"patient {number}" for number in range(28)], {"ignore": ("column",)}),
        ([f"patient {number}" for number in range(28)], {"categorical": ("column",)}),
        ([0.5 + number for number in range(28)], {}),
    ],
)
def test_nothing_is_said_of_categories_and_of_what_was_decided(column, parameters, tmp_path, caplog):
    assert said(tmp_path, caplog, column, **parameters) == []


def test_numbers_as_classes(tmp_path, caplog):
    measured = [number / 7 for number in range(28)]
    [told] = said(tmp_path, caplog, [1] * 28, target=measured)
    assert told == (
        "config.dataset.target: 'y' has 28 different values in 28 rows, a class each; are they numbers to predict, "
        "task='regression'?"
    )
    caplog.clear()
    assert said(tmp_path, caplog, [1] * 28, target=measured, task="regression") == []


def test_whole_numbers_that_begin_with_zero_are_names_as_pandas_reads_them_as_texts(tmp_path, caplog):
    codes = ["01234", "1234", "02139", "01234", "NA", "99999"]
    [told] = said(tmp_path, caplog, codes, missing="drop")
    assert "the column 'column' holds whole numbers that begin with 0 (01234, 02139)" in told
    found = read(path=str(tmp_path / "table.csv"), target="y", task="classification", missing="drop")
    names = sorted(pandas.read_csv(tmp_path / "table.csv", dtype={"column": str})["column"].dropna().unique())
    assert found.categories == {"column": tuple(names)}
    assert found.splits["train"]["inputs"][:, 1].tolist() == [names.index(code) for code in codes if code != "NA"]


@pytest.mark.parametrize(
    "column",
    [
        ["1,5", "2,5", "1,5"],
        ["1.234,5", "-17,25", "0,1"],
        ["12 %", "7%", "0.5%"],
        ["$5", "1,000", "€ 3.50"],
        ["1_000", "2_000"],
        ["0x1F", "0x2a"],
    ],
)
def test_numbers_that_are_written_for_people(column, tmp_path, caplog):
    [told] = said(tmp_path, caplog, column)
    assert "the column 'column' holds numbers that are written for people" in told and "categorical=('column',)" in told


def test_words_that_differ_in_their_letters_alone_are_told(tmp_path, caplog):
    """pandas counts three of them, too; a reader of tables means two."""
    words = ["yes", "no", "Yes", "no"]
    assert pandas.Series(words).nunique() == 3
    [told] = said(tmp_path, caplog, words)
    assert told.startswith("config.dataset: 'column' holds 'Yes', 'yes', which differ in large and small letters alone")
    caplog.clear()
    [told] = said(tmp_path, caplog, [1.5, 2.5, 3.5, 4.5], target=words)
    assert told.startswith("config.dataset.target: 'y' holds 'Yes', 'yes', which differ") and "are 2 classes" in told


def test_words_of_new_tables_are_those_of_training_to_the_letter():
    dataset = Dataset({}, feature_names=("code",), categories={"code": ("012", "12", " a")})
    table = pandas.DataFrame({"code": ["12", "012", " a", ""]})
    found = columns_of(table, dataset, np.zeros((1, 1)), fills_in=lambda place: True)
    assert np.array_equal(found[:, 0], [1, 0, 2, np.nan], equal_nan=True)
    for code in ("0012", "a"):
        with pytest.raises(MlgymError, match="was not there in training"):
            columns_of(pandas.DataFrame({"code": [code]}), dataset, np.zeros((1, 1)))


def test_nothing_is_said_of_texts_that_an_encoding_reads(tmp_path, caplog):
    text = [f"words number {number}" for number in range(20)]
    with encoded_by({"component": "chain", "encodings": ({"component": "bag_of_words", "column": "column"},)}):
        assert said(tmp_path, caplog, text) == []
    assert len(said(tmp_path, caplog, text)) == 1


def test_decimal_commas_are_read_as_pandas_reads_them_and_told_of_otherwise(tmp_path, caplog):
    path = tmp_path / "table.csv"
    path.write_text("x;words;y\n1,5;a,b;0\n-2,25e3;c;1\n7;a,b;0\n")
    found = read(path=str(path), target="y", task="classification", delimiter=";", decimal=",")
    frame = pandas.read_csv(path, sep=";", decimal=",")
    assert found.splits["train"]["inputs"][:, 0].tolist() == frame.x.tolist() == [1.5, -2250, 7]
    assert found.categories == {"words": ("a,b", "c")}
    assert "if these are decimal commas, decimal=','; else write" in said(tmp_path, caplog, ["1,5", "2,5"] * 9)[0]
