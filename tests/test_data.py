"""Data: values against scikit-learn's, folds by their properties, the cache of prepared data sets against accidents."""

import os
import signal
import subprocess
import textwrap
import time

import numpy as np
import pytest
from forks import popen
from hypothesis import given, settings
from hypothesis import strategies as st
from permissions import as_its_owner

from mlgym_jax.data import Dataset
from mlgym_jax.data.dataset import to_arrays
from mlgym_jax.data.datasets import digits, synthetic
from mlgym_jax.data.folds import make_folds
from mlgym_jax.data.loaders import in_memory
from mlgym_jax.data.tfds_builders import _remove_abandoned
from mlgym_jax.data.validation import holdout, parts_by_rank
from mlgym_jax.errors import ConfigError
from mlgym_jax.events.claim import claimed

# Images of each digit, as scikit-learn's documentation lists them.
SUM_OF_DIGITS = sum(digit * n for digit, n in enumerate((178, 182, 177, 183, 181, 182, 181, 179, 174, 180)))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder in which digits is prepared; tests that damage something copy it."""
    folder = tmp_path_factory.mktemp("prepared")
    digits(data_dir=str(folder))
    return folder


@pytest.fixture
def own_copy(prepared, tmp_path):
    target = tmp_path / "copy"
    target.mkdir()
    for path in prepared.rglob("*"):
        copy = target / path.relative_to(prepared)
        copy.mkdir() if path.is_dir() else copy.write_bytes(path.read_bytes())
    return target


def classification(num_examples=12, num_classes=3, **more):
    train = {"inputs": np.zeros((num_examples, 2)), "targets": np.arange(num_examples) % num_classes}
    return Dataset(splits={"train": train, **more}, num_classes=num_classes)


def python(code, *arguments, **options):
    """Start a Python process that runs `code`."""
    ends = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return popen("data", *arguments, code=textwrap.dedent(code), **ends, **options)


def output_of(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out, err


# Datasets


def test_digits_equal_scikit_learns_in_value_and_order(prepared):
    from sklearn.datasets import load_digits

    train = digits(data_dir=str(prepared)).splits["train"]
    expected = load_digits()
    assert train["inputs"].dtype == np.float32 and train["targets"].dtype == np.int32
    np.testing.assert_array_equal(train["inputs"], (expected.data / 16).astype(np.float32))
    np.testing.assert_array_equal(train["targets"], expected.target)


def test_digits_unscaled_images_equal_scikit_learns(prepared):
    from sklearn.datasets import load_digits

    inputs = digits(data_dir=str(prepared), scale=False, flat=False).splits["train"]["inputs"]
    assert inputs.shape == (1797, 8, 8, 1)
    np.testing.assert_array_equal(inputs[..., 0], load_digits().images)


def test_digits_feature_and_class_names_equal_scikit_learns(prepared):
    from sklearn.datasets import load_digits

    dataset, expected = digits(data_dir=str(prepared)), load_digits()
    assert list(dataset.feature_names) == list(expected.feature_names)
    assert list(dataset.class_names) == [str(name) for name in expected.target_names]


def test_synthetic_regression_reaches_its_documented_noise_floor():
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import mean_squared_error

    train = synthetic(num_examples=20_000, noise=0.5, task="regression").splits["train"]
    predictions = LinearRegression().fit(train["inputs"], train["targets"]).predict(train["inputs"])
    assert mean_squared_error(train["targets"], predictions) == pytest.approx(0.25, rel=0.05)


def test_synthetic_classes_reach_their_documented_accuracy():
    from scipy.stats import norm
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    train = synthetic(num_examples=20_000, noise=0.5, seed=3).splits["train"]
    centres = [train["inputs"][train["targets"] == k].mean(0) for k in range(2)]
    best = norm.cdf(np.linalg.norm(centres[0] - centres[1]) / (2 * 0.5))
    accuracy = LinearDiscriminantAnalysis().fit(train["inputs"], train["targets"]).score(**_as_xy(train))
    assert accuracy == pytest.approx(best, abs=0.01)
    assert set(np.bincount(train["targets"])) == {10_000}


def _as_xy(train):
    return {"X": train["inputs"], "y": train["targets"]}


def test_synthetic_is_a_function_of_its_seed():
    first, again, other = (to_arrays(synthetic(seed=seed)).fingerprint for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"num_examples": 0}, "dataset.num_examples"),
        ({"num_examples": 3, "num_classes": 4}, "dataset.num_examples"),
        ({"num_features": 1}, "dataset.num_features"),
        ({"num_classes": 1}, "dataset.num_classes"),
        ({"noise": -1.0}, "dataset.noise"),
        ({"noise": float("nan")}, "dataset.noise"),
        ({"seed": -1}, "dataset.seed"),
        ({"task": "regresion"}, "dataset.task"),
    ],
)
def test_synthetic_names_the_parameter_at_fault(parameters, path):
    with pytest.raises(ConfigError, match="config." + path):
        synthetic(**parameters)


# The cache of prepared data sets


def test_the_package_imports_neither_jax_nor_scikit_learn_and_reading_needs_no_network(prepared):
    code = """
        import sys
        sys.addaudithook(lambda event, _: 1 / 0 if event in ("socket.connect", "socket.getaddrinfo") else None)
        from mlgym_jax.data import tfds_builders, datasets, folds, loaders, validation
        assert "tensorflow_datasets" not in sys.modules
        datasets.digits(data_dir=sys.argv[1])
        print([name for name in ("jax", "flax", "sklearn", "tensorflow") if name in sys.modules])
    """
    assert output_of(python(code, prepared, fresh=True)) == ("[]\n", "")


def test_generating_needs_no_network_prints_nothing_and_keeps_the_random_state(tmp_path):
    code = """
        import random, sys
        import numpy as np
        sys.addaudithook(lambda event, _: 1 / 0 if event in ("socket.connect", "socket.getaddrinfo") else None)
        from mlgym_jax.data.datasets import digits
        random.seed(1), np.random.seed(1)
        before = random.getstate(), np.random.get_state()[1].tolist()
        digits()
        assert before == (random.getstate(), np.random.get_state()[1].tolist())
    """
    environment = {"MLGYM_JAX_DATA_DIR": str(tmp_path / "deep" / "er")}
    assert output_of(python(code, env=environment, fresh=True)) == ("", "")
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["mlgym_digits"]


def test_the_folder_is_the_argument_else_the_variable_else_the_cache_home(tmp_path, monkeypatch):
    from mlgym_jax.data.tfds_builders import cache_folder

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MLGYM_JAX_DATA_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "mlgym_jax" / "datasets"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mlgym_jax" / "datasets"
    monkeypatch.setenv("MLGYM_JAX_DATA_DIR", str(tmp_path / "variable"))
    assert cache_folder() == tmp_path / "variable"
    assert cache_folder("~/given") == tmp_path / "given"


def test_what_is_written_is_a_tfds_data_set_that_tfds_reads(prepared):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(prepared / "mlgym_digits" / "1.0.0"))
    assert builder.info.splits["train"].num_examples == 1797
    assert [int(record["targets"]) for record in builder.as_data_source(split="train[:10]")] == list(range(10))


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)


def _empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("*array_record*", _truncate),
        ("*array_record*", _flip),
        ("*array_record*", _empty),
        ("*array_record*", os.remove),
        ("dataset_info.json", _truncate),
        ("dataset_info.json", os.remove),
    ],
)
def test_a_damaged_cache_is_generated_again(own_copy, caplog, pattern, damage):
    home = own_copy / "mlgym_digits" / "1.0.0"
    [path] = home.glob(pattern)
    damage(path)
    assert digits(data_dir=str(own_copy)).splits["train"]["targets"].sum() == SUM_OF_DIGITS
    assert f"{home} is damaged" in caplog.text
    caplog.clear()
    digits(data_dir=str(own_copy))
    assert not caplog.text
    assert [path.name for path in own_copy.iterdir()] == ["mlgym_digits"]


BUILD = """
    import sys
    from mlgym_jax.data.datasets import digits
    import tensorflow_datasets, sklearn.datasets
    print("ready", flush=True)
    sys.stdin.readline()
    print(digits(data_dir=sys.argv[1]).splits["train"]["targets"].sum())
"""


@pytest.mark.parametrize("damaged", [False, True])
def test_processes_that_generate_at_once_all_read_it(own_copy, tmp_path, damaged):
    folder = own_copy if damaged else tmp_path / "new"
    if damaged:
        _truncate(next(own_copy.rglob("*array_record*")))
    processes = [python(BUILD, folder, stdin=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert {output_of(process)[0] for process in processes} == {f"{SUM_OF_DIGITS}\n"}
    assert [path.name for path in folder.iterdir()] == ["mlgym_digits"]


def test_a_killed_generation_leaves_nothing_that_is_read_and_is_cleared_away_later(tmp_path):
    killed = """
        import os, signal, sys
        from mlgym_jax.data import datasets
        def examples(original=datasets._digits_examples):
            for row, example in enumerate(original()):
                if row == 900:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield example
        datasets._digits_examples = examples
        datasets.digits(data_dir=sys.argv[1])
    """
    process = python(killed, tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    [left] = tmp_path.iterdir()
    os.utime(left, times=(time.time() - 7200,) * 2)
    assert digits(data_dir=str(tmp_path)).splits["train"]["targets"].sum() == SUM_OF_DIGITS
    assert [path.name for path in tmp_path.iterdir()] == ["mlgym_digits"]


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_in_place_of_the_folder_is_a_config_error(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"config\.dataset\.data_dir: .*cannot be used.*MLGYM_JAX_DATA_DIR"):
        digits(data_dir=str(tmp_path / "file" / below))


def test_a_full_disk_is_a_config_error_and_leaves_nothing(tmp_path):
    code = """
        import resource, sys
        from mlgym_jax.data.datasets import digits
        from mlgym_jax.errors import ConfigError
        import tensorflow_datasets, sklearn.datasets
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            digits(data_dir=sys.argv[1])
        except ConfigError as error:
            print(error.path)
    """
    assert output_of(python(code, tmp_path))[0] == "dataset.data_dir\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_write_permission_is_a_config_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="Permission denied"):
        as_its_owner(digits, data_dir=str(tmp_path))


def test_files_that_may_not_be_read_are_not_taken_for_damaged(own_copy):
    [path] = own_copy.rglob("*array_record*")
    path.chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        as_its_owner(digits, data_dir=str(own_copy))
    assert path.exists()


def test_an_address_is_no_folder():
    with pytest.raises(ConfigError, match="folder on this machine"):
        digits(data_dir="gs://bucket/data")


# Tables


def test_splits_lie_behind_each_other_in_the_order_given_with_32_bits():
    rng = np.random.default_rng(0)
    splits = {
        name: {
            "inputs": rng.normal(size=(n, 2, 3)),
            "pixels": rng.integers(0, 255, (n, 4)).astype(np.uint8),
            "targets": rng.integers(0, 5, n),
        }
        for name, n in (("test", 3), ("train", 5), ("extra", 2))
    }
    table = to_arrays(Dataset(splits=splits, num_classes=5))
    assert dict(table.offsets) == {"test": (0, 3), "train": (3, 8), "extra": (8, 10)}
    assert list(table.offsets) == ["test", "train", "extra"] and table.num_examples == 10
    types = {field: array.dtype.name for field, array in table.arrays.items()}
    assert types == {"inputs": "float32", "pixels": "uint8", "targets": "int32"}
    for name, (start, stop) in table.offsets.items():
        for field, array in table.arrays.items():
            np.testing.assert_array_equal(array[start:stop], splits[name][field].astype(array.dtype))


def test_foreign_byte_order_becomes_native():
    array = to_arrays(Dataset(splits={"train": {"inputs": np.arange(4, dtype=">i2")}})).arrays["inputs"]
    assert array.dtype == np.int16 and array.dtype.isnative and array.tolist() == [0, 1, 2, 3]


def test_inputs_that_are_not_finite_are_named_by_row_and_column():
    inputs = np.ones((4, 3), np.float32)
    inputs[2, 1], inputs[3, 0] = np.nan, np.inf
    message = r"split 'train', field 'inputs', row 2, column 1: found nan \(2 values in 2 rows are not finite\)"
    with pytest.raises(ConfigError, match=message):
        to_arrays(Dataset(splits={"train": {"inputs": inputs}}))


class Source:
    """A random-access source, as users write them."""

    def __init__(self, records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        return self.records[index]


def test_a_random_access_source_equals_the_arrays_it_was_made_of():
    inputs, targets = np.random.default_rng(0).normal(size=(6, 2)), np.arange(6) % 2
    source = Source([{"inputs": x, "targets": int(y)} for x, y in zip(inputs, targets, strict=True)])
    arrays = {"train": {"inputs": inputs, "targets": targets}}
    tables = [to_arrays(Dataset(splits=splits, num_classes=2)) for splits in ({"train": source}, arrays)]
    assert tables[0].fingerprint == tables[1].fingerprint


def test_a_tfds_data_source_is_a_split(prepared):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(prepared / "mlgym_digits" / "1.0.0"))
    table = to_arrays(Dataset(splits=builder.as_data_source(), num_classes=10))
    assert table.arrays["inputs"].shape == (1797, 8, 8, 1) and table.arrays["inputs"].dtype == np.uint8
    assert table.arrays["targets"].sum() == SUM_OF_DIGITS


A = np.zeros((4, 2))
Y = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ({}, "no splits"),
        ({"trian": {"inputs": A}}, "no split 'train'; did you mean 'trian'"),
        ({"train": {"inputs": A[:0]}}, "'train' is empty"),
        ({"train": {"inputs": A}, "test": Source([])}, "'test' is empty"),
        ({"train": {}}, "no fields"),
        ({"train": None}, "is a NoneType"),
        ({"train": A}, "record 0: found a ndarray, expected a dict"),
        ({"train": {"inputs": A, "targets": Y[:3]}}, r"different lengths \(inputs: 4, targets: 3\)"),
        (
            {"train": {"inputs": A, "targets": Y}, "test": {"inputs": A}},
            "'test' has the fields inputs, .*inputs, targets",
        ),
        (
            {"train": {"inputs": A}, "test": {"inputs": A[:, :1]}},
            r"float32\[n, 1\] in split 'test' and float32\[n, 2\]",
        ),
        ({"train": {"inputs": A}, "test": {"inputs": A.astype(int)}}, "int32.*in split 'test' and float32"),
        ({"train": {"inputs": np.array(["a", "b"])}}, "encode text"),
        ({"train": {"inputs": np.array([None, 1])}}, "object, which is no number"),
        ({"train": {"inputs": np.array(["2020-01-01"], "M8[D]")}}, "which is no number"),
        ({"train": {"inputs": [[1, 2], [3]]}}, "differ in shape"),
        ({"train": {"inputs": 3.0}}, "single value"),
        ({"train": {"inputs": np.array([2**40])}}, "do not fit 32-bit"),
        ({"train": {"inputs": np.array([1e300])}}, "too large for 32-bit floats"),
        ({"train": Source([{"a": 1}, {"b": 1}])}, "record 1: has the fields b"),
        ({"train": Source([{"a": [1]}, {"a": [1, 2]}])}, "differ in shape"),
        (
            {"train": {"targets": Y}, "test": {"targets": Y + 1}},
            "split 'test', row 1: its target is 2, allowed are 0 … 1",
        ),
        ({"train": {"targets": Y - 1}}, "split 'train', row 0: its target is -1"),
    ],
)
def test_a_dataset_that_is_no_table_is_a_config_error(splits, words):
    with pytest.raises(ConfigError, match=rf"^config\.dataset: .*{words}"):
        to_arrays(Dataset(splits=splits, num_classes=2))


def test_something_else_than_a_dataset_is_a_config_error():
    with pytest.raises(ConfigError, match=r"found a dict; return mg\.Dataset"):
        to_arrays({"inputs": A})


def test_fingerprint_sees_values_names_types_shapes_and_splits_but_not_memory_order():
    def of(splits):
        return to_arrays(Dataset(splits=splits)).fingerprint

    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    base = of({"train": {"a": x, "b": x}})
    assert base == of({"train": {"b": x, "a": np.asfortranarray(x)}})
    changed = x.copy()
    changed[5, 1] += 1
    others = [
        of({"train": {"a": x, "c": x}}),
        of({"train": {"a": changed, "b": x}}),
        of({"train": {"a": x.reshape(6, 2, 1), "b": x}}),
        of({"train": {"a": x.view(np.uint32), "b": x}}),
        of({"train": {"a": x[:4], "b": x[:4]}, "test": {"a": x[4:], "b": x[4:]}}),
    ]
    assert len({base, *others}) == 6


# Hold-out

FRACTIONS = st.floats(0.01, 0.49)


@given(n=st.integers(3, 500), val=FRACTIONS, seed=st.integers(0, 2**32))
def test_holdout_sizes_equal_scikit_learns(n, val, seed):
    from sklearn.model_selection import ShuffleSplit

    train, held_out = next(ShuffleSplit(1, test_size=val, random_state=0).split(np.zeros(n)))
    [fold] = holdout(val=val)(Dataset(splits={"train": {"inputs": np.zeros(n)}}), seed)
    assert (len(fold["train"]), len(fold["val"])) == (len(train), len(held_out))


@given(
    n=st.integers(6, 400),
    val=FRACTIONS,
    test=st.one_of(st.just(0.0), FRACTIONS),
    stratified=st.booleans(),
    seed=st.integers(0, 2**63),
)
def test_parts_of_a_holdout_are_disjoint_complete_ordered_and_a_function_of_the_seed(n, val, test, stratified, seed):
    dataset = classification(n, 1 + n % 2)
    split = holdout(val=val, test=test, stratified=stratified)
    try:
        [fold], [again] = split(dataset, seed), split(dataset, seed)
    except ConfigError as error:
        assert stratified or "none to train on" in str(error)
        return
    assert list(fold) == (["train", "val", "test"] if test else ["train", "val"])
    np.testing.assert_array_equal(np.sort(np.concatenate([*fold.values()])), np.arange(n))
    for name, indices in fold.items():
        assert indices.dtype == np.int32 and np.all(np.diff(indices) > 0)
        np.testing.assert_array_equal(indices, again[name])


@given(seed=st.integers(0, 2**63 - 2), stratified=st.booleans())
def test_other_seeds_give_other_holdouts(seed, stratified):
    split = holdout(val=0.3, stratified=stratified)
    dataset = classification(100)
    assert split(dataset, seed)[0]["val"].tolist() != split(dataset, seed + 1)[0]["val"].tolist()


def test_every_example_is_held_out_equally_often():
    dataset = classification(20, 2)
    counts = np.zeros(20)
    for seed in range(2000):
        counts[holdout(val=0.25, stratified=True)(dataset, seed)[0]["val"]] += 1
    assert np.all(np.abs(counts - 500) < 6 * np.sqrt(2000 * 0.25 * 0.75))  # six standard deviations


@settings(max_examples=200)
@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=8),
    val=st.floats(0.05, 0.6),
    seed=st.integers(0, 1000),
)
def test_stratified_class_counts_equal_scikit_learns(counts, val, seed):
    from sklearn.model_selection import StratifiedShuffleSplit

    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    dataset = Dataset(splits={"train": {"inputs": targets, "targets": targets}}, num_classes=len(counts))
    try:
        theirs = next(StratifiedShuffleSplit(1, test_size=val, random_state=seed).split(targets, targets))
    except ValueError:
        with pytest.raises(ConfigError):
            holdout(val=val, stratified=True)(dataset, seed)
        return
    [fold] = holdout(val=val, stratified=True)(dataset, seed)
    expected = np.bincount(targets[theirs[1]], minlength=len(counts))
    found = np.bincount(targets[fold["val"]], minlength=len(counts))
    # Classes of equal remainder are in a tie, which both draw: there the counts agree as sets.
    size = len(fold["val"])
    remainders = (np.array(counts) * size) % sum(counts)
    for remainder in np.unique(remainders):
        tied = remainders == remainder
        floors = (np.array(counts) * size // sum(counts))[tied]
        assert sorted(found[tied] - floors) == sorted(expected[tied] - floors)


@given(counts=st.lists(st.integers(10, 60), min_size=2, max_size=5), val=FRACTIONS, test=FRACTIONS)
def test_three_stratified_parts_each_have_their_share(counts, val, test):
    targets = np.repeat(np.arange(len(counts)), counts)
    dataset = Dataset(splits={"train": {"targets": targets}}, num_classes=len(counts))
    try:
        [fold] = holdout(val=val, test=test, stratified=True)(dataset, 0)
    except ConfigError:
        return
    for indices in fold.values():
        share = np.array(counts) * len(indices) / sum(counts)
        assert np.all(np.abs(np.bincount(targets[indices], minlength=len(counts)) - share) < 2)


def test_a_holdout_stays_what_it_was_once():
    """The split of a seed is part of what a run can be repeated from: it never changes."""
    expected = np.sort(np.argsort(np.random.Philox(key=[7, 0]).random_raw(10), kind="stable")[:3])
    assert holdout(val=0.3)(classification(10), 7)[0]["val"].tolist() == expected.tolist() == [1, 4, 8]


@given(st.lists(st.integers(0, 9), min_size=3, max_size=40), st.data())
def test_parts_by_rank_are_those_of_a_stable_sort_of_equal_numbers_too(numbers, data):
    ends = sorted(data.draw(st.lists(st.integers(1, len(numbers) - 1), min_size=2, max_size=2, unique=True)))
    sizes = np.diff([0, *ends, len(numbers)]).tolist()
    expected = np.empty(len(numbers), np.int64)
    expected[np.argsort(numbers, kind="stable")] = np.repeat([0, 1, 2], sizes)
    np.testing.assert_array_equal(parts_by_rank(np.array(numbers, np.uint64), sizes), expected)


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"val": 1.0}, "validation.val"),
        ({"val": -0.1}, "validation.val"),
        ({"val": float("nan")}, "validation.val"),
        ({"test": 20}, "validation.test"),
        ({"val": 0.5, "test": 0.5}, "validation.val"),
    ],
)
def test_holdout_refuses_what_is_no_fraction(parameters, path):
    with pytest.raises(ConfigError) as caught:
        holdout(**parameters)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("targets", "parameters", "words"),
    [
        ([0, 1], {"val": 0.4, "test": 0.4}, "none to train on"),
        ([0.5, 1.0, 0.5, 1.0], {"stratified": True}, r"targets are float64\[n\]; set stratified=False"),
        ([[0, 1]] * 4, {"stratified": True}, r"targets are int64\[n, 2\]"),
        ([0, 0, 0, 0, 7], {"val": 0.4, "stratified": True}, r"class 7 has 1 examples, fewer than the parts \(2"),
        ([0, 0, 1, 1, 2, 2], {"val": 0.2, "stratified": True}, "part 'val' would have 2 examples"),
    ],
)
def test_holdout_says_what_the_data_cannot_give(targets, parameters, words):
    dataset = Dataset(splits={"train": {"targets": np.array(targets)}})
    with pytest.raises(ConfigError, match=rf"^config\.validation\..*{words}"):
        holdout(**parameters)(dataset, 0)


def test_stratified_without_targets_is_a_config_error():
    with pytest.raises(ConfigError, match="needs a field 'targets'"):
        holdout(stratified=True)(Dataset(splits={"train": {"inputs": A}}), 0)


# Folds


def folds_of(validation, dataset=None, seed=0):
    dataset = dataset or classification()
    return make_folds(dataset, to_arrays(dataset), validation, seed)


def test_folds_point_into_the_table_and_are_padded_with_their_first_index():
    dataset = Dataset(
        splits={
            "validation": {"inputs": np.arange(2)},
            "train": {"inputs": np.arange(100, 106)},
            "unseen": {"inputs": np.arange(3)},
        }
    )
    folds = folds_of(
        lambda dataset, seed: [{"test": [5], "train": [3, 1]}, {"train": [0, 2, 4], "test": [1, 3]}], dataset
    )
    assert folds.num_folds == 2
    assert list(folds.indices) == list(folds.mask) == list(folds.sizes) == ["train", "val", "test", "unseen"]
    assert folds.indices["train"].tolist() == [[5, 3, 5], [2, 4, 6]]
    assert folds.mask["train"].tolist() == [[True, True, False], [True, True, True]]
    assert folds.indices["test"].tolist() == [[7, 7], [3, 5]]
    assert folds.indices["val"].tolist() == [[0, 1], [0, 1]]
    assert folds.indices["unseen"].tolist() == [[8, 9, 10]] * 2
    assert folds.sizes == {"train": (2, 3), "val": (2, 2), "test": (1, 2), "unseen": (3, 3)}
    assert folds.indices["train"].dtype == np.int32 and folds.mask["train"].dtype == bool


def test_a_single_mapping_is_one_fold_and_the_seed_is_passed_on():
    folds = folds_of(lambda dataset, seed: {"train": np.arange(seed), "validation": [11]}, seed=4)
    assert folds.sizes == {"train": (4,), "val": (1,)}


def test_a_fold_that_names_a_split_takes_the_place_of_the_datasets_own():
    own = {"inputs": np.ones((3, 2)), "targets": np.zeros(3, int)}
    folds = folds_of(holdout(val=0.25), classification(12, validation=own, test=own))
    assert folds.sizes == {"train": (9,), "val": (3,), "test": (3,)}
    assert folds.indices["val"].max() < 12 and folds.indices["test"].tolist() == [[15, 16, 17]]


def test_a_validation_function_is_given_arrays_also_where_the_dataset_is_a_source():
    dataset = Dataset(splits={"train": Source([{"inputs": float(i), "targets": i % 2} for i in range(10)])})
    seen = []
    folds_of(lambda dataset, seed: seen.append(dataset.splits["train"]["targets"]) or {"train": [0]}, dataset)
    assert seen[0].tolist() == [0, 1] * 5
    assert folds_of(holdout(val=0.4, stratified=True), dataset).sizes == {"train": (6,), "val": (4,)}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "it returned None"),
        ("train", "it returned a str"),
        ([], "no folds"),
        ([[1, 2]], "fold 0 is a list"),
        ({"val": [1]}, "fold 0 has no 'train'"),
        ({"train": []}, "'train': it is empty"),
        ({"train": [0.5]}, "found float64"),
        ({"train": [[0, 1]]}, "one dimension"),
        ({"train": [[0, 1], [2]]}, "no plain list"),
        ({"train": np.ones(12, bool)}, "np.flatnonzero"),
        ({"train": [0, 12]}, r"index 12 \(at position 1\) is out of range; the training split has 12"),
        ({"train": [-1]}, "index -1"),
        ({"train": [3, 1, 3]}, "index 3 occurs 2 times"),
        ({"train": [0, 1], "val": [1, 2]}, r"'train' and 'val' overlap in 1 examples \(index 1\)"),
        ({"train": [0], "val": [1], "validation": [2]}, "names the split 'val' twice"),
        ({"train": [0], 3: [1]}, "split names are strings"),
        ([{"train": [0], "val": [1]}, {"train": [0]}], "fold 1 has the splits train, fold 0 has train, val"),
    ],
)
def test_a_users_folds_are_checked(result, words):
    with pytest.raises(ConfigError, match=rf"^config\.validation: .*{words}"):
        folds_of(lambda dataset, seed: result)


def test_two_names_for_the_validation_split_are_refused():
    own = {"inputs": np.ones((3, 2)), "targets": np.zeros(3, int)}
    with pytest.raises(ConfigError, match="'val' and 'validation' both mean 'val'"):
        folds_of(lambda dataset, seed: {"train": [0]}, classification(12, val=own, validation=own))


# Loaders


@given(n=st.integers(1, 1000), batch_size=st.integers(1, 100), drop_last=st.booleans())
def test_num_steps_counts_the_batches_of_slicing(n, batch_size, drop_last):
    loader = in_memory(batch_size=batch_size, drop_last=drop_last)
    batches = [range(n)[start : start + batch_size] for start in range(0, n, batch_size)]
    expected = sum(len(batch) == batch_size or not drop_last for batch in batches)
    if expected:
        assert loader.num_steps(n) == expected
    else:
        with pytest.raises(ConfigError, match="drop_last=True drops the one batch"):
            loader.num_steps(n)


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size"])
def test_a_batch_has_at_least_one_example(name):
    with pytest.raises(ConfigError) as caught:
        in_memory(**{name: 0})
    assert caught.value.path == f"loader.{name}"


def test_what_another_process_generates_is_left_to_it_whatever_the_clock_says(tmp_path):
    for name in (".building-now", ".building-left"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1_000, 1_000))
    with claimed(str(tmp_path / ".building-now")):
        _remove_abandoned(tmp_path)
    assert os.listdir(tmp_path) == [".building-now"]
