"""A small convolutional network on digits as images: 2 layouts x 2 learning rates, two compiled programs.

    python -m mlgym_jax.run --config=configs/cnn.py

The learning rate warms up and decays; gradients are clipped. Expected: best val/accuracy about 0.98, in about 12 s on
two cores.
"""

from ml_collections import ConfigDict

from mlgym_jax import component, grid


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "digits-cnn"
    config.num_epochs = 10
    config.dataset = component("digits", flat=False)
    config.validation = component("holdout", val=0.2, stratified=True)
    config.loader = component("in_memory", batch_size=64)
    config.model = component("cnn", features=grid((16,), (16, 32)), dense_features=(64,))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component(
        "chain",
        transforms=(
            component("clip_by_global_norm", max_norm=1.0),
            component(
                "adamw",
                weight_decay=1e-4,
                learning_rate=component(
                    "warmup_cosine_decay_schedule",
                    init_value=0.0,
                    peak_value=grid(3e-3, 1e-2),
                    warmup_steps=23,
                    decay_steps=230,
                ),
            ),
        ),
    )
    config.metrics = dict(accuracy=component("accuracy"), top_2=component("top_k", k=2))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max", num_keep=1)
    return config
