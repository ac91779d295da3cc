"""Learn to read digits, then start from that to tell even from odd ones with few examples.

    python -m mlgym_jax.run --config=configs/warm_start.py

learns the ten digits on the first 1,200 images and prints the folder of its run (expected: best val/accuracy about
0.98, in about 6 s on two cores);

    python -m mlgym_jax.run --config=configs/warm_start.py:event_storage/RUN_ID

takes the best experiment of that run, all but its last layer, and learns from 29 of the other images whether a digit is
even. Expected: best val/accuracy about 0.90, in about 6 s; from scratch, with `--config.warm_start=None`, about 0.85.
"""

from ml_collections import ConfigDict

from mlgym_jax import component, grid


def get_config(pretrained: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name = "digits-even" if pretrained else "digits-all"
    config.seed = grid(0, 1, 2)
    config.num_epochs = 100 if pretrained else 20
    config.loader = component("in_memory", batch_size=30)
    config.model = component("mlp", features=(128, 64))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=3e-3 if pretrained else 1e-3)
    config.metrics = dict(accuracy=component("accuracy"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max")
    if pretrained:
        config.dataset = component(
            "map_labels",
            mapping=tuple((digit, digit % 2) for digit in range(10)),
            dataset=component("view", start=1200, dataset=component("digits")),
        )
        config.validation = component("holdout", val=0.95, stratified=True)
        config.warm_start = component("experiment", run_dir=pretrained, monitor="val/accuracy", exclude="^Dense_2/")
    else:
        config.dataset = component("view", stop=1200, dataset=component("digits"))
        config.validation = component("holdout", val=0.2, stratified=True)
    return config
