"""Every registered loss against a direct call of optax's function, by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from metric_cases import quick_jit

from mlgym_jax.components.registry import lookup, registrations
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.losses import of_optax as losses
from mlgym_jax.optimizers import signatures

RNG = np.random.default_rng(0)
B, C, T = 6, 4, 5


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def integers(low, high, *shape):
    return RNG.integers(low, high, shape).astype(np.int32)


def one_hot(classes):
    return np.eye(C, dtype=np.float32)[classes]


LOGITS, LABELS = normal(B, C), integers(0, C, B)
LOG_P, P = scipy.special.log_softmax(LOGITS, axis=-1), scipy.special.softmax(normal(B, C), axis=-1)
BINARY = integers(0, 2, B)
SIGNS, ONE_HOT = 2 * BINARY - 1, one_hot(LABELS)
REAL, VALUES = normal(B, 3), normal(B, 3)
IMAGES, MASKS = normal(B, 3, 3, C), one_hot(integers(0, C, B, 3, 3))
RELEVANCE = integers(0, 3, B, C).astype(np.float32)
CTC = {
    "logit_paddings": np.zeros((B, T), np.float32),
    "label_paddings": np.zeros((B, 2), np.float32),
    "targets": integers(1, C, B, 2),
}
OTHERS = {"positives": normal(B, 3), "negatives": normal(B, 3)}
GROUPS = np.array([0, 0, 1, 1, 2, 2], np.int32)

# name -> (outputs, batch, parameters, the value as optax gives it, reduced by hand)
CASES = {
    "binary_dice_loss": (IMAGES[..., 0], MASKS[..., 0], {}, lambda o, t: optax.losses.binary_dice_loss(o, t)),
    "convex_kl_divergence": (LOG_P, P, {}, optax.convex_kl_divergence),
    "cosine_distance": (REAL, VALUES, {"epsilon": 1e-6}, lambda o, t: optax.cosine_distance(o, t, epsilon=1e-6)),
    "ctc_loss": (
        normal(B, T, C),
        CTC,
        {},
        lambda o, b: optax.ctc_loss(o, b["logit_paddings"], b["targets"], b["label_paddings"]),
    ),
    "dice_loss": (IMAGES, MASKS, {"alpha": 0.3}, lambda o, t: optax.losses.dice_loss(o, t, alpha=0.3)),
    "generalized_kl_divergence": (LOG_P, P, {}, optax.losses.generalized_kl_divergence),
    "hinge_loss": (LOGITS[:, 0], SIGNS, {}, lambda o, t: optax.hinge_loss(o, t.astype(jnp.float32))),
    "huber_loss": (REAL, VALUES, {"delta": 0.5}, lambda o, t: optax.huber_loss(o, t, delta=0.5).mean(axis=1)),
    "kl_divergence": (LOG_P, P, {}, optax.kl_divergence),
    "kl_divergence_with_log_targets": (LOG_P, np.log(P), {}, optax.losses.kl_divergence_with_log_targets),
    "l2_loss": (REAL, VALUES, {}, lambda o, t: optax.l2_loss(o, t).mean(axis=1)),
    "log_cosh": (REAL, VALUES, {}, lambda o, t: optax.log_cosh(o, t).mean(axis=1)),
    "multiclass_generalized_dice_loss": (
        IMAGES,
        MASKS,
        {},
        lambda o, t: jnp.full((B,), optax.losses.multiclass_generalized_dice_loss(o, t)),
    ),
    "multiclass_hinge_loss": (LOGITS, LABELS, {}, optax.losses.multiclass_hinge_loss),
    "multiclass_perceptron_loss": (LOGITS, LABELS, {}, optax.losses.multiclass_perceptron_loss),
    "multiclass_sparsemax_loss": (LOGITS, LABELS, {}, optax.losses.multiclass_sparsemax_loss),
    "ntxent": (REAL, GROUPS, {"temperature": 0.5}, lambda o, t: jnp.full((B,), optax.ntxent(o, t, temperature=0.5))),
    "perceptron_loss": (LOGITS[:, 0], SIGNS, {}, lambda o, t: optax.losses.perceptron_loss(o, t.astype(jnp.float32))),
    "poly_loss_cross_entropy": (
        LOGITS,
        ONE_HOT,
        {"epsilon": 1.5},
        lambda o, t: optax.losses.poly_loss_cross_entropy(o, t, epsilon=1.5),
    ),
    "ranking_softmax_loss": (
        LOGITS,
        RELEVANCE,
        {},
        lambda o, t: optax.losses.ranking_softmax_loss(o, t, reduce_fn=None),
    ),
    "safe_softmax_cross_entropy": (LOGITS, P, {}, optax.safe_softmax_cross_entropy),
    "sigmoid_binary_cross_entropy": (LOGITS[:, 0], BINARY, {}, optax.sigmoid_binary_cross_entropy),
    "sigmoid_focal_loss": (
        LOGITS,
        ONE_HOT,
        {"alpha": 0.25},
        lambda o, t: optax.sigmoid_focal_loss(o, t, alpha=0.25).mean(axis=1),
    ),
    "softmax_cross_entropy": (LOGITS, P, {}, optax.softmax_cross_entropy),
    "softmax_cross_entropy_with_integer_labels": (LOGITS, LABELS, {}, optax.softmax_cross_entropy_with_integer_labels),
    "sparsemax_loss": (LOGITS[:, 0], BINARY, {}, optax.losses.sparsemax_loss),
    "squared_error": (REAL, VALUES, {}, lambda o, t: optax.squared_error(o, t).mean(axis=1)),
    "triplet_margin_loss": (
        REAL,
        OTHERS,
        {"margin": 0.5},
        lambda o, b: optax.losses.triplet_margin_loss(o, b["positives"], b["negatives"], margin=0.5),
    ),
}
NAMES = [entry.name for entry in registrations("loss") if entry.origin == signatures.__file__]


def as_batch(given):
    return given if isinstance(given, dict) else {"targets": given}


@functools.cache
def computed():
    """Return {name: (the loss, what optax gives, the gradient with every number traced)}, compiled once."""

    @quick_jit
    def every(cases, numbers):
        found = {}
        for name in NAMES:
            (outputs, given), parameters, by_hand = cases[name], *CASES[name][2:]
            entry = lookup("loss", name)

            def objective(outputs, entry=entry, given=given, name=name):
                return entry.factory(**numbers[name])(outputs, as_batch(given)).sum()

            value = entry.factory(**parameters)(outputs, as_batch(given))
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                expected = by_hand(outputs, given)
            found[name] = value, expected, jax.grad(objective)(outputs)
        return found

    numbers = {
        name: {key: np.float32(value) for key, value in CASES[name][2].items() if lookup("loss", name).is_dynamic(key)}
        for name in NAMES
    }
    assert all(set(numbers[name]) == set(CASES[name][2]) for name in NAMES)
    return jax.device_get(every({name: CASES[name][:2] for name in NAMES}, numbers))


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_equals_optax(name):
    found, expected, _ = computed()[name]
    assert found.shape == expected.shape == (B,)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_has_finite_gradients_with_every_number_traced(name):
    gradient = computed()[name][2]
    assert np.isfinite(gradient).all() and (gradient != 0).any()


def test_every_public_loss_is_registered_or_listed():
    public = {
        name for name, item in signatures.public_functions(optax.losses).items() if item.__module__.startswith("optax")
    }
    assert public == set(NAMES) | set(losses.NOT_LOSSES)


def test_numbers_are_dynamic_and_settings_are_not():
    entry = lookup("loss", "softmax_cross_entropy")
    assert not entry.is_dynamic("axis") and lookup("loss", "huber_loss").is_dynamic("delta")


@pytest.mark.parametrize(
    "name", ["softmax_cross_entropy", "safe_softmax_cross_entropy", "poly_loss_cross_entropy", "kl_divergence"]
)
def test_class_numbers_are_worth_their_one_hot(name):
    loss = lookup("loss", name).factory()
    every = {"one-hot": ONE_HOT, "flat": LABELS, "column": LABELS[:, None]}
    found = quick_jit(lambda every: {form: loss(LOG_P, {"targets": targets}) for form, targets in every.items()})(every)
    for form in ("flat", "column"):
        np.testing.assert_allclose(found[form], found["one-hot"], rtol=1e-6)


def test_positions_are_averaged():
    outputs, targets = normal(2, 3, C), integers(0, C, 2, 3)
    loss = lookup("loss", "softmax_cross_entropy").factory()
    found = quick_jit(loss)(outputs, {"targets": targets})
    log_p = scipy.special.log_softmax(outputs.astype(np.float64), axis=-1)
    expected = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0].mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["sigmoid_binary_cross_entropy", "squared_error", "hinge_loss", "huber_loss"])
@pytest.mark.parametrize("columns", [((B, 1), (B,)), ((B,), (B, 1)), ((B, 1), (B, 1))])
def test_a_column_is_never_broadcast(name, columns):
    outputs, targets = LOGITS[:, 0].reshape(columns[0]), BINARY.reshape(columns[1])
    loss = quick_jit(lookup("loss", name).factory())
    np.testing.assert_array_equal(loss(outputs, {"targets": targets}), loss(LOGITS[:, 0], {"targets": BINARY}))


@pytest.mark.parametrize(
    "name, outputs, targets",
    [("squared_error", REAL, LABELS), ("softmax_cross_entropy", LOGITS, VALUES), ("multiclass_hinge_loss", LOGITS, P)],
)
def test_a_mismatch_names_loss_and_shapes(name, outputs, targets):
    with pytest.raises(MlgymError) as error:
        lookup("loss", name).factory()(outputs, {"targets": targets})
    shapes = [f"{item.dtype.name}[{', '.join(map(str, item.shape))}]" for item in (outputs, targets)]
    assert all(word in str(error.value) for word in (name, *shapes))


@pytest.mark.parametrize(
    ("name", "targets", "said"),
    [
        ("softmax_cross_entropy", LABELS.astype(np.float32), "write classes as whole numbers, y.astype(int)"),
        ("squared_error", VALUES, "write num_outputs=3 in the model"),
    ],
)
def test_a_mismatch_says_what_to_type(name, targets, said):
    with pytest.raises(MlgymError) as error:
        lookup("loss", name).factory()(LOGITS, {"targets": targets})
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("softmax_cross_entropy", (6,), {}),
        ("safe_softmax_cross_entropy", (6,), {}),
        ("cosine_distance", (6, 1), {}),
        ("kl_divergence", (6, 3), {"axis": 0}),
        ("ranking_softmax_loss", (6,), {}),
    ],
)
def test_examples_are_not_compared_along_the_batch(name, shape, parameters):
    loss = lookup("loss", name).factory(**parameters)
    targets = jnp.full(shape[:1] if shape[1:] == (1,) else shape, 0.5)
    with pytest.raises(MlgymError, match=r"is that of the batch"):
        loss(jnp.ones(shape), {"targets": targets, "mask": jnp.ones(6, bool)})


def test_the_direction_of_one_number_is_refused():
    column = jnp.ones((6, 1))
    assert float(jnp.abs(jax.grad(lambda x: optax.cosine_distance(x, column).sum())(0.5 * column)).max()) == 0
    with pytest.raises(MlgymError, match=r"one number along axis=-1, whose direction is a sign without a gradient"):
        lookup("loss", "cosine_distance").factory()(column, {"targets": column, "mask": jnp.ones(6, bool)})


@pytest.mark.parametrize(
    ("name", "parameter", "value", "wanted"),
    [
        ("huber_loss", "delta", -1.0, "a number above 0"),  # below 0 where it should be above
        ("lp", "p", 0.0, "a number above 0"),  # flat
        ("lp", "p", -1.0, "a number above 0"),  # the farther the cheaper
        ("ntxent", "temperature", -0.1, "a number above 0"),  # apart what should be near
        ("sigmoid_focal_loss", "alpha", -1.0, r"a number in \[0, 1\]"),  # torchvision's word for none
        ("sigmoid_focal_loss", "gamma", -2.0, "at least 0"),
        ("dice_loss", "smooth", -1.0, "at least 0"),
    ],
)
def test_numbers_that_turn_a_loss_round_are_refused(name, parameter, value, wanted):
    with pytest.raises(ConfigError, match=rf"loss\.{parameter}: {wanted} is expected, found {value}"):
        lookup("loss", name).factory(**{parameter: value})


def test_other_arrays_come_from_outputs_or_batch_by_name():
    loss = quick_jit(lookup("loss", "triplet_margin_loss").factory())
    expected = loss(REAL, OTHERS)
    np.testing.assert_array_equal(loss({"anchors": REAL, **OTHERS}, {}), expected)
    with pytest.raises(MlgymError, match="'triplet_margin_loss' needs 'negatives'"):
        loss(REAL, {"positives": REAL})
    weighted = quick_jit(lookup("loss", "ranking_softmax_loss").factory())
    halved = weighted(LOGITS, {"targets": RELEVANCE, "weights": np.full((B, C), 0.5, np.float32)})
    np.testing.assert_allclose(halved, 0.5 * weighted(LOGITS, {"targets": RELEVANCE}), rtol=1e-6)


def test_class_weights_of_plain_numbers():
    found = lookup("loss", "dice_loss").factory(class_weights=(1.0, 0.0, 0.0, 0.0))
    found, by_class = quick_jit(
        lambda outputs, masks: (
            found(outputs, {"targets": masks}),
            optax.losses.dice_loss(outputs, masks, reduction="none"),
        )
    )(IMAGES, MASKS)
    np.testing.assert_allclose(found, by_class[:, 0] / C, rtol=1e-6)
