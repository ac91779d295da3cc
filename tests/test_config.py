"""Configs: the words are plain data, the top level is checked, the canonical form round-trips and hashes stably."""

import hashlib
import json
import math
import os
import subprocess
import sys

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from conftest import ROOT
from ml_collections import ConfigDict

from mlgym_jax.config.file import load_config
from mlgym_jax.config.traversal import replaced, walk
from mlgym_jax.config.words import (
    canonical_json,
    component,
    config_hash,
    grid,
    int_uniform,
    log_uniform,
    plain,
    sweeps,
    uniform,
    validated,
)
from mlgym_jax.errors import ConfigError, MlgymError

PUBLISHED = sorted(path.name for path in (ROOT / "configs").glob("*.py"))


def small_config():
    config = ConfigDict()
    config.num_epochs = 2
    config.seed = grid(0, 1)
    config.dataset = component("synthetic", num_examples=40)
    config.model = component("mlp", features=grid((8,), (8, 4)), activation="relu")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component(
        "chain",
        transforms=(component("clip", max_delta=1.0), component("adam", learning_rate=grid(0.1, 0.01), nesterov=False)),
    )
    config.metrics = dict(accuracy=component("accuracy"))
    return config


# --- the words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word, data",
    [
        (component("adam"), {"component": "adam"}),
        (component("adam", learning_rate=0.1), {"component": "adam", "learning_rate": 0.1}),
        (component("tfds", name="mnist"), {"component": "tfds", "name": "mnist"}),
        (component("a/b", **{"dense.0": 1}), {"component": "a/b", "dense.0": 1}),
        (grid(1, 2.5, "x", None), {"sweep": "absolute", "values": (1, 2.5, "x", None)}),
        (grid((1, 2), [3]), {"sweep": "absolute", "values": ((1, 2), (3,))}),
        (grid(component("a")), {"sweep": "absolute", "values": ({"component": "a"},)}),
        (uniform(0.0, 1.0), {"sweep": "uniform", "low": 0.0, "high": 1.0}),
        (log_uniform(1e-5, 1e-1), {"sweep": "log_uniform", "low": 1e-5, "high": 1e-1}),
        (int_uniform(1, 8), {"sweep": "int_uniform", "low": 1, "high": 8}),
    ],
)
def test_words_are_stored_as_plain_data(word, data):
    assert plain(word) == data


def test_a_component_in_a_config_takes_a_grid_in_place_of_a_number():
    config = small_config()
    config.dataset.num_examples = grid(10, 20)
    assert plain(config)["dataset"]["num_examples"]["values"] == (10, 20)


@pytest.mark.parametrize(
    "value, expected",
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (jnp.float32(0.25), 0.25),
        ([1, (2, [3])], (1, (2, (3,)))),
        ({1: ConfigDict({"x": None})}, {"1": {"x": None}}),
        (ml_collections.FieldReference(7), 7),
    ],
)
def test_plain_data_is_python_data(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("value", [math.nan, math.inf, print, object(), b"x", {1, 2}, np.zeros(2), "\udcff", ROOT])
def test_what_cannot_be_recorded_is_refused_with_its_path(value):
    with pytest.raises(ConfigError, match=r"^config\.model\.hidden\.1: ") as caught:
        plain({"model": {"hidden": [1, value]}})
    assert " at 0x" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"^config\.model\.hidden: "):
        plain({"model": {"hidden": {"sweep": "absolute", "values": [value]}}})


# --- canonical form and hash -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_round_trips_through_its_canonical_json(name):
    study = validated(load_config(ROOT / "configs" / name))
    text = canonical_json(study)
    again = validated(json.loads(text))
    assert again == study
    assert canonical_json(again) == text
    assert config_hash(again) == config_hash(study)


def test_the_canonical_json_is_sorted_compact_and_hashed_with_sha_256():
    text = '{"a":[1,1.0,"ü"],"b":{"c":null,"d":true}}'
    config = {"b": {"d": True, "c": None}, "a": (1, 1.0, "ü")}
    assert canonical_json(config) == text
    assert config_hash(config) == hashlib.sha256(text.encode()).hexdigest()


def test_the_hash_minds_neither_order_nor_container_but_every_value():
    one = ConfigDict({"a": 1, "b": {"c": (1, 2), "d": 2.0}})
    other = {"b": {"d": 2.0, "c": [1, 2]}, "a": 1}
    assert config_hash(plain(one)) == config_hash(plain(other))
    # An integer and a float of one value are different programs (int32 and float32), so different configs.
    assert config_hash({"a": 1}) != config_hash({"a": 1.0})
    assert config_hash({"a": True}) != config_hash({"a": 1})
    assert config_hash({"a": "1"}) != config_hash({"a": 1})


def test_the_hash_is_the_same_in_every_process():
    code = (
        "from mlgym_jax.config.words import *; from mlgym_jax.config.file import load_config; "
        "print(*(config_hash(validated(load_config(f'configs/{name}.py'))) for name in ('gs', 'cnn')))"
    )
    here = [config_hash(validated(load_config(ROOT / "configs" / name))) for name in ("gs.py", "cnn.py")]
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.stdout.split() == here, done.stderr


def test_walk_and_replaced_reach_everything_and_change_nothing_in_place():
    data = {"b": ({"c": 1}, 2), "a": 3}
    assert [(".".join(path), value) for path, value in walk(data) if not isinstance(value, dict | tuple)] == [
        ("a", 3),
        ("b.0.c", 1),
        ("b.1", 2),
    ]
    assert replaced(data, ("b", "0", "c"), 9) == {"b": ({"c": 9}, 2), "a": 3}
    assert data == {"b": ({"c": 1}, 2), "a": 3}


def test_sweeps_inside_the_values_of_another_have_the_path_that_they_take():
    study = plain({"optimizer": grid(component("sgd", learning_rate=grid(1, 2)), component("adam")), "seed": grid(0)})
    assert [".".join(path) for path, _ in sweeps(study)] == ["optimizer", "optimizer.learning_rate", "seed"]


# --- validation of the top level -------------------------------------------------------------------------------------


def test_defaults_are_filled_in():
    study = validated(small_config())
    assert study["split_seed"] == 0
    assert study["checkpoint_interval_seconds"] == 30.0
    assert study["evaluation_splits"] == ("train", "val", "test")
    assert study["validation"] == {"component": "holdout"}
    assert study["loader"] == {"component": "in_memory"}
    assert study["checkpointing"] == {"component": "last"}
    assert "early_stopping" not in study


def test_a_section_of_none_is_as_one_left_out():
    config = small_config()
    config.early_stopping = None
    config.loader = None
    study = validated(config)
    assert "early_stopping" not in study
    assert study["loader"] == {"component": "in_memory"}


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("model", None, r"config\.model: missing; write config\.model = component"),
        ("num_epochs", 1.0, r"config\.num_epochs: an integer is expected, found 1\.0"),
        ("num_epochs", True, r"config\.num_epochs: an integer is expected, found True"),
        ("num_epochs", grid(3, 0), r"config\.num_epochs: at least 1 is expected, found 0"),
        ("seed", 2**32, r"config\.seed: found 4294967296, allowed are 0 to 4294967295"),
        ("seed", grid(0, grid(1, "a")), r"config\.seed: an integer is expected, found 'a'"),
        ("learning_rate", grid(0.1, 0.2), r"config\.learning_rate: unknown field"),
        ("optimiser_", 3, r"config\.optimiser_: unknown field; did you mean 'optimizer'\?"),
        ("model", "mlp", r"config\.model: a component is expected, found 'mlp'; write .*component\('mlp', …\)"),
        ("model", grid("mlp", "cnn"), r"config\.model: a component is expected, found 'mlp'"),
        ("model", {"a": component("mlp")}, r"config\.model: a component is expected, found {'a'"),
        ("loader", grid(component("in_memory"), None), r"config\.loader: a component is expected, found None"),
        ("metrics", component("accuracy"), r"config\.metrics: components by names .*dict\(accuracy="),
        ("metrics", {"loss": component("accuracy")}, r"config\.metrics\.loss: 'loss' is the score of the loss"),
        ("metrics", {"a/b": component("accuracy")}, r"config\.metrics\.a/b: 'a/b' is no name of a score"),
        ("metrics", {"a": 3}, r"config\.metrics: components by names"),
        ("evaluation_splits", ("val", "val"), r"config\.evaluation_splits: a split is named twice"),
        ("evaluation_splits", (1,), r"config\.evaluation_splits: strings are expected, found \(1,\)"),
        ("model", component("mlp", features=grid()), r"config\.model\.features: empty sweep"),
        ("model", component("mlp", **{"a.b": {"c": grid(1)}}), r"config\.model\.a\.b\.c: a key with a dot"),
        ("model", component("mlp", x={"sweep": "unifrm"}), r"unknown sweep 'unifrm'; did you mean 'uniform'\?"),
        ("model", component("mlp", x=uniform(1, 1)), r"config\.model\.x: uniform\(low, high\) needs .* found 1, 1"),
        ("model", component("mlp", x=log_uniform(0, 1)), r"needs low > 0, found 0"),
        ("model", component("mlp", x=int_uniform(0, 1.5)), r"int_uniform\(low, high\) needs integers, found 0, 1\.5"),
    ],
)
def test_a_wrong_top_level_is_named(path, value, message):
    with pytest.raises(ConfigError, match=message):
        validated({**plain(small_config()), path: plain(value)})


def test_a_misspelt_required_section_is_proposed():
    study = plain(small_config())
    study["optimiser"] = study.pop("optimizer")
    with pytest.raises(ConfigError, match=r"config\.optimizer: missing; did you mean 'optimiser'\?"):
        validated(study)


@pytest.mark.parametrize("value", [3, None, [("a", 1)], "config"])
def test_a_config_is_a_mapping(value):
    with pytest.raises(MlgymError, match=r"ConfigDict, found"):
        validated(value)


def test_a_grid_of_too_many_values_is_refused_at_once():
    with pytest.raises(MlgymError, match=r"grid\(…\): found 100,001 values; a run takes 100,000"):
        grid(*range(100_001))
