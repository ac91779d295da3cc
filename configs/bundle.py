"""A bundle: one optimizer for the kernels, another one for the biases.

    python -m mlgym_jax.run --config=configs/bundle.py

Kernels are trained by AdamW with a swept learning rate and weight decay, biases by plain SGD without. Gradients are
accumulated over two batches and the parameters averaged exponentially for the evaluation. 3 learning rates x 2 weight
decays = 6 experiments, one compiled program. Expected: best val/accuracy about 0.98, in about 6 s on two cores.
"""

from ml_collections import ConfigDict

from mlgym_jax import component, grid


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "digits-bundle"
    config.num_epochs = 20
    config.dataset = component("digits")
    config.validation = component("holdout", val=0.2, stratified=True)
    config.loader = component("in_memory", batch_size=25)
    config.model = component("mlp", features=(128, 128))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component(
        "MultiSteps",
        every_k_schedule=2,
        opt=component(
            "partition",
            transforms=dict(
                kernels=component("adamw", learning_rate=grid(1e-3, 3e-3, 1e-2), weight_decay=grid(0.0, 0.1)),
                biases=component("sgd", learning_rate=1e-2),
            ),
            param_labels=(("kernel$", "kernels"), ("bias$", "biases")),
        ),
    )
    config.averaging = component("ema", decay=0.98)
    config.metrics = dict(accuracy=component("accuracy"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max", num_keep=1)
    return config
