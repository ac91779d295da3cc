"""Study files for tests of whole runs, and ways to start the command lines on them."""

import contextlib
import importlib
import io
import json
import pathlib
import signal
import subprocess
import time

import jax
import numpy as np
from forks import popen

import mlgym_jax as mg
from mlgym_jax.command_line import guarded
from mlgym_jax.events import read_log

# Six experiments on 240 examples, with dropout, which early stopping ends at different epochs. A policy of its own
# stands still after the epoch HOLD_AFTER_EPOCH, once it has made the file HELD, until there is a file RELEASE.
STUDY = """
import os
import pathlib
import time

from flax import linen as nn
from ml_collections import ConfigDict

from mlgym_jax import component, grid, register
from mlgym_jax.checkpoint.policies import best


@register("model", "dropout_net")
class DropoutNet(nn.Module):
    features: tuple[int, ...] = (8,)

    @nn.compact
    def __call__(self, x, train=False):
        for width in self.features:
            x = nn.Dropout(0.2, deterministic=not train)(nn.relu(nn.Dense(width)(x)))
        return nn.Dense(3)(x)


@register("checkpointing", "best_or_hold")
def best_or_hold(*, monitor: str):
    keep = best(monitor=monitor, mode="max")

    def policy(history):
        if os.environ.get("HOLD_AFTER_EPOCH") == str(len(history)):
            pathlib.Path(os.environ["HELD"]).touch()
            while not os.path.exists(os.environ["RELEASE"]):
                time.sleep(0.005)
        return keep(history)

    return policy


def get_config():
    config = ConfigDict()
    config.name = "small"
    config.seed = grid(0, 1)
    config.num_epochs = 8
    config.checkpoint_interval_seconds = 0.0
    config.dataset = component("synthetic", num_examples=240, num_features=8, num_classes=3, noise=0.7)
    config.loader = component("in_memory", batch_size=32)
    config.model = component("dropout_net")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=grid(0.001, 0.01, 0.1))
    config.metrics = dict(accuracy=component("accuracy"))
    config.early_stopping = component("no_improvement", monitor="val/loss", mode="min", window_epochs=3)
    config.checkpointing = component("best_or_hold", monitor="val/accuracy")
    return config
"""

# A study that trains in a moment; `{top}` registers, `{edit}` changes.
SMALL = """
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid, register

{top}


def get_config():
    config = ConfigDict()
    config.num_epochs = 3
    config.dataset = component("synthetic", num_examples=200, num_features=8, num_classes=3, noise=0.3)
    config.loader = component("in_memory", batch_size=32)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.1)
    config.metrics = dict(accuracy=component("accuracy"))
    {edit}
    return config
"""


def write(folder, text, name="study.py"):
    path = pathlib.Path(folder) / name
    path.write_text(text, encoding="utf-8")
    return path


def small(folder, edit="", top="", name="study.py"):
    return write(folder, SMALL.replace("{edit}", edit).replace("{top}", top), name)


def start(module, *arguments, **settings):
    """Start a command line as a process of its own; `settings` are those of `forks.popen`."""
    ends = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return popen("engine", *arguments, module=f"mlgym_jax.{module}", **ends, **settings)


def finish(process, timeout=240):
    """Wait for a process; return (exit status, stdout, stderr)."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def here(module, *arguments):
    """Run a command line in this process; return (exit status, stdout, stderr)."""
    main = importlib.import_module(f"mlgym_jax.{module}")._main
    out, err, before = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = guarded(main, [str(argument) for argument in arguments])
            except SystemExit as stop:
                status = stop.code
    finally:
        signal.signal(signal.SIGTERM, before)
    return status, out.getvalue(), err.getvalue()


def wait_until(condition, process, what, timeout=120):
    """Poll a condition while a process lives."""
    limit = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, f"ended before {what}: {process.communicate()}"
        assert time.monotonic() < limit, f"waited {timeout} s for {what}"
        time.sleep(0.001)


def state(process):
    """Return the letter that the system has for what a process does; X where it is gone."""
    try:
        return pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def events(run_dir, kind=None):
    found, _ = read_log(pathlib.Path(run_dir) / "event_storage.log")
    return [event["payload"] for event in found if kind in (None, event["event_type"])]


def scores(run_dir):
    """Return {(experiment, epoch): its logged scores}, and see that none is there twice."""
    found = {}
    for payload in events(run_dir, "evaluation_result"):
        place = payload["experiment_id"], payload["epoch"]
        assert place not in found, f"{place} is in the log twice"
        found[place] = {k: json.dumps(payload[k]) for k in ("metric_scores", "loss_scores")}
    return found


def kill(process):
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def steps(run_dir):
    """Return the folders of the checkpoints that are whole, oldest first."""
    folder = run_dir / "checkpoints/group_0"
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def overwrite(folder):
    path = largest_file(folder)
    path.write_bytes(b"\x5a" * path.stat().st_size)


def truncate(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def outcome(run_dir):
    """Return all that must not depend on interruptions: scores, ends, and every state that can be restored."""
    result = mg.load_run(run_dir)
    every = [*result.experiments, *result.refit]
    ends = {e.experiment_id: (e.status, e.stop_reason, e.num_epochs, e.checkpoints) for e in every}
    states = {(e.experiment_id, epoch): e.restore(epoch) for e in every for epoch in e.checkpoints}
    return scores(run_dir), ends, states


def edit_log(run_dir, change):
    """Rewrite the log line by line: `change(number, line)` returns the new bytes."""
    path = pathlib.Path(run_dir) / "event_storage.log"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(number, line) for number, line in enumerate(lines)))


def assert_same_outcome(one, other):
    for mine, its in zip(one[:2], other[:2], strict=True):
        different = {key: (mine.get(key), its.get(key)) for key in {*mine, *its} if mine.get(key) != its.get(key)}
        assert not different, different
    assert_same_bits(one[2], other[2])


def assert_same_bits(one, other):
    """Compare two states, or other trees of arrays, to the bit."""
    one, other = (jax.tree.map(_plain, tree) for tree in (one, other))
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _plain(leaf):
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)
