"""A variational autoencoder of digits: how many numbers an image becomes, and what that costs.

    python -m mlgym_jax.run --config=configs/vae.py

2 sizes of the code x 2 seeds = 4 experiments in two programs. `val/loss` is the negative evidence lower bound of an
image of 64 pixels in nats, lower is better. Expected: best val/loss about 22.6, in about 15 s on two cores.
"""

from ml_collections import ConfigDict

from mlgym_jax import component, grid


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "vae"
    config.num_epochs = 60
    config.seed = grid(0, 1)
    config.dataset = component("digits")
    config.validation = component("holdout", val=0.2)
    config.loader = component("in_memory", batch_size=64)
    config.model = component("vae", features=(128,), latent_size=grid(2, 8))
    config.loss = component("negative_elbo")
    config.optimizer = component("adam", learning_rate=2e-3)
    config.checkpointing = component("best", monitor="val/loss", mode="min")
    return config
