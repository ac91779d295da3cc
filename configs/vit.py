"""A Vision Transformer of digits: dropout and noise on the images, swept together in one program.

    python -m mlgym_jax.run --config=configs/vit.py

Images of 8 x 8 pixels in patches of 2 x 2. 2 rates of dropout x 2 strengths of noise = 4 experiments. The learning rate
warms up for two epochs. Without either the accuracy is about 0.93. Expected: best val/accuracy about 0.97, in about
40 s on two cores.
"""

from ml_collections import ConfigDict

from mlgym_jax import component, grid


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "vit"
    config.num_epochs = 40
    config.dataset = component("digits", flat=False)
    config.validation = component("holdout", val=0.2, stratified=True)
    config.loader = component("in_memory", batch_size=64)
    config.augmentation = component("gaussian_noise", scale=grid(0.0, 0.1))
    config.model = component(
        "vit", patch_size=2, width=32, depth=3, num_heads=4, pool="mean", dropout_rate=grid(0.0, 0.1)
    )
    config.loss = component("softmax_cross_entropy")
    rate = component("cosine_decay_schedule", init_value=3e-3, decay_steps=880)
    config.optimizer = component(
        "adamw",
        learning_rate=component("warmup", schedule=rate, steps=44),
        weight_decay=1e-2,
        mask="kernel$",
    )
    config.metrics = dict(accuracy=component("accuracy"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max")
    return config
