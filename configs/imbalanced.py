"""Sixty rare sevens among 1,618 other digits, and four ways of drawing them.

    python -m mlgym_jax.run --config=configs/imbalanced.py

The sampler draws an example of a class of n with a weight of n to the -power: 0 is as they come, 1 every class alike.
Four powers x 3 seeds = 12 experiments, one compiled program; each fold counts its own training part. Accuracy would
hide what happens, a model that never says "seven" reaches 0.96. Expected: best val/balanced_accuracy about 0.99, in
about 7 s on two cores.
"""

from ml_collections import ConfigDict

from mlgym_jax import component, grid

SEVEN, OTHERS = (7,), (0, 1, 2, 3, 4, 5, 6, 8, 9)


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "rare-sevens"
    config.seed = grid(0, 1, 2)
    config.num_epochs = 10
    others = component("filter_labels", keep=OTHERS, dataset=component("digits"))
    sevens = component("filter_labels", keep=SEVEN, dataset=component("digits"))
    config.dataset = component(
        "map_labels",
        mapping=tuple((digit, int(digit in SEVEN)) for digit in range(10)),
        dataset=component("combine", datasets=(others, component("view", stop=60, dataset=sevens))),
    )
    config.validation = component("holdout", val=0.5, stratified=True)
    config.sampler = component("class_balanced", power=grid(0.0, 0.5, 1.0, 1.5))
    config.loader = component("in_memory", batch_size=32)
    config.model = component("mlp", features=(32,))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=3e-3)
    config.metrics = dict(
        balanced_accuracy=component("balanced_accuracy"),
        aupr=component("aupr"),
        recall=component("recall", average="none"),
    )
    config.checkpointing = component("best", monitor="val/balanced_accuracy", mode="max", num_keep=1)
    return config
