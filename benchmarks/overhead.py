"""What recording costs: a whole run of configs/gs.py against a hand-written JAX program doing the same work.

    python -m benchmarks.overhead [--rounds=5] [--num_epochs=100]

Each round runs both as whole processes, one after the other, so that both meet the same noise; printed are medians and
the median of the rounds' ratios. The data set is built before, and both read arrays that are on the disk already.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).parent.parent
ROWS = [("import", "s"), ("compile", "s"), ("epoch", "ms"), ("run", "s"), ("wall", "s"), ("peak_mib", "MiB")]


def measure(*words):
    cold = {**os.environ, "MLGYM_JAX_CACHE_DIR": "off"}  # both compile in every round
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, env=cold, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def write_data(path):
    """Write the arrays that the engine's hold-out of configs/gs.py gives, for the hand-written program."""
    from mlgym_jax.config_file import load_config
    from mlgym_jax.study import prepare

    job = prepare(load_config(ROOT / "configs/gs.py")).jobs[0]
    part = {
        split: {f: a[job.folds.indices[split][0]] for f, a in job.table.arrays.items()} for split in ("train", "val")
    }
    train, val = part["train"], part["val"]
    np.savez(path, x=train["inputs"], y=train["targets"], x_val=val["inputs"], y_val=val["targets"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num_epochs", type=int, default=100)
    options = parser.parse_args()
    epochs = f"--num_epochs={options.num_epochs}"
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "digits.npz"
        write_data(data)
        rounds = []
        for number in range(options.rounds + 1):
            hand = measure("benchmarks.handwritten", f"--data={data}", epochs)
            engine = measure("benchmarks.engine_run", epochs)
            if number:  # the first round warms the file cache
                rounds.append((hand, engine))
    print(f"configs/gs.py: 12 experiments, {options.num_epochs} epochs, {options.rounds} rounds; medians")
    print(f"{'':>10} {'hand-written':>14} {'mlgym_jax':>14} {'ratio':>8} {'difference':>12}")
    for name, unit in ROWS:
        factor = 1000 if unit == "ms" else 1
        one, other = (factor * statistics.median(pair[i][name] for pair in rounds) for i in (0, 1))
        ratio = statistics.median(engine[name] / hand[name] for hand, engine in rounds)
        print(f"{name:>10} {one:>10.2f} {unit:<3} {other:>10.2f} {unit:<3} {ratio:>7.2f}x {other - one:>+9.2f} {unit}")
    print(
        "import: until every package is loaded; compile: data, tracing, compiling, initialising; epoch: steady state,"
    )
    print(
        "all experiments, events and evaluation included; run: all epochs and the last checkpoint; wall: the process."
    )


if __name__ == "__main__":
    main()
