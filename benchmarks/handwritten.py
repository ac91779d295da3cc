"""What an expert would write for a workload without an engine: the same training and evaluation, nothing recorded.

    python -m benchmarks.handwritten --plan=map --workload=digits64 --data=…

Plans: `map` and `vmap` are one compiled program an epoch, experiments sharded over the host's cores, one after the
other on each or in one batch; `step` is a program a step, one experiment a core; `im2col` is `map` with convolutions as
products of matrices; `processes+map`, … start a process for each core, with its share of the experiments. Both splits
are evaluated each epoch (loss, accuracy, macro F1). Prints its timings as JSON: `run` is from compiled to the last
result.
"""

import time

START = time.time()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402

CORES = sorted(os.sched_getaffinity(0))
CLASSES = 10


def load(path):
    import jax.numpy as jnp
    import numpy as np

    with np.load(path) as data:
        return [jnp.asarray(data[name]) for name in ("x", "y", "x_val", "y_val")]


def train(options, experiments, num_devices):
    """Train experiments on some host devices; return when it was imported, compiled and over, and the scores."""
    import jax

    jax.config.update("jax_num_cpu_devices", num_devices)

    num_devices = min(num_devices, jax.local_device_count())  # an accelerator is one device, whatever the cores

    import jax.numpy as jnp
    import numpy as np
    import optax
    from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

    from benchmarks.networks import network
    from benchmarks.workloads import WORKLOADS

    imported = time.time()
    workload = WORKLOADS[options.workload]
    x, y, x_val, y_val = load(options.data)
    batch, plan = workload.batch_size, options.plan
    model = network(workload, CLASSES, im2col=plan == "im2col")
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

    def scores(logits, labels):
        predicted = logits.argmax(-1)
        hits = jnp.zeros(CLASSES).at[labels].add(predicted == labels)
        support, found = jnp.bincount(labels, length=CLASSES), jnp.bincount(predicted, length=CLASSES)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return jnp.stack([loss, (predicted == labels).mean(), (2 * hits / jnp.maximum(support + found, 1)).mean()])

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
    missing = [experiments[0]] * (-len(experiments) % num_devices)
    rates = np.array([rate for rate, _ in [*experiments, *missing]], np.float32)
    seeds = np.array([seed for _, seed in [*experiments, *missing]], np.uint32)
    data = jax.device_put((x, y, x_val, y_val), NamedSharding(mesh, everywhere))

    def alone(function, mapped):
        result = function(jax.tree.map(lambda leaf: leaf[0], mapped))
        return jax.tree.map(lambda leaf: leaf[None], result)

    lift = {"step": alone, "vmap": lambda function, mapped: jax.vmap(function)(mapped)}.get(plan, jax.lax.map)

    def on_rows(function, num_mapped, num_shared):
        """Compile a function of one experiment for all rows."""

        def of_rows(*arguments):
            mapped, shared = arguments[:num_mapped], arguments[num_mapped:]
            return lift(lambda row: function(*row, *shared), mapped)

        specs = (*[rows] * num_mapped, *[everywhere] * num_shared)
        return jax.jit(jax.shard_map(of_rows, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False))

    if plan == "step":
        blocks = [slice(start, start + num_devices) for start in range(0, len(rates), num_devices)]
        rates, seeds = ([jax.device_put(values[block], sharded) for block in blocks] for values in (rates, seeds))
        first = on_rows(init, 2, 0)
        states = [first(seed, rate) for seed, rate in zip(seeds, rates, strict=True)]
        order_fn = on_rows(lambda seed, epoch: order_of(seed, epoch, len(x)), 1, 1)

        def step_i(state, rate, order, x, y, i):
            return step(state, rate, order[i], mask[i], x, y)

        orders = [order_fn(seed, np.int32(0)) for seed in seeds]
        step_fn = on_rows(step_i, 3, 3).lower(states[0], rates[0], orders[0], *data[:2], np.int32(0)).compile()
        evaluate_fn = on_rows(evaluate, 1, 4).lower(states[0], *data).compile()

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

    compiled = time.time()
    best = 0.0
    for number in range(1, options.num_epochs + 1):
        states, found = run(states, number)
        best = max(best, float(found[: len(experiments), 4].max()))
    return {"imported": imported, "compiled": compiled, "over": time.time(), "best": best}


def in_processes(options):
    """Start this program once for each core; return the same, from the first that is compiled to the last that ends."""
    words = [sys.executable, "-m", "benchmarks.handwritten", f"--plan={options.plan}", f"--workload={options.workload}"]
    words += [f"--data={options.data}", f"--num_epochs={options.num_epochs}"]
    started = [
        subprocess.Popen(
            [*words, f"--share={i}/{len(CORES)}"], stdout=subprocess.PIPE, preexec_fn=lambda c=core: pin(c)
        )
        for i, core in enumerate(CORES)
    ]
    found = [json.loads(process.communicate()[0]) for process in started]
    ends = {"imported": min, "compiled": min, "over": max, "best": max, "peak_mib": sum}
    return {name: end(each[name] for each in found) for name, end in ends.items()}


def pin(core):
    os.sched_setaffinity(0, {core})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", default="map")
    parser.add_argument("--workload", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--num_epochs", type=int, default=20)
    parser.add_argument("--share", help="i/n: only each n-th experiment, from the i-th on, on one device")
    options = parser.parse_args()
    first, _, rest = options.plan.partition("+")
    if first == "processes":
        options.plan = rest
        found = in_processes(options)
    else:
        from benchmarks.workloads import WORKLOADS

        experiments, num_devices = WORKLOADS[options.workload].experiments, len(CORES)
        if options.share is not None:
            i, number = map(int, options.share.split("/"))
            experiments, num_devices = experiments[i::number], 1
        found = train(options, experiments, num_devices)
        found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if options.share is None:
        found = {
            "import": found["imported"] - START,
            "compile": found["compiled"] - found["imported"],
            "run": found["over"] - found["compiled"],
            "epoch": (found["over"] - found["compiled"]) / options.num_epochs,
            "wall": time.time() - START,
            **{name: found[name] for name in ("peak_mib", "best")},
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
