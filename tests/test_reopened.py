"""Runs are opened again where their code is not: reading executes nothing, and predicting what the run recorded."""

import importlib
import json
import logging
import os
import shutil
import subprocess
import sys

import forks
import numpy as np
import pytest
from conftest import ROOT
from study_files import write

from mlgym_jax.reading.trained import Trained
from mlgym_jax.run_folder.sources import kept

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


def python(words, cwd, more=()):
    """Run Python with the words of its command line; of a script, a new interpreter, which imports from `more`, too."""
    kind, *rest = words
    if kind == "-c":
        done = forks.run("engine", code=rest[0], cwd=cwd)
    elif kind == "-m":
        done = forks.run("engine", *rest[1:], module=rest[0], cwd=cwd)
    else:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *more]))}
        done = subprocess.run(
            [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240
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


def test_what_was_said_of_a_study_is_not_said_again_where_it_predicts(script, monkeypatch, caplog):
    say = logging.getLogger("mlgym_jax.data").warning
    monkeypatch.setattr("mlgym_jax.study.expand.check_values", lambda *_: say("config.dataset: a column is odd"))
    with caplog.at_level(logging.WARNING):
        run = Trained(str(script / "runs" / "r"), None)
        run.study, run._laid_out, run._known  # noqa: B018
        assert caplog.messages == []
        say("something else")
    assert caplog.messages == ["something else"]


def test_what_the_run_recorded_predicts_when_its_files_are_gone(script, tmp_path):
    shutil.copytree(script / "runs" / "r", tmp_path / "r")
    code = """
import numpy as np, mlgym_jax as mg
np.save("out.npy", mg.load_run("r").experiments[0].predict(np.eye(4, dtype=np.float32)))
"""
    python(["-c", code], tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.load(script / "out.npy"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npy", "r"]  # the script did not train again
    assert (tmp_path / "r/sources/helper.py").read_text() == HELPER


def test_what_the_run_recorded_counts_where_its_files_have_changed(script, tmp_path):
    shutil.copytree(script / "runs" / "r", tmp_path / "r")
    write(tmp_path, HELPER.replace("2.0", "3.0"), "helper.py")
    code = """
import helper, numpy as np, mlgym_jax as mg
np.save("out.npy", mg.load_run("r").experiments[0].predict(np.eye(4, dtype=np.float32)))
assert helper.scaled(1.0) == 3.0 and __import__("helper") is helper
"""
    python(["-c", code], tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.load(script / "out.npy"))


COPIED = """
import mlgym_jax as mg
from mlgym_jax import component

mg.run(mg.load_config("study.py").copy_and_resolve_references(), "runs", run_id="r")
"""
STUDY = """
from nets import make
from ml_collections import ConfigDict
from mlgym_jax import component


def get_config():
    config = ConfigDict()
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=40, num_features=4, num_classes=2)
    config.model = component("of_a_package", width=3)
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.1)
    return config
"""
PACKAGE = {
    "nets/__init__.py": "from .layers import make",
    "nets/sizes.py": "OUTPUTS = 2",
    "nets/layers.py": """
from flax import linen as nn
from mlgym_jax import register
from . import sizes


@register("model", "of_a_package")
def make(*, width: int):
    return nn.Sequential([nn.Dense(width), nn.relu, nn.Dense(sizes.OUTPUTS)])
""",
}


def test_a_copied_config_and_a_package_beside_it(tmp_path):
    (tmp_path / "nets").mkdir()
    for name, text in {**PACKAGE, "study.py": STUDY, "train.py": COPIED}.items():
        write(tmp_path, text, name)
    python(["train.py"], tmp_path)
    kept = {str(path.relative_to(tmp_path / "runs/r/sources")) for path in tmp_path.glob("runs/r/sources/**/*.py")}
    assert {"nets/__init__.py", "nets/sizes.py", "nets/layers.py"} <= kept
    shutil.rmtree(tmp_path / "nets")
    (tmp_path / "study.py").unlink()
    code = """
import numpy as np, mlgym_jax as mg
print(mg.load_run("runs/r").experiments[0].predict(np.zeros((7, 4), np.float32)).shape)
"""
    assert python(["-c", code], tmp_path).strip() == "(7, 2)"
    assert "repeated to the bit" in python(["-m", "mlgym_jax.reproduce", "runs/r"], tmp_path)
    again = ["--config=runs/r/0/experiment_config.json", "--run_id=again", "--event_storage=runs", "--quiet"]
    assert python(["-m", "mlgym_jax.run", *again], tmp_path).strip() == str(tmp_path / "runs/again")


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_packages_of_another_environment_are_installed_ones(folder, tmp_path):
    """A virtual environment may see those of the system, of the user or of a cluster; they are not the run's own."""
    packages = tmp_path / "cluster" / folder
    packages.mkdir(parents=True)
    write(packages, "WIDTH = 5", "installed_elsewhere.py")
    write(tmp_path, HELPER.replace("WIDTH = 5", "from installed_elsewhere import WIDTH"), "helper.py")
    write(tmp_path, SCRIPT, "script.py")
    python(["script.py"], tmp_path, more=[packages])
    assert {path.name for path in tmp_path.glob("runs/r/sources/**/*.py")} == {"helper.py", "main_1.py"}


CELLS = [
    "import numpy as np\nfrom flax import linen as nn\nimport mlgym_jax as mg\nWIDTH, _ = 3, 4",
    """@mg.register("model", "of_a_cell")
class OfACell(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.Dense(WIDTH)(x))""",
    """print('a cell that acts'); config = mg.load_config("study.py"); config.model = mg.component("of_a_cell")""",
    """config.num_epochs = 2""",
    """mg.run(config, "runs", run_id="r")""",
]
# What a kernel does: each cell is compiled under a name of its own, its lines kept where tracebacks look for them. One
# that registers is executed again, as after an edit.
KERNEL = """
import json, linecache, __main__
__main__.In = [""]
cells = json.load(open("cells.json"))
for number, cell in enumerate([*cells[:2], *cells[1:]]):
    name = f"<ipython-input-{number}>"
    linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
    __main__.In.append(cell)
    exec(compile(cell, name, "exec"), __main__.__dict__)
"""


def test_the_cells_of_a_notebook(tmp_path):
    write(tmp_path, json.dumps(CELLS), "cells.json")
    write(
        tmp_path,
        STUDY.replace("from nets import make\n", "").replace('"of_a_package", width=3', '"linear"'),
        "study.py",
    )
    python(["-c", KERNEL], tmp_path)
    code = """
import numpy as np, mlgym_jax as mg
print(mg.load_run("runs/r").experiments[0].predict(np.zeros((7, 4), np.float32)).shape)
"""
    assert python(["-c", code], tmp_path).strip() == "(7, 2)"


def test_a_module_behind_a_link_is_kept_under_the_name_that_it_is_imported_by(tmp_path, monkeypatch, own_registry):
    text = "from mlgym_jax import register\n\n\n@register('model', 'linked_net')\ndef linked_net():\n    return None\n"
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/its_own_name.py").write_text(text)
    (tmp_path / "folder").symlink_to("sources")
    (tmp_path / "folder/linked_name.py").symlink_to("its_own_name.py")
    monkeypatch.syspath_prepend(str(tmp_path / "folder"))
    importlib.import_module("linked_name")
    [entry] = kept({"model": {"component": "linked_net"}}, None)
    del sys.modules["linked_name"]
    file = os.path.realpath(tmp_path / "sources/its_own_name.py")
    assert entry == {"module": "linked_name", "path": file, "text": text}
