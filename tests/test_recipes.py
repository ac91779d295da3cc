"""Plateau schedules, accumulation, bundles, frozen parameters and decay masks against plain Flax and Optax loops."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from flax import linen as nn
from ml_collections import ConfigDict
from plain_loop import first_states

from mlgym_jax import component, grid
from mlgym_jax.core.epoch import make_epoch
from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.plan import Plan
from mlgym_jax.optimizers.signatures import by_optax_rules
from mlgym_jax.study.expand import prepare

RATES = (0.01, 0.05)
EPOCHS = 4


def adam(rate):
    return component("adam", learning_rate=rate)


def labels(params):
    return {"Dense_0": {"kernel": "body", "bias": "bias"}, "Dense_1": {"kernel": "head", "bias": "bias"}}


# name -> (the optimizer of the config, the same by hand for one learning rate)
RECIPES = {
    "plateau": (
        component(
            "chain",
            transforms=(
                adam(grid(*RATES)),
                component("contrib.reduce_on_plateau", factor=0.5, patience=1, accumulation_size=3, rtol=0.2),
            ),
        ),
        lambda rate: optax.chain(
            optax.adam(rate), optax.contrib.reduce_on_plateau(factor=0.5, patience=1, accumulation_size=3, rtol=0.2)
        ),
    ),
    "accumulation": (
        component("MultiSteps", opt=adam(grid(*RATES)), every_k_schedule=3),
        lambda rate: optax.MultiSteps(optax.adam(rate), 3).gradient_transformation(),
    ),
    "bundle": (
        component(
            "partition",
            transforms=dict(
                body=component("sgd", learning_rate=grid(*RATES), momentum=0.9),
                head=adam(0.02),
                bias=component("set_to_zero"),
            ),
            param_labels=(("bias$", "bias"), ("^Dense_1/", "head"), ("", "body")),
        ),
        lambda rate: optax.partition(
            {"body": optax.sgd(rate, momentum=0.9), "head": optax.adam(0.02), "bias": optax.set_to_zero()}, labels
        ),
    ),
    "decay": (
        component("adamw", learning_rate=grid(*RATES), weight_decay=0.5, mask="kernel$"),
        lambda rate: optax.adamw(
            rate, weight_decay=0.5, mask={f"Dense_{i}": {"kernel": True, "bias": False} for i in (0, 1)}
        ),
    ),
    "frozen": (
        component("selective_transform", optimizer=adam(grid(*RATES)), freeze_mask="^Dense_0/"),
        lambda rate: optax.partition(
            {"train": optax.adam(rate), "freeze": optax.set_to_zero()},
            {
                "Dense_0": {"kernel": "freeze", "bias": "freeze"},
                "Dense_1": {"kernel": "train", "bias": "train"},
            },
        ),
    ),
}


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(8)(x))
        return nn.Dense(3)(x)


def job_of(optimizer):
    config = ConfigDict()
    config.num_epochs = EPOCHS
    config.dataset = component("synthetic", num_examples=60, num_features=5, num_classes=3)
    config.validation = component("holdout", val=0.3)
    config.loader = component("in_memory", batch_size=7)
    config.model = component("mlp", features=(8,))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = optimizer
    (job,) = prepare(config).jobs
    return job


def by_engine(job, plan, rows):
    runner = GroupRunner(
        job.program,
        make_epoch(job.program, job.shape),
        job.shape,
        Plan(*plan.split("+"), 1, "told by the test"),
        devices=jax.local_devices()[:1],
        data=dict(job.table.arrays),
        folds=job.fold_tables,
        fold_of_row=job.fold_of_row[rows],
        names=job.names,
    )
    runner.start(first_states(job, rows))
    for epoch in range(1, EPOCHS + 1):
        runner.read_scores(runner.epoch(np.ones(len(rows), bool), epoch))
    return runner.snapshot().states().params


def by_hand(job, transformation):
    """Return the parameters that training ends with, a list of one for each learning rate."""

    def optimizer(rate):
        return optax.with_extra_args_support(transformation(rate))

    functions = make_epoch(job.program, job.shape)
    first = job.program.init(jax.random.key(0), job.sample, {path: v[0] for path, v in job.hyperparams.items()})
    inputs, targets = job.table.arrays["inputs"], job.table.arrays["targets"]

    @jax.jit
    def step(params, opt_state, x, y, rate):
        def objective(params):
            logits = Plain().apply({"params": params}, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        value, gradients = jax.value_and_grad(objective)(params)
        updates, opt_state = by_optax_rules(optimizer(rate).update)(gradients, opt_state, params, value=value)
        return optax.apply_updates(params, updates), opt_state

    tables = jax.tree.map(jnp.asarray, job.fold_tables)
    batches = [functions.order(first, {}, tables, 0, epoch)["indices"] for epoch in range(1, EPOCHS + 1)]
    found = []
    for rate in RATES:
        params, opt_state = first.params, by_optax_rules(optimizer(rate).init)(first.params)
        for rows in np.concatenate(batches):
            params, opt_state = step(params, opt_state, inputs[rows], targets[rows], np.float32(rate))
        found.append(params)
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_equals_optax_by_hand_alone_and_in_a_vmapped_group(name):
    optimizer, transformation = RECIPES[name]
    job = job_of(optimizer)
    assert len(job.group.ids) == len(RATES)
    group, alone = by_engine(job, "vmap+scan", np.arange(2)), by_engine(job, "none+step", np.array([1]))
    assert job.shape.train.tails == ()  # so that `by_hand` has full batches
    for row, expected in enumerate(by_hand(job, transformation)):
        jax.tree.map(
            lambda found, wanted, row=row: np.testing.assert_allclose(found[row], wanted, rtol=0, atol=1e-6),
            group,
            expected,
        )
    jax.tree.map(lambda found, wanted: np.testing.assert_allclose(found[0], wanted, rtol=0, atol=1e-6), alone, expected)
