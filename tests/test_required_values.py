"""Values that are still required, and swept ones that 32 bits do not hold, are refused by their path."""

import pytest
from ml_collections import config_dict
from study_files import small

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.config.file import override
from mlgym_jax.config.words import validated
from mlgym_jax.errors import ConfigError


def of(folder, **sections):
    config = mg.load_config(small(folder, "config.num_epochs = 1"))
    with config.ignore_type():
        for name, value in sections.items():
            config[name] = value
    return config


def test_a_required_value_is_asked_for_and_taken(tmp_path):
    optimizer = component("sgd", learning_rate=config_dict.required_placeholder(float))
    config = of(tmp_path, optimizer=optimizer, num_epochs=config_dict.required_placeholder(int))
    override(config, "num_epochs", 1)
    with pytest.raises(
        ConfigError, match=r"config\.optimizer\.learning_rate: a value is required .*, or type --config"
    ):
        validated(config)
    override(config, "optimizer.learning_rate", 0.5)
    assert validated(config)["optimizer"] == {"component": "sgd", "learning_rate": 0.5}


@pytest.mark.parametrize(
    "rate",
    [
        lambda: mg.uniform(config_dict.required_placeholder(float), 1.0),
        lambda: grid(0.1, config_dict.required_placeholder(float)),
        lambda: component("constant_schedule", value=config_dict.required_placeholder(float)),
    ],
)
def test_a_required_value_inside_of_another_is_asked_for(rate, tmp_path):
    with pytest.raises(
        ConfigError, match=r"config\.optimizer\.learning_rate(\.value)?: a value is required and none is"
    ):
        validated(of(tmp_path, optimizer=component("sgd", learning_rate=rate())))


def test_nothing_is_set_below_what_is_still_required(tmp_path):
    config = of(tmp_path, metrics={"accuracy": config_dict.required_placeholder(config_dict.ConfigDict)})
    with pytest.raises(ConfigError, match=r"config\.metrics\.accuracy: a value is required and none is given; set it"):
        override(config, "metrics.accuracy.output", "x")
    override(config, "metrics.f1", component("f1"))
    override(config, "metrics.accuracy", component("accuracy"))
    assert set(validated(config)["metrics"]) == {"accuracy", "f1"}


@pytest.mark.parametrize(
    "optimizer, message",
    [
        (
            lambda: component(
                "sgd",
                learning_rate=component("cosine_decay_schedule", init_value=0.1, decay_steps=grid(10, 3_000_000_000)),
            ),
            r"decay_steps: found 3000000000, allowed are -2147483648 to 2147483647",
        ),
        (lambda: component("sgd", learning_rate=grid(0.1, 1e39)), r"learning_rate: found 1e\+39, allowed are -3\.4"),
        (lambda: component("sgd", learning_rate=grid(0.1, 1e-60)), r"learning_rate: found 1e-60, which .* take for 0"),
        (lambda: component("adam", learning_rate=0.1, eps=1e-60), r"optimizer\.eps: found 1e-60, which .* take for 0"),
    ],
)
def test_values_that_32_bits_do_not_hold(optimizer, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        mg.run(of(tmp_path, optimizer=optimizer()), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
