"""Changes of training batches: where they come, what metrics see, how they are drawn, and what is refused."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from sklearn.metrics import accuracy_score, log_loss

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.errors import ConfigError

pytestmark = pytest.mark.usefixtures("own_registry")
STRENGTHS = (0.5, 2.0)

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(30, 4)).astype(np.float32)
CLASSES = RNG.integers(0, 3, 30).astype(np.int32)


@pytest.fixture(scope="module", autouse=True)
def registered(modules_registry):
    @mg.register("dataset", "points")
    def points(*, scale: float = 1.0):
        train = {"inputs": INPUTS[:20] * scale, "targets": CLASSES[:20]}
        return mg.Dataset(
            splits={"train": train, "val": {"inputs": INPUTS[20:], "targets": CLASSES[20:]}}, num_classes=3
        )

    @mg.register("augmentation", "times", dynamic=("factor",))
    def times(*, factor: float = 2.0):
        return lambda key, batch: {**batch, "inputs": batch["inputs"] * factor}

    @mg.register("augmentation", "noise")
    def noise(*, scale: float = 1.0):
        def add(key, batch):
            return {**batch, "inputs": batch["inputs"] + scale * jax.random.normal(key, batch["inputs"].shape)}

        return add

    @mg.register("augmentation", "softened")
    def softened(*, share: float = 0.7):
        def soften(key, batch):
            others = (1.0 - share) / 2
            hot = jax.nn.one_hot(batch["targets"], 3)
            return {**batch, "targets": jnp.where(hot > 0, jnp.float32(share), jnp.float32(others))}

        return soften


def study(**changes):
    config = ConfigDict(
        {
            "num_epochs": 3,
            "dataset": component("points"),
            "loader": component("in_memory", batch_size=8),
            "model": component("mlp", features=()),
            "loss": component("softmax_cross_entropy"),
            "optimizer": component("sgd", learning_rate=0.1),
            "metrics": {"accuracy": component("accuracy")},
        }
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return config


@pytest.fixture(scope="module")
def scaled(registered, tmp_path_factory):
    """Return {strength: the experiment whose data have it}."""
    config = study(dataset=component("points", scale=grid(*STRENGTHS)))
    found = mg.run(config, event_storage=tmp_path_factory.mktemp("scaled")).experiments
    return {experiment.hyperparameters["dataset.scale"]: experiment for experiment in found}


def noisy_study(**changes):
    return study(augmentation=component("noise"), seed=grid(0, 1), checkpoint_interval_seconds=0.0, **changes)


@pytest.fixture(scope="module")
def noisy(registered, tmp_path_factory):
    """A run of two seeds whose training batches are noisy."""
    return mg.run(noisy_study(), event_storage=tmp_path_factory.mktemp("noisy"))


@pytest.mark.parametrize("plan", ["vmap+scan", "map+stretch", "none+step"])
def test_the_training_batch_is_changed_and_no_other_and_strengths_are_swept_in_one_program(tmp_path, scaled, plan):
    config = study(augmentation=component("times", factor=grid(*STRENGTHS)))
    result = mg.run(config, event_storage=tmp_path / "changed", plan=plan)
    assert (pathlib.Path(result.run_dir) / "event_storage.log").read_text().count('"group_compiled"') == 1
    assert len(result.experiments) == len(scaled) == 2
    for experiment in result.experiments:
        expected = scaled[experiment.hyperparameters["augmentation.factor"]]
        np.testing.assert_allclose(experiment.history["val/loss"], expected.history["val/loss"], rtol=1e-5)
        assert experiment.history["train/loss"] != expected.history["train/loss"]  # which is of the data as it is


def test_metrics_of_shares_of_classes_see_the_class_with_the_largest_and_the_loss_sees_the_shares():
    program = mg.make_program(mg.build(study(augmentation=component("softened", share=0.7))))
    batch = {"inputs": INPUTS, "targets": CLASSES}
    state = program.init(jax.random.key(0), batch)
    _, measured = jax.jit(program.train_step)(state, batch)
    scores = program.compute(measured)
    logits = np.asarray(program.predict(state, batch), np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    # Cross entropy of shares is the mean of scikit-learn's log loss over the classes, weighed by their shares.
    expected = np.mean(
        [
            sum((0.7 if label == kind else 0.15) * log_loss([kind], row[None], labels=[0, 1, 2]) for kind in range(3))
            for row, label in zip(probabilities, CLASSES, strict=True)
        ]
    )
    np.testing.assert_allclose(scores["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(scores["accuracy"], accuracy_score(CLASSES, probabilities.argmax(1)), rtol=1e-6)


def test_what_is_drawn_depends_on_seed_and_step_alone(tmp_path, noisy):
    half = mg.run(noisy_study(num_epochs=1), event_storage=tmp_path / "half")
    resumed = mg.resume(half.run_dir, num_epochs=3)
    one, two = noisy.experiments
    assert one.history["val/loss"] != two.history["val/loss"]
    for experiment, again in zip(noisy.experiments, resumed.experiments, strict=True):
        assert again.history["val/loss"] == experiment.history["val/loss"]


def test_a_batch_in_parts_is_changed_as_a_whole(tmp_path, noisy):
    loader = component("in_memory", batch_size=8, microbatches=4)
    found = mg.run(study(augmentation=component("noise"), loader=loader), event_storage=tmp_path).experiments[0]
    expected = noisy.experiments[0].history["val/loss"]  # of the same seed
    np.testing.assert_allclose(found.history["val/loss"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda key, batch: None, "the changed batch, a dict; found None"),
        (lambda key, batch: {"inputs": batch["inputs"]}, "leaves out the fields class_counts, mask, targets"),
        (lambda key, batch: {**batch, "inputs": batch["inputs"][:2]}, "'inputs' is an array of 8 examples"),
        (lambda key, batch: {**batch, "inputs": batch["image"]}, "'image'"),
        (
            lambda key, batch: {**batch, "inputs": batch["inputs"][:, :2]},
            "config.augmentation: it makes inputs [8, 2] of inputs [8, 4], and training with that fails, at config.m",
        ),
    ],
)
def test_what_is_no_batch_is_refused_in_words(tmp_path, change, said):
    @mg.register("augmentation", "wrong")
    def wrong():
        return change

    with pytest.raises(ConfigError) as raised:
        mg.run(study(augmentation=component("wrong")), event_storage=tmp_path)
    assert said in str(raised.value)


def test_the_mask_is_not_for_an_augmentation_to_change():
    @mg.register("augmentation", "hiding")
    def hiding():
        return lambda key, batch: {**batch, "mask": jnp.zeros_like(batch["mask"])}

    program = mg.make_program(mg.build(study(augmentation=component("hiding"))))
    batch = {"inputs": INPUTS, "targets": CLASSES}
    state, _ = jax.jit(program.train_step)(program.init(jax.random.key(0), batch), batch)
    assert int(state.step) == 1
