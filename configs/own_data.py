"""A table of one's own: a csv file with numbers, words, dates and gaps, and a column to predict.

    python -m mlgym_jax.run --config=configs/own_data.py
    python -m mlgym_jax.run --config=configs/own_data.py:table.csv,outcome

The second line is for a file of yours and its column to predict; without, it is configs/own_data.csv, 400 days of a
stall: will it sell out? Words become codes and dates year, month, day and weekday; gaps are filled in by the median of
each fold's training part, with a column that says where. 2 widths x 2 rates x 5 folds = 20 experiments in two programs.
Expected: best val/accuracy about 0.99, in about 15 s on two cores, and 0.963 ± 0.023 over the folds.
"""

import os

from ml_collections import ConfigDict

from mlgym_jax import MlgymError, component, grid

DEFAULT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "own_data.csv")


def get_config(table: str = f"{DEFAULT},sold_out") -> ConfigDict:
    path, _, target = table.rpartition(",")
    if not path:
        raise MlgymError("--config=configs/own_data.py:FILE,COLUMN: name the file and its column to predict")
    config = ConfigDict()
    config.name = "own-data"
    config.num_epochs = 30
    dates = ("day",) if path == DEFAULT else ()  # of your own table, name them here
    config.dataset = component("csv", path=path, target=target, task="classification", dates=dates, missing="keep")
    config.validation = component("cross_validation", folds=5, stratified=True)
    config.encoding = component(
        "chain", encodings=(component("impute", strategy="median", indicator=True), component("standardise"))
    )
    config.loader = component("in_memory", batch_size=32)
    config.model = component("mlp", features=grid((), (32,)), dropout_rate=0.1)
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adamw", learning_rate=grid(1e-3, 1e-2), weight_decay=1e-2)
    config.metrics = dict(accuracy=component("accuracy"), auroc=component("auroc"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max")
    return config
