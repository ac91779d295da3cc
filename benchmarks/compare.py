"""The engine against hand-written JAX and other libraries on the same sweeps, whole processes, interleaved.

    python -m benchmarks.compare [--workloads=digits15,digits64,images6] [--programs=mlgym_jax,handwritten,…]
        [--rounds=3] [--num_epochs=20]

Each round runs every program once, one after the other, so that all meet the same noise; printed are medians, and the
medians of each round's ratio to mlgym_jax. All compile from scratch in every round. What is not installed is skipped.
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


def measure(program, *words):
    """Run a program; return its timings, or None with a message where it cannot run here."""
    cold = {**os.environ, "MLGYM_JAX_CACHE_DIR": "off", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", *PROGRAMS[program], *words]
    done = subprocess.run(command, cwd=ROOT, env=cold, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"
    if program in ("mlgym_jax", "handwritten"):
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    print(f"{program}: {reason}", file=sys.stderr)
    return None


def compare(name, programs, num_rounds, num_epochs):
    workload = WORKLOADS[name]
    num_epochs = num_epochs or workload.num_epochs
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data.npz"
        write_data(workload, data)
        words = [f"--workload={name}", f"--data={data}", f"--num_epochs={num_epochs}"]
        for _ in range(num_rounds):
            found = {program: measure(program, *words) for program in programs}
            rounds.append({program: timings for program, timings in found.items() if timings})
            programs = list(rounds[-1])
    number = len(workload.experiments)
    plan = rounds[0]["mlgym_jax"]["plan"]
    print(f"\n{name}: {number} experiments, {num_epochs} epochs, {num_rounds} rounds; plan {plan}")
    print(f"{'':>12} {'wall':>9} {'ratio':>7} {'epoch':>10} {'ratio':>7} {'peak':>9} {'best':>6}")
    for program in programs:

        def median(key, program=program):
            values = [r[program][key] for r in rounds if r[program].get(key) is not None]
            return statistics.median(values) if values else None

        def ratio(key, program=program):
            values = [r[program][key] / r["mlgym_jax"][key] for r in rounds if r[program].get(key) is not None]
            return f"{statistics.median(values):6.2f}x" if values else "      -"

        epoch = median("epoch")
        shown = "         -" if epoch is None else f"{1000 * epoch:7.1f} ms"
        print(
            f"{program:>12} {median('wall'):7.2f} s {ratio('wall')} {shown} {ratio('epoch')} "
            f"{median('peak_mib'):5.0f} MiB {median('best'):6.3f}"
        )
    if "handwritten" in programs:
        parts = []
        for part in ("import", "compile", "run", "wall"):
            more = statistics.median(r["mlgym_jax"][part] - r["handwritten"][part] for r in rounds)
            parts.append(f"{part} {more:+.2f} s")
        print(f"{'':>12} mlgym_jax against handwritten: {', '.join(parts)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default="digits15,digits64,images6")
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num_epochs", type=int)
    options = parser.parse_args()
    programs = options.programs.split(",")
    for name in options.workloads.split(","):
        compare(name, ["mlgym_jax", *(p for p in programs if p != "mlgym_jax")], options.rounds, options.num_epochs)
    print("wall: the whole process, cold; epoch: steady state of all experiments, evaluation of both splits included,")
    print("but for val_only, lightning and keras: there, the split train is not evaluated after the epoch;")
    print("peak: resident memory of the main process.")


if __name__ == "__main__":
    main()
