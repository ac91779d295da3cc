"""Every registered optimizer and schedule takes the steps that optax's function takes, called directly."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from mlgym_jax.components.registry import lookup, registrations
from mlgym_jax.errors import MlgymError
from mlgym_jax.optimizers import of_optax as optimizers
from mlgym_jax.optimizers import signatures

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
PARAMS = {
    "body": {"kernel": jnp.array([[1.0, -2.0], [0.5, 0.25]])},
    "head": {"bias": jnp.array([[0.5, -0.5], [3.0, -1.5]]), "kernel": jnp.array([[2.0, -1.0], [1.0, 4.0]])},
}
SGD, ADAM = optax.sgd(0.1), optax.adam(0.1)
IS_KERNEL = {"body": {"kernel": True}, "head": {"bias": False, "kernel": True}}
IS_HEAD = {"body": {"kernel": False}, "head": {"bias": True, "kernel": True}}
LABELS = {"body": {"kernel": "slow"}, "head": {"bias": "slow", "kernel": "fast"}}
PARTS = {"slow": SGD, "fast": ADAM}
BY_PATH = {"transforms": PARTS, "param_labels": (("head/kernel", "fast"), ("", "slow"))}

# name -> (parameters as a config gives them, the same transformation by hand) where optax's is not called alike
BY_HAND = {
    "MultiSteps": (
        {"opt": SGD, "every_k_schedule": 2, "should_skip_update_fn": "skip_not_finite", "accumulator_dtype": "float32"},
        lambda: optax.MultiSteps(SGD, 2, should_skip_update_fn=optax.skip_not_finite),
    ),
    "adamw": (
        {"learning_rate": 0.1, "weight_decay": 0.5, "mask": "kernel$", "mu_dtype": "bfloat16"},
        lambda: optax.adamw(0.1, weight_decay=0.5, mask=IS_KERNEL, mu_dtype=jnp.bfloat16),
    ),
    "add_noise": ({"eta": 0.1, "gamma": 0.5, "key": 3}, lambda: optax.add_noise(0.1, 0.5, 3)),
    "chain": ({"transforms": (optax.clip(0.1), SGD)}, lambda: optax.chain(optax.clip(0.1), SGD)),
    "freeze": ({"mask": "kernel"}, lambda: optax.freeze(IS_KERNEL)),
    "lars": (
        {"learning_rate": 0.1, "trust_ratio_mask": "kernel"},
        lambda: optax.lars(0.1, trust_ratio_mask=IS_KERNEL),
    ),
    "masked": ({"inner": SGD, "mask": "^head/"}, lambda: optax.masked(SGD, IS_HEAD)),
    "multi_transform": (BY_PATH, lambda: optax.partition(PARTS, LABELS)),
    "named_chain": (
        {"transforms": (("clip", optax.clip(0.1)), ("sgd", SGD))},
        lambda: optax.named_chain(("clip", optax.clip(0.1)), ("sgd", SGD)),
    ),
    "noisy_sgd": ({"learning_rate": 0.1}, lambda: optax.noisy_sgd(0.1, key=0)),
    "partition": (BY_PATH, lambda: optax.partition(PARTS, LABELS)),
    "scale_by_schedule": (
        {"step_size_fn": optax.linear_schedule(1.0, 0.0, 3)},
        lambda: optax.scale_by_schedule(optax.linear_schedule(1.0, 0.0, 3)),
    ),
    "selective_transform": (
        {"optimizer": SGD, "freeze_mask": "kernel"},
        lambda: optax.selective_transform(SGD, freeze_mask=IS_KERNEL),
    ),
    "contrib.sam": (
        {"optimizer": SGD, "adv_optimizer": optax.contrib.normalize()},
        lambda: of_value_fn(optax.contrib.sam(SGD, optax.contrib.normalize(), opaque_mode=True)),
    ),
}


def of_value_fn(opaque):
    """Hand optax's opaque SAM the gradient that its documentation asks for."""

    def update(updates, state, params, *, value_fn, **_):
        return opaque.update(updates, state, params, grad_fn=lambda params, _: jax.grad(value_fn)(params))

    return optax.GradientTransformationExtraArgs(opaque.init, update)


# name -> parameters of the schedule
SCHEDULES = {
    "constant_schedule": {"value": 0.5},
    "cosine_decay_schedule": {"init_value": 0.5, "decay_steps": 4},
    "cosine_onecycle_schedule": {"transition_steps": 4, "peak_value": 1.0},
    "exponential_decay": {"init_value": 0.5, "transition_steps": 2, "decay_rate": 0.9},
    "join_schedules": {
        "schedules": (optax.constant_schedule(1.0), optax.linear_schedule(1.0, 0.0, 3)),
        "boundaries": (2,),
    },
    "linear_onecycle_schedule": {"transition_steps": 4, "peak_value": 1.0},
    "linear_schedule": {"init_value": 1.0, "end_value": 0.0, "transition_steps": 4},
    "piecewise_constant_schedule": {"init_value": 1.0, "boundaries_and_scales": {2: 0.5, 3: 0.1}},
    "piecewise_interpolate_schedule": {
        "interpolate_type": "linear",
        "init_value": 1.0,
        "boundaries_and_scales": {2: 0.5, 3: 0.1},
    },
    "polynomial_schedule": {"init_value": 1.0, "end_value": 0.0, "power": 2.0, "transition_steps": 4},
    "sgdr_schedule": {"cosine_kwargs": ({"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 1, "decay_steps": 3},)},
    "warmup_constant_schedule": {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 3},
    "warmup_cosine_decay_schedule": {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 2, "decay_steps": 5},
    "warmup_exponential_decay_schedule": {
        "init_value": 0.0,
        "peak_value": 1.0,
        "warmup_steps": 2,
        "transition_steps": 2,
        "decay_rate": 0.5,
    },
}
# The same schedules with every parameter given, and values at the edges.
SWEPT_SCHEDULES = [
    *(item for item in SCHEDULES.items() if item[0] not in ("join_schedules", "sgdr_schedule")),
    ("cosine_decay_schedule", {"init_value": 0.5, "decay_steps": 4, "alpha": 0.1, "exponent": 2.0}),
    ("cosine_onecycle_schedule", {"transition_steps": 7, "peak_value": 0.3, "pct_start": 0.5, "div_factor": 10.0}),
    ("exponential_decay", {"init_value": 0.5, "transition_steps": 0, "decay_rate": 0.9}),
    ("exponential_decay", {"init_value": 0.5, "transition_steps": 2, "decay_rate": 0.0}),
    (
        "exponential_decay",
        {"init_value": 0.5, "transition_steps": 2, "decay_rate": 1.5, "end_value": 1.0, "staircase": True},
    ),
    (
        "linear_onecycle_schedule",
        {"transition_steps": 8, "peak_value": 1.0, "pct_start": 0.25, "pct_final": 0.75, "final_div_factor": 100.0},
    ),
    ("linear_schedule", {"init_value": 1.0, "end_value": 0.5, "transition_steps": 0, "transition_begin": 1}),
    ("linear_schedule", {"init_value": 1.0, "end_value": 0.5, "transition_steps": 3, "transition_begin": -1}),
    ("warmup_cosine_decay_schedule", {"init_value": 0.1, "peak_value": 0.0, "warmup_steps": 0, "decay_steps": 5}),
    (
        "warmup_exponential_decay_schedule",
        {
            "init_value": 0.0,
            "peak_value": 1.0,
            "warmup_steps": 2,
            "transition_steps": 2,
            "decay_rate": 0.5,
            "transition_begin": 1,
            "end_value": 0.3,
        },
    ),
]
INNER = ("inner", "fast_optimizer", "base_optimizer")


def names(kind):
    return [entry.name for entry in registrations(kind) if entry.origin == signatures.__file__]


def minimal(entry):
    """Give every required parameter a value as a config would: a number, or a built component."""
    given = {}
    for name, parameter in entry.parameters.items():
        if parameter.default is parameter.empty:
            given[name] = SGD if name in INNER else 2 if parameter.annotation is int else 0.1
    return given


def function(name):
    return getattr(optax.contrib if name.startswith("contrib.") else optax, name.removeprefix("contrib."))


def loss(params):
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(params))


value_and_gradient, gradient_of = jax.jit(jax.value_and_grad(loss)), jax.jit(jax.grad(loss))


def three_steps(transformation, params=PARAMS):
    """Take three steps as the engine's training step does, with the extra arguments."""
    transformation = optax.with_extra_args_support(transformation)
    state = transformation.init(params)
    for _ in range(3):
        value, gradient = value_and_gradient(params)
        updates, state = transformation.update(gradient, state, params, value=value, grad=gradient, value_fn=loss)
        params = optax.apply_updates(params, updates)
    return params


def assert_equal(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), one, other)


@pytest.mark.parametrize("name", names("optimizer"))
def test_optimizer_equals_optax(name):
    entry = lookup("optimizer", name)
    given, direct = BY_HAND.get(name, (minimal(entry), None))
    found = three_steps(entry.factory(**given))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))
    if name == "lookahead":
        return  # its parameters are a pair in optax; see below
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected = three_steps(direct() if direct else function(name)(**given))
    assert_equal(found, expected)


@functools.cache
def schedules():
    """Return {name: (the schedule's values, optax's)} of the first steps, compiled once."""
    steps = np.arange(6, dtype=np.int32)

    @jax.jit
    def every(steps):
        found = {}
        for name in names("schedule"):
            own = jax.vmap(lookup("schedule", name).factory(**SCHEDULES[name]))(steps)
            with jax.numpy_dtype_promotion("standard"):
                found[name] = own, jax.vmap(function(name)(**SCHEDULES[name]))(steps)
        return found

    return jax.device_get(every(steps))


@pytest.mark.parametrize("name", names("schedule"))
def test_schedule_equals_optax(name):
    found, expected = schedules()[name]
    np.testing.assert_array_equal(found, expected)


def test_every_public_function_is_registered_or_listed():
    public = {
        name
        for name, item in signatures.public_functions(optax).items()
        if not getattr(item, "__module__", "").startswith("optax.losses")
    }
    public |= {f"contrib.{name}" for name in signatures.public_functions(optax.contrib)} | {"MultiSteps"}
    known = {*names("optimizer"), *names("schedule"), *optimizers.NOT_OPTIMIZERS, *optimizers.NOT_SCHEDULES}
    assert public == known
    assert not set(names("optimizer")) & set(optimizers.NOT_OPTIMIZERS)


def test_lookahead_equals_optax_on_its_pair_of_parameters():
    settings = {"fast_optimizer": ADAM, "sync_period": 2, "slow_step_size": 0.5}
    found = three_steps(lookup("optimizer", "lookahead").factory(**settings))
    pair, transformation = optax.LookaheadParams.init_synced(PARAMS), optax.lookahead(**settings)
    state = transformation.init(pair)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(3):
            updates, state = transformation.update(gradient_of(pair.fast), state, pair)
            pair = optax.apply_updates(pair, updates)
    assert_equal(found, pair.fast)


@pytest.mark.parametrize("name", ["adam", "sgd", "adamw", "rmsprop", "lion"])
def test_learning_rates_train_together_under_vmap(name):
    @jax.jit
    def final(learning_rate):
        return three_steps(lookup("optimizer", name).factory(learning_rate=learning_rate))

    together = jax.device_get(jax.jit(jax.vmap(final))(np.float32([1e-3, 1e-1])))
    for row, rate in enumerate((1e-3, 1e-1)):
        alone = final(np.float32(rate))
        jax.tree.map(lambda a, b, row=row: np.testing.assert_allclose(a[row], b, rtol=1e-6), together, alone)


def test_piecewise_boundaries_as_a_config_writes_them():
    make = lookup("schedule", "piecewise_constant_schedule").factory
    for scales in ({"2": 0.5}, ((2, 0.5),)):
        schedule = make(init_value=1.0, boundaries_and_scales=scales)
        assert [float(schedule(step)) for step in (1, 3)] == [1.0, 0.5]


def test_signatures_are_plain_and_keyword_only():
    parameters = lookup("optimizer", "adamw").parameters
    assert next(iter(parameters)) == "learning_rate" and parameters["mu_dtype"].annotation == str | None
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert lookup("optimizer", "adamw").is_dynamic("b1") and not lookup("optimizer", "lbfgs").is_dynamic("memory_size")
    assert lookup("schedule", "linear_schedule").wants_integer("transition_steps")
    with pytest.raises(TypeError, match="b11"):
        lookup("optimizer", "adam").factory(learning_rate=0.1, b11=0.9)


@pytest.mark.parametrize(
    "name, given, words",
    [
        ("chain", {"transforms": ("adam",)}, "optimizer.transforms.0: a component is expected"),
        ("apply_if_finite", {"inner": "adam", "max_consecutive_errors": 1}, "optimizer.inner: a component is expected"),
        (
            "partition",
            {"transforms": PARTS, "param_labels": (("", "fst"),)},
            "no transform 'fst'; did you mean 'fast'?",
        ),
        (
            "partition",
            {"transforms": PARTS, "param_labels": (("body", "fast"),)},
            "no expression matches parameter 'head/bias'; end with ('', label) for the rest",
        ),
        ("adam", {"learning_rate": 0.1, "b1": 1.0}, "optimizer.b1: a number in [0, 1) is expected, found 1.0"),
        ("lion", {"learning_rate": 0.1, "b2": -0.1}, "optimizer.b2: a number in [0, 1) is expected, found -0.1"),
        ("clip_by_global_norm", {"max_norm": -1.0}, "optimizer.max_norm: a number above 0 is expected, found -1.0"),
        ("rmsprop", {"learning_rate": 0.1, "decay": 1.5}, "optimizer.decay: a number in [0, 1) is expected, found 1.5"),
        ("ema", {"decay": 1.0}, "optimizer.decay: a number in [0, 1) is expected, found 1.0"),
        ("sgd", {"learning_rate": 0.1, "momentum": 1.5}, "optimizer.momentum: a number above -1 and at most 1 is"),
        ("adam", {"learning_rate": 0.1, "eps": -1.0}, "optimizer.eps: at least 0 is expected, found -1.0"),
    ],
)
def test_mistakes_are_named(name, given, words):
    with pytest.raises(MlgymError) as error:
        lookup("optimizer", name).factory(**given).init(PARAMS)
    assert words in str(error.value)


@functools.cache
def swept_schedules():
    """Return [(the values with all that may be swept traced, those of optax)] of `SWEPT_SCHEDULES`, compiled once."""
    entries = [lookup("schedule", name) for name, _ in SWEPT_SCHEDULES]
    swept = [
        {key: np.asarray(value, jnp.result_type(value)) for key, value in given.items() if entry.is_dynamic(key)}
        for entry, (_, given) in zip(entries, SWEPT_SCHEDULES, strict=True)
    ]

    @jax.jit
    def every(swept, counts):
        found = []
        for entry, own, (name, given) in zip(entries, swept, SWEPT_SCHEDULES, strict=True):
            still = {key: value for key, value in given.items() if key not in own}
            by_optax = signatures.by_optax_rules(function(name)(**given))
            found.append((jax.vmap(entry.factory(**still, **own))(counts), jax.vmap(by_optax)(counts)))
        return found

    return jax.device_get(every(swept, np.arange(12, dtype=np.int32)))


@pytest.mark.parametrize("name, given", SWEPT_SCHEDULES)
def test_a_swept_schedule_equals_optax_in_one_program(name, given):
    found, expected = swept_schedules()[SWEPT_SCHEDULES.index((name, given))]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
