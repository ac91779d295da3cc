"""Write docs/components.md from the registry.

python docs/generate.py [--check]
"""

import pathlib
import sys

from mlgym_jax.components.registry import kinds, registrations, shared

TARGET = pathlib.Path(__file__).with_name("components.md")
# Kinds whose parameters are Optax's own, with what is not available and why.
OPTAX = {
    "loss": ("mlgym_jax.losses.of_optax", "NOT_LOSSES"),
    "optimizer": ("mlgym_jax.optimizers.of_optax", "NOT_OPTIMIZERS"),
    "schedule": ("mlgym_jax.optimizers.of_optax", "NOT_SCHEDULES"),
}
HEAD = """# Components

Every registered name, by kind, with an example. This page is written by `make docs` from the registry; tests hold it to
the registry and build every example. A component is named in a config by `component("name", parameter=…)`; the section
gives the kind (`config.model` -> `model`), and `component("kind/name")` says it outright. Parameters marked † may be
swept inside one compiled program; sweeping any other parameter splits the sweep into groups.
"""
SGD, CROSS_ENTROPY = 'component("sgd", learning_rate=0.1)', 'component("softmax_cross_entropy")'
TRANSFORMS = f'transforms=(component("clip", max_delta=1.0), {SGD})'
LABELS = f'transforms=dict(slow={SGD}, fast=component("adam", learning_rate=0.1)), param_labels=(("kernel", "fast"), ("", "slow"))'  # noqa: E501
_DIGITS = 'component("digits")'
DIGITS = f"dataset={_DIGITS}"
# Parameters of the examples, where the required ones are no plain numbers or the plain example would say little.
_FIELDS = 'fields={"inputs": ("uint8", (28, 28)), "targets": ("int32", ())}, num_classes=10'
PARAMETERS = {
    "augmentation/by_field": 'field="inputs.image", augmentation=component("flip")',
    "augmentation/chain": 'augmentations=(component("flip"), component("crop", padding=4))',
    "augmentation/drop_words": "rate=0.1, token=0",
    "augmentation/mask_tokens": "rate=0.15, mask_token=0",
    "augmentation/one_of": 'augmentations=(component("translate"), component("rotate")), weights=(3.0, 1.0)',
    "augmentation/sometimes": 'augmentation=component("blur"), probability=0.3',
    "averaging/ema": "decay=0.99",
    "checkpointing/best": 'monitor="val/loss", mode="min", num_keep=3',
    "checkpointing/every_k": "k=5",
    "dataset/array_records": 'splits={"train": "train-*.array_record"}, ' + _FIELDS,
    "dataset/combine": 'datasets=(component("digits"), component("shuffle", dataset=component("digits")))',
    "dataset/conll": 'paths=dict(train="train.txt", test="test.txt")',
    "dataset/csv": 'path="iris.csv", target="species", task="classification"',
    "dataset/filter_labels": f"{DIGITS}, keep=(0, 1, 2)",
    "dataset/huggingface": 'path="saved/cifar10"',
    "dataset/image_folder": 'path="photos", size=64',
    "dataset/map_labels": f"{DIGITS}, mapping=tuple((digit, digit % 2) for digit in range(10))",
    "dataset/mask_tokens": 'dataset=component("text")',
    "dataset/memmap": 'splits={"train": {"inputs": "x.npy", "targets": "y.npy"}}',
    "dataset/mixture": f'sources=dict(a={_DIGITS}, b=component("shuffle", {DIGITS})), weights=dict(a=0.7, b=0.3)',
    "dataset/npz": 'path="digits.npz"',
    "dataset/one_hot_labels": DIGITS,
    "dataset/parquet": 'path="iris.parquet", target="species"',
    "dataset/select_columns": 'dataset=component("wine"), columns=("alcohol", "hue")',
    "dataset/shuffle": DIGITS,
    "dataset/text": "length=64",
    "dataset/tf_examples": 'splits={"train": "train-*.array_record"}, fields={"inputs": ("image", (64, 64, 3), "image/encoded")}',  # noqa: E501
    "dataset/tfds": 'name="mnist"',
    "dataset/tokens": 'paths=dict(train="train.bin", val="val.bin"), length=1024',
    "dataset/view": f"{DIGITS}, stop=500",
    "early_stopping/no_improvement": 'monitor="val/loss", mode="min", window_epochs=5, min_relative=1e-4',
    "early_stopping/threshold": 'monitor="val/loss", mode="min", value=0.1',
    "encoding/by_column": 'groups=((("pixel_0_0", "pixel_0_1"), component("one_hot")), ("numeric", component("standardise")))',  # noqa: E501
    "encoding/by_input": 'encodings=dict(image=component("min_max"), age=component("standardise"))',
    "encoding/bag_of_words": 'column="comment", max_features=500',
    "encoding/chain": 'encodings=(component("impute"), component("standardise"))',
    "loss/class_weighted": f'loss={CROSS_ENTROPY}, weights="balanced"',
    "loss/distillation": f'run_dir="event_storage/RUN_ID", monitor="val/accuracy", loss={CROSS_ENTROPY}',
    "loss/l1_regularizer": 'paths="kernel$", weight=1e-4',
    "loss/l2_regularizer": 'paths="kernel$", weight=1e-4',
    "loss/sample_weighted": f"loss={CROSS_ENTROPY}",
    "loss/sum": f'losses=dict(fit={CROSS_ENTROPY}, decay=component("l2_regularizer", weight=1e-4))',
    "metric/confusion_matrix": "every_num_epochs=5",
    "loss/negative_elbo": 'likelihood="bernoulli", beta=4.0',
    "model/autoencoder": "features=(128, 64), latent_size=16",
    "model/cnn": "features=(16, 32), dense_features=(64,)",
    "model/convnext": 'size="tiny", drop_path_rate=0.1',
    "model/gnn": 'features=(64, 64), pool="mean"',
    "model/gru": "hidden=128, num_layers=2, vocabulary_size=256",
    "model/lstm": 'hidden=128, bidirectional=True, pool="last"',
    "model/mlp": "features=(128, 128), dropout_rate=0.1",
    "model/mlp_mixer": 'size="base", patch_size=16',
    "model/resnet": 'depth=50, stem="imagenet"',
    "model/transformer": 'kind="causal", vocabulary_size=50257, width=768, depth=12, num_heads=12',
    "model/unet": "features=(64, 128, 256, 512, 1024)",
    "model/vae": "features=(400,), latent_size=20",
    "model/vit": 'size="small", patch_size=16, drop_path_rate=0.1',
    "model/wide_resnet": "depth=28, widen_factor=10, dropout_rate=0.3",
    "optimizer/MultiSteps": f"opt={SGD}, every_k_schedule=4",
    "optimizer/apply_if_finite": f"inner={SGD}, max_consecutive_errors=5",
    "optimizer/chain": TRANSFORMS,
    "optimizer/layerwise_decay": f'optimizer={SGD}, decay=0.75, layers=(("^Dense_0/", 1),)',
    "optimizer/lookahead": f"fast_optimizer={SGD}, sync_period=6, slow_step_size=0.5",
    "optimizer/multi_transform": LABELS,
    "optimizer/named_chain": f'transforms=(("clip", component("clip", max_delta=1.0)), ("sgd", {SGD}))',
    "optimizer/partition": LABELS,
    "optimizer/adadelta": "learning_rate=1.0",
    "optimizer/adamw": 'learning_rate=0.001, weight_decay=0.01, mask="kernel$"',
    "optimizer/scale_by_learning_rate": "learning_rate=0.1",
    "optimizer/scale_by_schedule": 'step_size_fn=component("constant_schedule", value=-0.1)',
    "parallel/fsdp": 'rules=(("kernel$", 0), ("bias$", None))',
    "player/player": 'name="generator", parameters="^generator/"',
    "post_processor/argmax": 'output="probability"',
    "refit/selected": 'monitor="val/loss", mode="min"',
    "sampler/class_weighted": "weights=(5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)",
    "schedule/cosine_decay_schedule": "init_value=0.1, decay_steps=1000",
    "schedule/in_epochs": 'schedule=component("cosine_decay_schedule", init_value=0.1, decay_steps=20)',
    "schedule/join_schedules": 'schedules=(component("constant_schedule", value=0.1), component("constant_schedule", value=0.01)), boundaries=(100,)',  # noqa: E501
    "schedule/piecewise_constant_schedule": "init_value=0.1, boundaries_and_scales=((100, 0.5), (200, 0.1))",
    "schedule/piecewise_interpolate_schedule": 'interpolate_type="linear", init_value=0.1, boundaries_and_scales=((100, 0.5), (200, 0.1))',  # noqa: E501
    "schedule/sgdr_schedule": "cosine_kwargs=(dict(init_value=0.0, peak_value=0.1, warmup_steps=10, decay_steps=100),)",
    "schedule/warmup": 'epochs=2, schedule=component("cosine_decay_schedule", init_value=0.1, decay_steps=1000)',
    "schedule/warmup_cosine_decay_schedule": "init_value=0.0, peak_value=0.1, warmup_steps=100, decay_steps=1000",
    "search/grid": 'linked=(("optimizer.learning_rate", "loader.batch_size"),)',
    "search/list": 'experiments=({"optimizer.learning_rate": 0.1}, {"optimizer.learning_rate": 0.2})',
    "search/random": "num_experiments=20, seed=0",
    "training_step/alternating": 'players=(component("player", name="discriminator", parameters="^discriminator/"), component("player", name="generator", parameters="^generator/"))',  # noqa: E501
    "validation/cross_validation": "folds=5, stratified=True",
    "validation/holdout": "val=0.2, stratified=True",
    "search/optuna": 'num_trials=64, num_parallel=16, monitor="val/loss", mode="min"',
    "search/successive_halving": 'min_epochs=2, monitor="val/loss", mode="min", search=component("random", num_experiments=27)',  # noqa: E501
    "validation/nested_cross_validation": 'outer_folds=5, inner_folds=3, monitor="val/loss", mode="min"',
    "warm_start/experiment": 'run_dir="event_storage/RUN_ID", monitor="val/accuracy", exclude="^Dense_2/"',
    "warm_start/safetensors": 'path="encoder.safetensors", include="^encoder/"',
}
_NESTED = ("inner", "opt", "optimizer", "fast_optimizer", "base_optimizer", "adv_optimizer", "linesearch")


def example(entry):
    """Return the text that names a component with its required parameters."""
    words = PARAMETERS.get(f"{entry.kind}/{entry.name}")
    if words is None:
        words = ", ".join(f"{name}={_value(name, item)}" for name, item in entry.parameters.items() if _required(item))
    return f'component("{entry.name}"{", " + words if words else ""})'


def _value(name, parameter):
    if name in _NESTED:
        return SGD
    if name.endswith("mask"):
        return '"kernel$"'
    return "2" if parameter.annotation in (int, "int", int | float) else "0.1"


def _required(parameter):
    return parameter.default is parameter.empty


def page():
    parts = [HEAD]
    for kind in kinds():
        entries = [entry for entry in registrations(kind) if _is_built_in(entry)]
        if not entries or kind == "steps_per_epoch":
            continue
        parts.append(f"\n## {kind}\n")
        if shared(kind):
            parts.append(f"Every {kind} also takes `{', '.join(map(_parameter, shared(kind).values()))}`.\n")
        for entry in entries:
            summary = entry.summary().replace("|", "\\|")
            parts.append(f"- **`{entry.name}`**({_parameters(entry)}){_needs(entry)}: {summary} `{example(entry)}`")
        if kind in OPTAX:
            module, constant = OPTAX[kind]
            left_out = getattr(__import__(module, fromlist=[constant]), constant)
            if left_out:
                parts.append(f"\nNot available as a {kind}, with the reason:\n")
                parts += [f"- `{name}`: {reason}" for name, reason in sorted(left_out.items())]
    return "\n".join(parts) + "\n"


def _is_built_in(entry):
    return "mlgym_jax" in entry.origin


def _parameters(entry):
    words = []
    for name, parameter in entry.parameters.items():
        mark = "†" if entry.is_dynamic(name) and entry.dynamic is not None else ""
        words.append(_parameter(parameter, mark))
    mark = "; numeric ones †" if entry.dynamic is None and words else ""
    return f"`{', '.join(words)}`{mark}" if words else ""


def _parameter(parameter, mark=""):
    return f"{parameter.name}{mark}" + ("" if _required(parameter) else f"={_shown(parameter.default)}")


def _shown(value):
    return "…" if value is ... else getattr(value, "__name__", None) or repr(value)


def _needs(entry):
    return f", needs {', '.join(entry.needs.values())}" if entry.needs else ""


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.read_text(encoding="utf-8") == text else "docs/components.md is stale: make docs")
    TARGET.write_text(text, encoding="utf-8")
