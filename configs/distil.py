"""Distillation: a small network learns digits from their labels, and from what a large one says of them.

    python -m mlgym_jax.run --config=configs/distil.py
    python -m mlgym_jax.run --config=configs/distil.py:event_storage/RUN_ID

The first command trains the teacher, which has a hidden layer of 512 units; the second one lets a student of 16 units
learn from the best of that run, RUN_ID, and from the labels alone (`alpha=0`) beside it. Expected: best val/accuracy
about 0.98, in about 15 s on two cores, of the teacher; of the student about 0.974, with a cross entropy of 0.10
(`val/loss/hard`), and without the teacher 0.970 with 0.13.
"""

from ml_collections import ConfigDict

from mlgym_jax import component, grid


def get_config(teacher: str | None = None) -> ConfigDict:
    config = ConfigDict()
    config.name = "digits-teacher" if teacher is None else "digits-student"
    config.seed = grid(0, 1, 2)
    config.num_epochs = 30
    config.dataset = component("digits")
    config.validation = component("holdout", val=0.5, stratified=True)
    config.loader = component("in_memory", batch_size=50)
    config.model = component("mlp", features=(512,), dropout_rate=0.5)
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=3e-3)
    if teacher is not None:
        config.model = component("mlp", features=(16,))
        config.num_epochs = 60
        config.optimizer = component("adam", learning_rate=1e-2)
        config.loss = component(
            "distillation",
            run_dir=teacher,
            monitor="val/accuracy",
            temperature=2.0,
            alpha=grid(0.0, 0.9),
            loss=component("softmax_cross_entropy"),
        )
    config.metrics = dict(accuracy=component("accuracy"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max")
    return config
