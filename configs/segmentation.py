"""Segmentation: a U-Net tells discs and squares from the ground, pixel by pixel, on noisy images.

    python -m mlgym_jax.run --config=configs/segmentation.py

Images and their masks are flipped and turned together. Scores count pixels; the ground is most of them, so that the
macro F1 says more than the accuracy. 2 learning rates = 2 experiments in one program. Expected: best val/f1 about 0.91,
in about 40 s on two cores.
"""

import numpy as np
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid, register


@register("dataset", "shapes")
def shapes(*, num_examples: int = 400, size: int = 32, noise: float = 0.5, seed: int = 0):
    """Draw grey images float[size, size, 1] with a disc and a square, and masks int[size, size]: 0, ground, 1, 2."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    images, masks = np.zeros((num_examples, size, size, 1)), np.zeros((num_examples, size, size), np.int32)
    for image, mask in zip(images, masks, strict=True):
        (y, x), radius = rng.uniform(0.2 * size, 0.8 * size, 2), rng.uniform(3, 6)
        mask[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = 1
        (y, x), half = rng.uniform(0.2 * size, 0.8 * size, 2), rng.uniform(3, 5)
        mask[(abs(rows - y) < half) & (abs(columns - x) < half)] = 2
        image[..., 0] = (mask > 0) + noise * rng.normal(size=mask.shape)
    return mg.Dataset(splits={"train": {"inputs": images.astype(np.float32), "targets": masks}}, num_classes=3)


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "segmentation"
    config.num_epochs = 40
    config.dataset = component("shapes")
    config.validation = component("holdout", val=0.2)
    config.loader = component("in_memory", batch_size=16)
    config.augmentation = component("flip", fields=("inputs", "targets"))
    config.model = component("unet", features=(8, 16, 32))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=grid(3e-3, 1e-2))
    config.metrics = dict(accuracy=component("accuracy"), f1=component("f1", average="macro"))
    config.checkpointing = component("best", monitor="val/f1", mode="max")
    return config
