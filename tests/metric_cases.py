"""Random cases for metrics, and every way to compute one: whole, in parts, in a buffer, alone and under vmap."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import sklearn

# Odd sizes, classes, cases: few shapes, which compile once; their masks drop any rows. In all, more than 1,000 cases.
SHAPES = [(1, 3, 60), (7, 2, 350), (23, 3, 350), (41, 5, 350)]
IDS = [f"{size}x{classes}" for size, classes, _ in SHAPES]
TOLERANCE = 1e-6


def classification(shape, seed=0, ties=True):
    """Return outputs [cases, n, classes], targets and masks [cases, n].

    Targets are of some of the classes only; half of the outputs are rounded, where ties are wanted; what masked rows
    hold is not a number, and no class.
    """
    size, classes, number = shape
    rng = np.random.default_rng((seed, *shape))
    outputs, targets, mask = [], [], []
    for case in range(number):
        present = rng.choice(classes, size=int(rng.integers(1, classes + 1)), replace=False)
        own = rng.choice(present, size=size)
        scores = rng.normal(size=(size, classes)) * rng.choice([0.3, 1.0, 4.0])
        scores[np.arange(size), own] += rng.choice([-1.0, 0.0, 1.0, 5.0])
        kept = rng.random(size) < rng.choice([0.2, 0.8, 1.0])
        scores, own = scores.astype(np.float32), own.astype(np.int32)
        if ties and case % 2:
            scores = np.round(scores, 1)
        scores[~kept], own[~kept] = np.nan, rng.choice([-7, 99])
        outputs.append(scores)
        targets.append(own)
        mask.append(kept)
    return np.stack(outputs), np.stack(targets), np.stack(mask)


def softmax(outputs):
    outputs = np.asarray(outputs, np.float64)
    weights = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def sigmoid(outputs):
    return 1 / (1 + np.exp(-np.asarray(outputs, np.float64)))


def every_way(metric, outputs, targets, mask):
    """Return {way: scores} of all cases (leaves float[cases]), computed in each way that has to agree."""
    cases = outputs, targets, mask

    def whole(outputs, targets, mask):
        return metric.compute(metric.update(metric.init(), outputs, {"targets": targets, "mask": mask}))

    def parts(outputs, targets, mask):
        size = len(mask)
        cuts = sorted({0, size // 5, size // 2, size})
        for start, stop in zip(cuts, cuts[1:], strict=False):
            rows = slice(start, stop)
            batch = {"targets": targets[rows], "mask": mask[rows]}
            yield start, metric.update(metric.init(), outputs[rows], batch)

    def forwards(outputs, targets, mask):
        states = [state for _, state in parts(outputs, targets, mask)]
        return metric.compute(functools.reduce(metric.merge, states, metric.init()))

    def backwards(outputs, targets, mask):
        states = [state for _, state in parts(outputs, targets, mask)]
        return metric.compute(functools.reduce(lambda found, state: metric.merge(state, found), states, metric.init()))

    def buffered(outputs, targets, mask):
        buffer = None
        for start, state in parts(outputs, targets, mask):
            if buffer is None:
                room = len(mask) + 3
                buffer = jax.tree.map(lambda leaf: jnp.zeros((room, *leaf.shape[1:]), leaf.dtype), state)
            buffer = jax.tree.map(
                lambda rows, new, at=start: jax.lax.dynamic_update_slice_in_dim(rows, new, at, 0), buffer, state
            )
        return metric.compute(buffer)

    alone = jax.jit(whole)
    found = {"together": jax.jit(jax.vmap(whole))(*cases)}
    each = [jax.device_get(alone(*case)) for case in zip(*cases, strict=True)]
    found["alone"] = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
    merged = (forwards, backwards, buffered) if metric.gathers else (forwards, backwards)
    found.update({way.__name__: jax.jit(jax.vmap(way))(*cases) for way in merged})
    return {way: jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), scores) for way, scores in found.items()}


def assert_equals(metric, cases, expected, relative=0.0, record=None):
    """Assert that each way gives expected(outputs, targets) of the unmasked rows, float64, or a dict of such.

    Without any example the expected score is NaN.
    """
    outputs, targets, mask = cases
    scores = []
    with warnings.catch_warnings(), sklearn.config_context(skip_parameter_validation=True, assume_finite=True):
        warnings.simplefilter("ignore")
        for output, target, kept in zip(outputs, targets, mask, strict=True):
            scores.append(expected(output[kept], target[kept]) if kept.any() else None)
    filled = [score for score in scores if score is not None]
    nothing = jax.tree.map(lambda _: np.nan, filled[0])
    scores = [nothing if score is None else score for score in scores]
    scores = jax.tree.map(lambda *leaves: np.array(leaves, np.float64), *scores)
    for way, found in every_way(metric, *cases).items():
        assert jax.tree.structure(found) == jax.tree.structure(scores), way
        for name, one in jax.tree_util.tree_leaves_with_path(found):
            other = dict(jax.tree_util.tree_leaves_with_path(scores))[name]
            error = np.where(np.isfinite(other), np.abs(one - other), 0.0).max()
            if record is not None:
                record["max_error"] = max(record.get("max_error", 0.0), float(error))
            np.testing.assert_allclose(one, other, rtol=relative, atol=TOLERANCE, err_msg=f"{way} {name}")
