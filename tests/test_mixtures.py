"""Mixtures: which example stands at which place, reckoned apart; what is refused."""

import numpy as np
import pytest
from test_streaming import by_pencil

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.feed import TRAINING, Feed
from mlgym_jax.data.mixtures import shares_of
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare


def numbered(first, number, **fields):
    """Examples that are told by their number."""
    inputs = np.arange(first, first + number, dtype=np.float32)[:, None]
    return {"inputs": inputs, "targets": (inputs[:, 0] % 2).astype(np.int32), **fields}


@register("dataset", "numbered_of_mixtures")
def numbered_of_mixtures(*, first: int, number: int, val: int = 0):
    splits = {"train": numbered(first, number)}
    return Dataset(splits | ({"val": numbered(1000 + first, val)} if val else {}), 2)


PARTS = {
    "big": component("numbered_of_mixtures", first=0, number=14, val=3),
    "small": component("numbered_of_mixtures", first=100, number=5),
}


def study(**fields):
    return {
        "num_epochs": 3,
        "dataset": component("mixture", sources=PARTS, weights={"big": 0.6, "small": 0.4}),
        "validation": component("holdout", val=0.0),
        "loader": component("streaming", batch_size=4),
        "model": component("mlp", features=(2,)),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.1),
        **fields,
    }


def read_of(config, epoch, first=0, split=TRAINING):
    """Return the numbers of the examples of an epoch from a batch on, as a run reads them, and those not masked."""
    (job,) = prepare(config).jobs
    feed = Feed(job.table, job.folds, job.origins, job.shape, job.cadence)
    try:
        numbers, kept = [], []
        for part in feed.parts(split, epoch, first):
            data, mask = feed.read(part)
            batches = part.stop - part.first
            numbers += data["inputs"][0, :batches].reshape(-1).astype(int).tolist()
            kept += mask[0, :batches].reshape(-1).tolist()
    finally:
        feed.close()
    return [number for number, is_kept in zip(numbers, kept, strict=True) if is_kept]


def by_hand(number, shuffled=True):
    """Draw from 14 and 5 examples by 3 to 2, turn by turn, each source in orders of its own."""
    sizes, firsts, drawn, found = (14, 5), (0, 100), [0, 0], []
    turns = "bsbsb"  # 3 and 2 in the middles of thirds and halves: 1/6, 1/4, 1/2, 3/4, 5/6
    for place in range(number):
        source = "bs".index(turns[place % 5])
        epoch, at = divmod(drawn[source], sizes[source])
        drawn[source] += 1
        at = by_pencil(at, sizes[source], (0, 0, source, epoch + 1)) if shuffled else at
        found.append(firsts[source] + at)
    return found


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_each_place_holds_what_is_reckoned_by_hand_and_is_found_alone(workers):
    """19 examples an epoch in batches of 4, the last of which has 3."""
    expected = by_hand(57)
    config = study(loader=component("streaming", batch_size=4, workers=workers))
    if workers == "threads":
        for epoch in (1, 2, 3):
            assert read_of(config, epoch) == expected[19 * (epoch - 1) : 19 * epoch]
        assert sorted(number for number in expected if number < 100)[:14:2] != list(range(0, 14, 2))  # drawn anew
        assert {*expected} == {*range(14), *range(100, 105)}
    assert read_of(config, 2, first=3) == expected[19 + 12 : 38]


def test_in_order_and_of_equal_chance():
    in_order = study(loader=component("streaming", batch_size=4, shuffle=False))
    assert read_of(in_order, 1) == by_hand(19, shuffled=False)
    once = study(dataset=component("mixture", sources=PARTS))
    assert sorted(read_of(once, 1)) == [*range(14), *range(100, 105)]
    assert read_of(once, 2, split="val") == [1000, 1001, 1002]


def test_a_mixture_trains_and_is_evaluated_whole(tmp_path):
    result = mg.run(study(metrics={"accuracy": component("accuracy")}), tmp_path)
    assert result.status == "DONE" and {"train/accuracy", "val/accuracy"} <= {*result.experiments[0].history}
    whole = study(dataset=component("mixture", sources=PARTS), loader=component("in_memory", batch_size=4))
    assert mg.run(whole, tmp_path, run_id="memory").status == "DONE"


def test_weights_become_turns():
    odd = shares_of({"a": 1 / 3, "b": 0.7}, {"a": 9, "b": 9})
    assert odd.counts.tolist() == [21141, 44395]  # of 65,536: 21,140.6 and 44,395.4
    tenths = shares_of({"b": 7, "a": 0.5, "c": 2.5}, {"a": 1, "b": 1, "c": 1})
    assert tenths.counts.tolist() == [1, 14, 5] and tenths.pattern.tolist().count(1) == 14
    for length in range(1, 21):  # nobody is ever a whole turn behind or ahead
        counts = np.bincount(tenths.pattern[:length], minlength=3)
        assert np.abs(counts - tenths.counts * length / 20).max() < 1.5


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"sources": {}}, r"config\.dataset\.sources: it is empty"),
        (
            {"sources": PARTS, "weights": {"big": 1.0}},
            r"config\.dataset\.weights\.small: it is missing; a number above 0",
        ),
        ({"sources": PARTS, "weights": {"big": 1.0, "small": -1.0}}, r"config\.dataset\.weights\.small: found -1\.0"),
        (
            {"sources": PARTS, "weights": {"big": 1.0, "smal": 1.0}},
            r"config\.dataset\.weights: there is no source 'smal'; did you mean 'small'\?",
        ),
        (
            {"sources": PARTS, "weights": {"big": 1.0, "small": 1e-9}},
            r"config\.dataset\.weights\.small: found 1e-09, less than one in 65,536",
        ),
        (
            {"sources": {**PARTS, "digits": component("digits")}},
            r"config\.dataset\.sources\.digits: its num_classes are 10, those of the first source 2",
        ),
        (
            {"sources": {**PARTS, "wide": component("synthetic", num_examples=8, num_features=3, num_classes=2)}},
            r"config\.dataset\.sources: split 'train' of big, small, wide: .*its inputs are float32\[3\], those of",
        ),
        (
            {"sources": {"inner": component("mixture", sources=PARTS, weights={"big": 1, "small": 1})}},
            r"config\.dataset\.sources\.inner: it is a mixture with weights in a mixture",
        ),
    ],
)
def test_mixtures_that_cannot_be(dataset, message):
    with pytest.raises(ConfigError, match=message):
        prepare(study(dataset=component("mixture", **dataset)))


def test_weights_need_a_stream_and_each_source_its_examples():
    with pytest.raises(
        ConfigError, match=r"drawn by its weights while .*write config\.loader = component\('streaming'"
    ):
        prepare(study(loader=component("in_memory", batch_size=4)))
    alone = {"big": PARTS["big"], "one": component("numbered_of_mixtures", first=100, number=1)}
    dataset = component("mixture", sources=alone, weights={"big": 1.0, "one": 1.0})
    with pytest.raises(ConfigError, match=r"config\.validation: it leaves no training example of the source 'one'"):
        prepare(study(dataset=dataset, validation=component("cross_validation", folds=3)))
