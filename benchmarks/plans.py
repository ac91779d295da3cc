"""Whether `--plan=auto` takes the fastest plan: each of them on the same groups, epochs in turn.

    python -m benchmarks.plans [--widths=16,32,64,128,256,512] [--numbers=4,16,64,256] [--images=32,32-64,32-64-128]
        [--plans=vmap+scan,map+scan,none+scan,none+step] [--rounds=5] [--seconds=8]

MLPs 64-w-w-10 on the digits, and convolutional networks of six learning rates on 400 images 28x28, in batches of 50.
All plans of a group are compiled, then trained an epoch each in turn; the least time of each counts, which a busy
machine disturbs least. Printed are experiment-epochs a second of compiled epochs, evaluation of both splits included,
and what the choice of `auto` has of the best. A plan that took more than `--seconds` for the epoch that warms it up is
not measured further.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np

from benchmarks.studies import config_of
from benchmarks.workloads import WORKLOADS, Workload, write_data
from mlgym_jax.execution.mesh import use_devices
from mlgym_jax.execution.plan import request_of
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.planning import plan_of
from mlgym_jax.study.runners import make_runner


def groups_of(options):
    """Return name -> what to train of each group."""
    groups = {}
    for width in filter(None, options.widths.split(",")):
        for number in filter(None, options.numbers.split(",")):
            rates = min(int(number), 16)
            groups[f"{number} MLPs 64-{width}-{width}"] = Workload(rates, int(number) // rates, (int(width),) * 2, 0)
    for features in filter(None, options.images.split(",")):
        widths = tuple(map(int, features.split("-")))
        groups[f"6 CNNs {features}"] = Workload(6, 1, widths, 0, 50, 500)
    return groups


def epoch_seconds(job, plans, devices, rounds, most):
    """Return plan -> the least seconds of an epoch, of the plans whose first one took at most `most`."""
    runners, least, active = {}, {}, np.ones(len(job.group.experiments), bool)
    for name, plan in plans.items():
        runner = runners[name] = make_runner(job, plan, devices)
        runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
        if seconds_of(runner, active, 1) > most:
            del runners[name]
    for epoch in range(2, rounds + 2):
        for name, runner in runners.items():
            least[name] = min(least.get(name, np.inf), seconds_of(runner, active, epoch))
    return least


def seconds_of(runner, active, epoch):
    started = time.perf_counter()
    runner.read_scores(runner.epoch(active, epoch))
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="16,32,64,128,256,512")
    parser.add_argument("--numbers", default="4,16,64,256")
    parser.add_argument("--images", default="32,32-64,32-64-128")
    parser.add_argument("--plans", default="vmap+scan,map+scan,none+scan,none+step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    devices, worst = use_devices(None), 1.0
    names = options.plans.split(",")
    print(f"{'group':>22}", *(name.rjust(10) for name in names), "  auto is")
    for group, workload in groups_of(options).items():
        with tempfile.TemporaryDirectory() as folder:
            data = pathlib.Path(folder) / "data.npz"
            write_data(workload, data)
            WORKLOADS["measured"] = workload  # whose network the config names
            (job,) = prepare(config_of(workload, 1000, data)).jobs
        auto = str(plan_of(job, request_of("auto", None), devices, strict=False)).rpartition("x")[0]
        plans = {
            name: plan_of(job, request_of(name, None), devices, strict=False) for name in dict.fromkeys([auto, *names])
        }
        least = epoch_seconds(job, plans, devices, options.rounds, options.seconds)
        rates = {name: len(job.group.experiments) / seconds for name, seconds in least.items()}
        if not rates:
            print(f"{group:>22}", f"no plan's epoch took less than {options.seconds:g} s", flush=True)
            continue
        share = rates.get(auto, 0.0) / max(rates.values())
        worst = min(worst, share)
        cells = (f"{rates[name]:10.1f}" if name in rates else "-".rjust(10) for name in names)
        print(f"{group:>22}", *cells, f"  {auto}, {share:.2f} of the best", flush=True)
    print(f"the choice of auto has at least {worst:.2f} of the best plan's rate")


if __name__ == "__main__":
    main()
