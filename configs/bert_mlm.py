"""A masked language model, as BERT is trained, on the English help texts that Python ships.

    python -m mlgym_jax.run --config=configs/bert_mlm.py

Sequences of 64 bytes, of which 15 % are to be told from the others: 80 % of these are hidden, 10 % become another byte.
Training chooses anew in each step; the choice of the validation part is fixed. `val/perplexity` is that of the chosen
bytes, about 26 by their frequencies alone. Expected: best val/perplexity about 3.0, in about 200 s on two cores.
"""

from ml_collections import ConfigDict

from mlgym_jax import component


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "bert-mlm"
    config.num_steps = 3000
    config.evaluate_every_steps = 500
    config.evaluation_splits = ("val",)
    config.dataset = component("mask_tokens", dataset=component("text", length=64), rate=0.15)
    config.augmentation = component("mask_tokens", rate=0.15)
    config.validation = component("holdout", val=0.1)
    config.loader = component("in_memory", batch_size=32)
    config.model = component("transformer", kind="masked", width=96, depth=3, num_heads=4)
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component(
        "adamw",
        learning_rate=component(
            "warmup_cosine_decay_schedule",
            init_value=0.0,
            peak_value=3e-3,
            warmup_steps=200,
            decay_steps=3000,
            end_value=1e-4,
        ),
        weight_decay=0.01,
        mask="kernel$",
    )
    config.metrics = dict(perplexity=component("perplexity"), accuracy=component("accuracy"))
    config.checkpointing = component("best", monitor="val/perplexity", mode="min")
    return config
