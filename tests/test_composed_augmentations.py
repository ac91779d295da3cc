"""Augmentations of augmentations; what is drawn in runs, resumed and under all plans; padding; what is refused."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.augmentations import composition, features, geometry, mixing, tokens
from mlgym_jax.components.registry import lookup, registrations
from mlgym_jax.core.independence import by_example
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import ConfigError

pytestmark = pytest.mark.usefixtures("pictures")

NUM = 600
ROWS = np.zeros((NUM, 2), np.float32)
IMAGES = np.random.default_rng(0).normal(size=(NUM, 4, 4, 1)).astype(np.float32)


@pytest.fixture
def pictures(own_registry):
    """A hundred grey pictures of 8 x 8 pixels."""

    @mg.register("dataset", "pictures")
    def pictures():
        random = np.random.default_rng(1)
        inputs, targets = random.random((100, 8, 8, 1), np.float32), random.integers(0, 10, 100, np.int32)
        return Dataset({"train": {"inputs": inputs, "targets": targets}}, 10)


def added(number):
    return lambda key, batch: {**batch, "inputs": batch["inputs"] + number}


def drawn(key, batch):
    return {**batch, "inputs": batch["inputs"] + jax.random.uniform(key, batch["inputs"].shape)}


def changed(augmentation, inputs=ROWS, seed=0, **fields):
    batch = {"inputs": inputs, "mask": np.ones(NUM, bool), **fields}
    return jax.jit(augmentation)(jax.random.key(seed), batch)


def test_a_chain_applies_one_after_another_each_with_its_own_key():
    steps = (added(3.0), lambda key, batch: {**batch, "inputs": batch["inputs"] * 2.0}, added(-1.0))
    np.testing.assert_array_equal(changed(composition.chain(augmentations=steps))["inputs"], ROWS + 5)
    first, second = (np.asarray(changed(composition.chain(augmentations=(drawn,) * n))["inputs"]) for n in (1, 2))
    assert (second != 2 * first).all() and (second > first).all()  # the first drew alike, the second otherwise


def test_some_examples_are_changed_whole_as_often_as_said():
    found = np.asarray(changed(composition.sometimes(augmentation=added(1.0), probability=0.3))["inputs"])
    assert (found[:, 0] == found[:, 1]).all() and {*np.unique(found)} == {0.0, 1.0}
    assert abs(found[:, 0].mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / NUM)
    for share in (0.0, 1.0):
        whole = composition.sometimes(augmentation=added(1.0), probability=share)
        np.testing.assert_array_equal(changed(whole)["inputs"], ROWS + share)


def test_one_of_several_changes_each_example_by_their_weights():
    steps = tuple(added(number) for number in (1.0, 2.0, 3.0))
    found = np.asarray(changed(composition.one_of(augmentations=steps, weights=(5.0, 0.0, 15.0)))["inputs"])
    assert {*np.unique(found)} == {1.0, 3.0} and (found[:, 0] == found[:, 1]).all()
    assert abs((found[:, 0] == 1).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / NUM)
    alike = np.asarray(changed(composition.one_of(augmentations=steps))["inputs"])[:, 0]
    for number in (1, 2, 3):
        assert abs((alike == number).mean() - 1 / 3) < 4 * np.sqrt(2 / 9 / NUM)


def test_classes_of_examples_that_are_not_mixed_are_one_hot():
    classes = np.arange(NUM, dtype=np.int32) % 3
    mixup = mixing.mixup(Dataset({}, 3), alpha=5.0)
    found = changed(composition.sometimes(augmentation=mixup, probability=0.5), IMAGES, targets=classes)
    same = (np.asarray(found["inputs"]) == IMAGES).all((1, 2, 3))
    assert 0.4 < same.mean() < 0.6
    np.testing.assert_array_equal(np.asarray(found["targets"])[same], np.eye(3)[classes[same]])
    assert ((np.asarray(found["targets"])[~same] < 1).all(1)).sum() > 0.5 * (~same).sum()


def test_another_field_is_changed_in_the_place_of_the_inputs():
    inputs = {"image": IMAGES, "age": ROWS}
    flip = geometry.flip(probability=1.0)
    found = changed(composition.by_field(field="inputs.image", augmentation=flip), inputs)
    np.testing.assert_array_equal(found["inputs"]["image"], IMAGES[:, :, ::-1])
    np.testing.assert_array_equal(found["inputs"]["age"], ROWS)
    both = geometry.flip(probability=1.0, fields=("inputs", "targets"))
    found = changed(composition.by_field(field="targets", augmentation=flip), IMAGES, targets=IMAGES)
    np.testing.assert_array_equal(found["inputs"], IMAGES)
    np.testing.assert_array_equal(found["targets"], IMAGES[:, :, ::-1])
    found = changed(composition.by_field(field="inputs.image", augmentation=both), inputs, targets=IMAGES[..., 0])
    np.testing.assert_array_equal(found["targets"], IMAGES[:, :, ::-1, 0])
    direct = changed(geometry.flip(probability=1.0, fields=("inputs.image",)), inputs)
    np.testing.assert_array_equal(direct["inputs"]["image"], IMAGES[:, :, ::-1])


SEES_THE_BATCH = {"mixup", "cutmix", "swap_noise"}
PARAMETERS = {
    "by_field": {"field": "inputs", "augmentation": geometry.flip()},
    "chain": {"augmentations": (geometry.flip(), geometry.crop(mode="reflect"))},
    "one_of": {"augmentations": (geometry.flip(), geometry.rotate())},
    "sometimes": {"augmentation": geometry.translate()},
    "drop_words": {"token": 0},
    "mask_tokens": {"mask_token": 0},
}


@pytest.mark.parametrize("name", [entry.name for entry in registrations("augmentation")])
def test_which_see_a_whole_batch_is_known_and_all_strengths_may_be_traced(name):
    """Where a batch is of single examples, its last, smaller one is padded, and nothing more is compiled."""
    entry = lookup("augmentation", name)
    needs = {"dataset": Dataset({}, 5)} if "dataset" in entry.needs else {}
    dynamic = [parameter for parameter in entry.parameters if entry.is_dynamic(parameter)]
    form = ((6, 6, 3), jnp.float32) if name not in ("drop_words", "mask_tokens") else ((6,), jnp.int32)

    def augment(batch, *strengths):
        given = {**PARAMETERS.get(name, {}), **needs, **dict(zip(dynamic, strengths, strict=True))}
        return entry.factory(**given)(jax.random.key(0), batch)

    def traced(size):
        batch = {
            "inputs": jax.ShapeDtypeStruct((size, *form[0]), form[1]),
            "targets": jax.ShapeDtypeStruct((size,), jnp.int32),
            "mask": jax.ShapeDtypeStruct((size,), jnp.bool_),
        }
        return jax.make_jaxpr(augment)(batch, *(jax.ShapeDtypeStruct((), jnp.float32) for _ in dynamic))

    traced(6)
    assert by_example(traced, (6, 4)) == (name not in SEES_THE_BATCH)


def study(**changes):
    config = ConfigDict(
        {
            "num_epochs": 2,
            "dataset": component("pictures"),
            "loader": component("in_memory", batch_size=32),
            "model": component("mlp", features=(16,), dropout_rate=0.1),
            "loss": component("softmax_cross_entropy"),
            "optimizer": component("adam", learning_rate=0.01),
            "metrics": {"accuracy": component("accuracy")},
            "checkpoint_interval_seconds": 0.0,
        }
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def strong(**changes):
    steps = (
        component("rotate", degrees=grid(0.0, 40.0)),
        component("sometimes", augmentation=component("gaussian_noise"), probability=0.5),
    )
    model = component("mlp", features=(16,), dropout_rate=grid(0.0, 0.3))
    return study(augmentation=component("chain", augmentations=steps), model=model, **changes)


@pytest.mark.parametrize("plan", ["vmap+scan", "map+scan", "none+step"])
def test_a_sweep_of_strengths_and_dropout_compiles_once_and_resumes_to_the_bit(tmp_path, plan):
    whole = mg.run(strong(), event_storage=tmp_path / "whole", plan=plan)
    assert (pathlib.Path(whole.run_dir) / "event_storage.log").read_text().count('"group_compiled"') == 1
    assert len({experiment.history["val/loss"][-1] for experiment in whole.experiments}) == 4
    half = mg.run(strong(num_epochs=1), event_storage=tmp_path / "half", plan=plan)
    resumed = mg.resume(half.run_dir, num_epochs=2)
    for experiment, again in zip(whole.experiments, resumed.experiments, strict=True):
        assert again.history["val/loss"] == experiment.history["val/loss"]
        assert again.history["train/accuracy"] == experiment.history["train/accuracy"]


def test_what_is_swept_is_what_would_stand_in_its_place(tmp_path):
    mixes = study(augmentation=component("mixup", alpha=grid(0.1, 2.0)))
    result = mg.run(mixes, event_storage=tmp_path / "swept")
    assert (pathlib.Path(result.run_dir) / "event_storage.log").read_text().count('"group_compiled"') == 1
    mixes.augmentation = component("mixup", alpha=2.0)
    alone = mg.run(mixes, event_storage=tmp_path / "alone").experiments[0]
    np.testing.assert_allclose(result.experiments[1].history["val/loss"], alone.history["val/loss"], rtol=1e-5)
    assert result.experiments[0].history["val/loss"] != result.experiments[1].history["val/loss"]


@pytest.mark.parametrize(
    ("section", "path", "said"),
    [
        (component("flip", probability=1.5), "augmentation.probability", "a number in [0, 1] is expected, found 1.5"),
        (component("flip", probability=grid(0.5, 1.5)), "augmentation.probability", "found 1.5"),
        (component("flip", probability=True), "augmentation.probability", "wrong type: found True"),
        (
            component("flip", probability=component("constant_schedule", value=0.1)),
            "augmentation.probability",
            "found a component, schedule 'constant_schedule'",
        ),
        (component("flip", directions="vertical"), "augmentation.directions", "did you mean 'direction'?"),
        (component("flip", direction="up"), "augmentation.direction", "one of 'horizontal', 'vertical'"),
        (component("flop"), "augmentation", "did you mean 'flip'?"),
        (component("mixup", alpha=0), "augmentation.alpha", "a number above 0 is expected, found 0"),
        (component("chain", augmentations=()), "augmentation.augmentations", "it is empty"),
        (
            component("chain", augmentations=(component("flip"), component("crop", padding=-2))),
            "augmentation.augmentations.1.padding",
            "found -2",
        ),
        (component("chain", augmentations=("flip",)), "augmentation.augmentations.0", "component of kind"),
        (component("sometimes", augmentation=component("flip"), probability=2), "augmentation.probability", "found 2"),
        (
            component("one_of", augmentations=(component("flip"),), weights=(1.0, 2.0)),
            "augmentation.weights",
            "found 2 weights for 1 augmentations",
        ),
        (
            component("one_of", augmentations=(component("flip"),), weights=(0.0,)),
            "augmentation.weights",
            "all of them are 0",
        ),
        (component("by_field", field="image", augmentation=component("flip")), "augmentation", "no field 'image'"),
        (component("mask_tokens"), "augmentation.mask_token", "the dataset says no mask_token"),
        (
            component("one_of", augmentations=(component("flip"), component("crop", size=(4, 4)))),
            "augmentation",
            "the field 'inputs' is float32[32, 8, 8, 1], float32[32, 4, 4, 1]",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path, section, path, said):
    with pytest.raises(ConfigError) as raised:
        mg.run(study(augmentation=section), event_storage=tmp_path)
    assert str(raised.value).startswith(f"config.{path}: ") and said in str(raised.value)


def test_rows_of_a_table_are_no_images_and_regression_targets_are_mixed(tmp_path):
    table = study(dataset=component("digits"), augmentation=component("crop"))
    with pytest.raises(ConfigError, match=r"the field 'inputs' is float32\[batch, 64\]"):
        mg.run(table, event_storage=tmp_path)
    numbers = study(
        dataset=component("synthetic", num_examples=40, num_features=3, task="regression"),
        augmentation=component("mixup"),
        loss=component("squared_error"),
        metrics={},
    )
    assert np.isfinite(mg.run(numbers, event_storage=tmp_path).experiments[0].history["val/loss"][-1])


def test_a_field_that_some_examples_alone_would_have_is_refused():
    words = np.ones((NUM, 5), np.int32)
    masks = tokens.mask_tokens(Dataset({}, 5, mask_token=0))
    with pytest.raises(ConfigError, match="'targets' comes of some augmentations alone"):
        changed(composition.sometimes(augmentation=masks), words)
    noisy = composition.sometimes(augmentation=features.gaussian_noise())
    assert changed(noisy)["inputs"].shape == ROWS.shape


def test_the_examples_of_the_docs_change_batches():
    names = {"__name__": "docs", "config": study()}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/augmentation.md").read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 7
    for block in blocks:
        exec(compile(block, "docs/augmentation.md", "exec"), names)
        components = mg.build(names["config"])
        train = components["dataset"].splits["train"]
        batch = {field: jnp.asarray(array[:4]) for field, array in train.items()} | {"mask": jnp.ones(4, bool)}
        if "both" in block:
            batch["targets"] = (batch["inputs"][..., 0] > 0.5).astype(jnp.int32)
        found = jax.jit(components["augmentation"])(jax.random.key(3), batch)
        assert found.keys() == batch.keys()
        assert bool(jnp.any(jnp.asarray(found["inputs"] != batch["inputs"])))
    brighter = changed(lookup("augmentation", "brighter").factory(most=0.5), IMAGES)["inputs"] - IMAGES
    assert brighter.min() >= 0 and 0.4 < brighter.max() <= 0.5


def test_a_loss_of_class_numbers_says_which_one_takes_mixed_targets(tmp_path):
    config = study(augmentation=component("mixup"), loss=component("softmax_cross_entropy_with_integer_labels"))
    with pytest.raises(ConfigError, match="as mixup makes them, are for softmax_cross_entropy"):
        mg.run(config, event_storage=tmp_path)
