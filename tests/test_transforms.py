"""Datasets made of datasets: which rows, labels and columns come out; what is not there is named."""

import numpy as np
import pytest
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.data.dataset import Dataset, to_arrays
from mlgym_jax.data.transforms import (
    combine,
    filter_labels,
    map_labels,
    one_hot_labels,
    select_columns,
    shuffle,
    view,
)
from mlgym_jax.errors import ConfigError

ANIMALS = Dataset(
    splits={
        "train": {"inputs": np.arange(12.0).reshape(6, 2), "targets": np.array([2, 0, 1, 2, 0, 1])},
        "test": {"inputs": np.arange(4.0).reshape(2, 2), "targets": np.array([1, 2])},
    },
    num_classes=3,
    feature_names=("weight", "legs"),
    class_names=("cat", "dog", "emu"),
    categories={"legs": ("two", "four")},
)


def column(dataset, split="train", field="targets"):
    return dataset.splits[split][field].tolist()


def test_labels_are_filtered_and_mapped():
    kept = filter_labels(dataset=ANIMALS, keep=("dog", 2))
    assert column(kept) == [2, 1, 2, 1] and column(kept, "test") == [1, 2] and kept.num_classes == 3
    assert kept.splits["train"]["inputs"][:, 0].tolist() == [0, 4, 6, 10]
    mapped = map_labels(dataset=kept, mapping=((1, 1), ("emu", 0)))
    assert column(mapped) == [0, 1, 0, 1] and mapped.num_classes == 2 and mapped.class_names == ("emu", "dog")
    merged = map_labels(dataset=ANIMALS, mapping=((0, 0), (1, 0), (2, 1)))
    assert column(merged) == [1, 0, 0, 1, 0, 0] and merged.class_names == ("cat+dog", "emu")
    assert column(ANIMALS) == [2, 0, 1, 2, 0, 1]  # untouched
    for dataset in (kept, mapped, merged):
        to_arrays(dataset)


def test_one_hot_labels_are_an_identity_row_each():
    spread = one_hot_labels(dataset=ANIMALS)
    np.testing.assert_array_equal(spread.splits["train"]["targets"], np.eye(3, dtype=np.float32)[[2, 0, 1, 2, 0, 1]])
    to_arrays(spread)


def test_combine_puts_datasets_behind_each_other():
    more = Dataset({"train": ANIMALS.splits["test"]}, 3, ("weight", "legs"), ("cat", "dog", "emu"), ANIMALS.categories)
    both = combine(datasets=(ANIMALS, more))
    assert column(both) == [2, 0, 1, 2, 0, 1, 1, 2] and column(both, "test") == [1, 2]


def test_views_are_slices_and_rows():
    assert column(view(dataset=ANIMALS, start=1, stop=-1, step=2)) == [0, 2]
    assert column(view(dataset=ANIMALS, indices=(5, 0, -1))) == [1, 2, 1]
    other = view(dataset=ANIMALS, split="test", stop=1)
    assert column(other, "test") == [1] and len(column(other)) == 6


def test_columns_are_chosen_by_name_and_number():
    chosen = select_columns(dataset=ANIMALS, columns=("legs", 0))
    np.testing.assert_array_equal(chosen.splits["test"]["inputs"], [[1, 0], [3, 2]])
    assert chosen.feature_names == ("legs", "weight") and chosen.categories == ANIMALS.categories
    assert select_columns(dataset=ANIMALS, columns=("weight",)).categories is None


def test_shuffle_keeps_rows_together_and_is_a_function_of_its_seed():
    many = Dataset({"train": {"inputs": np.arange(100.0)[:, None], "targets": np.arange(100)}}, 100)
    one, again, other = (shuffle(dataset=many, seed=seed).splits["train"] for seed in (0, 0, 1))
    assert one["targets"].tolist() == again["targets"].tolist() != other["targets"].tolist()
    assert sorted(one["targets"]) == list(range(100)) and one["targets"].tolist() != list(range(100))
    np.testing.assert_array_equal(one["inputs"][:, 0], one["targets"])


def test_transforms_nest_in_a_config():
    config = ConfigDict({
        "num_epochs": 1,
        "dataset": component(
            "map_labels",
            mapping=((5, 0), (6, 1)),
            dataset=component("filter_labels", keep=(5, 6), dataset=component("digits")),
        ),
        "model": component("linear"),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.1),
    })  # fmt: skip
    built = mg.build(config)
    # Images of 5 and 6, as scikit-learn's documentation counts them.
    assert np.bincount(built["dataset"].splits["train"]["targets"]).tolist() == [182, 181]
    assert built["model"].num_outputs == 2


FLOATS = Dataset({"train": {"inputs": np.zeros((2, 2, 2)), "targets": np.zeros(2)}})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: filter_labels(dataset=ANIMALS, keep=("catt",)),
            r"dataset\.keep: there is no class 'catt'; did you me",
        ),
        (lambda: filter_labels(dataset=ANIMALS, keep=(3,)), r"dataset\.keep: there is no class 3; classes are 0 … 2"),
        (
            lambda: filter_labels(dataset=ANIMALS, keep=("cat",)),
            "nothing is left of split 'test', whose labels are 1, 2",
        ),
        (lambda: filter_labels(dataset=FLOATS, keep=(0,)), r"the targets of split 'train' are float64\[n\]"),
        (lambda: map_labels(dataset=ANIMALS, mapping=((0, 0), (1, 1))), "class 2 of split 'train' has no new number"),
        (
            lambda: map_labels(dataset=ANIMALS, mapping=((0, 0), (0, 1))),
            r"mapping\.1: class 0 has a new number already",
        ),
        (
            lambda: map_labels(dataset=ANIMALS, mapping=((0, -1),)),
            r"mapping\.0\.1: found -1; classes are counted from 0",
        ),
        (lambda: map_labels(dataset=ANIMALS, mapping=()), r"dataset\.mapping: it is empty"),
        (lambda: one_hot_labels(dataset=FLOATS), "its number of classes is not known"),
        (lambda: combine(datasets=()), "it is empty"),
        (
            lambda: combine(datasets=(ANIMALS, FLOATS)),
            r"datasets\.1: its num_classes are None, those of the first datas",
        ),
        (
            lambda: combine(
                datasets=(FLOATS, Dataset({"train": {"inputs": np.zeros((2, 3)), "targets": np.zeros(2)}}))
            ),
            r"datasets\.1: split 'train', field 'inputs' is float64\[n, 3\], that of the first dataset float64",
        ),
        (
            lambda: combine(datasets=(FLOATS, Dataset({"train": {"inputs": np.zeros(2)}}))),
            "has the fields inputs, the fi",
        ),
        (lambda: view(dataset=ANIMALS, split="tets"), r"dataset\.split: there is no split 'tets'; did you mean 'test'"),
        (lambda: view(dataset=ANIMALS, start=6), "nothing is left of split 'train', which has 6 examples"),
        (
            lambda: view(dataset=ANIMALS, indices=(0, 6)),
            r"dataset\.indices\.1: found 6; split 'train' has the rows 0 … 5",
        ),
        (lambda: view(dataset=ANIMALS, step=0), r"dataset\.step: found 0"),
        (
            lambda: select_columns(dataset=ANIMALS, columns=("leg",)),
            r"columns\.0: there is no column 'leg'; did you mea",
        ),
        (lambda: select_columns(dataset=ANIMALS, columns=(2,)), r"columns\.0: there is no column 2; columns are 0 … 1"),
        (lambda: select_columns(dataset=ANIMALS, columns=(0, "weight")), r"columns\.1: column 'weight' is named twice"),
        (
            lambda: select_columns(dataset=FLOATS, columns=(0,)),
            r"its inputs are no table of columns but float64\[n, 2, 2",
        ),
        (lambda: shuffle(dataset=ANIMALS, seed=-1), r"dataset\.seed: found -1"),
    ],
)
def test_bad_transforms(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_fault_inside_is_named_with_its_place():
    inner = component("filter_labels", keep=("ten",), dataset=component("digits"))
    sections = dict(model=component("linear"), loss=component("softmax_cross_entropy"))
    sections |= dict(optimizer=component("sgd", learning_rate=0.1), num_epochs=1)
    with pytest.raises(ConfigError, match=r"config\.dataset\.dataset\.keep: there is no class 'ten'"):
        mg.build(ConfigDict({**sections, "dataset": component("shuffle", dataset=inner)}))
