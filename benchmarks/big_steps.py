"""One big experiment by config against the same written by hand: what epochs take, in turn, as JSON.

    python -m benchmarks.big_steps --workload=transformer [--mesh=experiment:1,data:8] [--rounds=7]

All are warm, in one process, on all of its devices. By hand the state is donated and the batch of each step laid out
over the devices; `scan` is a program an epoch, `step` a program a step. All shuffle and gather from arrays in memory,
return the mean loss of the training steps, and evaluate one more batch.
"""

import argparse
import dataclasses
import functools
import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from benchmarks.networks import ResNet, Transformer
from mlgym_jax import component, register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.execution.memory import memory_needed
from mlgym_jax.execution.plan import request_of
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.planning import plan_of
from mlgym_jax.study.runners import make_runner

RATE = 1e-3
WARM = 3  # epochs until all is warm, and a stretch as long as it will be


@dataclasses.dataclass(frozen=True)
class BigWorkload:
    """A network, and what it trains on for `num_steps` an epoch; an example counts as `units` tokens or images.

    Attributes:
        plans: by hand. XLA's CPU compiler has no fast kernel for convolutions inside of a `scan`.
        compute: the type that forward and backward passes compute in.
    """

    model: object
    batch_size: int
    num_steps: int
    unit: str
    units: int
    plans: tuple[str, ...]
    compute: str = "float32"

    @property
    def arrays(self):
        """What an epoch trains on, and one batch more: inputs and targets."""
        random, number = np.random.default_rng(0), self.batch_size * (self.num_steps + 1)
        if self.unit == "token":
            text = random.integers(0, self.model.vocabulary, (number, self.units + 1)).astype(np.int32)
            text[:, 1::2] = text[:, :-1:2]  # every second token repeats the one before
            return text[:, :-1], text[:, 1:]
        targets = random.integers(0, self.model.num_outputs, number).astype(np.int32)
        patterns = random.normal(size=(self.model.num_outputs, 32, 32, 3))
        return (patterns[targets] + random.normal(size=(number, 32, 32, 3))).astype(np.float32), targets


BIG = {
    "transformer": BigWorkload(Transformer(256, 128, 2, 4), 32, 8, "token", 64, ("scan", "step")),
    # 55 M parameters, for a GPU.
    "transformer55m": BigWorkload(
        Transformer(16384, 512, 12, 8), 64, 16, "token", 512, ("scan", "step"), compute="bfloat16"
    ),
    "resnet": BigWorkload(ResNet((16, 32, 64), 10), 32, 8, "image", 1, ("step",)),
}


@register("dataset", "big_arrays")
def big_arrays(*, workload: str):
    inputs, targets = BIG[workload].arrays
    cut = BIG[workload].batch_size * BIG[workload].num_steps
    splits = {"train": slice(cut), "val": slice(cut, None)}
    arrays = {name: {"inputs": inputs[part], "targets": targets[part]} for name, part in splits.items()}
    return Dataset(arrays, getattr(BIG[workload].model, "vocabulary", None) or BIG[workload].model.num_outputs)


@register("model", "big_network")
def big_network(*, workload: str):
    return BIG[workload].model


def config_of(name):
    config = ConfigDict()
    config.num_epochs = 100
    config.dataset = component("big_arrays", workload=name)
    config.loader = component("in_memory", batch_size=BIG[name].batch_size)
    config.model = component("big_network", workload=name)
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=RATE)
    config.evaluation_splits = ("val",)
    if BIG[name].compute != "float32":
        config.precision = component("mixed", compute=BIG[name].compute)
    return config


def by_config(name, plan, mesh):
    """Return a function of an epoch's number, what its program needs, and the plan; `mesh` may be None."""
    (job,) = prepare(config_of(name)).jobs
    devices = jax.local_devices()
    chosen = plan_of(job, request_of(plan, mesh), devices, strict=False)
    runner = make_runner(job, chosen, devices)
    runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    loss = job.names.index("train/loss")

    def epoch(number):
        return runner.read_scores(runner.epoch(np.ones(1, bool), number))[0, loss]

    return epoch, max(map(memory_needed, runner.programs.compiled.values())), str(chosen)


def by_hand(name, plan):
    """Return the same, of the best program that we could write."""
    workload = BIG[name]
    model, size, steps = workload.model, workload.batch_size, workload.num_steps
    mesh = Mesh(np.array(jax.local_devices()), ("data",), axis_types=(AxisType.Auto,))
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    x, y = jax.device_put(workload.arrays, everywhere)
    optimizer = optax.adam(RATE)
    flags = {"train": True} if name == "resnet" else {}
    variables = model.init(jax.random.key(0), x[:1], **flags)
    params, rest = variables["params"], {key: value for key, value in variables.items() if key != "params"}
    state = jax.device_put((params, rest, optimizer.init(params)), everywhere)

    def loss_of(params, rest, x, y, flags):
        params = jax.tree.map(lambda leaf: leaf.astype(workload.compute), params)
        outputs, left = model.apply({"params": params, **rest}, x, **flags, mutable=list(rest))
        return optax.softmax_cross_entropy_with_integer_labels(outputs.astype(np.float32), y).mean(), left

    def step(state, indices, x, y):
        params, rest, opt_state = state
        x, y = jax.lax.with_sharding_constraint((x[indices], y[indices]), split)
        (loss, rest), gradients = jax.value_and_grad(loss_of, has_aux=True)(params, rest, x, y, flags)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), rest, opt_state), loss

    def order_of(number):
        key = jax.random.fold_in(jax.random.key(0), number)
        return jax.random.permutation(key, steps * size).reshape(steps, size)

    def evaluate(state, x, y):
        x, y = jax.lax.with_sharding_constraint((x[-size:], y[-size:]), split)
        return loss_of(*state[:2], x, y, {flag: False for flag in flags})[0]

    def whole(state, number, x, y):
        state, losses = jax.lax.scan(lambda state, indices: step(state, indices, x, y), state, order_of(number))
        return state, losses.mean(), evaluate(state, x, y)

    donated = functools.partial(jax.jit, donate_argnums=0)
    if plan == "scan":
        shardings = (everywhere, everywhere, everywhere)
        program = donated(whole, out_shardings=shardings).lower(state, np.int32(0), x, y).compile()

        def epoch(number):
            nonlocal state
            state, loss, _ = program(state, np.int32(number), x, y)
            return float(loss)

        return epoch, memory_needed(program), plan
    order_fn = jax.jit(lambda number: tuple(order_of(number)), out_shardings=everywhere)
    evaluate_fn = jax.jit(evaluate, out_shardings=everywhere)
    order = order_fn(np.int32(0))
    program = donated(step, out_shardings=(everywhere, everywhere)).lower(state, order[0], x, y).compile()

    def epoch(number):
        nonlocal state
        losses = []
        for indices in order_fn(np.int32(number)):
            state, loss = program(state, indices, x, y)
            losses.append(loss)
        jax.block_until_ready(evaluate_fn(state, x, y))
        return float(jnp.stack(losses).mean())

    return epoch, memory_needed(program), plan


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=BIG, required=True)
    parser.add_argument("--mesh", help="also of one experiment on this mesh")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    name, workload = options.workload, BIG[options.workload]
    makers = {"auto": functools.partial(by_config, name, "auto", None)}
    if options.mesh:
        makers[f"--mesh={options.mesh}"] = functools.partial(by_config, name, "auto", options.mesh)
    makers |= {f"by hand, {plan}": functools.partial(by_hand, name, plan) for plan in workload.plans}
    found = {}
    for label, make in makers.items():
        started = time.perf_counter()
        epoch, needed, plan = make()
        found[label] = {"plan": plan, "bytes": needed, "compile": time.perf_counter() - started}
        found[label] |= {"seconds": [], "processor": []}
        makers[label] = epoch
    for number in range(1, options.rounds + WARM + 1):
        labels = [*makers] if number % 2 else [*makers][::-1]
        for label in labels:
            started, worked = time.perf_counter(), time.process_time()
            found[label]["loss"] = float(makers[label](number))
            if number > WARM:
                found[label]["seconds"].append(time.perf_counter() - started)
                found[label]["processor"].append(time.process_time() - worked)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
