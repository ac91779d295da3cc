"""Optimizers, gradient transformations and schedules: those of optax, by their own names and with their own parameters.

Synopsis:

    >>> from mlgym_jax import component
    >>> schedule = component("cosine_decay_schedule", init_value=1e-3, decay_steps=1000)
    >>> adamw = component("adamw", learning_rate=schedule, mask="kernel$")
    >>> optimizer = component("chain", transforms=[component("clip_by_global_norm", max_norm=1.0), adamw])

What differs from optax, so that plain data says it:

- A mask (`mask`, `weight_decay_mask`, `freeze_mask`, …) is a regular expression that is searched in the parameters'
  paths: `adamw(weight_decay=1e-2, mask="kernel$")`, `masked(inner=…, mask="^Dense_0/")`. One that is found in no path
  is refused.
- `partition` and `multi_transform` take `param_labels` as pairs (regular expression, label), of which the first match
  counts: `partition(transforms={"slow": …, "fast": …}, param_labels=[("^head/", "fast"), ("", "slow")])`.
- dtypes are names, `mu_dtype="bfloat16"`. Inner transformations and schedules are components.
- `lookahead` keeps the slow parameters in its own state; the model trains with the fast ones, and is evaluated with the
  slow ones (`core.evaluated`).
- `contrib.<name>` are those of `optax.contrib`. The schedule-free ones are evaluated where `schedule_free_eval_params`
  says. `contrib.sam` ascends inside of each step.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import jax
import optax
import optax.contrib

from mlgym_jax.components.registry import register
from mlgym_jax.core.paths import Path, map_paths, note_pattern
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.optimizers import accumulation, fractions, inside, sharpness, signatures
from mlgym_jax.optimizers.schedules import TRACED

_NEEDS_FUNCTION = "takes a function, which no config holds; register an optimizer of your own that calls it"
_PER_EXAMPLE = "wants the gradient of each example, and the training step computes that of the batch"
_TOOL = "a function on arrays or trees, no gradient transformation"

NOT_OPTIMIZERS = {
    "conditionally_mask": _NEEDS_FUNCTION,
    "conditionally_transform": _NEEDS_FUNCTION,
    "inject_hyperparams": "puts values into the optimizer's state; swept values already are arguments of the program",
    "inject_stateful_hyperparams": "see inject_hyperparams",
    "measure_with_ema": _NEEDS_FUNCTION,
    "monitor": _NEEDS_FUNCTION,
    "snapshot": _NEEDS_FUNCTION,
    "stateless": _NEEDS_FUNCTION,
    "stateless_with_tree_map": _NEEDS_FUNCTION,
    "with_extra_args_support": "the training step wraps every optimizer in it",
    "contrib.differentially_private_aggregate": _PER_EXAMPLE,
    "contrib.dpsgd": _PER_EXAMPLE,
    "contrib.hutchinson_estimator_diag_hessian": "wants the loss as obj_fn, which the training step does not pass",
    "contrib.sophia": "wants the loss as obj_fn, which the training step does not pass",
    "contrib.scale_by_muon": "wants the matrix axes of every parameter; contrib.muon finds them",
    "contrib.schedule_free_eval_params": "computes parameters of a state; it makes no transformation",
    **dict.fromkeys(
        (
            "apply_updates",
            "bias_correction",
            "global_norm",
            "incremental_update",
            "init_empty_state",
            "matrix_inverse_pth_root",
            "microbatch",
            "multi_normal",
            "nnls",
            "per_example_global_norm_clip",
            "per_example_layer_norm_clip",
            "periodic_update",
            "power_iteration",
            "safe_increment",
            "safe_int32_increment",
            "safe_norm",
            "safe_root_mean_squares",
            "scale_gradient",
            "skip_large_updates",
            "skip_not_finite",
            "tree_map_params",
            "update_infinity_moment",
            "update_moment",
            "update_moment_per_elem_norm",
            "value_and_grad_from_state",
        ),
        _TOOL,
    ),
}
NOT_SCHEDULES = {
    "inject_hyperparams": "makes an optimizer of an optimizer, no schedule",
    "inject_stateful_hyperparams": "makes an optimizer of an optimizer, no schedule",
}

# Parameters that are no plain data, or that optax deprecates (`seed` for `key`).
_LEFT_OUT = {
    "add_noise": ("seed",),
    "noisy_sgd": ("seed",),
    "scale_by_factored_rms": ("decay_rate_fn",),
    "contrib.adopt": ("clip_value_fn",),
    "contrib.scale_by_adopt": ("clip_value_fn",),
    "contrib.galore": ("weight_dimension_numbers",),
    "contrib.scale_by_galore": ("weight_dimension_numbers",),
    "contrib.muon": ("muon_weight_dimension_numbers",),
    "contrib.sam": ("opaque_mode", "batch_axis_name"),
}
# Functions that return a transformation without saying so.
_NOT_ANNOTATED = ("MultiSteps", "contrib.dog", "contrib.dowg", "scale_by_factored_rms")
# Numbers that are shapes: never arguments of a compiled program.
_SHAPES = ("memory_size", "min_dim_size_to_factor", "num_betas", "rank")
# Numbers that Python itself counts to.
_COUNTED = {"contrib.sam": ("sync_period",)}
_INNER = ("inner", "opt", "optimizer", "fast_optimizer", "base_optimizer", "adv_optimizer", "linesearch")


def _partition(given: dict[str, Any]) -> optax.GradientTransformation:
    transforms, pairs = dict(given.pop("transforms")), given.pop("param_labels")
    expressions = inside.expressions(pairs, transforms)

    def label_of(path: Path, _: Any) -> str:
        for expression, label in expressions:
            if path.matches(expression):
                return label
        raise MlgymError(
            f"param_labels: no expression matches parameter {path.name!r}; end with ('', label) for the rest"
        )

    return optax.partition(transforms, lambda params: map_paths(label_of, params), **given)


def _selective_transform(given: dict[str, Any]) -> optax.GradientTransformation:
    mask = given["freeze_mask"]
    pairs = [(mask, "freeze")] if isinstance(mask, str) else [("", "freeze")] if mask else []
    transforms = {"train": given["optimizer"], "freeze": optax.set_to_zero()}
    return _partition({"transforms": transforms, "param_labels": [*pairs, ("", "train")]})


def _lookahead(given: dict[str, Any]) -> optax.GradientTransformation:
    accumulation.check_count("sync_period", given["sync_period"])
    size = given["slow_step_size"]
    if isinstance(size, int | float) and size <= 0:
        raise ConfigError("optimizer.slow_step_size", f"a number above 0 is expected, found {size}")
    pair: Any = optax.lookahead(**given)

    def init(params: Any) -> Any:
        return params, pair.init(optax.LookaheadParams.init_synced(params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        slow, inner = state
        change, inner = pair.update(updates, inner, optax.LookaheadParams(params, slow))
        return change.fast, (optax.apply_updates(slow, change.slow), inner)

    return optax.GradientTransformation(init, update)


def _boundaries(name: str) -> Callable[[dict[str, Any]], optax.Schedule]:
    def build(given: dict[str, Any]) -> optax.Schedule:
        scales = given.get("boundaries_and_scales")
        if scales is not None:
            given["boundaries_and_scales"] = inside.boundaries(scales)
        return getattr(optax, name)(**given)

    return build


_BUILD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "MultiSteps": accumulation.multi_steps,
    "add_noise": lambda given: optax.add_noise(**{"key": 0, **given}),
    "apply_every": accumulation.apply_every,
    "chain": lambda given: optax.chain(*given["transforms"]),
    "contrib.sam": sharpness.sam,
    "lookahead": _lookahead,
    "multi_transform": _partition,
    "named_chain": lambda given: optax.named_chain(*(tuple(pair) for pair in given["transforms"])),
    "noisy_sgd": lambda given: optax.noisy_sgd(**{"key": 0, **given}),
    "partition": _partition,
    "piecewise_constant_schedule": _boundaries("piecewise_constant_schedule"),
    "piecewise_interpolate_schedule": _boundaries("piecewise_interpolate_schedule"),
    "selective_transform": _selective_transform,
}
# name -> parameter -> (type, default) where optax's own signature does not say what a config writes.
_PARAMETERS: dict[str, dict[str, tuple[Any, Any]]] = {
    "MultiSteps": {"should_skip_update_fn": (Literal["skip_not_finite"] | None, None)},
    "add_noise": {"key": (int, 0)},
    "chain": {"transforms": (..., ...)},
    "contrib.dog": {
        "init_step": (tuple[Literal["distance", "learning_rate", "heuristic"], float], ("heuristic", 1e-6))
    },
    "contrib.muon": {"ns_coeffs": (tuple[Any, ...] | str, (3.4445, -4.775, 2.0315))},
    "join_schedules": {"boundaries": (tuple[int | float, ...], ...)},
    "named_chain": {"transforms": (..., ...)},
    "multi_transform": {"param_labels": (tuple[tuple[str, str], ...], ...)},
    "noisy_sgd": {"key": (int, 0)},
    "partition": {"param_labels": (tuple[tuple[str, str], ...], ...)},
}


def _factory(name: str, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    parameters = signatures.plain_parameters(function, _LEFT_OUT.get(name, ()))
    for key, (annotation, default) in _PARAMETERS.get(name, {}).items():
        parameters[key] = signatures.keyword(key, annotation, default)
    counts = [key for key, item in parameters.items() if kind == "schedule" and item.annotation is int]
    for key in counts:  # of steps, or of epochs, which have fractions
        parameters[key] = signatures.keyword(key, int | float, parameters[key].default)
    own = _BUILD.get(name, lambda given: function(**given))

    def build(given: dict[str, Any]) -> Any:
        given = dict(given)
        patterns = [(key, value) for key, value in given.items() if key.endswith("mask") and isinstance(value, str)]
        patterns += [("param_labels", pattern) for pattern, _ in given.get("param_labels", ())]
        for key, value in given.items():
            if key in _INNER:
                inside.check_transform(key, value, may_be_none=parameters[key].default is None)
            elif key == "step_size_fn":
                inside.check_function(key, value)
            elif "dtype" in key and isinstance(value, str):
                given[key] = inside.number_type(value, key)
            elif key.endswith("mask") and isinstance(value, str):
                found = inside.expression(value, f"{kind}.{key}")
                given[key] = value if name == "selective_transform" else signatures.path_mask(found)
        if "transforms" in given:
            given["transforms"] = inside.checked_transforms(name, given["transforms"])
        if "cosine_kwargs" in given:
            inside.check_cycles(given["cosine_kwargs"])
        if kind == "schedule":
            swept = any(isinstance(value, jax.Array) for value in given.values())
            make = signatures.by_optax_rules(TRACED[name]) if name in TRACED else None
            built = make(**given) if make and swept else own(given)
            if make and not swept and name.endswith("_onecycle_schedule"):  # Optax cuts its parts to whole steps
                built = fractions.whole_or_not(built, make(**given))
            return fractions.marked(signatures.by_optax_rules(built), given, counts)
        fractions.refuse(given)
        _check_ranges(name, given)
        tx = own(given)

        def init(params: Any) -> Any:
            for key, pattern in patterns:
                note_pattern(name, key, pattern, params)
            return tx.init(params)

        return type(tx)(signatures.by_optax_rules(init), signatures.by_optax_rules(tx.update))

    return signatures.make_factory(name, function, parameters.values(), build, counts)


# Parameters that are above 0: with others the gradient is turned round, or nothing is left of it.
_ABOVE_ZERO = {
    "adaptive_grad_clip": "clipping",
    "clip": "max_delta",
    "clip_by_block_rms": "threshold",
    "clip_by_global_norm": "max_norm",
}
# Of an average how much of it stays, in [0, 1).
_STAYS = {
    **dict.fromkeys(("adadelta", "scale_by_adadelta"), "rho"),
    **dict.fromkeys(("contrib.momo", "contrib.muon", "signum"), "beta"),
    **dict.fromkeys(("ema", "rmsprop", "scale_by_rms", "scale_by_stddev"), "decay"),
}


def _check_ranges(name: str, given: dict[str, Any]) -> None:
    """Refuse numbers by which Optax's formulas give NaN, or go up the gradient, without a word.

    Raises:
        ConfigError: at `optimizer.<parameter>`.
    """
    ranges: list[tuple[str, str, Callable[[float], bool]]] = [
        *(
            (key, "a number in [0, 1)", lambda value: 0 <= value < 1)
            for key in ("b1", "b2", "b3", _STAYS.get(name, ""))
        ),
        *((key, "at least 0", lambda value: value >= 0) for key in ("eps", "eps_root")),
        ("momentum", "a number above -1 and at most 1", lambda value: -1 < value <= 1),
        (_ABOVE_ZERO.get(name, ""), "a number above 0", lambda value: value > 0),
    ]
    for key, wanted, fits in ranges:
        value = given.get(key)
        if isinstance(value, int | float) and not fits(value):
            raise ConfigError(f"optimizer.{key}", f"{wanted} is expected, found {value}")


def _register_all() -> None:
    functions = {**signatures.public_functions(optax), "MultiSteps": optax.MultiSteps}
    contributed = signatures.public_functions(optax.contrib)
    for name, function in {**functions, **{f"contrib.{name}": item for name, item in contributed.items()}}.items():
        module = getattr(function, "__module__", "")
        if name in NOT_OPTIMIZERS or name in NOT_SCHEDULES or module.startswith("optax.losses"):
            continue
        kind = "schedule" if module.startswith("optax.schedules") else "optimizer"
        if kind == "optimizer" and name not in _NOT_ANNOTATED and not _returns_transformation(function):
            continue
        factory = _factory(name, function, kind)
        register(kind, name, dynamic=signatures.numbers(factory, leave_out=(*_SHAPES, *_COUNTED.get(name, ()))))(
            factory
        )


def _returns_transformation(function: Callable[..., Any]) -> bool:
    return "GradientTransformation" in str(inspect.signature(function).return_annotation)


_register_all()
