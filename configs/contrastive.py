"""Contrastive learning without labels: two views of each digit find each other, and a linear probe reads the features.

    python -m mlgym_jax.run --config=configs/contrastive.py

The probe's gradient stops at the features, so that labels teach the encoder nothing. Expected: best val/accuracy about
0.96, in about 100 s on two cores; of a probe on an encoder that learns nothing, which
`--config.loss.losses.views.weight=0.0` asks for, about 0.94.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from mlgym_jax import component, grid, register


def view(key, images, shift, noise):
    """Move each image of 8 x 8 by up to `shift` pixels, and add noise."""
    of_shift, of_noise = jax.random.split(key)
    moved = jax.random.randint(of_shift, (len(images), 2), -shift, shift + 1)
    images = jax.vmap(lambda image, by: jnp.roll(image.reshape(8, 8), by, (0, 1)).ravel())(images, moved)
    return images + noise * jax.random.normal(of_noise, images.shape)


class Contrastive(nn.Module):
    """An encoder, a head whose outputs are compared, and a linear probe of the features."""

    features: int
    num_classes: int
    shift: int
    noise: float

    @nn.compact
    def __call__(self, x, view_key):
        encoder = nn.Sequential([nn.Dense(256), nn.relu, nn.Dense(self.features), nn.relu], name="encoder")
        head = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(32)], name="head")
        one, two = (view(key, x, self.shift, self.noise) for key in jax.random.split(view_key))
        probed = jax.lax.stop_gradient(encoder(x))
        return {
            "one": head(encoder(one)),
            "two": head(encoder(two)),
            "logits": nn.Dense(self.num_classes, name="probe")(probed),
        }


@register("model", "contrastive", needs=("dataset",), dynamic=("noise",))
def contrastive(dataset, *, features: int = 128, shift: int = 1, noise: float = 0.1):
    """Build an encoder whose two views of an example are compared."""
    return Contrastive(features, dataset.num_classes, shift, noise)


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "digits-contrastive"
    config.seed = grid(0, 1)
    config.num_epochs = 60
    config.dataset = component("digits")
    config.validation = component("holdout", val=0.2, stratified=True)
    config.loader = component("in_memory", batch_size=128)
    config.model = component("contrastive")
    config.loss = component(
        "sum",
        losses=dict(
            views=component("nt_xent", first="one", second="two", temperature=0.2, weight=1.0),
            probe=component("softmax_cross_entropy", output="logits"),
        ),
    )
    config.optimizer = component("adam", learning_rate=5e-3)
    config.metrics = dict(accuracy=component("accuracy", output="logits"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max")
    return config
