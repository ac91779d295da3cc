"""How long a save holds training up, of a state that epochs overwrite, inside of an epoch and at its end; as JSON.

    python -m benchmarks.saves --layers=66 --width=16     # about 400 arrays
    python -m benchmarks.saves --layers=4 --width=2100    # 161 MB

Milliseconds of the clock, and of the processor time of the thread that trains, which other programs leave alone.
"""

import argparse
import json
import sys
import tempfile
import time

import jax

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.recording import group


def timed(name):
    """Note how long each call of a function of `recording.group` takes that has something to save."""
    real, found = getattr(group, name), {"clock": [], "thread": []}

    def call(*arguments, **keywords):
        began, worked = time.perf_counter(), time.thread_time()
        answer = real(*arguments, **keywords)
        if answer is not False:
            found["clock"].append(round(1e3 * (time.perf_counter() - began), 1))
            found["thread"].append(round(1e3 * (time.thread_time() - worked), 1))
        return answer

    setattr(group, name, call)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"layers": 4, "width": 2100, "examples": 3000, "batch_size": 60}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    config = {
        "num_epochs": 2,
        "dataset": component("synthetic", num_examples=options.examples, num_features=64, num_classes=10),
        "validation": component("holdout", val=0.1),
        "evaluation_splits": ("val",),
        "loader": component("in_memory", batch_size=options.batch_size),
        "model": component("mlp", features=(options.width,) * options.layers),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("adam", learning_rate=1e-3),
        "checkpoint_interval_seconds": 0.5,
    }
    middles, ends = timed("save_middle"), timed("save")
    with tempfile.TemporaryDirectory() as runs:
        result = mg.run(config, runs, plan="none+stretch", devices=1)
        leaves = jax.tree.leaves(result.experiments[0].restore())
    size = sum(leaf.nbytes for leaf in leaves)
    json.dump({"arrays": len(leaves), "bytes": size, "within an epoch": middles, "at its end": ends}, sys.stdout)


if __name__ == "__main__":
    main()
