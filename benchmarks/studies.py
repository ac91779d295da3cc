"""The workloads as configs of the engine."""

from ml_collections import ConfigDict

from benchmarks.networks import network
from benchmarks.workloads import WORKLOADS
from mlgym_jax import component, grid, register


@register("model", "network_of", needs=("dataset",))
def network_of(dataset, *, workload: str):
    return network(WORKLOADS[workload], dataset.num_classes)


def config_of(workload, num_epochs, data):
    """Return the engine's config; `data` is the archive that `write_data` made."""
    config = ConfigDict()
    config.num_epochs = num_epochs
    config.seed = grid(*range(workload.num_seeds))
    names = {"train": dict(inputs="x", targets="y"), "val": dict(inputs="x_val", targets="y_val")}
    config.dataset = component("npz", path=str(data), arrays=names)
    config.loader = component("in_memory", batch_size=workload.batch_size)
    config.model = component("mlp", features=workload.features)
    if workload.images:
        config.model = component("network_of", workload=next(n for n, known in WORKLOADS.items() if known == workload))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=grid(*workload.rates))
    config.metrics = dict(accuracy=component("accuracy"), f1=component("f1", average="macro"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max", num_keep=1)
    return config
