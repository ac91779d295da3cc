"""What a user's own code raises is told with its file and line, whole, wherever it is called."""

import io
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from ml_collections import ConfigDict
from rich.console import Console

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.core.axes import with_axes
from mlgym_jax.core.modules import adapt
from mlgym_jax.errors import ConfigError, MlgymError, in_words, place
from mlgym_jax.reading.terminal import Terminal

HERE = "test_errors_of_users_code.py"


def line_of(text):
    lines = pathlib.Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip().endswith(f"# {text}"))


def fail(*_, **__):
    raise ValueError("no")  # the line


class Failing(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3, kernel_init=fail)(x)


class Records:
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return fail()


class Encoding:
    fit = apply = fail


def config_of(**sections):
    config = ConfigDict(
        dict(
            num_epochs=2,
            dataset=component("synthetic", num_examples=32, num_features=4, num_classes=3),
            model=component("linear"),
            loss=component("softmax_cross_entropy"),
            optimizer=component("sgd", learning_rate=0.1),
        )
    )
    for name, value in sections.items():
        setattr(config, name, value)
    return config


KINDS = {
    "model": ("model", lambda: Failing(), lambda own: dict(model=own), r"config\.model: ValueError: no"),
    "factory": ("model", fail, lambda own: dict(model=own), "model 'own' could not be built: ValueError: no"),
    "loss": ("loss", lambda: fail, lambda own: dict(loss=own), r"config\.loss: ValueError: no"),
    "loss inside": (
        "loss",
        lambda: fail,
        lambda own: dict(loss=component("sum", losses=dict(a=own))),
        r"config\.loss: ValueError: no",
    ),
    "metric": ("metric", lambda: mg.mean_of(fail), lambda own: dict(metrics=dict(a=own)), r"config\.metrics\.a: Value"),
    "dataset": (
        "dataset",
        lambda: mg.Dataset({"train": Records()}),
        lambda own: dict(dataset=own),
        "'train' could not be",
    ),
    "transform": ("dataset", fail, lambda own: dict(dataset=component("shuffle", dataset=own)), r"dataset\.dataset: "),
    "encoding": ("encoding", lambda: Encoding(), lambda own: dict(encoding=own), r"config\.encoding: ValueError: no"),
    "validation": ("validation", lambda: fail, lambda own: dict(validation=own), r"config\.validation: ValueError: no"),
    "search": ("search", lambda: fail, lambda own: dict(search=own), "search 'own' failed: ValueError: no"),
    "post-processor": (
        "post_processor",
        lambda: fail,
        lambda own: dict(post_processors=dict(p=own)),
        "post_processors",
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_before_anything_trains(name, tmp_path, own_registry):
    kind, factory, sections, said = KINDS[name]
    register(kind, "own")(lambda: factory())
    with pytest.raises(ConfigError, match=said) as caught:
        mg.run(config_of(**sections(component("own"))), tmp_path)
    assert str(caught.value).endswith(f"{HERE}, line {line_of('the line')})")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "section"), [("loss", "loss"), ("metric", "metrics.own"), ("augmentation", "augmentation")]
)
def test_a_field_that_the_batch_does_not_hold(kind, section, tmp_path, own_registry):
    def lacks(first, second):
        return (second if isinstance(second, dict) else first)["target"]

    built = mg.Metric(
        init=lambda: 0.0, update=lambda _, outputs, batch: lacks(outputs, batch), merge=max, compute=float
    )
    register(kind, "own")(lambda: built if kind == "metric" else lacks)
    own = {"metrics": {"own": component("own")}} if kind == "metric" else {kind: component("own")}
    with pytest.raises(ConfigError) as caught:
        mg.run(config_of(**own), tmp_path)
    assert str(caught.value).startswith(f"config.{section}: it looks up 'target', which is not there (KeyError)")
    assert "did you mean 'targets'? The batch holds " in str(caught.value)
    assert str(caught.value).endswith("inputs, mask, targets")


@pytest.mark.parametrize(
    ("returned", "said"), [("0.1", "'0.1'"), (None, "None"), (jnp.ones(2), r"float32\[2\]"), (1j, "1j")]
)
def test_a_schedule_that_returns_no_number(returned, said, tmp_path, own_registry):
    @register("schedule", "own")
    def own():
        return lambda count: returned

    optimizer = component("sgd", learning_rate=component("warmup", steps=2, schedule=component("own")))
    with pytest.raises(ConfigError, match=rf"^config\.optimizer: the schedule own takes a number .*, found {said}"):
        mg.run(config_of(optimizer=optimizer), tmp_path)


def test_a_lookup_that_says_more_than_a_field_is_told_as_it_is(tmp_path, own_registry):
    @register("loss", "own")
    def own():
        def loss(outputs, batch):
            raise KeyError("targets", [1])

        return loss

    with pytest.raises(ConfigError, match=r"config\.loss: it looks up \('targets', \[1\]\), which is not there"):
        mg.run(config_of(loss=component("own")), tmp_path)


def test_while_it_trains_the_event_and_the_terminal_say_it_whole(tmp_path, own_registry):
    @register("early_stopping", "own")
    def own():
        def policy(history):
            raise ValueError("the first line\nand the second")  # early

        return policy

    shown = io.StringIO()
    terminal = Terminal(quiet=False, console=Console(file=shown, width=200, highlight=False, markup=False))
    result = mg.run(config_of(early_stopping=component("own")), tmp_path, sinks=[terminal], live=terminal.live)
    place_of_it = f"{HERE}, line {line_of('early')})"
    error = result.experiments[0].error
    assert error.startswith("early_stopping raised ValueError: the first line\nand the second (")
    assert error.endswith(place_of_it)
    assert "the first line" in shown.getvalue() and f"and the second ({error.rpartition('(')[2]}" in shown.getvalue()


def test_the_line_is_the_last_of_the_users_own():
    try:
        jnp.zeros((2, 3)) @ jnp.zeros((2, 3))  # in the library
    except TypeError as error:
        assert place(error).endswith(f"{HERE}, line {line_of('in the library')}")
    try:
        component(1)
    except MlgymError as error:
        assert in_words(error) == str(error)
    except TypeError:
        pass
    assert place(ValueError("raised by nobody")) is None
    assert in_words(ValueError()) == "ValueError"


class Synchronised(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        x = linen.BatchNorm(use_running_average=not train, momentum=0.0, axis_name="batch", name="norm")(x)
        return jax.lax.psum(x, ("data", "batch"))


def test_axes_of_devices_are_of_size_one(key):
    inputs = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    model = with_axes(adapt(Synchronised()))
    params, state = model.init(key, inputs)
    outputs, state = jax.jit(model.apply, static_argnums=4)(params, state, inputs, key, True)
    np.testing.assert_allclose(outputs, (inputs - inputs.mean(0)) / np.sqrt(inputs.var(0) + 1e-5), atol=1e-5)
    np.testing.assert_allclose(state["batch_stats"]["norm"]["mean"], inputs.mean(0), atol=1e-6)
    assert model.apply(params, state, inputs, key, False)[0].shape == (6, 3)
    with pytest.raises(NameError, match="not_there"):
        with_axes(mg.Model(lambda key, inputs: not_there, None)).init(key, inputs)  # noqa: F821
