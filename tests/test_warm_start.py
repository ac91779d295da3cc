"""Warm starts from an earlier experiment and from a safetensors file."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import linen as nn
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.errors import ConfigError


def config_of(**sections):
    config = ConfigDict()
    config.num_epochs = 2
    config.dataset = component("digits")
    config.model = component("mlp", features=(16, 8))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=1e-2)
    config.metrics = dict(accuracy=component("accuracy"))
    for name, value in sections.items():
        config[name] = value
    return config


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    return mg.run(config_of(seed=grid(0, 1)), tmp_path_factory.mktemp("earlier"))


def frozen(**sections):
    """A study that trains nothing, so that its scores are those of what it begins with; two rows in one group."""
    return config_of(optimizer=component("sgd", learning_rate=grid(0.0, 0.0)), num_epochs=1, seed=5, **sections)


def event(result):
    with open(f"{result.run_dir}/event_storage.log") as file:
        (payload,) = [json.loads(line)["payload"] for line in file if '"warm_started"' in line]
    return payload


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_best_experiment_is_taken_up_in_every_row(earlier, tmp_path):
    best = earlier.best("val/accuracy")
    start = component("experiment", run_dir=earlier.run_dir, monitor="val/accuracy")
    result = mg.run(frozen(warm_start=start), tmp_path)
    for experiment in result.experiments:
        assert_equal(experiment.restore().params, best.restore().params)
        kept = best.best_epoch if best.best_epoch in best.checkpoints else best.checkpoints[-1]
        assert experiment.last["val/accuracy"] == best.history["val/accuracy"][kept - 1]
    assert len(event(result)["loaded"]) == 6
    assert event(result)["left"] == []


RATE = dict(learning_rate=0.5)
EVALUATED = {
    "average with batch statistics": dict(averaging=component("ema", decay=0.9), model=component("normalised")),
    "slow parameters": dict(
        optimizer=component("lookahead", fast_optimizer=component("sgd", **RATE), sync_period=7, slow_step_size=0.5)
    ),
    "schedule-free": dict(
        optimizer=component(
            "chain", transforms=(component("clip", max_delta=1.0), component("contrib.schedule_free_sgd", **RATE))
        )
    ),
}


@pytest.mark.parametrize("name", EVALUATED)
def test_it_begins_with_the_parameters_that_the_scores_are_of(name, own_registry, tmp_path):
    class Normalised(nn.Module):
        momentum: float = 0.5

        @nn.compact
        def __call__(self, x, train=False):
            return nn.Dense(10)(nn.BatchNorm(use_running_average=not train, momentum=self.momentum)(nn.Dense(8)(x)))

    mg.register("model", "normalised")(Normalised)
    sections = {"dataset": component("view", dataset=component("digits"), stop=200), **EVALUATED[name]}
    source = mg.run(config_of(**sections), tmp_path / "source").experiments[0]
    source.save_safetensors(tmp_path / "model.safetensors")
    for start in (
        component("experiment", run_dir=str(tmp_path / "source" / source._run.run_id)),  # the only one
        component("safetensors", path=str(tmp_path / "model.safetensors")),
    ):
        same = {**sections, "averaging": None, "optimizer": component("sgd", learning_rate=0.0), "num_epochs": 1}
        if "averaging" in sections:  # whose statistics the one epoch without a step leaves as they are, too
            same["model"] = component("normalised", momentum=1.0)
        found = mg.run(config_of(**same, warm_start=start), tmp_path).experiments[0]
        assert found.last["val/loss"] == pytest.approx(source.last["val/loss"], rel=1e-5)


def test_parts_are_chosen_by_path_and_the_rest_is_as_from_scratch(earlier, tmp_path):
    start = component("experiment", run_dir=earlier.run_dir, experiment_id=1, include="^Dense", exclude="^Dense_2/")
    result = mg.run(frozen(warm_start=start), tmp_path / "warm")
    scratch = mg.run(frozen(), tmp_path / "scratch")
    params, source = result.experiments[0].restore().params, earlier.experiments[1].restore().params
    assert_equal(params["Dense_0"], source["Dense_0"])
    assert_equal(params["Dense_1"], source["Dense_1"])
    assert_equal(params["Dense_2"], scratch.experiments[0].restore().params["Dense_2"])
    assert event(result)["left"] == ["Dense_2/bias", "Dense_2/kernel"]


def test_going_on_with_the_optimizer_equals_a_longer_run_but_for_the_order_of_the_data(earlier, tmp_path):
    start = component("experiment", run_dir=earlier.run_dir, experiment_id=0, optimizer=True)
    result = mg.run(config_of(warm_start=start, optimizer=component("adam", learning_rate=0.0), num_epochs=1), tmp_path)
    before, after = earlier.experiments[0].restore(), result.experiments[0].restore()
    assert_equal(after.params, before.params)
    steps = result._study.jobs[0].shape.num_steps
    assert int(after.opt_state[0].count) == int(before.opt_state[0].count) + steps


def test_a_safetensors_file_with_other_names_and_a_part_that_does_not_fit(earlier, tmp_path):
    path = str(tmp_path / "model.safetensors")
    earlier.experiments[0].save_safetensors(path)
    arrays = safetensors.numpy.load_file(path)
    params = earlier.experiments[0].restore().params
    np.testing.assert_array_equal(arrays["params/Dense_1/kernel"], params["Dense_1"]["kernel"])
    foreign = {name.replace("params/Dense_", "layer.").replace("/", "."): a for name, a in arrays.items()}
    foreign["layer.2.kernel"], foreign["layer.2.bias"] = np.zeros((8, 3), np.float32), np.zeros(3, np.float32)
    safetensors.numpy.save_file(foreign, path)
    start = component("safetensors", path=path, rename=((r"^layer/", "Dense_"),), on_mismatch="skip")
    result = mg.run(frozen(warm_start=start), tmp_path)
    assert_equal(result.experiments[1].restore().params["Dense_1"], params["Dense_1"])
    assert event(result)["mismatched"] == {
        "Dense_2/bias": "[3] there, [10] here",
        "Dense_2/kernel": "[8, 3] there, [8, 10] here",
    }


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (dict(experiment_id=7), "no experiment 7; it has 0, 1"),
        (dict(experiment_id=0, epoch=9), "9"),
        (
            dict(experiment_id=0, include="conv"),
            r"config\.warm_start\.include: 'conv' is found in no parameter's path\. Pa",
        ),
        (
            dict(experiment_id=0, exclude="Dens_2"),
            r"config\.warm_start\.exclude: .*; did you mean 'Dense_2'\? Parameters",
        ),
        (
            dict(experiment_id=0, rename=(("Dense", "layer"), ("^Dense", "x"))),
            r"config\.warm_start\.rename\.1: of .*'\^De",
        ),
        (dict(experiment_id=0, rename=(("Dense", "layer"),)), "nothing of .* fits. It has the parameters Dense_0/bias"),
        (dict(experiment_id=0, include="("), r"config\.warm_start\.include: '\(' is no regular expression"),
        (dict(), "say which experiment: .*; it has 0, 1"),
        (dict(monitor="val/acuracy"), "did you mean 'val/accuracy'"),
        (dict(experiment_id=0, optimizer=True), r"config\.warm_start\.optimizer: the optimizer's state .* does not"),
    ],
)
def test_what_cannot_be_loaded_is_said_before_anything_is_written(earlier, tmp_path, start, message):
    warm = component("experiment", run_dir=earlier.run_dir, **start)
    with pytest.raises(ConfigError, match=message):
        mg.run(config_of(warm_start=warm, optimizer=component("rmsprop", learning_rate=0.1)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_shapes_that_differ_are_named_with_what_to_type(earlier, tmp_path):
    warm = component("experiment", run_dir=earlier.run_dir, experiment_id=0)
    message = r"Dense_1/kernel: \[16, 8\] there, \[16, 9\] here.*exclude='\^\(Dense_1\|Dense_2\)/'"
    with pytest.raises(ConfigError, match=message):
        mg.run(config_of(warm_start=warm, model=component("mlp", features=(16, 9))), tmp_path)
    with pytest.raises(ConfigError, match="no file"):
        mg.run(config_of(warm_start=component("safetensors", path="none.safetensors")), tmp_path)
    (tmp_path / "text.safetensors").write_text("no arrays")
    with pytest.raises(ConfigError, match="is no safetensors file"):
        mg.run(config_of(warm_start=component("safetensors", path=str(tmp_path / "text.safetensors"))), tmp_path)
