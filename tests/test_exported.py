"""Exported folders predict what `predict` does, in a Python that has jax and numpy, and not this package."""

import datetime
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from study_files import here, small

import mlgym_jax as mg
from mlgym_jax.errors import MlgymError
from mlgym_jax.reading.exported import write_exported

# All that jax itself needs.
NEEDED = ("jax", "jaxlib", "numpy", "numpy.libs", "ml_dtypes", "opt_einsum", "scipy", "scipy.libs")
PREDICT_ALL = """
import importlib.util, json, sys
import numpy as np

for name in ("mlgym_jax", "flax", "safetensors"):
    assert importlib.util.find_spec(name) is None, name
for folder in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("predict", f"{folder}/predict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    given = np.load(f"{folder}/../inputs.npz")
    inputs = given["inputs"] if [*given] == ["inputs"] else given
    found = module.predict(inputs, batch_size=4)
    if "inputs.image" in given:  # by the names that the data have
        named = module.predict({name.removeprefix("inputs."): given[name] for name in given}, batch_size=4)
        assert all(np.array_equal(named[name], found[name]) for name in found)
    np.savez(f"{folder}/../found.npz", **(found if isinstance(found, dict) else {"": found}))
"""
TOP = """
import numpy as np


@register("model", "exported_net")
class ExportedNet(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.relu(nn.Dense(5)(x)))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.layer, self.norm = nnx.Linear(8, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.layer(x))


@register("model", "exported_nnx_net")
def exported_nnx_net():
    return Nnx


@register("model", "exported_two_inputs")
class ExportedTwoInputs(nn.Module):
    @nn.compact
    def __call__(self, image, words):
        words = nn.Embed(7, 4, param_dtype=jnp.bfloat16, dtype=jnp.float32)(words).mean(1)
        return {"logits": nn.Dense(3)(image.reshape(image.shape[0], -1)) + nn.Dense(3)(words), "features": words}


@register("dataset", "exported_two_inputs")
def exported_two_inputs():
    random = np.random.default_rng(0)
    inputs = {"image": random.normal(size=(90, 3, 2)), "words": random.integers(0, 7, (90, 5))}
    return mg.Dataset({"train": {"inputs": inputs, "targets": np.arange(90) % 3}}, 3)


@register("model", "exported_lengths")
class ExportedLengths(nn.Module):
    @nn.compact
    def __call__(self, x, lengths):
        seen = jnp.arange(8)[None] < lengths[:, None]
        return nn.Dense(3)(jnp.where(seen, x, 0.0))


@register("dataset", "exported_lengths")
def exported_lengths():
    random = np.random.default_rng(0)
    lengths = random.integers(1, 9, 90)
    fields = {"lengths": lengths, "unread": lengths, "targets": np.arange(90) % 3}
    return mg.Dataset({"train": {"inputs": random.normal(size=(90, 8)), **fields}}, 3)


@register("dataset", "exported_times")
def exported_times():
    random = np.random.default_rng(0)
    return mg.Dataset({"train": {"inputs": 1.7e9 + random.normal(size=(90, 8)), "targets": np.arange(90) % 3}}, 3)
"""
X = np.random.default_rng(1).normal(size=(10, 8))
CASES = {
    "encoded": (
        """
    config.model = component("exported_net")
    config.encoding = component("standardise")
    config.validation = component("cross_validation", folds=2)
    config.averaging = component("ema", decay=0.9)
    config.post_processors = dict(probability=component("softmax"), label=component("argmax", output="probability"))
    """,
        X,
    ),
    "nnx": ('config.model = component("exported_nnx_net"); config.optimizer.learning_rate = grid(0.1, 0.01)', X),
    "two_inputs": (
        """
    config.dataset = component("exported_two_inputs")
    config.model = component("exported_two_inputs")
    config.loss = component("softmax_cross_entropy", output="logits")
    config.metrics = dict()
    """,
        {"image": X[:, :6].reshape(10, 3, 2), "words": np.arange(50).reshape(10, 5) % 7},
    ),
    "lengths": (
        'config.dataset = component("exported_lengths"); config.model = component("exported_lengths")',
        {"inputs": X, "lengths": np.arange(10) % 8 + 1},
    ),
    "times": (
        'config.dataset = component("exported_times"); config.encoding = component("standardise")',
        1.7e9 + X,
    ),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Train and export every case; predict with all of them in one Python without this package."""
    storage, found = tmp_path_factory.mktemp("exported"), {}
    bare = storage / "packages"
    bare.mkdir()
    site = pathlib.Path(importlib.util.find_spec("jax").origin).parents[1]
    for name in NEEDED:
        if (site / name).exists():
            (bare / name).symlink_to(site / name)
    for name, (edit, inputs) in CASES.items():
        top = TOP if not found else ""
        result = mg.run(small(storage, f"config.num_epochs = 1; {edit}", top, f"{name}.py"), storage / "runs")
        experiment = result.experiments[-1]
        folder = storage / name
        folder.mkdir()
        experiment.export(folder / "model")
        flat = inputs if isinstance(inputs, dict) else {"inputs": inputs}
        flat = {f"inputs.{key}": part for key, part in flat.items()} if "image" in flat else flat
        np.savez(folder / "inputs.npz", **flat)
        found[name] = experiment, inputs, folder
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_NUMPY")}
    folders = [str(folder / "model") for *_, folder in found.values()]
    done = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", PREDICT_ALL, *folders],
        env=environment | {"PYTHONPATH": str(bare)},
        cwd=storage,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return found


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_predict(cases, name):
    experiment, inputs, folder = cases[name]
    wanted = experiment.predict(inputs)
    wanted = wanted if isinstance(wanted, dict) else {"": wanted}
    with np.load(folder / "found.npz") as found:
        assert {*found} == {*wanted}
        for key, array in wanted.items():
            assert found[key].shape == array.shape and found[key].dtype == array.dtype
            np.testing.assert_allclose(found[key], array, rtol=1e-6, atol=1e-6)


def test_a_model_that_reads_further_fields_is_given_them(cases):
    experiment, inputs, _ = cases["lengths"]
    (layer,) = experiment.restore().params.values()
    seen = np.where(np.arange(8) < inputs["lengths"][:, None], inputs["inputs"], 0.0)
    np.testing.assert_allclose(experiment.predict(inputs), seen @ layer["kernel"] + layer["bias"], rtol=1e-4, atol=1e-5)
    with pytest.raises(MlgymError, match=r"inputs: expected \{'inputs': '\[n, 8\]', 'lengths': '\[n\]'\}, found"):
        experiment.predict(inputs["inputs"])


def test_weights_are_what_the_model_predicts_with(cases):
    """Averaged parameters and batch statistics; neither the trained ones nor what the optimizer keeps."""
    experiment, _, folder = cases["encoded"]
    arrays = safetensors.numpy.load_file(folder / "model/weights.safetensors")
    state = experiment.restore().opt_state
    wanted = [*jax.tree.leaves(state.params), *jax.tree.leaves(state.model_state)]
    assert all(name.startswith(("opt_state/params/", "opt_state/model_state/")) for name in arrays)
    assert sorted(array.tobytes() for array in arrays.values()) == sorted(np.asarray(leaf).tobytes() for leaf in wanted)


def test_the_description_says_what_it_is_and_how_long_it_can_be_loaded(cases, tmp_path):
    experiment, _, folder = cases["encoded"]
    said = json.loads((folder / "model/model.json").read_text())
    assert said["inputs"] == {"inputs": {"shape": ["n", 8], "dtype": "float32", "rest": None}}
    assert said["members"][0]["experiment_id"] == experiment.experiment_id
    assert said["platforms"] == ["cpu", "cuda", "tpu"] and said["jax_version"] == jax.__version__
    assert said["encoding"]["component"] == "standardise"
    member = experiment._predictor()
    for today, end in (("2026-08-31", "2027-02-28"), ("2026-06-02", "2026-12-02")):
        write_exported(
            str(tmp_path / today),
            experiment._run.run_dir,
            experiment._run.view,
            [member],
            today=datetime.date.fromisoformat(today),
        )
        said = json.loads((tmp_path / today / "model.json").read_text())
        assert (said["exported"], said["expires"]["at_the_latest"]) == (today, end)


def test_the_command_line_writes_the_same_folder(cases, tmp_path):
    experiment, _, folder = cases["nnx"]
    run_dir, output = experiment._run.run_dir, tmp_path / "model"
    where = f"--experiment={experiment.experiment_id}", "--format=stablehlo", f"--output={output}"
    assert here("export", run_dir, *where)[0] == 0
    for name in ("weights.safetensors", "predict.py"):
        assert (output / name).read_bytes() == (folder / "model" / name).read_bytes()
    assert (output / f"model_card_{experiment.experiment_id}.md").is_file()
    status, _, err = here("export", run_dir, *where)
    assert status == 2 and "it is there already; name a new folder" in err
    status, _, err = here("export", run_dir, *where[:2], "--resource=model", f"--output={tmp_path / 'other'}")
    assert status == 2 and "--resource" in err
    status, _, err = here("export", run_dir, "--experiment=9", *where[1:2], f"--output={tmp_path / 'other'}")
    assert status == 2 and "experiments that have: 0, 1" in err


def test_inputs_that_do_not_fit_end_in_one_line(cases, tmp_path):
    folder = cases["nnx"][2] / "model"
    np.save(tmp_path / "wrong.npy", X[:, :3])
    for arguments, words in (
        ([tmp_path / "wrong.npy", tmp_path / "out.npy"], "expected ['n', 8]"),
        ([], "type: python"),
    ):
        done = subprocess.run([sys.executable, folder / "predict.py", *arguments], capture_output=True, text=True)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_a_model_that_looks_at_the_number_of_examples_is_refused(tmp_path):
    top = """
@register("model", "exported_odd")
class ExportedOdd(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x if x.shape[0] % 2 else x + 1)
"""
    study = small(tmp_path, 'config.num_epochs = 1; config.model = component("exported_odd")', top)
    experiment = mg.run(study, tmp_path / "runs").experiments[0]
    with pytest.raises(MlgymError, match=r"any number of examples: of \d the program makes other outputs"):
        experiment.export(tmp_path / "model")
    assert not (tmp_path / "model").exists() and not [*tmp_path.glob("*.tmp")]


def test_without_flatbuffers_it_is_said_what_to_install(cases, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MlgymError, match=r'pip install "mlgym-jax\[export\]"'):
        cases["nnx"][0].export(tmp_path / "model")


def test_a_model_that_counts_its_examples_is_told_what_to_write(tmp_path):
    top = """
@register("model", "exported_counting")
class ExportedCounting(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x.reshape(len(x), -1))
"""
    study = small(tmp_path, 'config.num_epochs = 1; config.model = component("exported_counting")', top)
    experiment = mg.run(study, tmp_path / "runs").experiments[0]
    with pytest.raises(MlgymError, match=r"for any number of examples: .*; write x\.shape\[0\] in place of len\(x\)"):
        experiment.export(tmp_path / "model")
