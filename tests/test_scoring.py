"""Measuring in a whole run: gathered examples, intervals, named outputs, post-processors, samplers, averages."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.components.registry import lookup
from mlgym_jax.core.epoch import draw, make_epoch
from mlgym_jax.core.post_processing import process
from mlgym_jax.errors import ConfigError
from mlgym_jax.optimizers.signatures import by_optax_rules

NUM_EXAMPLES = 61


@mg.register("metric", "scoring_median")
def _median():
    """The median of the largest output: it cannot be added up, so every example is kept."""

    def update(state, outputs, batch):
        return merge(state, {"values": outputs.max(axis=-1), "mask": batch["mask"]})

    def merge(one, other):
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), one, other)

    return mg.Metric(
        init=lambda: {"values": jnp.zeros(0), "mask": jnp.zeros(0, bool)},
        update=update,
        merge=merge,
        compute=lambda state: jnp.nanmedian(jnp.where(state["mask"], state["values"], jnp.nan)),
        gathers=True,
    )


def config_of(**sections):
    config = ConfigDict()
    config.num_epochs = 4
    config.dataset = component("synthetic", num_examples=NUM_EXAMPLES, num_features=5, num_classes=3)
    config.validation = component("holdout", val=0.3)
    config.loader = component("in_memory", batch_size=8, eval_batch_size=5)
    config.model = component("mlp", features=(8,))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=grid(1e-3, 1e-2))
    for name, value in sections.items():
        config[name] = value
    return config


def run(tmp_path, plan="auto", **sections):
    return mg.run(config_of(**sections), tmp_path, plan=plan)


def split_of(result, split):
    job = result._study.jobs[0]
    rows = job.folds.indices[split][0][job.folds.mask[split][0]]
    return job.table.arrays["inputs"][rows], job.table.arrays["targets"][rows]


@pytest.mark.parametrize("plan", ["map+scan", "vmap+step"])
def test_a_gathering_metric_sees_every_example_once_in_the_epochs_that_are_due(tmp_path, plan):
    metrics = dict(median=component("scoring_median", every_num_epochs=2), accuracy=component("accuracy"))
    result = run(tmp_path, plan, metrics=metrics)
    assert len(result.view.groups) == 1
    for experiment in result.experiments:
        median = experiment.history["val/median"]
        assert [math.isnan(value) for value in median] == [True, False, True, False]
        outputs = experiment.predict(split_of(result, "val")[0])
        assert median[-1] == pytest.approx(np.median(outputs.max(axis=1)), abs=1e-6)
        outputs = experiment.predict(split_of(result, "train")[0])
        assert experiment.last["train/median"] == pytest.approx(np.median(outputs.max(axis=1)), abs=1e-6)
    with open(f"{result.run_dir}/event_storage.log") as file:
        lines = [line for line in file if "evaluation_result" in line]
    assert ["median" in line for line in lines] == [False, False, True, True] * 2


def test_metrics_read_post_processed_outputs_and_predict_returns_them(tmp_path):
    processors = dict(probability=component("softmax"), label=component("argmax", output="probability"))
    metrics = dict(accuracy=component("accuracy"), top=component("scoring_median", output="probability"))
    result = run(tmp_path, post_processors=processors, metrics=metrics)
    inputs, targets = split_of(result, "val")
    best = result.experiments[1]
    outputs = best.predict(inputs)
    assert sorted(outputs) == ["label", "outputs", "probability"]
    np.testing.assert_allclose(outputs["probability"], scipy.special.softmax(outputs["outputs"], axis=1), rtol=1e-5)
    assert best.last["val/accuracy"] == pytest.approx((outputs["label"] == targets).mean(), abs=1e-6)
    assert best.last["val/top"] == pytest.approx(np.median(outputs["probability"].max(axis=1)), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("softmax", {}, lambda x: scipy.special.softmax(x, axis=-1)),
        ("sigmoid", {}, scipy.special.expit),
        ("argmax", {}, lambda x: x.argmax(axis=-1)),
        ("threshold", {"value": 0.25}, lambda x: (x > 0.25).astype(int)),
        ("min", {}, lambda x: x.min(axis=-1)),
        ("max", {"axis": 0}, lambda x: x.max(axis=0)),
        ("top_k", {"k": 2}, lambda x: np.argsort(-x, axis=-1)[:, :2]),
    ],
)
def test_post_processors(name, parameters, expected):
    outputs = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    found = lookup("post_processor", name).factory(**parameters)(jnp.asarray(outputs))
    np.testing.assert_allclose(found, expected(outputs), rtol=1e-6)


def test_outputs_that_are_no_numbers_are_processed_to_no_class():
    outputs = jnp.array([[jnp.nan, 1.0, 0.0], [0.0, 1.0, 0.6]])
    made = {name: lookup("post_processor", name).factory for name in ("argmax", "threshold", "top_k")}
    assert made["argmax"]()(outputs).tolist() == [-1, 1]
    assert made["threshold"]()(outputs).tolist() == [[-1, 1, 0], [0, 1, 1]]
    assert made["top_k"](k=2)(outputs).tolist() == [[-1, -1], [1, 2]]


def test_post_processors_in_a_circle_or_reading_nothing_are_named():
    argmax = lookup("post_processor", "argmax").factory
    with pytest.raises(ConfigError, match=r"config\.post_processors\.a: reads 'b', which waits for it in turn"):
        process({"a": argmax(output="b"), "b": argmax(output="a")}, jnp.zeros((2, 3)))
    with pytest.raises(ConfigError, match=r"config\.post_processors\.a: no output 'output'; did you mean 'outputs'"):
        process({"a": argmax(output="output")}, jnp.zeros((2, 3)))
    with pytest.raises(ConfigError, match="has an output 'outputs' already"):
        process({"outputs": argmax()}, jnp.zeros((2, 3)))


def test_draws_have_the_probabilities_of_their_weights():
    weights = np.array([0.0, 1.0, 2.0, 0.0, 5.0, 3.0], np.float32)
    mask = np.array([True, True, True, False, True, False])
    counts = np.zeros(6)
    for seed in range(500):
        found = draw(jax.random.key(seed), jnp.where(mask, weights, 0.0), jnp.asarray(mask))
        counts += np.bincount(found, minlength=6)
    assert counts[[0, 3, 5]].tolist() == [0, 0, 0]
    drawn = counts[[1, 2, 4]]
    assert scipy.stats.chisquare(drawn, drawn.sum() * np.array([1, 2, 5]) / 8).pvalue > 0.01


def test_an_average_of_the_parameters_equals_optax_by_hand(tmp_path):
    """Alone and in a vmapped group whose decay is swept."""
    averaging = component("ema", decay=grid(0.5, 0.9))
    adam = component("adam", learning_rate=1e-2)
    result = run(tmp_path, "vmap+scan", averaging=averaging, optimizer=adam)
    assert len(result.view.groups) == 1
    job = result._study.jobs[0]
    plain = run(tmp_path, "vmap+scan", optimizer=adam, checkpointing=component("all"), checkpoint_interval_seconds=0.0)
    steps = job.shape.num_steps
    for experiment, decay in zip(result.experiments, (0.5, 0.9), strict=True):
        state = experiment.restore()
        np.testing.assert_allclose(  # the averages change nothing in training
            state.params["Dense_0"]["kernel"], plain.experiments[0].restore().params["Dense_0"]["kernel"], atol=1e-6
        )
        average = optax.ema(decay)
        update = by_optax_rules(average.update)
        program, key = job.program, jax.random.key(0)
        by_hand = program.init(key, job.sample, {"averaging.decay": decay})
        ema, averaged = average.init(by_hand.params), None
        functions = mg.make_program(mg.build(config_of(optimizer=adam)))
        epoch = make_epoch(functions, job.shape)
        run_state = functions.init(key, job.sample)
        tables = jax.tree.map(jnp.asarray, dict(job.fold_tables))
        data = jax.tree.map(jnp.asarray, dict(job.table.arrays))
        train = jax.jit(epoch.train)
        for number in range(1, 5):
            order = epoch.order(run_state, data, tables, 0, number)
            for i in range(steps):
                run_state, _ = train(run_state, data, tables, 0, order, i)
                averaged, ema = update(run_state.params, ema)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), state.opt_state.params, averaged)
        inputs, _ = split_of(result, "val")
        outputs = functions.predict(run_state.replace(params=averaged), {"inputs": inputs})
        np.testing.assert_allclose(experiment.predict(inputs), outputs, atol=1e-5)


def test_stochastic_weight_averaging_is_the_mean_from_a_step_on():
    average = lookup("averaging", "mean").factory(first_step=2)
    values = [jnp.array([float(v)]) for v in (9, 7, 1, 2, 6)]
    state, found = average.init(values[0]), []
    for value in values:
        mean, state = average.update(value, state)
        found.append(float(mean[0]))
    assert found == pytest.approx([9, 7, 1, 1.5, 3], abs=1e-6)


def test_a_schedule_counts_in_epochs():
    config = config_of(loader=component("in_memory", batch_size=10))
    steps = 5  # 43 training examples
    inner = component("linear_schedule", init_value=1.0, end_value=0.0, transition_steps=4)
    config.optimizer = component("sgd", learning_rate=component("in_epochs", schedule=inner))
    entry = lookup("schedule", "in_epochs")
    schedule = entry.factory(steps_per_epoch=steps, schedule=optax.linear_schedule(1.0, 0.0, 4))
    assert [float(schedule(step)) for step in (0, 5, 10, 20, 25)] == pytest.approx([1, 0.75, 0.5, 0, 0], abs=1e-6)
    components = mg.build(config)
    assert components["steps_per_epoch"] == steps
    updates, _ = components["optimizer"].update({"w": jnp.ones(1)}, components["optimizer"].init({"w": jnp.ones(1)}))
    assert float(updates["w"][0]) == -1.0
