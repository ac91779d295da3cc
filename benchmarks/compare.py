"""The engine against hand-written JAX and other libraries on the same sweeps, whole processes, interleaved.

    python -m benchmarks.compare [--workloads=digits15,digits64,images6,valid6] [--programs=mlgym_jax,handwritten,…]
        [--rounds=3] [--num_epochs=20] [--warm] [--floor=vmap,map,step]

Each round runs every program once, one after the other, so that all meet the same noise; printed are medians, and the
medians of each round's ratio to mlgym_jax. `handwritten` runs each plan that may be the fastest for a workload; the
floor is the best of them, by whole process and by epoch, each for itself; `--floor` names them, as on a GPU, which
processes can't share. All compile from scratch in every round, or,
with `--warm`, mlgym_jax and handwritten find what they compiled in the round before. What is not installed is skipped.
`val_only` is mlgym_jax with train scores of the training pass itself, without an evaluation of the split train, as in
Lightning and Keras.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from benchmarks.workloads import WORKLOADS, write_data

ROOT = pathlib.Path(__file__).parent.parent
PROGRAMS = {
    "mlgym_jax": ["benchmarks.engine_run"],
    "val_only": ["benchmarks.engine_run", "--evaluation_splits=val"],
    "handwritten": ["benchmarks.handwritten"],
    **{name: ["benchmarks.peers", name] for name in ("flax_loop", "torch", "lightning", "keras", "ray", "sklearn")},
}


def measure(program, cache, *words):
    """Run a program; return its timings, or None with a message where it cannot run here."""
    environment = {**os.environ, "MLGYM_JAX_CACHE_DIR": cache or "off", "PYTHONWARNINGS": "ignore"}
    name, _, plan = program.partition(" ")
    if cache and name == "handwritten":
        environment |= {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-m", *PROGRAMS[name], *([f"--plan={plan}"] if plan else []), *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"
    if name in ("mlgym_jax", "handwritten"):
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    print(f"{program}: {reason}", file=sys.stderr)
    return None


def compare(name, programs, num_rounds, num_epochs, warm, plans):
    workload = WORKLOADS[name]
    num_epochs = num_epochs or workload.num_epochs
    floor = [f"handwritten {plan}" for plan in plans or workload.floor]
    programs = [each for program in programs for each in (floor if program == "handwritten" else [program])]
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data.npz"
        write_data(workload, data)
        words = [f"--workload={name}", f"--data={data}", f"--num_epochs={num_epochs}"]
        for number in range(num_rounds + warm):
            cache = str(pathlib.Path(folder) / "cache") if warm else None
            found = {program: measure(program, cache, *words) for program in programs}
            found = {program: timings for program, timings in found.items() if timings}
            programs = list(found)
            if number >= warm:
                rounds.append(found)
    count, plan = len(workload.experiments), rounds[0]["mlgym_jax"]["plan"]
    start = "warm" if warm else "cold"
    print(f"\n{name}: {count} experiments, {num_epochs} epochs, {num_rounds} rounds, {start}; plan {plan}")
    print(f"{'':>26} {'wall':>9} {'ratio':>7} {'epoch':>10} {'ratio':>7} {'peak':>9} {'best':>6}")

    def median(program, key):
        values = [r[program][key] for r in rounds if r[program].get(key) is not None]
        return statistics.median(values) if values else None

    def ratio(program, key):
        values = [r[program][key] / r["mlgym_jax"][key] for r in rounds if r[program].get(key) is not None]
        return f"{statistics.median(values):6.2f}x" if values else "      -"

    for program in programs:
        epoch = median(program, "epoch")
        shown = "         -" if epoch is None else f"{1000 * epoch:7.1f} ms"
        memory, score = median(program, "peak_mib"), median(program, "best")
        print(f"{program:>26} {median(program, 'wall'):7.2f} s {ratio(program, 'wall')} ", end="")
        print(f"{shown} {ratio(program, 'epoch')} {memory:5.0f} MiB {score:6.3f}")
    if floor[0] in programs:
        best = {key: min(floor, key=lambda program, key=key: median(program, key)) for key in ("wall", "epoch")}
        more = statistics.median(r["mlgym_jax"]["wall"] - r[best["wall"]]["wall"] for r in rounds)
        print(f"against the best floor: wall {more:+.2f} s ({best['wall']}), ", end="")
        print(f"rate {ratio(best['epoch'], 'epoch').strip()} of it ({best['epoch']})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default="digits15,digits64,images6,valid6")
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num_epochs", type=int)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--floor", help="plans of benchmarks.handwritten; by default those that are fast on a CPU")
    options = parser.parse_args()
    programs = ["mlgym_jax", *(name for name in options.programs.split(",") if name != "mlgym_jax")]
    for name in options.workloads.split(","):
        compare(
            name, programs, options.rounds, options.num_epochs, options.warm, options.floor and options.floor.split(",")
        )
    print(
        "wall: the whole process; epoch: all from compiled to the end, events, checkpoints and model cards included, by"
    )
    print("the number of epochs; of peers the typical epoch. val_only, lightning and keras do not evaluate the split")
    print("train after the epoch. peak: resident memory of all its processes, of peers of the main one.")


if __name__ == "__main__":
    main()
