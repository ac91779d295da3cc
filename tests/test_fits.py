"""Outputs, targets, loss and metrics fit each other, or it is said before anything compiles which to change and how."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from metric_cases import quick_jit
from sklearn import metrics
from sklearn.svm import LinearSVC

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.components.registry import lookup
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import ConfigError

pytestmark = pytest.mark.usefixtures("own_registry")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 5)).astype(np.float32)
BINARY = (X @ RNG.normal(size=5) + 0.9 > 0).astype(np.int32)
THREE = np.arange(300, dtype=np.int32) % 3
LABELS = (X @ RNG.normal(size=(5, 3)) > 0).astype(np.int32)
REAL = (X @ RNG.normal(size=5)).astype(np.float32)
ONE_HOT = np.eye(3, dtype=np.float32)[THREE]


def study(
    tmp_path,
    targets,
    loss,
    *,
    num_outputs=None,
    num_classes=None,
    epochs=1,
    fields=None,
    splits=("train",),
    model="linear",
    **measured,
):
    examples = {"inputs": X, "targets": targets, **(fields or {})}
    register("dataset", "fitting")(lambda: Dataset(dict.fromkeys(splits, examples), num_classes=num_classes))
    config = {
        "num_epochs": epochs,
        "dataset": component("fitting"),
        "loader": component("in_memory", batch_size=32),
        "model": component(model, num_outputs=num_outputs),
        "loss": component(loss) if isinstance(loss, str) else loss,
        "optimizer": component("sgd", learning_rate=0.5),
        "metrics": measured,
    }
    return mg.run(config, event_storage=tmp_path)


@pytest.fixture
def from_zero():
    """A linear model that begins at zero, which compiles in a fraction of the time."""

    @register("model", "from_zero")
    def model(*, num_outputs: int = 1):
        return nn.Dense(num_outputs, kernel_init=nn.initializers.zeros)

    return "from_zero"


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.bool_])
@pytest.mark.parametrize("name", ["hinge_loss", "perceptron_loss"])
def test_losses_of_signs_read_classes_0_and_1(name, dtype):
    outputs = jnp.asarray(RNG.normal(size=300), jnp.float32)
    found = lookup("loss", name).factory()(outputs, {"targets": jnp.asarray(BINARY.astype(dtype))})
    expected = getattr(optax.losses, name)(outputs, jnp.asarray(2 * BINARY - 1, jnp.float32))
    np.testing.assert_array_equal(found, expected)


def test_a_sparsemax_loss_reads_signs():
    outputs = jnp.asarray(RNG.normal(size=300), jnp.float32)
    found = lookup("loss", "sparsemax_loss").factory()(outputs, {"targets": jnp.asarray(2 * BINARY - 1)})
    np.testing.assert_array_equal(found, optax.losses.sparsemax_loss(outputs, jnp.asarray(BINARY)))


@pytest.mark.parametrize("targets", [BINARY, 2 * BINARY - 1, (2 * BINARY - 1).astype(np.float32)])
@pytest.mark.parametrize("loss", ["hinge_loss", "sparsemax_loss"])
def test_margin_losses_learn_what_a_support_vector_machine_does(loss, targets, from_zero, tmp_path):
    measured = {"model": from_zero, "accuracy": component("accuracy")}
    result = study(tmp_path, targets, loss, num_outputs=1, epochs=30, **measured)
    machine = LinearSVC(random_state=0).fit(X, BINARY).score(X, BINARY)
    assert result.experiments[0].last["val/accuracy"] >= machine - 0.03


REFUSED = {
    "no number of classes": (
        (THREE, "softmax_cross_entropy"),
        {},
        r"config\.loss: .*single output.* The targets are 0 … 2: write num_classes=3 .*num_outputs=3",
    ),
    "a class too few": (
        (THREE, "softmax_cross_entropy"),
        {"num_outputs": 2},
        r"config\.loss: .*has 2 outputs .*0 … 1, but the targets hold 2 \(100 of 300\)\. .*num_classes=3",
    ),
    "a class too few, hinge": (
        (THREE, "multiclass_hinge_loss"),
        {"num_outputs": 2},
        r"the targets hold 2 .*num_outputs=3",
    ),
    "a class below 0": ((THREE - 1, "softmax_cross_entropy"), {"num_outputs": 3}, r"hold -1 .*counted from 0"),
    "three classes by their sign": (
        (THREE, "hinge_loss"),
        {"num_outputs": 1},
        r"two classes, .* hold 2\. For 3 classes",
    ),
    "signs and zeros": ((THREE - 1, "perceptron_loss"), {"num_outputs": 1}, r"two classes, .* hold -1, 0 and 1"),
    "signs as probabilities": (
        (2 * BINARY - 1, "sigmoid_binary_cross_entropy"),
        {"num_outputs": 1},
        r"from 0 to 1, .* found -1 … 1; write 0 for -1, or .* hinge_loss",
    ),
    "classes as probabilities": (
        (THREE, "sigmoid_focal_loss"),
        {"num_outputs": 1},
        r"found 0 … 2; .*softmax_cross_entropy",
    ),
    "several labels as one": (
        (LABELS, "softmax_cross_entropy"),
        {"num_outputs": 3},
        r"the sum of a row 1, .*sum [23] .*sigmoid_binary_cross_entropy",
    ),
    "weights of too few classes": (
        (THREE, component("class_weighted", loss=component("softmax_cross_entropy"), weights=(1.0, 2.0))),
        {"num_outputs": 3},
        r"config\.loss: class_weighted: .*class 2, weights has the 2 .*write 3",
    ),
    "numbers as classes": (
        (REAL, "squared_error"),
        {"num_outputs": 1, "found": component("accuracy")},
        r"config\.metrics\.found: accuracy: it reads two classes, .*squared_error and mse",
    ),
    "several labels as one class": (
        (LABELS, "sigmoid_binary_cross_entropy"),
        {"num_outputs": 3, "found": component("f1", num_classes=3)},
        r"config\.metrics\.found: f1: .*one-hot or a distribution.*multilabel=True",
    ),
    "three classes of one output": (
        (THREE, "squared_error"),
        {"num_outputs": 1, "found": component("accuracy")},
        r"config\.metrics\.found: .* hold 2\. For 3 classes",
    ),
    "the first 5 of three classes": (
        (THREE, "softmax_cross_entropy"),
        {"num_outputs": 3, "top": component("top_k")},
        r"config\.metrics\.top: top_k: found k=5, but there are 3 classes, .* always .*; write k=2 or less",
    ),
    "the first 3 of three classes": (
        (THREE, "softmax_cross_entropy"),
        {"num_outputs": 3, "top": component("recall_at_k", k=3, num_classes=3, average="macro")},
        r"config\.metrics\.top: recall_at_k: found k=3, but there are 3 classes, .* write k=2 or less",
    ),
    "the first 2 of two classes": (
        (BINARY, "sigmoid_binary_cross_entropy"),
        {"num_outputs": 1, "top": component("top_k", k=2)},
        r"config\.metrics\.top: .* there are 2 classes, .* write k=1",
    ),
    "an area over 5 of three classes": (
        (THREE, "softmax_cross_entropy"),
        {"num_outputs": 3, "top": component("area_under_recall_at_k")},
        r"config\.metrics\.top: .* there are 3 classes, .* write k=3 or less",
    ),
    "another field": (
        (BINARY, "sigmoid_binary_cross_entropy"),
        {"num_outputs": 1, "fields": {"other": THREE}, "found": component("accuracy", target="other")},
        r"config\.metrics\.found: .* hold 2\. For 3 classes",
    ),
}


@pytest.mark.parametrize(("given", "named", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_before_anything_compiles(given, named, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        study(tmp_path, *given, **named)
    assert not list(tmp_path.iterdir())


ALLOWED = {
    "distributions": ((0.8 * ONE_HOT + 0.1 * ONE_HOT[:, ::-1] + 0.1 / 3, "softmax_cross_entropy"), {"num_outputs": 3}),
    "more outputs than classes": ((THREE, "softmax_cross_entropy"), {"num_outputs": 5}),
    "soft labels of a yes": ((BINARY * 0.9 + 0.05, "sigmoid_binary_cross_entropy"), {"num_outputs": 1}),
    "several labels": ((LABELS, "sigmoid_binary_cross_entropy"), {"num_outputs": 3}),
    "the first 2 of three classes": (
        (THREE, "softmax_cross_entropy"),
        {"num_outputs": 3, "top": component("top_k", k=2)},
    ),
    "counts as numbers": ((THREE, "squared_error"), {"num_outputs": 1}),
}


@pytest.mark.parametrize(("given", "named"), ALLOWED.values(), ids=ALLOWED)
def test_what_fits_is_trained(given, named, from_zero, tmp_path):
    (experiment,) = study(tmp_path, *given, model=from_zero, **named).experiments
    assert np.isfinite(experiment.last["train/loss"])


def _parts(outputs, targets, size):
    for start in range(0, len(outputs), size):
        rows = slice(start, start + size)
        yield (
            outputs[rows],
            {"targets": targets[rows], "mask": np.ones(len(outputs[rows]), bool)},
        )


MULTILABEL = {
    "accuracy": (lambda t, o: metrics.accuracy_score(t, o > 0), {}),
    **{
        f"{name} {average}": (
            lambda t, o, f=function, a=average: f(t, o > 0, average=a, zero_division=0),
            {"average": average},
        )
        for name, function in [
            ("f1", metrics.f1_score),
            ("precision", metrics.precision_score),
            ("recall", metrics.recall_score),
            ("fbeta", lambda *given, **named: metrics.fbeta_score(*given, beta=2.0, **named)),
        ]
        for average in ("macro", "micro", "weighted")
    },
    **{
        f"{name} {average}": (lambda t, o, f=function, a=average: f(t, o, average=a), {"average": average})
        for name, function in [("auroc", metrics.roc_auc_score), ("aupr", metrics.average_precision_score)]
        for average in ("macro", "weighted")
    },
}


OUTPUTS = (np.repeat(REAL[:, None], 3, axis=1) + RNG.normal(size=(300, 3))).astype(np.float32)


@functools.cache
def _scores_of_several_labels():
    """Return {(case, number of labels): score} of all cases, by one program."""
    found = {}

    @quick_jit
    def scores(parts):
        for num_labels, case in itertools.product((1, 2, 3), MULTILABEL):
            numbers = {} if case == "accuracy" else {"num_classes": num_labels}
            metric = lookup("metric", case.split()[0]).factory(multilabel=True, **MULTILABEL[case][1], **numbers)
            states = [metric.update(metric.init(), some, batch) for some, batch in parts[num_labels]]
            found[case, num_labels] = metric.compute(functools.reduce(metric.merge, states, metric.init()))
        return list(found.values())

    parts = {number: list(_parts(OUTPUTS[:, :number], LABELS[:, :number], 77)) for number in (1, 2, 3)}
    values = jax.device_get(scores(parts))
    return dict(zip(found, values, strict=True))


@pytest.mark.parametrize("num_labels", [1, 2, 3])
@pytest.mark.parametrize("case", MULTILABEL)
def test_several_labels_are_measured_as_scikit_learn_does(case, num_labels):
    by_scikit_learn, _ = MULTILABEL[case]
    outputs, labels = OUTPUTS[:, :num_labels], LABELS[:, :num_labels]
    expected = by_scikit_learn(
        labels if num_labels > 1 else np.c_[labels, labels], outputs if num_labels > 1 else np.c_[outputs, outputs]
    )
    assert float(_scores_of_several_labels()[case, num_labels]) == pytest.approx(expected, abs=1e-6)


def test_a_label_that_is_neither_there_nor_predicted_counts_as_in_scikit_learn():
    labels, outputs = np.c_[LABELS, np.zeros(300, np.int32)], np.c_[LABELS - 0.5, -np.ones(300)].astype(np.float32)
    metric = lookup("metric", "f1").factory(multilabel=True, num_classes=4)
    ((some, batch),) = _parts(outputs, labels, 300)
    found = metric.compute(metric.update(metric.init(), some, batch))
    expected = metrics.f1_score(labels, outputs > 0, average="macro", zero_division=0)
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_several_labels_in_a_run(from_zero, tmp_path):
    result = study(
        tmp_path,
        LABELS,
        "sigmoid_binary_cross_entropy",
        num_outputs=3,
        epochs=3,
        splits=("train", "test"),
        model=from_zero,
        exact=component("accuracy", multilabel=True),
        macro=component("f1", num_classes=3, multilabel=True),
        ranked=component("auroc", num_classes=3, multilabel=True),
    )
    (experiment,) = result.experiments
    with_test = np.asarray(experiment.predict(X))
    expected = {
        "exact": metrics.accuracy_score(LABELS, with_test > 0),
        "macro": metrics.f1_score(LABELS, with_test > 0, average="macro"),
        "ranked": metrics.roc_auc_score(LABELS, with_test),
    }
    for name, value in expected.items():
        assert experiment.last[f"test/{name}"] == pytest.approx(value, abs=1e-6)
