"""The learning-rate finder against gradient descent on a parabola, whose every loss is known; what it refuses."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from study_files import here

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.errors import ConfigError, MlgymError

pytestmark = pytest.mark.usefixtures("own_registry")


class _Weight(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.broadcast_to(self.param("w", nn.initializers.ones, ()), (len(x),))


def parabola(optimizer, **fields):
    """The loss w^2 / 2 from w = 1: gradient descent multiplies w by 1 - rate in each step."""
    mg.register("model", "weight_from_one")(lambda: _Weight())
    mg.register("loss", "half_square")(lambda: lambda outputs, batch: jnp.square(outputs) / 2)
    return {
        "num_epochs": 3,
        "dataset": component("synthetic", num_examples=50, num_features=2, num_classes=2),
        "validation": component("cross_validation", folds=5),
        "loader": component("in_memory", batch_size=10),
        "model": component("weight_from_one"),
        "loss": component("half_square"),
        "optimizer": optimizer,
        "metrics": {"accuracy": component("accuracy")},
        "search": component("random", num_experiments=2),
    } | fields


def sgd(rate=0.1):
    return component("sgd", learning_rate=rate)


def test_losses_are_those_of_gradient_descent():
    found = mg.find_learning_rate(parabola(sgd(grid(0.1, 0.2))), low=1e-3, high=1e3, num=13, num_steps=40)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-3, 1e3, 13), rtol=5e-3)
    assert found.steps == tuple(range(2, 41, 2))
    with np.errstate(over="ignore", invalid="ignore"):
        losses = ((1 - np.float64(found.rates[:, None])) ** (2 * np.arange(40))) / 2
    curves = losses.reshape(13, 20, 2).mean(axis=2)
    finite = (curves < 1e37) & (curves > 1e-37)
    np.testing.assert_allclose(found.curves[finite], curves[finite], rtol=1e-3)
    assert not np.isfinite(found.losses[-1]) and "diverged" in str(found)
    # Only 1 and its neighbour 0.316 have fallen by more than 95 % by step 30.
    as_good = [
        rate for rate, curve in zip(found.rates, curves, strict=True) if curve[-5:].mean() <= 0.05 * curves[0, 0]
    ]
    assert found.as_good == (min(as_good), max(as_good)) == (0.1, 1.0)
    assert found.suggestion == 0.316
    assert "--config.optimizer.learning_rate=0.316" in str(found)


def test_the_end_of_the_range_is_said():
    found = mg.find_learning_rate(parabola(sgd()), low=1e-4, high=1e-2, num=5, num_steps=20)
    assert found.suggestion == 0.01
    assert "0.01 is the end of what was tried; higher rates may be as good" in str(found)


def test_where_nothing_learns_nothing_is_suggested():
    found = mg.find_learning_rate(parabola(sgd()), low=3.0, high=5.0, num=3, num_steps=20)
    assert found.suggestion is None
    assert "No learning rate lowered the loss" in str(found)


def test_rates_inside_of_others_are_found():
    nested = component("chain", transforms=(component("clip", max_delta=10.0), sgd()))
    found = mg.find_learning_rate(parabola(nested), low=0.1, high=1.0, num=3, num_steps=4)
    assert found.field == "optimizer.transforms.1.learning_rate"
    with pytest.raises(MlgymError, match=r"say which learning rate is meant; there are optimizer\.transforms\.0\.lea"):
        mg.find_learning_rate(parabola(component("chain", transforms=(sgd(), sgd()))))
    with pytest.raises(MlgymError, match=r"there is none; numbers: optimizer\.b1"):
        mg.find_learning_rate(parabola(component("scale_by_adam", b1=0.9)))


def test_a_schedule_is_refused_and_a_number_inside_of_it_is_not():
    config = parabola(sgd(component("cosine_decay_schedule", init_value=0.1, decay_steps=10)))
    with pytest.raises(ConfigError, match=r"found a component, 'cosine_decay_schedule', no number: find a constant"):
        mg.find_learning_rate(config)
    field = "optimizer.learning_rate.init_value"
    assert mg.find_learning_rate(config, field=field, low=0.1, high=1, num=3, num_steps=4).field == field


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"field": "optimizer.learning_rat"}, "did you mean 'optimizer.learning_rate'?"),
        ({"field": "optimizer.component"}, "a number is expected, found 'sgd'"),
        ({"low": 0.0}, "low: a finite number above 0 is expected, found 0.0"),
        ({"high": float("nan")}, "high: a finite number above 0 is expected, found nan"),
        ({"high": float("inf")}, "high: a finite number above 0 is expected, found inf"),
        ({"low": 1.0, "high": 0.1}, "low: a number below high is expected, found 1 and 0.1"),
        ({"num": 2}, "num: an integer from 3 to 1000 is expected, found 2"),
        ({"num": True}, "found True"),
        ({"num_steps": 0}, "num_steps: an integer from 4 to 2147483647 is expected, found 0"),
    ],
)
def test_wrong_words_are_refused(words, said):
    with pytest.raises(MlgymError) as raised:
        mg.find_learning_rate(parabola(sgd()), **words)
    assert said in str(raised.value)


CONFIG = """
from ml_collections import ConfigDict
from mlgym_jax import component

def get_config():
    config = ConfigDict()
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=50, num_features=2, num_classes=2)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.1)
    return config
"""


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.py").write_text(CONFIG)
    words = ["--config=study.py", "--num=3", "--num_steps=4", "--low=0.01"]
    status, out, err = here("find_learning_rate", *words)
    assert (status, err) == (0, "") and out.splitlines()[0].split() == [
        "learning",
        "rate",
        "step",
        "1",
        "step",
        "2",
        "last",
        "1",
        "parts",
    ]
    status, out, _ = here("find_learning_rate", *words, "--json", "--config.optimizer.learning_rate=0.5")
    assert status == 0 and json.loads(out)["rates"] == [0.01, 0.316, 10.0]
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["study.py"]
    for wrong, said in [
        ([], "--config=FILE is missing"),
        (["--config=study.py", "--num=x"], "invalid int value"),
        (["--config=study.py", "--steps=3"], "did you mean '--num_steps'?"),
        (["--config=study.py", "--low=-1"], "low: a finite number above 0"),
    ]:
        status, out, err = here("find_learning_rate", *wrong)
        assert (status, out) == (2, "") and said in err and err.count("\n") == 1


def test_data_in_one_line_are_searched_on(own_registry):
    config = parabola(component("sgd", learning_rate=0.1))
    del config["dataset"]
    x = np.zeros((40, 2), np.float32)
    found = mg.find_learning_rate(config, data=(x, np.arange(40) % 2), num=3, low=0.01, high=1.0, num_steps=8)
    again = mg.find_learning_rate(
        {**config, "dataset": component("synthetic", num_examples=40, num_features=2)},
        num=3,
        low=0.01,
        high=1.0,
        num_steps=8,
    )
    np.testing.assert_array_equal(found.losses, again.losses)  # which the data have no part in
    assert found.suggestion == again.suggestion is not None
