"""Inputs that are several arrays: in data sets, records, transforms, encodings, folds, models and predictions."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.core.calling import arguments
from mlgym_jax.core.inputs import fields_of, flat, nested
from mlgym_jax.core.modules import adapt
from mlgym_jax.data.by_input import by_input
from mlgym_jax.data.dataset import Dataset, split_arrays, to_arrays
from mlgym_jax.data.encodings import standardise
from mlgym_jax.data.transforms import combine, filter_labels, view
from mlgym_jax.errors import ConfigError, MlgymError

RANDOM = np.random.default_rng(7)
LEFT = RANDOM.normal(size=(47, 3)).astype(np.float32)
RIGHT = (1e9 + RANDOM.normal(size=(47, 2))).astype(np.float64)  # float32 would lose its digits
TARGETS = RANDOM.integers(0, 2, 47)


def dataset_of(inputs):
    return Dataset(splits={"train": {"inputs": inputs, "targets": TARGETS}}, num_classes=2)


class Joined(linen.Module):
    """Takes two inputs, or one that is both."""

    @linen.compact
    def __call__(self, left, right=None, train=False):
        x = left if right is None else jnp.concatenate([left, right], axis=1)
        return linen.Dense(2)(x)


class Records:
    def __len__(self):
        return 47

    def __getitem__(self, i):
        return {"inputs": {"left": LEFT[i], "right": RIGHT[i]}, "targets": int(TARGETS[i])}


FORMS = {
    "one": (np.concatenate([LEFT, RIGHT], axis=1), component("standardise")),
    "dict": (
        {"left": LEFT, "right": RIGHT},
        component("by_input", encodings=dict(left=component("standardise"), right=component("standardise"))),
    ),
    "tuple": (
        (LEFT, RIGHT),
        component("by_input", encodings={"0": component("standardise"), "1": component("standardise")}),
    ),
}


def test_several_inputs_train_as_one_that_holds_all_their_columns(tmp_path, own_registry):
    register("model", "joined")(Joined)
    histories, predicted = {}, {}
    for name, (inputs, encoding) in FORMS.items():
        register("dataset", name)(lambda inputs=inputs: dataset_of(inputs))
        config = ConfigDict(
            dict(
                num_epochs=2,
                dataset=component("shuffle", dataset=component(name), seed=3),
                validation=component("cross_validation", folds=3),
                loader=component("in_memory", batch_size=8, eval_batch_size=5),
                sampler=component("class_balanced"),
                encoding=encoding,
                model=component("joined"),
                loss=component("softmax_cross_entropy"),
                optimizer=component("adam", learning_rate=0.1),
            )
        )
        result = mg.run(config, tmp_path / name)
        histories[name] = [experiment.history for experiment in result.experiments]
        predicted[name] = result.experiments[2].predict(inputs, batch_size=20)
        assert predicted[name].shape == (47, 2)
        with open(f"{result.run_dir}/0/model_card.json", encoding="utf-8") as file:
            fields = json.load(file)["data"]["fields"]
        if name == "dict":
            assert fields["inputs.left"] == {"shape": [3], "dtype": "float32"}
            for wrong, said in (
                ({"left": LEFT}, "found a dict of left"),
                ({"left": LEFT, "right": RIGHT[:4]}, r"\[4, 2\]"),
            ):
                with pytest.raises(MlgymError, match=said):
                    result.experiments[0].predict(wrong)
    for name in ("dict", "tuple"):
        for found, expected in zip(histories[name], histories["one"], strict=True):
            for score in expected:
                np.testing.assert_allclose(found[score], expected[score], rtol=1e-5)
        np.testing.assert_allclose(predicted[name], predicted["one"], rtol=1e-4, atol=1e-5)


def test_records_and_transforms_keep_the_inputs_together():
    whole, records = dataset_of({"left": LEFT, "right": RIGHT}), Dataset(splits={"train": Records()}, num_classes=2)
    for one, other in zip(to_arrays(whole).arrays.items(), to_arrays(records).arrays.items(), strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])
    both = combine(datasets=(filter_labels(dataset=whole, keep=(0,)), filter_labels(dataset=whole, keep=(1,))))
    found = view(dataset=both, stop=40).splits["train"]
    order = np.argsort(TARGETS, kind="stable")[:40]
    assert sorted(found["inputs"]) == ["left", "right"]
    np.testing.assert_array_equal(found["inputs"]["right"], RIGHT[order])
    np.testing.assert_array_equal(found["targets"], TARGETS[order])


def test_what_is_one_array_and_what_are_several():
    rows, y = [np.zeros(4), np.ones(4), np.ones(4)], np.arange(3)
    assert list(flat({"inputs": rows, "targets": y})) == ["inputs", "targets"]  # a list of rows, as ever
    assert list(flat({"inputs": tuple(rows), "targets": y})) == ["inputs", "targets"]
    assert list(flat({"inputs": [np.zeros((3, 2)), np.zeros(3)], "targets": y})) == ["inputs.0", "inputs.1", "targets"]
    assert list(flat({"inputs": (np.zeros((3, 2)), np.zeros((3, 2)))})) == ["inputs.0", "inputs.1"]
    assert split_arrays({"inputs": ((1.0, 2.0), (3.0, 4.0)), "targets": y[:2]})["inputs"].shape == (2, 2)
    assert list(flat({"inputs": y, "targets": {"digit": y, "even": y}})) == ["inputs", "targets.digit", "targets.even"]
    deep = {"inputs": {"scan": (y, {"side": y}), "age": y}, "targets": y}
    assert sorted(flat(deep)) == ["inputs.age", "inputs.scan.0", "inputs.scan.1.side", "targets"]
    assert jax.tree.structure(nested(flat(deep))) == jax.tree.structure(deep)
    assert fields_of(nested(flat(deep))).keys() == flat(deep).keys()


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, "field 'inputs' is a dict of nothing"),
        ({"a.b": LEFT}, "field 'inputs' holds 'a.b'; names are strings without points"),
        ({1: LEFT}, "field 'inputs' holds 1; names are strings"),
        ({"a": LEFT, "b": RIGHT[:5]}, "fields of different lengths .*inputs.b: 5"),
        ({"a": LEFT, "b": np.full((47, 1), np.nan)}, "field 'inputs.b', row 0, column 0: found nan"),
        ({"a": LEFT, "b": np.array(["x"] * 47)}, "field 'inputs.b': its type is <U1, which is no number"),
    ],
)
def test_what_is_wrong_with_one_of_several_inputs_is_said_of_it(inputs, expected):
    with pytest.raises(ConfigError, match=expected):
        to_arrays(dataset_of(inputs))


def test_encodings_of_one_array_ask_which():
    with pytest.raises(
        ConfigError, match=r"dataset has left, right; say which, component\('by_input', encodings=\{'left'"
    ):
        standardise().fit({"inputs": {"left": LEFT, "right": RIGHT}})
    with pytest.raises(
        ConfigError, match=r"encodings: there is no input 'lift'; did you mean 'left'\? Inputs: left, right"
    ):
        by_input(dataset_of({"left": LEFT, "right": RIGHT}), encodings={"lift": standardise()})
    with pytest.raises(ConfigError, match="The inputs are one array; use the encoding as it is"):
        by_input(dataset_of(LEFT), encodings={"left": standardise()})


class Calls:
    """Functions of modules, by what they take besides `self`."""

    def named(self, left, *, right, train=False): ...

    def whole(self, batch, train=False): ...

    def anything(self, **inputs): ...

    def in_order(self, x, mask=None, train=False): ...

    def all_of(self, *inputs): ...

    def one(self, x): ...


def test_a_module_is_called_by_what_it_takes():
    pair, inputs = (1, 2), {"left": 1, "right": 2}
    assert arguments(Calls.named, inputs, {"train": True}) == ((), inputs)
    assert arguments(Calls.whole, inputs, {"train": True}) == ((inputs,), {})
    assert arguments(Calls.anything, inputs, {}) == ((), inputs)
    assert arguments(Calls.in_order, pair, {"train": True}) == (pair, {})
    assert arguments(Calls.all_of, pair, {}) == (pair, {})
    assert arguments(Calls.one, pair, {}) == ((pair,), {})
    assert arguments(Calls.in_order, 3, {"train": True}) == ((3,), {})


class Wrong(linen.Module):
    def __call__(self, image, text, train=False):
        return image


def test_a_module_that_takes_something_else_is_told_what_it_is_called_with():
    said = (
        r"config\.model: Wrong takes \(image, text\) and is called as Wrong\(inputs, train=False\): missing a required"
    )
    with pytest.raises(
        ConfigError,
        match=said + r".*'text'. The dataset has one array of inputs; .*=dict\(image='inputs', text='…'\)\)",
    ):
        adapt(Wrong()).init(jax.random.key(0), LEFT)
    with pytest.raises(ConfigError, match=said + ".* The dataset has the inputs image, txt"):
        adapt(Wrong()).init(jax.random.key(0), {"image": LEFT, "txt": LEFT})

    class OfNnx(nnx.Module):
        def __init__(self, rngs):
            self.head = nnx.Linear(3, 2, rngs=rngs)

        def __call__(self, left, right):
            return self.head(left) + right

    model = adapt(lambda rngs: OfNnx(rngs))
    params, state = model.init(jax.random.key(0), (LEFT, LEFT[:, :2]))
    outputs, _ = model.apply(params, state, (LEFT, LEFT[:, :2]), jax.random.key(0), True)
    np.testing.assert_allclose(outputs, LEFT @ np.asarray(params["head"]["kernel"]) + LEFT[:, :2], atol=1e-5)
    with pytest.raises(ConfigError, match=r"OfNnx takes \(left, right\)"):
        model.apply(params, state, LEFT, jax.random.key(0), True)


class OfGraphs(linen.Module):
    @linen.compact
    def __call__(self, graphs):
        return linen.Dense(3)(graphs.nodes)


def test_a_module_that_takes_a_form_of_its_own_is_told_what_makes_it():
    inputs = {"nodes": LEFT, "edges": RIGHT}
    said = r"no attribute 'nodes' \(.*a dict of nodes, edges; .*def __call__\(self, nodes, edges\): return self\.net\("
    with pytest.raises(ConfigError, match=said):
        adapt(OfGraphs()).init(jax.random.key(0), inputs)
