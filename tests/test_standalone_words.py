"""An exported folder reads words, texts, dates and tokens as scikit-learn, pandas and tokenizers do."""

import random

import numpy as np
import pandas
import pytest
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.utils import murmurhash3_32

from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.tokenizers import Bytes, Words, train_byte_pairs
from mlgym_jax.reading.frames import columns_of
from mlgym_jax.reading.standalone_words import Tokenizer, murmur3, numbers, vectors

TEXTS = ["Red red, ox!", "a naïve 2nd ox", "GREEN green_ox blue", "no"]
NEW = [*TEXTS, "ox of no red", "", "zebra"]
SIGNS = [*map(chr, range(0x20, 0x500)), *("   \n\t'''ssdmrevell" * 60), *"²½Ⅳ一😀🇩🇪\u3000\x1c\u200b"]


@pytest.mark.parametrize("ngrams", [1, 2])
@pytest.mark.parametrize("kind", [TfidfVectorizer, CountVectorizer, HashingVectorizer])
def test_vectors_are_those_of_scikit_learn(kind, ngrams):
    given = {"ngram_range": (1, ngrams), **({"n_features": 8} if kind is HashingVectorizer else {})}
    own = kind(**given).fit(TEXTS)
    wanted = own.transform(NEW).toarray()
    says = {"weights": {"T": "tf_idf", "C": "counts", "H": "hashing"}[kind.__name__[0]], "ngrams": ngrams, "width": 8}
    if kind is not HashingVectorizer:
        says |= {"vocabulary": own.get_feature_names_out().tolist(), "width": wanted.shape[1] + 2}
    says |= {"idf": own.idf_.tolist()} if kind is TfidfVectorizer else {}
    found = vectors(NEW, says)
    np.testing.assert_allclose(found[: len(NEW), : wanted.shape[1]], wanted, rtol=1e-6)
    assert len(found) == 8 and not found[len(NEW) :].any() and not found[:, wanted.shape[1] :].any()


def test_hashes_are_those_of_scikit_learn():
    for text in (b"", b"a", b"ab", b"abc", b"abcd", "größe, hello".encode()):
        assert murmur3(text) == murmurhash3_32(text, 0)


def test_tokens_are_those_of_the_library(tmp_path):
    library = train_byte_pairs(["it's the cat's 12 hats", "the cats  'll\n\n sit; größer ² 一二 the hat"] * 3, 300)
    path = tmp_path / "tokenizer.json"
    path.write_text(library.to_json(), encoding="utf-8")
    own, draw = Tokenizer(path), random.Random(0)
    texts = ["".join(draw.choices(SIGNS, k=draw.randint(0, 12))) for _ in range(1500)]
    for text in ["[MASK] it's [END]'ll", "the cat\r\n", *texts]:
        tokens = library.encode(text)
        assert own.encode(text).tolist() == tokens.tolist(), repr(text)
        assert own.decode([library.pad_token, *tokens]) == text
    for other in (Bytes(), Words(("a", "cat"))):
        path.write_text(other.to_json(), encoding="utf-8")
        own = Tokenizer(path)
        assert own.encode("a né cat").tolist() == other.encode("a né cat").tolist()
        assert own.decode(other.encode("a cat")) == other.decode(other.encode("a cat"))


def test_columns_are_read_by_their_names():
    times = ["2026-02-28T10:30:15", "2024-02-29", "", "2026-12-31T23:30+01:00"]
    parts = ("year", "month", "day", "day_of_week", "hour", "month_sin", "hour_cos")
    names = ["ward", "age", *(f"seen.{part}" for part in parts)]
    model = {"inputs": {"inputs": {}}, "feature_names": names, "categories": {"ward": ["a", "7", "0.5"]}}
    model["may_be_missing"] = names[2:]
    rows = [
        {"seen": time, "age": "1.5", "ward": ward} for time, ward in zip(times, ("a", "7.0", ".5", " a "), strict=True)
    ]
    found, fields = numbers(rows, model)
    when = pandas.to_datetime(
        pandas.Series(["2026-02-28T10:30:15", "2024-02-29", None, "2026-12-31T22:30"]), format="ISO8601"
    )
    assert fields == {} and found[:, 0].tolist() == [0, 1, 2, 0] and found[:, 1].tolist() == [1.5] * 4
    for place, part in enumerate(parts[:4], 2):
        np.testing.assert_array_equal(found[:, place], getattr(when.dt, part))
    np.testing.assert_allclose(found[:, 6], [10.5 + 15 / 3600, 0, np.nan, 22.5])
    np.testing.assert_allclose(found[:, 7], np.sin(2 * np.pi * (when.dt.month - 1) / 12), atol=1e-12)
    for change, words in (
        ({"ward": "b"}, "row 0, column 'ward': 'b' was not there in training"),
        ({"age": "old"}, "row 0, column 'age': a number is expected, found 'old'"),
        ({"age": ""}, "row 0, column 'age': the value is missing"),
        ({"seen": "24.11."}, "a date such as 2026-11-24 is expected"),
        ({"height": "2"}, "the model knows no column 'height'"),
    ):
        with pytest.raises(SystemExit, match=words):
            numbers([rows[0] | change], model)
    with pytest.raises(SystemExit, match="there is no column 'age'"):
        numbers([{"ward": "a", "seen": times[0]}], model)


def test_numbers_among_categories_are_these_as_predict_reads_them():
    categories = {"code": ("7", "10", "10.5"), "zip": ("01234", "1234"), "ward": ("a", "b")}
    rows = pandas.DataFrame({"code": [10, 10.5, 7.0], "zip": [1234, 1234, 1234], "ward": ["b", "a", "b"]})
    dataset = Dataset({}, feature_names=(*rows,), categories=categories)
    model = {"inputs": {"inputs": {}}, "feature_names": [*rows], "categories": categories, "may_be_missing": []}
    for table in (rows, rows.assign(code=["10", "10.5", "7"], zip=["01234", "1234", "01234"])):
        wanted = columns_of(table, dataset, np.zeros((1, 3)))
        np.testing.assert_array_equal(numbers(table, model)[0], wanted)
    with pytest.raises(SystemExit, match="8 was not there in training"):
        numbers(rows.assign(code=8), model)
    assert numbers(rows.assign(ward=[1, 0, 1]), model)[0][:, 2].tolist() == [1, 0, 1]  # of words, their codes
