"""A causal language model of English bytes: a small Transformer on the help texts that Python ships.

    python -m mlgym_jax.run --config=configs/lm.py

About 500 kB of text in sequences of 64 bytes; `val/perplexity` is that of a byte, 256 by chance and about 26 by their
frequencies alone. One experiment, evaluated every 500 steps. Expected: best val/perplexity about 3.2, in about 140 s on
two cores.
"""

from ml_collections import ConfigDict

from mlgym_jax import component


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "language-model"
    config.num_steps = 2000
    config.evaluate_every_steps = 500
    config.evaluation_splits = ("val",)
    config.dataset = component("text", length=64)
    config.validation = component("holdout", val=0.1)
    config.loader = component("in_memory", batch_size=32)
    config.model = component("transformer", kind="causal", width=96, depth=3, num_heads=4)
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component(
        "chain",
        transforms=(
            component("clip_by_global_norm", max_norm=1.0),
            component(
                "adamw",
                learning_rate=component(
                    "warmup_cosine_decay_schedule",
                    init_value=0.0,
                    peak_value=3e-3,
                    warmup_steps=100,
                    decay_steps=2000,
                    end_value=1e-4,
                ),
                weight_decay=0.05,
                mask="kernel$",
            ),
        ),
    )
    config.metrics = dict(perplexity=component("perplexity"), accuracy=component("accuracy"))
    config.checkpointing = component("best", monitor="val/perplexity", mode="min")
    return config
