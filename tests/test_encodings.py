"""Encodings and samplers: values against scikit-learn's, over folds; nothing of a validation or test row gets in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.core.epoch import draw
from mlgym_jax.data.by_column import by_column
from mlgym_jax.data.cross_validation import cross_validation
from mlgym_jax.data.dataset import Dataset, to_arrays
from mlgym_jax.data.encodings import min_max, one_hot, standardise
from mlgym_jax.data.fold_tables import fold_tables
from mlgym_jax.data.folds import make_folds
from mlgym_jax.data.samplers import class_balanced, class_weighted, weighted
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare


def encoded_folds(inputs, encoding, num_folds=3):
    """Encode all rows by what each fold's training part taught; also return the rows of these parts."""
    dataset = Dataset({"train": {"inputs": inputs, "targets": np.zeros(len(inputs))}})
    table = to_arrays(dataset)
    folds = make_folds(dataset, table, cross_validation(folds=num_folds), 0)
    fitted = fold_tables(dataset, table, folds, encoding)["fitted"]
    rows = [folds.indices["train"][i][folds.mask["train"][i]] for i in range(num_folds)]
    batch = {"inputs": jnp.asarray(table.arrays["inputs"])}
    encoded = [encoding.apply(jax.tree.map(lambda leaf, i=i: leaf[i], fitted), batch) for i in range(num_folds)]
    return table.arrays["inputs"], rows, [np.asarray(batch["inputs"]) for batch in encoded]


@given(
    seed=st.integers(0, 2**32 - 1),
    num_examples=st.sampled_from([4, 5, 17, 50]),
    centre=st.sampled_from([0.0, -3.0, 1e4, 1e6]),
    scale=st.sampled_from([1.0, 1e-3, 1e3]),
)
@pytest.mark.parametrize(("encoding", "peer"), [(standardise(), StandardScaler), (min_max(), MinMaxScaler)])
def test_scalers_equal_scikit_learns(encoding, peer, seed, num_examples, centre, scale):
    rng = np.random.default_rng(seed)
    inputs = (centre + scale * rng.normal(size=(num_examples, 3))).astype(np.float32)
    inputs[:, 2] = inputs[0, 2]  # a constant column
    inputs, folds, found = encoded_folds(inputs, encoding)
    for rows, encoded in zip(folds, found, strict=True):
        expected = peer().fit(inputs[rows].astype(np.float64)).transform(inputs.astype(np.float64))
        np.testing.assert_allclose(encoded, expected, rtol=1e-6, atol=1e-6)


def test_min_max_takes_another_range():
    inputs, folds, found = encoded_folds(np.random.default_rng(0).normal(size=(30, 4)), min_max(low=-1.0, high=2.0))
    expected = MinMaxScaler((-1, 2)).fit(inputs[folds[1]]).transform(inputs)
    np.testing.assert_allclose(found[1], expected, rtol=1e-5, atol=1e-6)


def test_images_are_standardised_by_channel():
    images = np.random.default_rng(0).normal((1.0, -5.0, 9.0), (1.0, 2.0, 3.0), size=(12, 4, 4, 3))
    inputs, folds, found = encoded_folds(images, standardise())
    expected = StandardScaler().fit(inputs[folds[0]].reshape(-1, 3)).transform(inputs.reshape(-1, 3))
    np.testing.assert_allclose(found[0].reshape(-1, 3), expected, atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1), num_examples=st.sampled_from([4, 7, 23, 40]))
def test_one_hot_equals_scikit_learns(seed, num_examples):
    inputs = np.random.default_rng(seed).integers(0, 4, size=(num_examples, 2)).astype(np.float32)
    inputs, folds, found = encoded_folds(inputs, one_hot())
    for rows, encoded in zip(folds, found, strict=True):
        peer = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(inputs[rows])
        known = [len(own) for own in peer.categories_]
        widest = [max(len(np.unique(inputs[other, column])) for other in folds) for column in range(2)]
        assert encoded.shape[1] == sum(widest)
        parts = np.split(encoded, [widest[0]], axis=1)
        np.testing.assert_array_equal(
            np.concatenate([part[:, :n] for part, n in zip(parts, known, strict=True)], 1), peer.transform(inputs)
        )
        assert all(not part[:, n:].any() for part, n in zip(parts, known, strict=True))


def test_by_column_equals_scikit_learns_column_transformer():
    rng = np.random.default_rng(0)
    inputs = np.stack([rng.normal(5, 2, 60), rng.integers(0, 3, 60), rng.uniform(-1, 9, 60), np.arange(60)], axis=1)
    dataset = Dataset(
        {"train": {"inputs": inputs}}, feature_names=("age", "sex", "bmi", "id"), categories={"sex": ("a", "b", "c")}
    )
    groups = (("categorical", one_hot()), (("bmi",), min_max()), ((0,), standardise()))
    inputs, folds, found = encoded_folds(inputs, by_column(dataset, groups=groups))
    peer = ColumnTransformer(
        [("sex", OneHotEncoder(), [1]), ("bmi", MinMaxScaler(), [2]), ("age", StandardScaler(), [0])],
        remainder="passthrough",
        sparse_threshold=0,
    )
    for rows, encoded in zip(folds, found, strict=True):
        np.testing.assert_allclose(encoded, peer.fit(inputs[rows]).transform(inputs), rtol=1e-5, atol=1e-6)
    numeric = by_column(dataset, groups=(("categorical", one_hot()), ("numeric", standardise())))
    assert numeric.groups[1][0] == (0, 2, 3) and numeric.kept == ()
    assert by_column(dataset, groups=((("sex",), one_hot()),), rest="drop").kept == ()


def test_a_group_without_columns_is_none():
    inputs = np.random.default_rng(0).normal(size=(60, 3))
    dataset = Dataset({"train": {"inputs": inputs}}, feature_names=("a", "b", "c"))
    groups = (("categorical", one_hot()), ("numeric", standardise()))
    inputs, folds, found = encoded_folds(inputs, by_column(dataset, groups=groups))
    for rows, encoded in zip(folds, found, strict=True):
        np.testing.assert_allclose(encoded, StandardScaler().fit(inputs[rows]).transform(inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoding", [standardise(), min_max(), one_hot()])
def test_no_row_outside_of_the_training_part_is_seen(encoding):
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 4, size=(30, 3)).astype(np.float32)

    def fitted(table_inputs):
        splits = {"train": {"inputs": table_inputs[:24]}, "test": {"inputs": table_inputs[24:]}}
        dataset = Dataset(splits)
        table = to_arrays(dataset)
        folds = make_folds(dataset, table, cross_validation(folds=4), 0)
        return folds, fold_tables(dataset, table, folds, encoding)["fitted"]

    folds, before = fitted(inputs)
    for fold in range(4):
        changed = inputs.copy()
        seen = set(folds.indices["train"][fold].tolist())
        outside = [row for row in range(30) if row not in seen]
        changed[outside] = rng.normal(1e6, 1e3, size=(len(outside), 3))
        _, after = fitted(changed)
        own = [jax.tree.leaves(jax.tree.map(lambda leaf, fold=fold: leaf[fold], tree)) for tree in (before, after)]
        for one, other in zip(*own, strict=True):
            used = one.shape[0]
            np.testing.assert_array_equal(other[:used], one)


@mg.register("dataset", "with_outliers")
def with_outliers(*, outlier: float):
    """Make a learnable train split, and a test split that holds an outlier."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, 3))
    train = {"inputs": inputs, "targets": (inputs[:, 0] > 1).astype(np.int32)}
    test = {"inputs": np.full((4, 3), outlier), "targets": np.array([0, 1, 0, 1], np.int32)}
    return Dataset({"train": train, "test": test}, num_classes=2)


def study(**sections):
    config = ConfigDict()
    config.num_epochs = 2
    config.dataset = component("with_outliers", outlier=1.0)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.1)
    for name, value in sections.items():
        config[name] = value
    return config


@pytest.mark.parametrize("name", ["standardise", "min_max"])
def test_a_test_split_changes_nothing_of_the_training(name, tmp_path):
    losses = []
    for outlier in (1.0, 1e6):
        config = study(dataset=component("with_outliers", outlier=outlier), encoding=component(name))
        result = mg.run(config, tmp_path / str(outlier))
        losses.append(list(result.experiments[0].history["train/loss"]))
    assert losses[0] == losses[1]


# Samplers


def test_class_balanced_draws_every_class_alike():
    targets = np.repeat([0, 1, 2], [900, 90, 10]).astype(np.int32)
    dataset = Dataset({"train": {"inputs": np.zeros((1000, 1)), "targets": targets}}, num_classes=3)
    mask = np.arange(1000) < 1000
    keys, each = jax.vmap(jax.random.key)(np.arange(50)), jax.jit(jax.vmap(draw, in_axes=(0, None, None)))
    drawn = {}
    for power in (0.0, 0.5, 1.0):
        weights = jax.jit(class_balanced(dataset, power=power))({"targets": targets, "mask": mask})
        drawn[power] = np.bincount(targets[np.asarray(each(keys, weights, mask))].reshape(-1), minlength=3) / 50_000
    np.testing.assert_allclose(drawn[0.0], [0.9, 0.09, 0.01], atol=0.01)
    np.testing.assert_allclose(drawn[1.0], [1 / 3] * 3, atol=0.01)
    roots = np.sqrt([900, 90, 10])
    np.testing.assert_allclose(drawn[0.5], roots / roots.sum(), atol=0.01)


def test_a_balanced_sampler_counts_the_training_part_of_its_fold_only():
    targets = np.array([0, 0, 0, 1, 1, 1], np.int32)
    mask = np.array([True, True, True, True, False, False])
    dataset = Dataset({"train": {"inputs": np.zeros((6, 1)), "targets": targets}}, num_classes=2)
    weights = jax.jit(class_balanced(dataset))({"targets": targets, "mask": mask})
    np.testing.assert_allclose(weights[:4], [1 / 3, 1 / 3, 1 / 3, 1.0], rtol=1e-6)


def test_weights_of_classes_and_of_examples():
    split = {"inputs": np.zeros((4, 1)), "targets": np.array([0, 1, 1, 0]), "weights": np.array([0.0, 2.0, 1.0, 0.5])}
    dataset = Dataset({"train": split}, num_classes=2)
    arrays = {key: jnp.asarray(value) for key, value in split.items()}
    np.testing.assert_array_equal(class_weighted(dataset, weights=(1.0, 3.0))(arrays), [1, 3, 3, 1])
    np.testing.assert_array_equal(weighted(dataset)(arrays), [0.0, 2.0, 1.0, 0.5])
    drawn = np.asarray(jax.jit(draw)(jax.random.key(0), weighted(dataset)(arrays), np.ones(4, bool)))
    assert 0 not in drawn


def test_a_swept_power_is_one_program(tmp_path):
    config = study(sampler=component("class_balanced", power=grid(0.0, 0.5, 1.0)))
    result = mg.run(config, tmp_path)
    assert result.status == "DONE" and len(result.view.groups) == 1
    losses = {experiment.history["train/loss"][-1] for experiment in result.experiments}
    assert len(losses) == 3


@pytest.mark.parametrize(
    ("sampler", "weights", "message"),
    [
        (component("three_weights"), np.ones(10), r"fold 0: it returns \(3,\), .*one weight an example.*float\[5\]"),
        (component("weighted"), np.r_[1.0, np.zeros(9)], "fold 0: no example of its training part has a weight above"),
        (component("weighted"), np.full(10, 3e38), r"fold 0: its weights add up to 1\.5e\+39, which 32-bit floats do"),
        (component("weighted"), np.full(10, 1e-40), "fold 0: its weights add up to 4.9"),
        (component("class_balanced", power=grid(0.0, -200.0)), np.ones(10), "fold 0: it gives inf to 5 of 5 examples"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(sampler, weights, message, own_registry):
    mg.register("sampler", "three_weights")(lambda: lambda arrays: np.ones(3))
    rows = {"inputs": np.zeros((10, 1)), "targets": np.arange(10) % 2, "weights": weights}
    mg.register("dataset", "drawn_from")(lambda: Dataset({"train": rows}, 2))
    mg.register("validation", "its_second_half")(lambda: lambda dataset, seed: {"train": np.arange(5, 10)})
    fields = {"dataset": component("drawn_from"), "validation": component("its_second_half")}
    with pytest.raises(ConfigError, match=rf"config\.sampler: {message}"):
        prepare(study(sampler=sampler, **fields))


# Bad input

TABLE = Dataset(
    {"train": {"inputs": np.zeros((4, 2)), "targets": np.array([0, 1, 0, 1])}}, 2, feature_names=("age", "bmi")
)
IMAGES = Dataset({"train": {"inputs": np.zeros((4, 2, 2)), "targets": np.zeros(4)}})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: by_column(TABLE, groups=((("agee",), one_hot()),)),
            r"encoding\.groups\.0\.0\.0: there is no column 'agee'; did you mean 'age'\? Columns: age, bmi",
        ),
        (lambda: by_column(TABLE, groups=(((2,), one_hot()),)), r"groups\.0\.0\.0: there is no column 2; .* 0 … 1"),
        (lambda: by_column(TABLE, groups=(("age", one_hot()),)), r"groups\.0\.0: found 'age'; write \('age',\), or"),
        (lambda: by_column(TABLE, groups=((("age",), one_hot()), ((0,), min_max()))), "'age' is in group 0 already"),
        (lambda: by_column(TABLE, groups=(("age", "bmi"),)), r"groups\.0: it is no pair of columns and encoding"),
        (lambda: by_column(TABLE, groups=(), rest="drop"), r"encoding\.groups: it is empty"),
        (lambda: by_column(TABLE, groups=(), rest="skip"), r"encoding\.rest: found 'skip'"),
        (lambda: by_column(IMAGES, groups=()), r"inputs are no table of columns but float64\[n, 2, 2\]"),
        (lambda: min_max(low=1.0, high=1.0), r"encoding\.low: found 1\.0 and high=1\.0"),
        (lambda: one_hot(max_categories=0), r"encoding\.max_categories: found 0"),
        (lambda: one_hot(max_categories=2).fit({"inputs": np.arange(3.0)[:, None]}), r"column 0 has 3 distinct values"),
        (lambda: class_balanced(IMAGES), "needs one integer class an example"),
        (lambda: class_weighted(TABLE, weights=(1.0,)), r"found 1 weights; the dataset has 2 classes"),
        (lambda: class_weighted(TABLE, weights=(1.0, -1.0)), r"class 1 has the weight -1\.0"),
        (lambda: class_weighted(TABLE, weights=(0.0, 0.0)), "all weights are 0"),
        (lambda: weighted(TABLE, field="target"), "no field 'target'; did you mean 'targets'"),
        (lambda: weighted(TABLE, field="inputs"), r"'inputs' is float64\[n, 2\]; one number an example"),
    ],
)
def test_bad_encodings_and_samplers(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
