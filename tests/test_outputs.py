"""Outputs that are tuples, named tuples, dataclasses and dicts, nested: read by paths, in every place."""

import dataclasses
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import sklearn.metrics
from flax import linen, struct
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.components.registry import lookup
from mlgym_jax.core.outputs import described_tree, paths, pick
from mlgym_jax.core.post_processing import process
from mlgym_jax.errors import ConfigError, MlgymError


class Pair(NamedTuple):
    logits: Any
    features: Any


@struct.dataclass
class Output:
    logits: Any
    hidden: Any
    name: str = struct.field(pytree_node=False, default="output")


@dataclasses.dataclass
class Unknown:
    logits: Any


FORMS = {
    "tuple": (lambda y, z: (y, {"pre_logits": z, "encoder": {"block00": z}}), "0", "1.encoder.block00"),
    "list": (lambda y, z: [z, y], "1", "0"),
    "named tuple": (Pair, "logits", "features"),
    "numbers of a named tuple": (Pair, "0", "1"),
    "dataclass": (lambda y, z: Output(y, (z, None)), "logits", "hidden.0"),
    "nested": (lambda y, z: {"head": {"logits": y}, "tokens": (Pair(z, z),)}, "head.logits", "tokens.0.features"),
    "points in names": (lambda y, z: {"head.logits": y, "head": {"x.y": z}}, "head.logits", "head.x.y"),
}


class Net(linen.Module):
    """A dense layer, and the half of what it says."""

    form: Any

    @linen.compact
    def __call__(self, x):
        logits = linen.Dense(3, name="head")(x)
        return self.form(logits, 0.5 * logits)


def program_of(form, loss, **sections):
    return mg.make_program({"model": Net(form), "loss": loss, "optimizer": optax.sgd(0.1), **sections})


def entropy(**parameters):
    return lookup("loss", "softmax_cross_entropy").factory(**parameters)


RANDOM = np.random.default_rng(3)
INPUTS = RANDOM.normal(size=(8, 5)).astype(np.float32)
TARGETS = RANDOM.integers(0, 3, 8).astype(np.int32)
BATCH = {"inputs": jnp.asarray(INPUTS), "targets": jnp.asarray(TARGETS)}


@pytest.mark.parametrize("name", FORMS)
def test_losses_metrics_and_post_processors_read_by_path(name, key):
    form, logits, half = FORMS[name]
    program = program_of(
        form,
        lookup("loss", "sum").factory(losses={"one": entropy(output=logits), "two": entropy(output=half)}),
        metrics={"accuracy": lookup("metric", "accuracy").factory(output=logits)},
        post_processors={
            "probability": lookup("post_processor", "softmax").factory(output=half),
            "label": lookup("post_processor", "argmax").factory(output="probability"),
        },
    )
    state = program.init(key, BATCH)
    found = program.compute(program.eval_step(state, BATCH))
    said = INPUTS @ np.asarray(state.params["head"]["kernel"]) + np.asarray(state.params["head"]["bias"])
    for part, scores in (("one", said), ("two", 0.5 * said)):
        expected = sklearn.metrics.log_loss(TARGETS, scipy.special.softmax(scores, axis=1), labels=[0, 1, 2])
        assert found[f"loss/{part}"] == pytest.approx(expected, abs=1e-5)
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(TARGETS, said.argmax(axis=1)))
    outputs = program.predict(state, BATCH)
    np.testing.assert_allclose(outputs["probability"], scipy.special.softmax(0.5 * said, axis=1), atol=1e-5)
    np.testing.assert_array_equal(outputs["label"], said.argmax(axis=1))


def test_a_step_of_one_of_two_outputs_is_the_step_of_that_one(key):
    program = program_of(FORMS["tuple"][0], entropy(output="0"))
    alone = program_of(lambda logits, _: logits, entropy())
    state = program.init(key, BATCH)
    for one, other in zip(
        jax.tree.leaves(program.train_step(state, BATCH)[0].params),
        jax.tree.leaves(alone.train_step(state, BATCH)[0].params),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_a_path_that_is_not_there_names_those_that_are_and_the_nearest():
    outputs = (jnp.zeros(2), {"head": {"logits": jnp.zeros(2)}, "tokens": [jnp.zeros(2)]})
    assert paths(outputs) == ["0", "1.head.logits", "1.tokens.0"]
    for wrong, near in (("logits", "1.head.logits"), ("1.head.logit", "1.head.logits"), ("1.token.0", "1.tokens.0")):
        with pytest.raises(
            MlgymError, match=rf"no output '{wrong}'; did you mean '{near}'\? Outputs: 0, 1.head.logits"
        ):
            pick(outputs, wrong)
    with pytest.raises(MlgymError, match="one output without a name; leave output= out"):
        pick(jnp.zeros(2), "logits")
    assert pick(jnp.ones(2), "outputs").sum() == pick(jnp.ones(2), "0").sum() == 2


def test_what_reads_one_of_several_says_which_there_are(key):
    form = FORMS["tuple"][0]
    alike = FORMS["list"][0]  # which would stack
    batch = {**BATCH, "mask": jnp.ones(8, bool)}
    for shape, loss, expected in (
        (
            form,
            entropy(),
            "loss: the model has several outputs.*output='0'.*Outputs: 0, 1.encoder.block00, 1.pre_logits$",
        ),
        (alike, entropy(), "loss: the model has several outputs.*output='0'.*Outputs: 0, 1$"),
        (alike, lookup("loss", "lp").factory(), "loss: the model has several outputs"),
        (form, entropy(output="1"), "loss: output='1' stands for several outputs.*output='1.encoder.block00'"),
        (form, lambda outputs, batch: outputs.sum(axis=1), r"several outputs.*AttributeError: 'tuple' object has no"),
    ):
        program = program_of(shape, loss)
        with pytest.raises(ConfigError, match=expected):
            program.eval_step(program.init(key, batch), batch)
    # What goes wrong within one that was named is no matter of several.
    total = lookup("loss", "sum").factory(losses={"a": component_loss(lambda outputs, batch: outputs.nothing)})
    program = program_of(form, total)
    with pytest.raises(ConfigError, match=r"config\.loss: AttributeError") as error:
        program.eval_step(program.init(key, batch), batch)
    assert "several" not in str(error.value)
    softmax = lookup("post_processor", "softmax").factory
    with pytest.raises(ConfigError, match=r"post_processors\.p: the model has several outputs.*output='0'"):
        process({"p": softmax()}, (jnp.zeros((2, 3)), jnp.zeros((2, 3))))
    with pytest.raises(ConfigError, match=r"post_processors\.logits: the model has an output 'logits' already"):
        process({"logits": softmax(output="0")}, Pair(jnp.zeros((2, 3)), jnp.zeros((2, 3))))


def component_loss(function):
    from mlgym_jax.losses.composite import Reading

    return Reading(function, output="0")


def test_a_metric_of_several_outputs_does_not_name_what_post_processors_add(key):
    def update(state, outputs, batch):
        raise TypeError("no")

    metric = mg.Metric(lambda: jnp.zeros(()), update, jnp.add, lambda state: state)
    program = program_of(
        lambda y, z: y,
        entropy(),
        metrics={"mine": metric},
        post_processors={"p": lookup("post_processor", "softmax").factory()},
    )
    with pytest.raises(ConfigError, match=r"config\.metrics\.mine: TypeError: no \("):
        program.eval_step(program.init(key, BATCH), BATCH)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (lambda y, z: Unknown(y), "returns an Unknown; .*@flax.struct.dataclass above class Unknown"),
        (lambda y, z: (y, {"name": "head"}), r"returns a str at '1\.name'; return arrays"),
        (lambda y, z: None, "returns None, no outputs; does its __call__ end with `return`"),
    ],
)
def test_what_no_compiled_program_returns_is_refused_by_its_path(form, expected, key):
    program = program_of(form, entropy(output="0"))
    state = program.init(key, BATCH)
    for step in (program.train_step, program.eval_step, program.predict):
        with pytest.raises(ConfigError, match=rf"config\.model: it {expected}"):
            step(state, BATCH)


def test_a_dataclass_is_trained_carded_resumed_and_predicted(tmp_path, own_registry):
    num_classes = np.int64(3)  # as `targets.max() + 1` is

    @register("dataset", "of_numpy")
    def of_numpy():
        return mg.Dataset(splits={"train": {"inputs": INPUTS, "targets": TARGETS}}, num_classes=num_classes)

    @register("model", "structured")
    def structured():
        return Net(lambda y, z: Output(y, ({"half": z}, jnp.float32(2.0))))

    config = ConfigDict(
        dict(
            num_epochs=1,
            dataset=component("of_numpy"),
            validation=component("holdout", val=0.25),
            model=component("structured"),
            loss=component("softmax_cross_entropy", output="logits"),
            optimizer=component("sgd", learning_rate=0.1),
            post_processors=dict(label=component("argmax", output="hidden.0.half")),
        )
    )
    result = mg.run(config, tmp_path)
    with open(f"{result.run_dir}/0/model_card.json", encoding="utf-8") as file:
        card = json.load(file)
    whole = {"logits": "float32[batch, 3]", "hidden": [{"half": "float32[batch, 3]"}, "float32[]"]}
    assert card["model"]["outputs"] == {"outputs": whole, "label": "int32[batch]"}
    assert card["data"]["num_classes"] == 3
    resumed = mg.resume(result.run_dir, num_epochs=2)
    assert resumed.status == "DONE"
    outputs = resumed.experiments[0].predict(INPUTS, batch_size=3)
    assert outputs["outputs"].hidden[1].tolist() == [2.0, 2.0, 2.0]  # of no example: one a batch
    np.testing.assert_allclose(outputs["outputs"].hidden[0]["half"], 0.5 * outputs["outputs"].logits)
    np.testing.assert_array_equal(outputs["label"], outputs["outputs"].logits.argmax(axis=1))


def test_trees_of_shapes_are_plain_data():
    found = described_tree((jax.ShapeDtypeStruct((4, 2), jnp.float32), Pair(None, {1: jnp.zeros(4, jnp.int32)})))
    assert found == ["float32[batch, 2]", {"logits": None, "features": {"1": "int32[batch]"}}]
