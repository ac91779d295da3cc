"""A ResNet of digits: batch statistics, mixed and shifted images, averaged parameters.

    python -m mlgym_jax.run --config=configs/resnet.py

A narrow ResNet-18 for images of 8 x 8 pixels, trained with mixup and shifts, and evaluated by the average of its
parameters with batch statistics of its own. 2 strengths of mixup = 2 experiments in one program.
Expected: best val/accuracy about 0.98, in about 20 s on two cores.
"""

from ml_collections import ConfigDict

from mlgym_jax import component, grid


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "resnet"
    config.num_epochs = 15
    config.dataset = component("digits", flat=False)
    config.validation = component("holdout", val=0.2, stratified=True)
    config.loader = component("in_memory", batch_size=64, drop_last=True)
    config.augmentation = component(
        "chain", augmentations=(component("crop", padding=1), component("mixup", alpha=grid(0.1, 0.4)))
    )
    config.model = component("resnet", depth=18, width=8, stem="small")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.1, momentum=0.9, nesterov=True)
    config.averaging = component("ema", decay=0.98)
    config.metrics = dict(accuracy=component("accuracy"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max")
    return config
