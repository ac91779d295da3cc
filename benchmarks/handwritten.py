"""What an expert would write for configs/gs.py without an engine: the same training and evaluation, nothing recorded.

12 experiments (4 learning rates x 3 seeds) sharded over the host's cores, one after the other on each; an epoch is one
compiled program; both splits are evaluated exactly each epoch (loss, accuracy, macro F1). Prints its timings as JSON.
"""

import time

START = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402

import jax  # noqa: E402

jax.config.update("jax_num_cpu_devices", int(os.environ.get("BENCH_DEVICES", len(os.sched_getaffinity(0)))))

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from flax import linen as nn  # noqa: E402
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec  # noqa: E402

IMPORTED = time.perf_counter()
BATCH, CLASSES = 50, 10


class MLP(nn.Module):
    features: tuple

    @nn.compact
    def __call__(self, x):
        for width in self.features:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(CLASSES)(x)


def load(path):
    with np.load(path) as data:
        return [jnp.asarray(data[name]) for name in ("x", "y", "x_val", "y_val")]


def scores(logits, labels):
    predicted = logits.argmax(-1)
    hits = jnp.zeros(CLASSES).at[labels].add(predicted == labels)
    support, found = jnp.bincount(labels, length=CLASSES), jnp.bincount(predicted, length=CLASSES)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return jnp.stack([loss, (predicted == labels).mean(), (2 * hits / jnp.maximum(support + found, 1)).mean()])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--num_epochs", type=int, default=20)
    options = parser.parse_args()
    x, y, x_val, y_val = load(options.data)
    model = MLP((128, 128))
    steps = -(-len(x) // BATCH)
    positions = jnp.arange(steps * BATCH)
    mask = (positions < len(x)).reshape(steps, BATCH)

    def init(seed, rate):
        params = model.init(jax.random.key(seed), x[:1])
        return params, optax.adam(rate).init(params)

    def epoch_of_one(state, rate, seed, x, y, x_val, y_val, epoch):
        key = jax.random.fold_in(jax.random.key(seed), epoch)
        order = jax.random.permutation(key, len(x))[positions % len(x)].reshape(steps, BATCH)

        def step(state, batch):
            (params, opt_state), (indices, valid) = state, batch

            def loss(params):
                losses = optax.softmax_cross_entropy_with_integer_labels(model.apply(params, x[indices]), y[indices])
                return jnp.where(valid, losses, 0).sum() / valid.sum()

            updates, opt_state = optax.adam(rate).update(jax.grad(loss)(params), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        state, _ = jax.lax.scan(step, state, (order, mask))
        outputs, outputs_val = model.apply(state[0], x), model.apply(state[0], x_val)
        return state, jnp.concatenate([scores(outputs, y), scores(outputs_val, y_val)])

    def epoch(states, rates, seeds, x, y, x_val, y_val, epoch):
        return jax.lax.map(lambda row: epoch_of_one(*row, x, y, x_val, y_val, epoch), (states, rates, seeds))

    mesh = Mesh(jax.devices(), ("experiment",), axis_types=(AxisType.Auto,))
    rows, everywhere = PartitionSpec("experiment"), PartitionSpec()
    grid = [(rate, seed) for rate in (1e-4, 1e-3, 1e-2, 1e-1) for seed in (0, 1, 2)]
    sharded = NamedSharding(mesh, rows)
    rates = jax.device_put(np.array([rate for rate, _ in grid], np.float32), sharded)
    seeds = jax.device_put(np.array([seed for _, seed in grid], np.uint32), sharded)
    data = jax.device_put((x, y, x_val, y_val), NamedSharding(mesh, everywhere))
    states = jax.jit(lambda s, r: jax.lax.map(lambda row: init(*row), (s, r)), out_shardings=sharded)(seeds, rates)
    run = jax.shard_map(
        epoch, mesh=mesh, in_specs=(rows, rows, rows, *[everywhere] * 5), out_specs=rows, check_vma=False
    )
    run = jax.jit(run).lower(states, rates, seeds, *data, np.int32(0)).compile()
    compiled = time.perf_counter()
    history = []
    for number in range(1, options.num_epochs + 1):
        states, found = run(states, rates, seeds, *data, np.int32(number))
        history.append(np.asarray(found))
        if number == 1:
            first = time.perf_counter()
    last = time.perf_counter()
    timings = {
        "import": IMPORTED - START,
        "compile": compiled - IMPORTED,
        "epoch": (last - first) / (options.num_epochs - 1),
        "run": last - compiled,
        "wall": last - START,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "best": float(np.max([found[:, 4] for found in history])),
    }
    json.dump(timings, sys.stdout)


if __name__ == "__main__":
    main()
