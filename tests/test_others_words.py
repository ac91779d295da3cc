"""What other libraries call things: who types their names is told ours, all of which there are."""

import json
import re

import pytest
from study_files import here, small

from mlgym_jax import component
from mlgym_jax.components.registry import lookup, registrations
from mlgym_jax.components.tree import resolved
from mlgym_jax.config import others_words
from mlgym_jax.config.others_words import meant_field
from mlgym_jax.config.words import FIELDS, SECTIONS
from mlgym_jax.errors import ConfigError

NAMES = [
    ("loss", "nn.CrossEntropyLoss", "softmax_cross_entropy"),  # PyTorch
    ("loss", "BCEWithLogitsLoss", "sigmoid_binary_cross_entropy"),
    ("loss", "F.mse_loss", "squared_error"),
    ("loss", "sparse_categorical_crossentropy", "softmax_cross_entropy"),  # Keras
    ("metric", "roc_auc_score", "auroc"),  # scikit-learn
    ("metric", "r2_score", "r2"),
    ("optimizer", "AdamW", "adamw"),
    ("schedule", "CosineAnnealingLR", "cosine_decay_schedule"),
    ("early_stopping", "EarlyStopping", "no_improvement"),  # Lightning
    ("validation", "StratifiedKFold", "cross_validation"),
    ("encoding", "StandardScaler", "standardise"),
    ("augmentation", "RandomHorizontalFlip", "flip"),
    ("search", "ASHA", "successive_halving"),  # Ray Tune
    ("optimizer", "adm", "adam"),  # a slip is one still
]


@pytest.mark.parametrize(("kind", "name", "here"), NAMES)
def test_a_name_of_another_library_is_answered_with_ours(kind, name, here):
    with pytest.raises(ConfigError, match=rf"unknown {kind} '{re.escape(name)}'; did you mean '{here}'\?"):
        lookup(kind, name, kind)


def test_what_it_takes_is_said_with_it():
    with pytest.raises(ConfigError, match=r"did you mean 'lp'\? Write component\('lp', p=1\.0\)\. Registered: "):
        lookup("loss", "L1Loss", "loss")


@pytest.mark.parametrize(
    ("section", "given", "said"),
    [
        (component("adam", lr=0.1), "lr", "; did you mean 'learning_rate'?"),
        (component("adam", learning_rate=0.1, weight_decay=0.1), "weight_decay", "; 'adamw' has one."),
    ],
)
def test_a_parameter_of_another_library_is_answered_with_ours(section, given, said):
    with pytest.raises(ConfigError) as error:
        resolved({"optimizer": section.to_dict()})
    assert str(error.value).startswith(f"config.optimizer.{given}: unknown parameter of optimizer 'adam'{said} Param")


def test_what_is_answered_is_there():
    for kind, words in others_words._WORDS.items():
        for ours in words:
            name = ours.removeprefix("component('").partition("'")[0]
            assert {*re.findall(r"(\w+)=", ours)} <= {*lookup(kind, name).parameters}
        own = {entry.name for entry in registrations(kind)}
        assert own.isdisjoint(word for others in words.values() for word in others.split())
    every = {name for entry in registrations() for name in entry.parameters}
    assert {*others_words._PARAMETERS} <= every
    for ours, others in others_words._FIELDS.items():
        assert {*re.findall(r"config\.(\w+)", ours)} <= {*FIELDS, *SECTIONS}
        assert all(word not in {*FIELDS, *SECTIONS} for word in others.split())
        for name, parameters in re.findall(r"component\('(\w+)', (\w+)=", ours):
            assert any(entry.name == name and parameters in entry.parameters for entry in registrations())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("max_epochs", "; did you mean 'num_epochs'?"),
        ("batch_size", "; write config.loader = component('in_memory', batch_size=…)."),
        ("loss_", "; did you mean 'loss'?"),
        ("logger", "; every run is logged as it is, and by run --log_to=wandb to another tracker, too."),
    ],
)
def test_a_field_of_another_library_is_answered_with_what_to_write(name, said):
    assert meant_field(name, [*FIELDS, *SECTIONS]) == said


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    edit = """config.loss = component("cross_entropy")
    config.optimizer = component("adam", lr=0.1)
    config.metrics = dict(a=component("acc"), fine=component("f1"), b=component("auc"))"""
    status, out, err = here(
        "run", f"--config={small(tmp_path, edit)}", f"--event_storage={tmp_path / 'runs'}", "--json"
    )
    lines = err.splitlines()
    places = ["loss", "metrics.a", "metrics.b", "optimizer.lr"]
    assert status == 2 and [line.split(":")[1].strip() for line in lines] == [f"config.{place}" for place in places]
    assert all(line.startswith("error: config.") and "; did you mean '" in line for line in lines)
    error = json.loads(out)["error"]
    assert (error["path"], error["nearest"]) == ("config.loss", "softmax_cross_entropy")
    assert error["message"] == "\n".join(line.removeprefix("error: ") for line in lines)
