"""Runs are opened again where their code is not: reading executes nothing, and predicting what the run recorded."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from study_files import write

# A script with a helper beside it, a data set and a model of its own, which trains when it is executed.
HELPER = """
WIDTH = 5


def scaled(x):
    return x * 2.0
"""
SCRIPT = """
import sys

import helper
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component


@mg.register("dataset", "mine")
def mine():
    inputs = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    return mg.Dataset({"train": {"inputs": inputs, "targets": (inputs[:, 0] > 0).astype(np.int32)}}, 2)


@mg.register("model", "my_net")
class MyNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.relu(nn.Dense(helper.WIDTH)(helper.scaled(x))))


config = ConfigDict()
config.num_epochs = 2
config.dataset = component("mine")
config.loader = component("in_memory", batch_size=8)
config.model = component("my_net")
config.loss = component("softmax_cross_entropy")
config.optimizer = component("adam", learning_rate=0.01)
result = mg.run(config, "runs", run_id="r")
best = result.experiments[0]
np.save("out.npy", best.predict(np.eye(4, dtype=np.float32)))
np.savez("params.npz", **{f"{a}.{b}": v for a, part in best.restore().params.items() for b, v in part.items()})
"""


def python(code, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *code], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The folder in which the script has run, whose files are gone."""
    folder = tmp_path_factory.mktemp("script")
    write(folder, HELPER, "helper.py")
    write(folder, SCRIPT, "train.py")
    python(["train.py"], folder)
    for name in ("helper.py", "train.py"):
        (folder / name).unlink()
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    return folder


def test_reading_needs_no_code_of_the_run(script, tmp_path):
    shutil.copytree(script / "runs" / "r", tmp_path / "r")
    for name in ("config.py", "sources"):
        target = tmp_path / "r" / name
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    code = """
import json, numpy as np, mlgym_jax as mg
found = mg.load_run("r").experiments[0]
state = found.restore()
np.savez("params.npz", **{f"{a}.{b}": v for a, part in state.params.items() for b, v in part.items()})
moments = state.opt_state["0"]["mu"] if isinstance(state.opt_state, dict) else state.opt_state[0]["mu"]
print(json.dumps([found.checkpoints, int(state.step), sorted(moments), sorted(found.history)]))
found.save_safetensors("model.safetensors")
"""
    epochs, step, moments, scores = json.loads(python(["-c", code], tmp_path))
    assert (epochs, step, moments) == ([2], 8, ["Dense_0", "Dense_1"])
    assert "val/loss" in scores
    then, now = np.load(script / "params.npz"), np.load(tmp_path / "params.npz")
    assert sorted(then) == sorted(now)
    for name in then:
        np.testing.assert_array_equal(then[name], now[name])
