"""What holds for every registered metric: masks, merging in any order, jit, vmap, scan, shards; and `mean_of`."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec
from metric_cases import compute_all, evaluate, quick_jit

from mlgym_jax.components.registry import lookup, registrations
from mlgym_jax.core import metric as metrics
from mlgym_jax.core.metric import summed
from mlgym_jax.core.record import Record
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import MlgymError
from mlgym_jax.metrics import classification as classification_metrics

SIZE, CLASSES = 11, 4
REGRESSION = {"mse", "mae", "rmse", "r2", "explained_variance"}
NAMES = [entry.name for entry in registrations("metric") if "mlgym_jax/metrics" in entry.origin]


@functools.cache
def built(name, classes=CLASSES, **parameters):
    entry = lookup("metric", name)
    needs = {"dataset": Dataset({}, num_classes=None if name in REGRESSION else classes)} if entry.needs else {}
    return entry.factory(**needs, **parameters)


@functools.cache
def scores_of(name):
    """Return one program of a metric's scores: of a split, of its parts in several orders, and of no example."""
    metric = built(name)

    @quick_jit
    def scores(outputs, targets, mask, part, order):
        whole, empty = (state_of(metric, outputs, targets, kept) for kept in (mask, mask & False))
        states = [state_of(metric, outputs, targets, mask & (part == order[number])) for number in range(4)]
        in_pairs = metric.merge(metric.merge(*states[:2]), metric.merge(*states[2:]))
        after = metric.merge(metric.init(), empty)
        groups = [
            {"nothing": metric.init()},
            {"whole": whole, "masked": after},
            {"after nothing": metric.merge(after, whole)},
            {"one by one": functools.reduce(metric.merge, states), "in pairs": in_pairs},
        ]
        if not metric.gathers:  # what gathers keeps the rows of all parts, without counting those of others
            groups = [functools.reduce(operator.or_, groups)]
        return functools.reduce(operator.or_, (compute_all(metric, group) for group in groups))

    return lambda case, part=0, order=(0, 1, 2, 3): jax.device_get(
        scores(*case, np.broadcast_to(np.int32(part), SIZE), np.array(order, np.int32))
    )


def example(name, seed=0):
    """Return outputs, targets and a mask with some of each that suit a metric."""
    rng = np.random.default_rng(seed)
    mask = rng.random(SIZE) < 0.7
    mask[:2] = True, False
    if name in REGRESSION:
        return rng.normal(size=SIZE).astype(np.float32), rng.normal(size=SIZE).astype(np.float32), mask
    outputs = rng.normal(size=(SIZE, CLASSES)).astype(np.float32)
    return outputs, rng.integers(0, CLASSES, SIZE).astype(np.int32), mask


def state_of(metric, outputs, targets, mask):
    return metric.update(metric.init(), outputs, {"targets": targets, "mask": mask})


def assert_same(one, other, **tolerance):
    tolerance = tolerance or {"rtol": 1e-6, "atol": 1e-6}
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_float_scalars_and_states_keep_their_form(name):
    metric = built(name)
    case = example(name)
    empty, state = jax.eval_shape(metric.init), jax.eval_shape(lambda: state_of(metric, *case))
    for found in (state, jax.eval_shape(metric.merge, empty, state), jax.eval_shape(metric.merge, state, state)):
        assert jax.tree.structure(found) == jax.tree.structure(empty)
        rows = 2 * SIZE if found is not state and metric.gathers else SIZE
        for leaf, first in zip(jax.tree.leaves(found), jax.tree.leaves(empty), strict=True):
            assert (leaf.dtype, leaf.weak_type) == (first.dtype, False)
            if metric.gathers:
                assert (first.shape[0], leaf.shape[1:]) == (0, first.shape[1:])
                assert leaf.shape[0] in (SIZE, rows)
            else:
                assert leaf.shape == first.shape
    if metric.gathers:
        assert any(leaf.dtype == jnp.bool_ for leaf in jax.tree.leaves(state))
    for found in (empty, state):
        score = jax.eval_shape(metric.compute, found)
        for leaf in jax.tree.leaves(score):
            is_record = isinstance(score, Record)
            assert (leaf.shape == () or is_record) and (leaf.dtype == jnp.float32 or is_record)


@pytest.mark.parametrize("name", NAMES)
def test_masked_rows_change_nothing(name):
    outputs, targets, mask = example(name)
    score = scores_of(name)((outputs, targets, mask))["whole"]
    for garbage, wrong in ((np.nan, 99), (np.inf, -1), (-np.inf, -5), (1e30, 2**31 - 1)):
        spoiled = outputs.copy(), targets.copy()
        spoiled[0][~mask], spoiled[1][~mask] = garbage, np.nan if name in REGRESSION else wrong
        assert_same(scores_of(name)((*spoiled, mask))["whole"], score, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_no_example_adds_nothing(name):
    found = scores_of(name)(example(name))
    assert_same(found["masked"], found["nothing"], rtol=0, atol=0)
    assert all(np.all((leaf == 0) | np.isnan(leaf)) for leaf in jax.tree.leaves(found["nothing"]))
    assert_same(found["after nothing"], found["whole"], rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_parts_in_any_order_are_the_whole(name):
    @settings(max_examples=25)
    @given(
        st.integers(0, 2**32 - 1),
        st.lists(st.integers(0, 3), min_size=SIZE, max_size=SIZE),
        st.permutations(range(4)),
    )
    def check(seed, part, order):
        found = scores_of(name)(example(name, seed), part, order)
        assert_same(found["one by one"], found["whole"])
        assert_same(found["in pairs"], found["whole"])

    check()


@pytest.mark.parametrize("name", NAMES)
def test_scan_and_shards_change_nothing(name):
    metric = built(name)
    outputs, targets, mask = (np.concatenate([array, array[:1]]) for array in example(name))
    parts = tuple(array.reshape(4, 3, *array.shape[1:]) for array in (outputs, targets, mask))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    @quick_jit
    def scores(case, parts):
        def of_shard(*part):
            return jax.tree.map(lambda leaf: leaf[None], state_of(metric, *(array[0] for array in part)))

        def add(found, part):
            return metric.merge(found, state_of(metric, *part)), None

        spec = PartitionSpec("data")
        each = jax.shard_map(of_shard, mesh=mesh, in_specs=spec, out_specs=spec)(*parts)
        shards = [jax.tree.map(lambda leaf, shard=shard: leaf[shard], each) for shard in range(4)]
        states = {"whole": state_of(metric, *case), "in shards": functools.reduce(metric.merge, shards)}
        if not metric.gathers:
            states["by scan"] = jax.lax.scan(add, metric.init(), parts)[0]
        return compute_all(metric, states)

    found = scores((outputs, targets, mask), parts)
    for way in found:
        assert_same(found[way], found["whole"])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REGRESSION])
def test_outputs_and_targets_in_other_forms(name):
    metric = built(name)
    outputs, targets, mask = example(name)
    outputs = outputs.astype(jnp.bfloat16).astype(np.float32)

    @quick_jit
    def states(outputs, targets, mask):
        # Every position is an example.
        in_positions = (jnp.stack([array, array], axis=1) for array in (outputs, targets))
        return {
            "plain": state_of(metric, outputs, targets, mask),
            "one-hot": state_of(metric, outputs, jax.nn.one_hot(targets, CLASSES), mask),
            "column": state_of(metric, outputs, targets[:, None], mask),
            "half": state_of(metric, outputs.astype(jnp.bfloat16), targets, mask),
            "positions": state_of(metric, *in_positions, mask),
            "twice": state_of(metric, *(jnp.repeat(array, 2, axis=0) for array in (outputs, targets, mask))),
        }

    found = jax.device_get(states(outputs, targets, mask))
    for form in ("one-hot", "column", "half"):
        assert_same(found[form], found["plain"])
    if metric.gathers:
        found["positions"] = jax.tree.map(
            lambda leaf, other: leaf.reshape(other.shape), found["positions"], found["twice"]
        )
    assert_same(found["positions"], found["twice"])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REGRESSION])
def test_a_single_output_stands_for_two_classes(name):
    metric = built(name, classes=2, **({"k": 2} if "k" in lookup("metric", name).parameters else {}))
    outputs, targets, mask = example(name)

    @quick_jit
    def states(outputs, targets, mask):
        two = jnp.stack([jnp.zeros_like(outputs), outputs], axis=1)
        return [
            state_of(metric, two, targets, mask),
            state_of(metric, outputs, targets, mask),
            state_of(metric, outputs[:, None], targets[:, None], mask),
        ]

    of_two, *of_single = states(outputs[:, 0], targets % 2, mask)
    for found in of_single:
        assert_same(found, of_two)


def test_mean_loses_no_digits_over_many_batches():
    metric = metrics.mean_of(lambda outputs, batch: outputs)
    values = np.random.default_rng(0).uniform(0, 1, (20_000, 10)).astype(np.float32)

    def add(state, row):
        return metric.update(state, row, {"mask": jnp.ones((10,), bool)}), None

    state, _ = quick_jit(lambda values: jax.lax.scan(add, metric.init(), values))(values)
    wanted = np.asarray(values, np.float64).mean()
    assert float(metric.compute(state)) == pytest.approx(wanted, rel=1.2e-7)
    # Nor in one batch of all.
    everything = np.ones((200_000,), bool)
    assert float(evaluate(metric, values.reshape(-1), None, everything)) == pytest.approx(wanted, rel=1.2e-7)


@pytest.mark.parametrize("size", [1, 2, 3, 64, 129, 1000])
def test_sums_lose_no_digits(size):
    values = np.random.default_rng(size).normal(size=(size, 2)).astype(np.float32) * [1, 1e6]
    values = np.concatenate([values, -values[:-1]]).astype(np.float32)  # all but one value cancels out
    np.testing.assert_allclose(quick_jit(summed)(values).value, values.astype(np.float64).sum(axis=0), rtol=1e-5)


def pairs_by_hand(values):
    """Return the sum of float32 pair by pair, and what rounding lost of it, in NumPy."""
    total, lost = values, np.zeros_like(values)
    while len(total) > 1:
        half = -(-len(total) // 2)
        rest = np.zeros((2 * half - len(total), *values.shape[1:]), np.float32)
        (one, other), (kept, more) = ((part[:half], np.concatenate([part[half:], rest])) for part in (total, lost))
        both = one + other
        larger, smaller = (np.where((abs(one) >= abs(other)) == first, one, other) for first in (True, False))
        lost = kept + more + np.where(np.isfinite(both), (larger - both) + smaller, np.float32(0))
        total = both
    return total[0], lost[0]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("shape", [(1,), (2,), (700, 2), (1024,), (1437,), (2049, 1)], ids=str)
def test_sums_of_pairs_are_those_of_numpy_to_the_bit(shape):
    random = np.random.default_rng(shape[0])
    plain = (random.normal(size=shape) * 10.0 ** random.uniform(-6, 6, size=shape)).astype(np.float32)
    infinite = plain.copy()
    infinite[-1] = np.inf
    compute = quick_jit(summed)
    for values in (plain, -abs(plain), infinite):
        for found, expected in zip(compute(values), pairs_by_hand(values), strict=True):
            assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()


def test_mean_of_infinite_masked_and_no_values():
    metric = metrics.mean_of(lambda outputs, batch: outputs)

    def mean(values, mask):
        return float(metric.compute(metric.update(metric.init(), jnp.array(values), {"mask": jnp.array(mask)})))

    assert mean([jnp.inf, 1.0], [True, True]) == np.inf
    assert mean([jnp.nan, 1.0], [False, True]) == 1.0
    assert np.isnan(mean([1.0], [False]))


@pytest.mark.parametrize(
    "make, words",
    [
        (
            lambda: classification_metrics.f1(),
            "f1: the dataset names no number of classes; write component('f1', num_classes=…)",
        ),
        (
            lambda: classification_metrics.f1(Dataset({"train": {"inputs": np.ones((2, 1)), "targets": np.ones(2)}})),
            "f1: it is of classes, and the targets are float64, numbers to predict; of these are r2, mae,",
        ),
        (
            lambda: classification_metrics.f1(num_classes=2, average="binary", positive_class=2),
            "positive_class is one of 0 … 1; found 2",
        ),
        (lambda: lookup("metric", "top_k").factory(k=0), "top_k: k counts classes, at least 1; found 0"),
        (lambda: lookup("metric", "area_under_recall_at_k").factory(k=1), "an area needs k of at least 2; found 1"),
        (
            lambda: evaluate(built("accuracy"), np.ones((2, 3)), np.ones((2, 2), np.int32), np.ones(2, bool)),
            "accuracy: outputs float32[2, 3] and targets int32[2, 2] do not match",
        ),
        (
            lambda: evaluate(built("recall"), np.ones((2, 3)), np.ones(2, np.int32), np.ones(2, bool)),
            "recall: 4 classes are expected, found outputs float32[2, 3]",
        ),
        (
            lambda: evaluate(built("mse"), np.ones((3, 1)), np.ones((3, 3)), np.ones(3, bool)),
            "mse: outputs float32[3, 1] and targets float32[3, 3] do not match",
        ),
        (
            lambda: evaluate(metrics.mean_of(lambda outputs, _: outputs), np.ones((3, 1)), None, np.ones(3, bool)),
            "mean_of takes one value an example, float[3]; found float32[3, 1]",
        ),
    ],
)
def test_mistakes_are_named(make, words):
    with pytest.raises(MlgymError) as error:
        make()
    assert words in str(error.value)
