"""What is computed over a batch sees no padding: each fold trains as it would alone, its last batch in its own size."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from metric_cases import quick_jit
from plain_loop import train_by_hand
from sklearn.metrics import roc_auc_score

import mlgym_jax as mg
from mlgym_jax import component, grid, register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.execution.plan import Plan
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.runners import make_runner

pytestmark = pytest.mark.usefixtures("own_registry")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 5)).astype(np.float32) + 1
Y = (RNG.random(70) < 0.4).astype(np.int32)
ROWS = np.arange(70)
# Batches of 8: 8 8 8 2, 8 8 8 8 1, 8 8 and 5. Of what is validated, batches of 6: 6 6 1, 6 6, 5 and 6 6 6 2.
FOLDS = [(26, 13), (33, 12), (16, 5), (5, 20)]


def of_sizes(*sizes):
    return [{"train": ROWS[:n], "val": ROWS[n : n + m]} for n, m in sizes]


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.tanh(nn.Dense(4)(x)))
        return nn.Dense(1)(nn.Dropout(0.2, deterministic=not train)(x))[:, 0]


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.tanh(nn.Dense(4)(x)))[:, 0]


class Centred(nn.Module):
    """Statistics of the batch without any state, in evaluation, too."""

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(4)(x))
        return nn.Dense(1)(x - x.mean(0, keepdims=True))[:, 0]


def apart(outputs, batch):
    """A loss of each example's distance to the batch's others."""
    return (outputs - batch["targets"]) ** 2 + 0.1 * jnp.exp(-((outputs[:, None] - outputs[None]) ** 2)).mean(1)


def study(model, loss="apart", sizes=None, **sections):
    register("dataset", "seventy")(lambda: Dataset({"train": {"inputs": X, "targets": Y.astype(np.float32)}}))
    register("model", "own")(lambda: model)
    register("loss", "apart")(lambda: apart)
    register("validation", "own")(lambda: lambda dataset, seed: of_sizes(*(sizes or FOLDS)))
    return {
        "num_epochs": 2,
        "dataset": component("seventy"),
        "validation": component("own"),
        "loader": component("in_memory", batch_size=8, eval_batch_size=6, shuffle=False),
        "model": component("own"),
        "loss": component(loss),
        "optimizer": component("sgd", learning_rate=0.1),
    } | sections


def trained(job, plan):
    runner = make_runner(job, Plan(*plan, 2, "of a test"), jax.local_devices())
    runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    active = np.ones(len(job.seeds), bool)
    scores = [runner.read_scores(runner.epoch(active, epoch)) for epoch in (1, 2)]
    return np.stack(scores), jax.device_get(runner.snapshot().states())


def assert_close(found, expected, tolerance=3e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), found, expected)


def test_batch_statistics_of_folds_that_differ_by_one_example(tmp_path):
    """26 rows 0 … 25 in 5 folds: fold 0 trains on 16 and 4 of them, the others on 16 and 5."""

    class Statistics(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)[:, 0]

    config = study(Statistics(), "squared_error", num_epochs=1, validation=component("cross_validation", folds=5))
    np.savez(tmp_path / "rows.npz", inputs=np.arange(26.0)[:, None], targets=np.zeros(26))
    config["dataset"] = component("npz", path=str(tmp_path / "rows.npz"))
    config["loader"] = component("in_memory", batch_size=16, shuffle=False)
    result = mg.run(config, tmp_path)
    (job,) = result._study.jobs
    for item in result.experiments:
        rows = job.folds.indices["train"][item.fold][job.folds.mask["train"][item.fold]]
        mean, variance = 0.0, 1.0
        for part in (rows[:16], rows[16:]):
            mean, variance = mean / 2 + part.mean() / 2, variance / 2 + part.var() / 2
        found = item.restore().model_state["batch_stats"]["BatchNorm_0"]
        np.testing.assert_allclose([found["mean"][0], found["var"][0]], [mean, variance], rtol=2e-6)
        if item.fold == 0:
            assert (float(found["mean"][0]), float(found["var"][0])) == (14.25, 8.0)


def squared(outputs, batch):
    return (outputs - batch["targets"]) ** 2


def parts(rows, size):
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def batch_of(rows):
    return {"inputs": X[rows], "targets": Y[rows].astype(np.float32)}


@functools.cache
def gradients_of(model, loss):
    def objective(params, batch):
        return loss(model.apply({"params": params}, batch["inputs"]), batch).mean()

    return quick_jit(jax.value_and_grad(objective))


SGD = optax.sgd(0.1)


@quick_jit
def stepped(params, gradients, opt_state):
    updates, opt_state = SGD.update(gradients, opt_state)
    return optax.apply_updates(params, updates), opt_state


@functools.cache
def by_flax(model, loss, size, validated):
    """Train and validate one fold by Flax and Optax alone, in batches of their true sizes."""
    (fold,) = of_sizes((size, validated))
    params, opt_state, scores = initial(model), SGD.init(initial(model)), []
    for _ in range(2):
        trained = 0.0
        for rows in parts(fold["train"], 8):
            value, gradients = gradients_of(model, loss)(params, batch_of(rows))
            params, opt_state = stepped(params, gradients, opt_state)
            trained += len(rows) * float(value)
        found = [
            len(rows) * float(gradients_of(model, loss)(params, batch_of(rows))[0]) for rows in parts(fold["val"], 6)
        ]
        scores.append([trained / size, sum(found) / validated])
    return params, np.array(scores)


@functools.cache
def job_of(model, loss):
    """Return the job of a study that validates alone."""
    (job,) = prepare(study(model, loss, evaluation_splits=("val",))).jobs
    return job


@functools.cache
def initial(model):
    """Return the parameters that an experiment with the seed 0 begins with, whatever it learns."""
    job = job_of(model, "apart" if model is PLAIN else "squared_error")
    return jax.device_get(jax.jit(job.program.init)(jax.random.key(0), job.sample).params)


PLAIN, CENTRED = Plain(), Centred()


@pytest.mark.parametrize(
    ("model", "loss", "plan"),
    [
        (PLAIN, apart, ("map", "scan")),
        (PLAIN, apart, ("vmap", "scan")),
        (PLAIN, apart, ("none", "step")),
        (CENTRED, squared, ("map", "step")),
    ],
    ids=["loss-map", "loss-vmap", "loss-step", "model-step"],
)
def test_losses_and_models_over_a_batch_equal_flax_by_hand(model, loss, plan):
    job = job_of(model, "apart" if loss is apart else "squared_error")
    assert job.shape.train.tails == (0, 1, 2, 5) and job.shape.eval_batches["val"].tails == (0, 1, 2, 5)
    scores, states = trained(job, plan)
    for row, sizes in enumerate(FOLDS):
        params, losses = by_flax(model, loss, *sizes)
        assert_close(jax.tree.map(lambda leaf, row=row: leaf[row], states.params), params)
        assert_close(scores[:, row], losses)


def test_a_part_that_fills_no_batch_sees_no_padding_without_folds_either():
    (job,) = prepare(study(PLAIN, sizes=[(26, 13)], evaluation_splits=("val",))).jobs
    assert job.shape.train.tails == (2,) and job.shape.eval_batches["val"].tails == (1,)
    scores, _ = trained(job, ("map", "scan"))
    assert_close(scores[:, 0], by_flax(PLAIN, apart, 26, 13)[1])


def test_batch_statistics_and_noise_of_uneven_folds_equal_a_plain_loop():
    (job,) = prepare(study(Normalised(), "squared_error", loader=component("in_memory", batch_size=8))).jobs
    scores, states = trained(job, ("vmap", "scan"))
    for row in (0, 2):
        expected, state = train_by_hand(job, row, epochs=2)
        assert_close(scores[:, row], expected, 1e-5)
        found = jax.tree.map(lambda leaf, row=row: leaf[row], (states.model_state, states.step))
        assert_close(found, (state.model_state, state.step), 1e-5)


def test_nnx_batch_statistics_of_uneven_folds_equal_nnx_by_hand():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(5, 4, rngs=rngs), nnx.Linear(4, 1, rngs=rngs)
            self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)

        def __call__(self, x):
            return self.last(self.norm(nnx.tanh(self.first(x))))[:, 0]

    (job,) = prepare(study(lambda rngs: Net(rngs), "squared_error")).jobs
    _, states = trained(job, ("map", "scan"))
    first = jax.jit(job.program.init)(jax.random.key(0), job.sample)

    @nnx.jit
    def step(net, optimizer, x, y):
        optimizer.update(net, nnx.grad(lambda net: ((net(x) - y) ** 2).mean())(net))

    for row, fold in enumerate(of_sizes(*FOLDS)):
        net = Net(nnx.Rngs(0))
        nnx.update(net, flax.core.unfreeze(first.params))
        optimizer = nnx.Optimizer(net, SGD, wrt=nnx.Param)
        net.train()
        for _ in range(2):
            for start in range(0, len(fold["train"]), 8):
                rows = fold["train"][start : start + 8]
                step(net, optimizer, jnp.asarray(X[rows]), jnp.asarray(Y[rows], jnp.float32))
        found = jax.tree.map(lambda leaf, row=row: leaf[row], states.model_state)
        assert_close(found["norm"]["mean"], net.norm.mean[...])
        assert_close(found["norm"]["var"], net.norm.var[...])


@pytest.fixture(scope="module")
def measured(modules_registry):
    """Return the job of a study of two metrics, and its scores; with a rate of 0 all steps are of one model."""

    def near(outputs, batch):
        return (jnp.abs(batch["targets"] - batch["targets"].mean()) < 0.55).astype(jnp.float32)

    register("metric", "near")(lambda: mg.mean_of(near))
    metrics = {"near": component("near"), "auroc": component("auroc", num_classes=2)}
    fixed = {"optimizer": component("sgd", learning_rate=0.0), "evaluation_splits": ("val",)}
    (job,) = prepare(study(PLAIN, metrics=metrics, **fixed)).jobs
    return job, trained(job, ("map", "scan"))[0]


def test_a_mean_of_what_is_computed_over_a_batch_sees_no_padding(measured):
    """The share of examples that are nearer to the batch's mean than 1, which padding would move."""
    job, scores = measured
    assert job.shape.train.tails == job.shape.eval_batches["val"].tails == (0, 1, 2, 5)
    for row, fold in enumerate(of_sizes(*FOLDS)):
        for split, size in (("train", 8), ("val", 6)):
            every = [abs(Y[rows] - Y[rows].mean()) < 0.55 for rows in parts(fold[split], size)]
            found = scores[0, row, job.names.index(f"{split}/near")]
            assert found == pytest.approx(np.concatenate(every).mean(), rel=1e-6)


def test_metrics_that_keep_every_example_see_each_once(measured):
    """With a rate of 0 the training steps measure the model that evaluation measures."""
    job, scores = measured
    outputs = np.asarray(quick_jit(PLAIN.apply)({"params": initial(PLAIN)}, X))
    for row, fold in enumerate(of_sizes(*FOLDS)):
        found = dict(zip(job.names, scores[-1, row], strict=True))
        for split, rows in fold.items():
            assert found[f"{split}/auroc"] == pytest.approx(roc_auc_score(Y[rows], outputs[rows]), rel=1e-6)


def test_accumulation_over_uneven_folds_equals_optax_by_hand():
    """Two steps an update, also across epochs, and of batches of several sizes: the mean of their means."""
    optimizer = component("MultiSteps", every_k_schedule=2, opt=component("sgd", learning_rate=0.1))
    (job,) = prepare(study(PLAIN, optimizer=optimizer, evaluation_splits=("val",))).jobs
    _, states = trained(job, ("map", "scan"))
    for row, fold in enumerate(of_sizes(*FOLDS)):
        params, waiting = initial(PLAIN), None
        for rows in 2 * parts(fold["train"], 8):
            new = jax.device_get(gradients_of(PLAIN, apart)(params, batch_of(rows))[1])
            if waiting is None:
                waiting = new
            else:
                params = jax.tree.map(lambda p, a, b: p - np.float32(0.1) * (a + b) / 2, params, waiting, new)
                waiting = None
        assert_close(jax.tree.map(lambda leaf, row=row: leaf[row], states.params), params)


def test_a_fold_is_what_it_is_alone_whatever_split_seeds_are_swept():
    folds = component("cross_validation", folds=3, stratified=False)
    config = study(PLAIN, validation=folds)
    (job,) = prepare(config | {"split_seed": grid(0, 1)}).jobs
    (alone,) = prepare(config | {"split_seed": 1}).jobs
    _, together = trained(job, ("map", "scan"))
    _, apart_ = trained(alone, ("map", "scan"))
    rows = [row for row, e in enumerate(job.group.experiments) if e.assignment.config["split_seed"] == 1]
    assert_close(jax.tree.map(lambda leaf: leaf[np.array(rows)], together.params), apart_.params, 1e-6)
