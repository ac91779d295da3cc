"""Studies on 8 devices for `test_mesh`, in a process that prints what they found: `mesh_studies.py FOLDER`."""

import dataclasses
import functools
import json
import pathlib
import shutil
import sys

import jax
import numpy as np
from flax import linen as nn
from flax import nnx
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.checkpoint.copies import Copies
from mlgym_jax.checkpoint.store import CheckpointStore
from mlgym_jax.events import project_log
from mlgym_jax.events.layout import LOG
from mlgym_jax.execution.mesh import MeshSizes, mesh_of
from mlgym_jax.execution.plan import request_of
from mlgym_jax.execution.sharding import shardings, state_specs
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.planning import plan_of
from mlgym_jax.study.runners import make_runner


class Transformer(nn.Module):
    num_outputs: int

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), 4, 8)
        x = nn.Dense(16)(x) + self.param("places", nn.initializers.normal(0.02), (1, 4, 16))
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
        x = x + nn.Dense(16)(nn.gelu(nn.Dense(32)(nn.LayerNorm()(x))))
        return nn.Dense(self.num_outputs)(x.mean(1))


class ResNet(nnx.Module):
    def __init__(self, num_outputs, *, rngs):
        self.first = nnx.Conv(1, 8, (3, 3), rngs=rngs)
        self.norm, self.conv = nnx.BatchNorm(8, momentum=0.9, rngs=rngs), nnx.Conv(8, 8, (3, 3), rngs=rngs)
        self.last = nnx.Linear(8, num_outputs, rngs=rngs)

    def __call__(self, x):
        x = self.first(x.reshape(len(x), 4, 8, 1))
        return self.last((x + self.conv(nnx.relu(self.norm(x)))).mean((1, 2)))


@mg.register("model", "mesh_transformer", needs=("dataset",))
def _transformer(dataset):
    return Transformer(dataset.num_classes)


@mg.register("model", "mesh_resnet", needs=("dataset",))
def _resnet(dataset):
    return lambda rngs: ResNet(dataset.num_classes, rngs=rngs)


def study_of(model, seed=grid(0, 1), **sections):  # noqa: B008 (a marker, which nothing changes)
    """By default two experiments, on 80 training examples; neither a batch nor the last one divides by 8 or 4."""
    config = ConfigDict()
    config.seed = seed
    config.num_epochs = 2
    config.dataset = component("synthetic", num_examples=100, num_features=32, num_classes=4)
    config.validation = component("holdout", val=0.2)
    config.loader = component("in_memory", batch_size=22, eval_batch_size=50)
    config.model = component(model)
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.05, momentum=0.9)
    config.metrics = dict(accuracy=component("accuracy"))
    for name, value in sections.items():
        config[name] = value
    return config


@functools.cache
def job_of(model):
    (job,) = prepare(study_of(model)).jobs
    return job


def trained(model, mesh, plan, shard=None):
    """Return float[epochs, experiments, scores], the last states, and what an experiment costs a device.

    That is the bytes of its parameters and optimizer state, and the floating point operations of a program.
    """
    job, devices = job_of(model), jax.local_devices()
    request = dataclasses.replace(request_of(plan, mesh), shard=shard)
    runner = make_runner(job, plan_of(job, request, devices, strict=False), devices)
    runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    scores = np.stack([runner.read_scores(runner.epoch(np.ones(2, bool), epoch)) for epoch in (1, 2)])
    snapshot = runner.snapshot()
    whole, rows = snapshot.states(), snapshot.rows([1, 0])
    jax.tree.map(lambda leaf, copied: np.testing.assert_array_equal(leaf[[1, 0]], copied), whole, rows)
    _, _, block = snapshot.blocks[0]
    shards = [leaf.addressable_shards[0].data for leaf in jax.tree.leaves((block.params, block.opt_state))]
    flops = max(program.cost_analysis().get("flops", 0) for program in runner.programs.compiled.values())
    return scores, whole, (sum(shard.nbytes // len(shard) for shard in shards), flops)


def compared(model, cases):
    """Train a model on one device and on meshes; return how far the scores and the states of each are off."""
    scores, states, (size, flops) = trained(model, "experiment:1", "map+scan")
    found = {}
    for mesh, plan, shard in cases:
        own, ends, (own_size, own_flops) = trained(model, mesh, plan, shard)
        apart = jax.tree.map(
            lambda a, b: float(np.abs(a - b).max()),
            (ends.params, ends.model_state),
            (states.params, states.model_state),
        )
        found[f"{model}, {shard}, {plan}, {mesh}"] = {
            "scores": float(np.abs(own - scores).max()),
            "states": max(jax.tree.leaves(apart)),
            "bytes": size / own_size,
            "flops": flops / own_flops,
        }
    return found


def resumed(folder):
    """Train with `fsdp` on 8 devices; go on with that on 8, 4 and 1, from before an epoch that the log holds."""
    config = study_of("mlp", seed=0, parallel=component("fsdp"), checkpoint_interval_seconds=0.0)
    begun = mg.run(config, folder / "begun", run_id="run", devices=8)
    config.num_epochs = 3
    whole = mg.run(config, folder / "whole", run_id="run", devices=8)
    found = {"whole": project_log(whole.run_dir + "/" + LOG)[0].experiments[0].rows()}
    for devices in (8, 4, 1):
        shutil.copytree(begun.run_dir, folder / str(devices) / "run")
        shutil.rmtree(folder / str(devices) / "run/checkpoints/group_0/2")
        result = mg.resume(folder / str(devices) / "run", 3, devices=devices)
        view = project_log(result.run_dir + "/" + LOG)[0]
        found[str(devices)] = {
            "rows": view.experiments[0].rows(),
            "plan": view.groups[-1]["plan"],
            "status": result.status,
            "mismatches": len(view.mismatches),
        }
    return found


def stored(folder):
    """Save arrays that are sharded over the devices, and read them back: are they the same, and on the host?"""
    job = job_of("mesh_transformer")
    abstract = dataclasses.replace(job.abstract, key=jax.ShapeDtypeStruct((2,), np.uint32))
    states = jax.tree.map(lambda leaf: np.arange(2 * leaf.size, dtype=leaf.dtype).reshape(2, *leaf.shape), abstract)
    mesh = mesh_of(jax.local_devices(), MeshSizes(2, 4))
    sharded = jax.device_put(states, shardings(state_specs(abstract, 4, fsdp=True), mesh))
    assert sharded.params["Dense_0"]["kernel"].sharding.spec == PartitionSpec("experiment", None, "data")
    store = CheckpointStore(str(folder / "store"), job.abstract)
    store.save(sharded, epoch=1, experiments=[0, 1], row_epochs=[1, 1], kept=Copies(), wanted=frozenset())
    store.close()
    _, read = CheckpointStore(str(folder / "store"), job.abstract).restore_newest(lambda *damaged: None)
    jax.tree.map(np.testing.assert_array_equal, states, read)
    return {type(leaf).__name__ for leaf in jax.tree.leaves(read)} == {"ndarray"}


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    assert len(jax.local_devices()) == 8
    print(
        json.dumps(
            {
                "stored": stored(folder),
                "resumed": resumed(folder),
                "compared": {
                    **compared(
                        "mesh_transformer",
                        [
                            ("experiment:1,data:8", "none+scan", "data"),
                            ("experiment:1,data:8", "map+scan", "fsdp"),
                            ("experiment:2,data:4", "vmap+step", None),
                        ],
                    ),
                    **compared(
                        "mesh_resnet",
                        [
                            ("experiment:1,data:8", "vmap+scan", "data"),
                            ("experiment:1,data:8", "none+scan", "fsdp"),
                            ("experiment:2,data:4", "none+scan", None),
                        ],
                    ),
                },
            }
        )
    )
