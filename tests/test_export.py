"""Checkpoints leave a run as safetensors files, without the run's config or code."""

import json
import pathlib
import shutil
import subprocess

import jax
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from study_files import finish, here, small, start

import mlgym_jax as mg
from mlgym_jax.checkpoint.rows import RESOURCES
from mlgym_jax.checkpoint.safetensors_files import read_safetensors
from mlgym_jax.core.state import raw_key
from mlgym_jax.core.trees import path_name

# Batch statistics, an optimizer of several parts with state in each, two groups, epochs kept beside the newest.
RICH = """
    config.name = "rich"
    config.num_epochs = 4
    config.checkpoint_interval_seconds = 0.0
    config.model = component("norm_net", width=grid(3, 5))
    config.optimizer = component("chain", transforms=(
        component("clip_by_global_norm", max_norm=1.0), component("adamw", learning_rate=grid(0.1, 0.01))))
    config.checkpointing = component("every_k", k=2)
"""
RICH_TOP = """
@register("model", "norm_net")
class NormNet(nn.Module):
    width: int = 3

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.relu(nn.Dense(self.width)(x)))
        return nn.Dense(3)(x)
"""
BFLOAT16 = 'config.model = component("half_net"); config.optimizer = component("adam", learning_rate=0.01)'
BFLOAT16_TOP = """
@register("model", "half_net")
class HalfNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (), jnp.bfloat16)
        x = nn.Dense(3, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)(x.astype(jnp.bfloat16)) * scale
        return x.astype(jnp.float32)
"""
NNX = 'config.model = component("exported_nnx")'
NNX_TOP = """
class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(8, 4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)])
        self.norm = nnx.BatchNorm(4, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](nnx.relu(self.norm(self.layers[0](x))))


@register("model", "exported_nnx")
def exported_nnx():
    return NnxNet
"""
STUDIES = {"rich": (RICH, RICH_TOP), "bfloat16": (BFLOAT16, BFLOAT16_TOP), "nnx": (NNX, NNX_TOP)}


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """Return a function that trains a study once and returns its result."""
    storage, trained = tmp_path_factory.mktemp("export"), {}

    def run(name):
        if name not in trained:
            study = small(storage, *STUDIES[name], name=f"{name}.py")
            trained[name] = mg.run(mg.load_config(str(study)), storage / "runs", run_id=name)
        return trained[name]

    return run


def exported(run_dir, output, *arguments):
    status, out, err = here("export", run_dir, f"--output={output}", *arguments)
    assert (status, out, err) == (0, "", "")
    return safetensors.numpy.load_file(output)


def named(tree):
    return {path_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def assert_same_arrays(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("name", STUDIES)
def test_the_four_resources_together_are_the_whole_state_of_every_kept_epoch(run_of, name, tmp_path):
    result = run_of(name)
    listing = []
    for experiment in result.experiments:
        for epoch in experiment.checkpoints:
            listing.append({"experiment_id": experiment.experiment_id, "epoch": epoch, "checkpoints": [*RESOURCES]})
            found = {}
            for resource in RESOURCES:
                where = f"--experiment={experiment.experiment_id}", f"--epoch={epoch}", f"--resource={resource}"
                arrays = exported(result.run_dir, tmp_path / resource, *where)
                assert not set(arrays) & set(found)
                found.update(arrays)
            assert_same_arrays(found, named(raw_key(experiment.restore(epoch))))
    status, out, _ = here("export", result.run_dir, "--list")
    assert status == 0 and json.loads(out) == listing
    if name == "rich":
        assert {entry["epoch"] for entry in listing} == {2, 4}


@pytest.mark.parametrize("name", STUDIES)
def test_a_model_is_what_save_safetensors_writes_and_warm_starts_read(run_of, name, tmp_path):
    best = run_of(name).best("val/accuracy")
    best.save_safetensors(tmp_path / "saved", epoch=best.checkpoints[-1])
    model = exported(best._run.run_dir, tmp_path / "exported", f"--experiment={best.experiment_id}")
    assert_same_arrays(model, safetensors.numpy.load_file(tmp_path / "saved"))
    assert_same_arrays(read_safetensors(str(tmp_path / "exported"))["params"], named(best.restore().params))
    with safetensors.safe_open(tmp_path / "exported", "np") as file:
        assert file.metadata() == {
            "run_id": name,
            "experiment_id": str(best.experiment_id),
            "epoch": str(best.checkpoints[-1]),
            "resource": "model",
        }


@pytest.fixture
def copied(run_of, tmp_path):
    return pathlib.Path(shutil.copytree(run_of("rich").run_dir, tmp_path / "copied"))


def test_nothing_of_the_run_is_executed_and_no_accelerator_is_asked_for(copied, tmp_path):
    (copied / "config.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    for name in ("config.json", "run.json", "event_storage.log"):
        (copied / name).unlink()
    output = tmp_path / "model.safetensors"
    process = start(
        "export", copied, "--experiment=0", f"--output={output}", env={"JAX_PLATFORMS": "cuda,tpu"}, fresh=True
    )
    assert finish(process) == (0, "", "")
    assert output.is_file() and not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--experiment=0", "--epoch=3", "--output=out"], ["experiment 0", "epoch 3", "kept: 2, 4"]),
        (["--experiment=9", "--output=out"], ["experiment 9", "experiments that have: 0, 1, 2, 3"]),
        (["--output=out"], ["--experiment=ID is missing", "--list"]),
        (["--experiment=0"], ["--output=FILE is missing", "--list"]),
        (["--experiment=x", "--output=out"], ["--experiment", "invalid int value"]),
        (["--experiment=0", "--output=out", "--resource=weights"], ["weights", "model", "stateful_components"]),
        (["--experiment=0", "--output=."], ["error: .: it is a folder; write ./model.safetensors"]),
        (["--experiment=0", "--output=no/such/folder/out"], ["no/such/folder/out", "cannot be written"]),
    ],
)
def test_wrong_requests_say_what_to_type(copied, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, out, err = here("export", copied, *arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert all(word in err for word in words), err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_none_and_a_run_without_checkpoints(tmp_path):
    assert "no such folder" in here("export", tmp_path / "none", "--list")[2]
    assert here("export", tmp_path, "--list") == (0, "[]\n", "")
    status, _, err = here("export", tmp_path, "--experiment=0", f"--output={tmp_path / 'out'}")
    assert status == 2 and "experiments that have: none" in err


def test_damage_is_told_not_exported(copied, tmp_path):
    for path in (copied / "checkpoints/group_0").glob("*/*/small/0"):
        path.write_bytes(b"\x5a" * path.stat().st_size)
    status, out, err = finish(start("export", copied, "--experiment=0", f"--output={tmp_path / 'out'}"))
    assert (status, out) == (2, "") and err.count("\n") == 1 and str(copied / "checkpoints/group_0") in err, err
    assert not (tmp_path / "out").exists()


def test_many_requests_are_answered_one_by_one(copied, tmp_path):
    """A row that is gone is answered with an error, and the next request is served."""
    wanted = [
        {"experiment_id": 1, "epoch": epoch, "resource": "model", "output": str(tmp_path / str(epoch))}
        for epoch in (2, 3, 4)
    ]
    process = start("export", copied, "--list", "--requests", stdin=subprocess.PIPE)
    out, err = process.communicate("".join(json.dumps(request) + "\n" for request in wanted), timeout=240)
    assert process.returncode == 0, err
    listing, *answers = map(json.loads, out.splitlines())
    assert len(listing) == 8 and answers[0] == answers[2] == {} and "epoch 3" in answers[1]["error"]
    assert (tmp_path / "2").is_file() and not (tmp_path / "3").exists()
