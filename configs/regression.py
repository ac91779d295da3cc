"""The progression of diabetes as a number: a linear model and a small network, scaled inputs, robust losses.

    python -m mlgym_jax.run --config=configs/regression.py

Two models x 3 seeds = 6 experiments in two compiled programs. Sex is a category, the other columns are standardised,
both by the training part alone; the learning rate is halved when the loss stands still. Expected: best val/r2 about
0.41, in about 13 s on two cores (ordinary least squares reaches 0.37 on the same split).
"""

from ml_collections import ConfigDict

from mlgym_jax import component, grid


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "diabetes"
    config.seed = grid(0, 1, 2)
    config.num_epochs = 60
    config.dataset = component("diabetes")
    config.validation = component("holdout", val=0.25)
    config.encoding = component(
        "by_column",
        groups=((("sex",), component("one_hot")), ("numeric", component("standardise"))),
    )
    config.loader = component("in_memory", batch_size=32)
    config.model = component("mlp", features=grid((), (16,)))
    config.loss = component("huber_loss", delta=100.0)
    config.optimizer = component(
        "chain",
        transforms=(
            component("adam", learning_rate=1.0),
            component("contrib.reduce_on_plateau", factor=0.5, patience=40, accumulation_size=10),
        ),
    )
    config.metrics = dict(r2=component("r2"), mae=component("mae"))
    config.checkpointing = component("best", monitor="val/r2", mode="max")
    return config
