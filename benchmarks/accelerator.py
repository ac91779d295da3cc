"""What many small networks cost beside one, by each way to batch them, and whether `auto` takes the best: for a GPU.

    python -m benchmarks.accelerator [--workloads=mlp,cnn,wide_cnn,transformer] [--numbers=1,4,16,64,256,1024]
        [--rounds=5] [--seconds=4] [--tune=mlp:64,cnn:6] [--recorded=mlp:64:200,mlp:1024:50]

Each is one process with all of its devices: groups that differ in learning rate and seed, trained by the engine's
runners, compiled apart. An epoch's time is the median of so many; a way that would take more than `seconds` for an
epoch, judging by fewer experiments, is left out. Rates are experiment-epochs a second; `x one` is the rate beside that
of one experiment by itself. `--tune` tells what `--plan=tune` finds. `--recorded` runs whole studies of so many
experiments and epochs, with the three best epochs of each kept, and tells the rate from compiled to trained, by their
logs: what events and checkpoints leave of the rate above.
"""

import argparse
import os
import statistics
import tempfile
import time

import jax
import numpy as np
from ml_collections import ConfigDict

import mlgym_jax
from benchmarks.networks import CNN, MLP, Transformer
from mlgym_jax import component, grid, register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.events import read_events
from mlgym_jax.events.layout import LOG
from mlgym_jax.execution.memory import memory_needed
from mlgym_jax.execution.plan import request_of
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.planning import plan_of
from mlgym_jax.study.runners import make_runner
from mlgym_jax.study.tuning import tuned_plan

CLASSES = 10
# A network, the shape of an example, and how many of them there are; of tokens the targets are the next ones.
SMALL = {
    "mlp": (MLP((32, 32), CLASSES), (64,), 1440),
    "cnn": (CNN((32, 64), CLASSES), (28, 28, 1), 800),
    "wide_cnn": (CNN((128, 256), CLASSES), (32, 32, 3), 320),
    "transformer": (Transformer(256, 128, 2, 4), (64,), 256),
}
MOST = {"mlp": 1024, "cnn": 32, "wide_cnn": 8, "transformer": 32}
BATCH = 32


@register("dataset", "small_arrays")
def small_arrays(*, workload: str):
    model, shape, number = SMALL[workload]
    random, cut = np.random.default_rng(0), slice(number // 8)
    if workload == "transformer":
        text = random.integers(0, model.vocabulary, (number, shape[0] + 1)).astype(np.int32)
        inputs, targets, classes = text[:, :-1], text[:, 1:], model.vocabulary
    else:
        targets, classes = random.integers(0, CLASSES, number).astype(np.int32), CLASSES
        patterns = random.normal(size=(CLASSES, *shape))
        inputs = (patterns[targets] + random.normal(size=(number, *shape))).astype(np.float32)
    parts = {"train": (inputs, targets), "val": (inputs[cut], targets[cut])}
    return Dataset({split: {"inputs": x, "targets": y} for split, (x, y) in parts.items()}, classes)


@register("model", "small_network")
def small_network(*, workload: str):
    return SMALL[workload][0]


def config_of(workload, number, num_epochs):
    rates = min(number, 16)
    config = ConfigDict()
    config.num_epochs = num_epochs
    config.seed = grid(*range(number // rates))
    config.dataset = component("small_arrays", workload=workload)
    config.loader = component("in_memory", batch_size=BATCH)
    config.model = component("small_network", workload=workload)
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=grid(*np.geomspace(1e-4, 1e-2, rates).tolist()))
    config.metrics = {} if workload == "transformer" else dict(accuracy=component("accuracy"))
    config.checkpointing = component("best", monitor="val/loss", mode="min", num_keep=3)
    return config


def job_of(workload, number):
    (job,) = prepare(config_of(workload, number, 1000)).jobs
    return job


def recorded_rate(workload, number, num_epochs):
    """Run a study; return its experiment-epochs a second from compiled to trained, and from first to last result."""
    with tempfile.TemporaryDirectory() as storage:
        result = mlgym_jax.run(config_of(workload, number, num_epochs), storage, system_metrics=False, progress=False)
        events = [event for _, event in read_events(os.path.join(result.run_dir, LOG))]
    at = {event["event_type"]: event["creation_ts"] / 1000 for event in events}
    results = [event["creation_ts"] / 1000 for event in events if event["event_type"] == "evaluation_result"]
    steady = number * (num_epochs - 1) / (results[-1] - results[0])
    return number * num_epochs / (at["group_trained"] - at["group_compiled"]), steady


def measured(job, request, rounds):
    """Return the plan, the seconds until it was compiled, those of an epoch, and the bytes of the largest program."""
    devices, started = jax.local_devices(), time.perf_counter()
    plan = plan_of(job, request_of(request, None), devices, strict=False)
    runner = make_runner(job, plan, devices)
    runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    active, taken = np.ones(len(job.group.experiments), bool), []
    compiled = time.perf_counter() - started
    for epoch in range(1, rounds + 2):
        started = time.perf_counter()
        runner.read_scores(runner.epoch(active, epoch))
        taken.append(time.perf_counter() - started)
    return plan, compiled, statistics.median(taken[1:]), max(map(memory_needed, runner.programs.compiled.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default=",".join(SMALL))
    parser.add_argument("--numbers", default="1,4,16,64,256,1024")
    parser.add_argument("--requests", default="vmap+scan,map+scan,none+scan")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--tune", default="", help="such as mlp:64,cnn:6")
    parser.add_argument("--recorded", default="", help="such as mlp:64:200")
    options = parser.parse_args()
    print(f"{len(jax.local_devices())} x {jax.local_devices()[0].device_kind}, JAX {jax.__version__}")
    heads = {"workload": 12, "number": 6, "plan": 15, "epoch": 11, "rate": 9, "x one": 7, "compile": 8, "bytes": 11}
    print(*(head.rjust(width) for head, width in heads.items()))
    for workload in options.workloads.split(","):
        one, before = None, {}
        for number in map(int, options.numbers.split(",")):
            if number > MOST[workload]:
                continue
            job = job_of(workload, number)
            auto = plan_of(job, request_of("auto", None), jax.local_devices(), strict=False)
            for request in options.requests.split(","):
                fewer, seconds = before.get(request, (number, 0.0))
                if seconds * number / fewer > options.seconds:
                    continue
                plan, compiled, seconds, needed = measured(job, request, options.rounds)
                before[request] = number, seconds
                one = one or number / seconds
                mark = "auto" if plan.batching == auto.batching else ""
                print(f"{workload:>12} {number:>6} {request:>10} {mark:>4} {1e3 * seconds:8.2f} ms ", end="")
                print(f"{number / seconds:9.1f} {number / seconds / one:6.1f}x {compiled:6.1f} s ", end="")
                print(f"{needed / 2**20:7.1f} MiB", flush=True)
    for each in filter(None, options.recorded.split(",")):
        workload, number, num_epochs = each.split(":")
        whole, steady = recorded_rate(workload, int(number), int(num_epochs))
        print(
            f"recorded {each}: {whole:.1f} from compiled to trained, {steady:.1f} from first to last result", flush=True
        )
    for each in filter(None, options.tune.split(",")):
        workload, number = each.split(":")
        started = time.perf_counter()
        plan = tuned_plan(job_of(workload, int(number)), jax.local_devices())
        print(f"tune {each}: {plan}, {time.perf_counter() - started:.1f} s: {plan.reason}", flush=True)


if __name__ == "__main__":
    main()
