"""What an expert would write for a workload without an engine: the same training and evaluation, nothing recorded.

The experiments are sharded over the host's cores, one after the other on each; an epoch is one compiled program. Of
convolutions, which are many times slower inside a loop, each core takes one experiment's step at a time. Both splits
are evaluated each epoch (loss, accuracy, macro F1). Prints its timings as JSON.
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
CLASSES = 10

from benchmarks.workloads import WORKLOADS  # noqa: E402


class MLP(nn.Module):
    features: tuple

    @nn.compact
    def __call__(self, x):
        for width in self.features:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(CLASSES)(x)


class CNN(nn.Module):
    features: tuple

    @nn.compact
    def __call__(self, x):
        for width in self.features:
            x = nn.max_pool(nn.relu(nn.Conv(width, (3, 3))(x)), (2, 2), strides=(2, 2))
        return nn.Dense(CLASSES)(x.reshape(len(x), -1))


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
    parser.add_argument("--workload", choices=WORKLOADS, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--num_epochs", type=int, default=20)
    options = parser.parse_args()
    x, y, x_val, y_val = load(options.data)
    workload = WORKLOADS[options.workload]
    batch = workload.batch_size
    model = (CNN if workload.images else MLP)(workload.features)
    steps = -(-len(x) // batch)
    positions = jnp.arange(steps * batch)
    mask = (positions < len(x)).reshape(steps, batch)

    def init(seed, rate):
        params = model.init(jax.random.key(seed), x[:1])
        return params, optax.adam(rate).init(params)

    def order_of(seed, epoch, n):
        key = jax.random.fold_in(jax.random.key(seed), epoch)
        return jax.random.permutation(key, n)[positions % n].reshape(steps, batch)

    def step(state, rate, indices, valid, x, y):
        params, opt_state = state

        def loss(params):
            losses = optax.softmax_cross_entropy_with_integer_labels(model.apply(params, x[indices]), y[indices])
            return jnp.where(valid, losses, 0).sum() / valid.sum()

        updates, opt_state = optax.adam(rate).update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    def evaluate(state, x, y, x_val, y_val):
        outputs, outputs_val = model.apply(state[0], x), model.apply(state[0], x_val)
        return jnp.concatenate([scores(outputs, y), scores(outputs_val, y_val)])

    def epoch_of_one(state, rate, seed, x, y, x_val, y_val, epoch):
        order = order_of(seed, epoch, len(x))
        state, _ = jax.lax.scan(lambda s, b: (step(s, rate, *b, x, y), None), state, (order, mask))
        return state, evaluate(state, x, y, x_val, y_val)

    mesh = Mesh(jax.devices(), ("experiment",), axis_types=(AxisType.Auto,))
    rows, everywhere = PartitionSpec("experiment"), PartitionSpec()
    sharded = NamedSharding(mesh, rows)
    grid = workload.experiments
    missing = [grid[0]] * (-len(grid) % len(jax.devices()))
    rates = np.array([rate for rate, _ in [*grid, *missing]], np.float32)
    seeds = np.array([seed for _, seed in [*grid, *missing]], np.uint32)
    data = jax.device_put((x, y, x_val, y_val), NamedSharding(mesh, everywhere))

    def on_rows(function, num_mapped, num_shared, lift=jax.lax.map):
        """Compile a function of one experiment for all rows."""

        def of_rows(*arguments):
            mapped, shared = arguments[:num_mapped], arguments[num_mapped:]
            return lift(lambda row: function(*row, *shared), mapped)

        specs = (*[rows] * num_mapped, *[everywhere] * num_shared)
        return jax.jit(jax.shard_map(of_rows, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False))

    def alone(function, mapped):
        result = function(jax.tree.map(lambda leaf: leaf[0], mapped))
        return jax.tree.map(lambda leaf: leaf[None], result)

    if workload.images:
        devices = len(jax.devices())
        blocks = [slice(start, start + devices) for start in range(0, len(rates), devices)]
        rates, seeds = ([jax.device_put(values[block], sharded) for block in blocks] for values in (rates, seeds))
        first = on_rows(init, 2, 0, alone)
        states = [first(seed, rate) for seed, rate in zip(seeds, rates, strict=True)]
        order_fn = on_rows(lambda seed, epoch: order_of(seed, epoch, len(x)), 1, 1, alone)

        def step_i(state, rate, order, x, y, i):
            return step(state, rate, order[i], mask[i], x, y)

        orders = [order_fn(seed, np.int32(0)) for seed in seeds]
        step_fn = on_rows(step_i, 3, 3, alone).lower(states[0], rates[0], orders[0], *data[:2], np.int32(0)).compile()
        evaluate_fn = on_rows(evaluate, 1, 4, alone).lower(states[0], *data).compile()

        def run(states, number):
            found = []
            for block, state in enumerate(states):
                order = order_fn(seeds[block], np.int32(number))
                for i in range(steps):
                    state = step_fn(state, rates[block], order, *data[:2], np.int32(i))
                states[block] = state
                found.append(evaluate_fn(state, *data))
            return states, np.concatenate([np.asarray(part) for part in found])
    else:
        rates, seeds = (jax.device_put(values, sharded) for values in (rates, seeds))
        states = on_rows(init, 2, 0)(seeds, rates)
        epoch_fn = on_rows(epoch_of_one, 3, 5).lower(states, rates, seeds, *data, np.int32(0)).compile()

        def run(states, number):
            states, found = epoch_fn(states, rates, seeds, *data, np.int32(number))
            return states, np.asarray(found)

    compiled = time.perf_counter()
    history = []
    for number in range(1, options.num_epochs + 1):
        states, found = run(states, number)
        history.append(found[: len(grid)])
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
