"""Every example of docs/components.md builds, in the section that its kind stands in."""

import importlib.util

import pytest
from conftest import ROOT
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.components.registry import registrations

_spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)
ENTRIES = [entry for entry in registrations() if generate._is_built_in(entry) and entry.kind != "steps_per_epoch"]
# Their examples name files or fields that a user has.
NEED_DATA = {
    "dataset": (
        "array_records",
        "conll",
        "csv",
        "given",
        "huggingface",
        "image_folder",
        "memmap",
        "npz",
        "parquet",
        "tf_examples",
        "tfds",
        "tokens",
    ),
    "sampler": ("weighted",),
    "encoding": ("bag_of_words", "by_input"),
}


def config_with(kind, section):
    config = ConfigDict()
    config.num_epochs = 1
    # Most examples build on any data of ten classes, which is made in a moment where digits are read from files.
    of_any_data = kind in ("loss", "metric", "optimizer", "schedule", "search")
    ten_classes = component("synthetic", num_examples=60, num_features=64, num_classes=10)
    config.dataset = ten_classes if of_any_data else component("digits", flat=kind == "encoding")
    if kind == "loader" and section["component"] == "bucketed":
        config.dataset = component("text", sequences="lines", length=8)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.1)
    if kind in ("metric", "post_processor"):
        config[kind + "s"] = dict(example=section)
    elif kind == "schedule":
        config.optimizer = component("sgd", learning_rate=section)
    elif kind == "search":
        config.optimizer = component("sgd", learning_rate=grid(0.1, 0.2))
        config.loader = component("in_memory", batch_size=grid(10, 20))
        config.search = section
        if "experiments" in section:
            config.loader = component("in_memory")
    else:
        config[kind] = section
    return config


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}/{entry.name}")
def test_the_example_builds(entry):
    if entry.name in NEED_DATA.get(entry.kind, ()):
        assert generate.example(entry).startswith(f'component("{entry.name}"')
        return
    section = eval(generate.example(entry), {"component": component})
    built = mg.build(config_with(entry.kind, section))
    assert built is not None
