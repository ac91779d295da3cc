"""Random cases for metrics, and every way to compute one: whole, in parts, in a buffer, alone and under vmap."""

import functools
import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import sklearn

# (examples, classes, cases): few shapes, which compile once; the masks drop any rows, sometimes all but one.
SHAPES = [(23, 3, 260), (41, 5, 260)]
IDS = [f"{size}x{classes}" for size, classes, _ in SHAPES]
TOLERANCE = 1e-6
# Large programs that run once: most of a test's time would go into optimizing them.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def quick_jit(function):
    return jax.jit(function, compiler_options=QUICK)


def run(function, cases):
    return jax.device_get(quick_jit(function)(cases))


def classification(shape, seed=0, ties=True):
    """Return outputs [cases, n, classes], targets and masks [cases, n].

    Targets are of some of the classes only; half of the outputs are rounded, where ties are wanted; what masked rows
    hold is not a number, and no class.
    """
    size, classes, number = shape
    rng = np.random.default_rng((seed, *shape))
    outputs, targets, masks = [], [], []
    for case in range(number):
        present = rng.choice(classes, size=int(rng.integers(1, classes + 1)), replace=False)
        own = rng.choice(present, size=size).astype(np.int32)
        scores = rng.normal(size=(size, classes)) * rng.choice([0.3, 1.0, 4.0])
        scores[np.arange(size), own] += rng.choice([-1.0, 0.0, 1.0, 5.0])
        scores = scores.astype(np.float32).round(1) if ties and case % 2 else scores.astype(np.float32)
        mask = rng.random(size) < rng.choice([0.05, 0.3, 0.8, 1.0])
        scores[~mask], own[~mask] = np.nan, rng.choice([-7, 99])
        outputs.append(scores)
        targets.append(own)
        masks.append(mask)
    return np.stack(outputs), np.stack(targets), np.stack(masks)


def softmax(outputs):
    outputs = np.asarray(outputs, np.float64)
    weights = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def sigmoid(outputs):
    return 1 / (1 + np.exp(-np.asarray(outputs, np.float64)))


@functools.cache
def whole(metric):
    """Return a function of outputs and a batch to a metric's scores."""
    return quick_jit(lambda outputs, batch: metric.compute(metric.update(metric.init(), outputs, batch)))


def evaluate(metric, outputs, targets, mask):
    """Compute one metric over one whole split."""
    return whole(metric)(outputs, {"targets": targets, "mask": mask})


def ways(metric, outputs, targets, mask):
    """Return {way: scores} of one case: whole, and in parts of odd sizes, merged or put into one buffer."""

    def state_of(rows):
        return metric.update(metric.init(), outputs[rows], {"targets": targets[rows], "mask": mask[rows]})

    size = len(mask)
    cuts = [0, size // 5, size // 2, size]
    states = [state_of(slice(*rows)) for rows in itertools.pairwise(cuts)]
    found = {
        "whole": state_of(slice(None)),
        "forwards": functools.reduce(metric.merge, states, metric.init()),
        "backwards": functools.reduce(lambda merged, state: metric.merge(state, merged), states),
    }
    if metric.gathers:
        buffer = jax.tree.map(lambda leaf: jnp.zeros((size + 3, *leaf.shape[1:]), leaf.dtype), states[0])
        found = {way: put(buffer, state, 0) for way, state in found.items()}
        found["buffered"] = functools.reduce(
            lambda rows, part: put(rows, *part), zip(states, cuts, strict=False), buffer
        )
    return compute_all(metric, found)


def compute_all(metric, states):
    """Compute the scores of states by name; in one computation, which compiles in a fraction of the time."""
    scores = jax.vmap(metric.compute)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states.values()))
    return {name: jax.tree.map(lambda leaf, at=at: leaf[at], scores) for at, name in enumerate(states)}


def put(buffer, state, start):
    return jax.tree.map(lambda rows, new: rows.at[start : start + len(new)].set(new), buffer, state)


def assert_equal(metrics, cases, expected, *, whole_only=(), empty=None, relative=0.0, record=None):
    """Assert that every metric gives what `expected` returns of the unmasked rows, as float64 {name: score}.

    Args:
        cases: outputs, targets and masks, the first axis that of the cases.
        whole_only: names of metrics that share their state with another, and need not be cut into parts.
        empty: {name: score} without any example; the others are NaN.
        record: a function of a name and a value, for the greatest error.
    """

    def alone(case):
        batch = {"targets": case[1], "mask": case[2]}
        return {name: metric.compute(metric.update(metric.init(), case[0], batch)) for name, metric in metrics.items()}

    def together(case):
        return {name: ways(metric, *case) for name, metric in metrics.items() if name not in whole_only}

    by_way = {name: {"alone": scores} for name, scores in run(lambda cases: jax.lax.map(alone, cases), cases).items()}
    for name, found in run(jax.vmap(together), cases).items():
        by_way[name].update(found)

    wanted = []
    with warnings.catch_warnings(), sklearn.config_context(skip_parameter_validation=True, assume_finite=True):
        warnings.simplefilter("ignore")
        for outputs, targets, mask in zip(*cases, strict=True):
            wanted.append(expected(outputs[mask], targets[mask]) if mask.any() else None)
    something = next(scores for scores in wanted if scores is not None)
    nothing = {
        name: jax.tree.map(lambda _, name=name: (empty or {}).get(name, np.nan), something[name]) for name in something
    }
    wanted = [nothing if scores is None else scores for scores in wanted]
    wanted = jax.tree.map(lambda *leaves: np.array(leaves, np.float64), *wanted)

    assert set(wanted) == set(metrics)
    for name, of_name in by_way.items():
        for way, scores in of_name.items():
            assert jax.tree.structure(scores) == jax.tree.structure(wanted[name]), name
            for one, other in zip(jax.tree.leaves(scores), jax.tree.leaves(wanted[name]), strict=True):
                if record:
                    with np.errstate(invalid="ignore"):
                        errors = np.abs(one - other) / np.maximum(np.abs(other) if relative else 1.0, 1.0)
                    record(name, float(np.nanmax(errors)))
                np.testing.assert_allclose(one, other, rtol=relative, atol=TOLERANCE, err_msg=f"{name} {way}")
