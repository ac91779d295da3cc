"""Batches of sequences of similar length: their order, what they compute, and that they are parts of one program."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from metric_cases import quick_jit
from metric_cases import whole as whole_of
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid, register
from mlgym_jax.components.registry import lookup
from mlgym_jax.core.buckets import Buckets, chosen_sizes
from mlgym_jax.core.state import ORDER, key_for
from mlgym_jax.data import given
from mlgym_jax.data.bucketed import by_length, padding
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import ConfigError
from mlgym_jax.recording.launch import prepare

N, L, WORDS, B = 53, 24, 11, 6
RNG = np.random.default_rng(3)
LENGTHS = np.minimum(L, 1 + RNG.geometric(0.2, N)).astype(np.int32)
LENGTHS[:2] = 2, L
WHERE = np.arange(L) < LENGTHS[:, None]
TOKENS = np.where(WHERE, RNG.integers(1, WORDS, (N, L)), 0).astype(np.int32)
TARGETS = np.where(WHERE, np.roll(TOKENS, -1, axis=1), 0).astype(np.int32)
DATA = {"inputs": TOKENS, "targets": TARGETS, "where": WHERE, "lengths": LENGTHS}


def least_padding(lengths, whole, number):
    """Return the fewest positions that any choice of so many sizes takes, by trying them all."""
    every = sorted({*lengths.tolist(), whole})
    best = np.inf
    for count in range(number):
        for chosen in itertools.combinations(every[:-1], count):
            sizes = np.array([*chosen, whole])
            best = min(best, sizes[np.searchsorted(sizes, lengths)].sum())
    return best


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_chosen_lengths_have_the_least_padding(number):
    for seed in range(20):
        lengths = np.random.default_rng(seed).integers(2, 12, 15)
        sizes = chosen_sizes(lengths, 13, number)
        assert len(sizes) <= number and sizes[-1] == 13 and [*sizes] == sorted({*sizes})
        assert np.array(sizes)[np.searchsorted(sizes, lengths)].sum() == least_padding(lengths, 13, number)


def test_of_very_many_lengths_quantiles_are_chosen_among():
    lengths = np.random.default_rng(0).integers(1, 5000, 20_000)
    sizes = chosen_sizes(lengths, 5000, 4)
    total, of_equal_parts = (  # which are the best of lengths that are equally frequent
        np.array(own)[np.searchsorted(own, lengths)].sum() for own in (sizes, (1250, 2500, 3750, 5000))
    )
    assert len(sizes) == 4 and total < 1.002 * of_equal_parts


def test_an_order_has_each_example_once_in_batches_of_one_bucket():
    buckets = Buckets((4, 8, L), ("inputs",), "lengths")
    steps = -(-N // B)
    lengths, mask = np.append(LENGTHS, [0, 0]), np.arange(N + 2) < N
    order = quick_jit(functools.partial(buckets.order, batch_size=B, num_steps=steps))
    seen = []
    for epoch in range(6):
        key = jax.random.key(epoch)
        found = np.asarray(order(key, lengths, mask))
        np.testing.assert_array_equal(found, order(key, lengths, mask))
        assert sorted(found[:N]) == list(range(N)) and found.max() < N
        number = np.searchsorted([4, 8], lengths[found[:N]])
        batches = [number[start : start + B] for start in range(0, N, B)]
        assert sum(len({*batch}) > 1 for batch in batches) <= 2  # where one bucket ends and another begins
        means = [batch.mean() for batch in batches[:-1]]
        assert means != sorted(means) and means != sorted(means, reverse=True)
        seen.append(found.tolist())
    assert len({tuple(one) for one in seen}) == 6


def test_rows_to_evaluate_are_sorted_and_stay_the_same():
    buckets = Buckets((4, L), ("inputs",), "where")
    indices, mask = np.arange(N)[None, ::-1].repeat(2, axis=0), np.ones((2, N), bool)
    mask[1, 40:] = False
    found = by_length(buckets, DATA, {"indices": {"val": indices}, "mask": {"val": mask}})["indices"]["val"]
    for fold, size in ((0, N), (1, 40)):
        rows = found[fold, :size]
        assert sorted(rows) == sorted(indices[fold, :size]) and (np.diff(LENGTHS[rows]) >= 0).all()
    share, otherwise = padding(buckets, DATA, np.arange(N))
    short = LENGTHS <= 4
    assert share == pytest.approx(1 - LENGTHS.sum() / (4 * short.sum() + L * (~short).sum()))
    assert otherwise == pytest.approx(1 - LENGTHS.mean() / L)


class Tagger(nn.Module):
    """A model that reads sequences of any length, in which padding changes nothing."""

    @nn.compact
    def __call__(self, x):
        embedded = nn.Embed(WORDS, 8)(x)
        return nn.Dense(WORDS)(nn.tanh(nn.Conv(8, (2,), padding=[(1, 0)])(embedded)))


def config_of(loader=None, **fields):
    register("model", "bucketed_tagger")(Tagger)
    plain = {
        "num_epochs": 3,
        "seed": grid(0, 1),
        "model": component("bucketed_tagger"),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.5),
        "validation": component("holdout", val=0.3),
        "metrics": {"accuracy": component("accuracy"), "auroc": component("auroc", every_num_epochs=3)},
        "loader": loader or component("bucketed", batch_size=B, sizes=(4, 8)),
    }
    return ConfigDict({**plain, **fields}, type_safe=False)


def data():
    return Dataset({"train": DATA}, num_classes=WORDS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return mg.run(config_of(), tmp_path_factory.mktemp("bucketed"), data=data())


def at(rows):
    return {name: array[rows] for name, array in DATA.items()}


def cross_entropy(params, batch):
    logits = Tagger().apply({"params": params}, batch["inputs"])
    costs = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
    return jnp.where(batch["where"], costs, 0.0).sum() / batch["where"].sum().astype(np.float32)


def job_of(result):
    with given.at_hand(data()):
        return prepare(result.view.config, result.view).jobs[0]


def test_a_run_trains_as_a_loop_over_whole_sequences(trained):
    job = job_of(trained)
    rows = {split: np.asarray(job.fold_tables["indices"][split][0]) for split in ("train", "val")}
    steps = -(-len(rows["train"]) // B)
    buckets = Buckets((4, 8, L), ("inputs", "targets", "where"), "lengths")
    gradient, costs = quick_jit(jax.grad(cross_entropy)), quick_jit(cross_entropy)
    init, apply = quick_jit(job.program.init), quick_jit(Tagger().apply)
    lengths, mask = LENGTHS[rows["train"]], np.ones(len(rows["train"]), bool)

    @quick_jit
    def order_of(key, epoch):
        return buckets.order(jax.random.fold_in(key_for(key, ORDER, epoch), 1), lengths, mask, B, steps)

    for seed, experiment in enumerate(trained.experiments):
        key = jax.random.key(seed)
        params = jax.device_get(init(key, job.sample).params)
        for epoch in range(1, 4):
            order = rows["train"][np.asarray(order_of(key, epoch))]
            for start in range(0, len(mask), B):
                found = jax.device_get(gradient(params, at(order[start : min(start + B, len(mask))])))
                params = jax.tree.map(lambda p, g: p - np.float32(0.5) * g, params, found)
            wanted = costs(params, at(rows["val"]))
            np.testing.assert_allclose(experiment.history["val/loss"][epoch - 1], wanted, rtol=1e-5)
        whole = at(rows["val"])
        logits = apply({"params": params}, whole["inputs"])
        for name in ("accuracy", "auroc"):
            metric = lookup("metric", name).factory(**({"num_classes": WORDS} if name == "auroc" else {}))
            wanted = whole_of(metric)(logits, {**whole, "mask": np.ones(len(logits), bool)})
            np.testing.assert_allclose(experiment.history[f"val/{name}"][2], wanted, rtol=1e-5)


def test_a_run_goes_on_to_the_same_bits(trained, tmp_path):
    part = mg.run(config_of(num_epochs=1), tmp_path, data=data(), run_id="part")
    assert len(part.view.groups) == 1
    result = mg.resume(tmp_path / "part", 3)
    assert result.mismatches == []
    for one, other in zip(result.experiments, trained.experiments, strict=True):
        assert one.history == other.history


def test_the_forecast_tells_the_lengths():
    said = str(mg.forecast(config_of(), data=data()))
    assert "plan map+scan" in said
    assert "batches of 4, 8, 24 positions, each a part of one compiled program: about " in said


@pytest.mark.parametrize(
    "parameters, fields, words",
    [
        ({"num_buckets": 0}, {}, "loader.num_buckets: found 0; from 1 to 16 are possible"),
        ({"sizes": (8, 4)}, {}, "loader.sizes: found (8, 4); lengths from 1 are expected, in ascending order"),
        ({"lengths": "length"}, {}, "loader.lengths: the data have no field 'length'; did you mean 'lengths'?"),
        ({"fields": ("target",)}, {}, "loader.fields: the data have no field 'target'; did you mean 'targets'?"),
        ({}, {"lengths": LENGTHS + 9}, "loader.lengths: the field 'lengths' holds 33; lengths from 0 to 24 are"),
        ({}, {"lengths": None, "where": None}, "loader.lengths: nothing tells how long the examples are"),
        ({}, {"lengths": None, "where": LENGTHS / 2}, "loader.lengths: nothing tells how long the examples are"),
        ({}, {"where": None}, "loader: the targets have a value a position, and there is no field 'where'"),
        ({}, {"where": LENGTHS / 2}, "loader: the targets have a value a position, and there is no field 'where' of"),
        (
            {"lengths": "lengths"},
            {"lengths": LENGTHS / 2},
            "loader.lengths: the field 'lengths' is float64[n]; int",
        ),
        ({"fields": ("targets", "lengths")}, {}, "loader.fields: the field 'lengths' is int32[n]; [n, 24, …] is"),
    ],
)
def test_what_cannot_be_bucketed_is_named(parameters, fields, words):
    arrays = {name: array for name, array in {**DATA, **fields}.items() if array is not None}
    with pytest.raises(ConfigError) as error:
        lookup("loader", "bucketed").factory(dataset=Dataset({"train": arrays}), **parameters)
    assert str(error.value).startswith(f"config.{words}")


def test_a_model_of_one_length_is_refused_before_anything_compiles(tmp_path, own_registry):
    class Flat(nn.Module):
        @nn.compact
        def __call__(self, x):
            flat = nn.Dense(L * WORDS)(x.astype(jnp.float32).reshape(len(x), -1))
            return flat.reshape(*x.shape[:1], -1, WORDS)

    register("model", "flat_of_one_length")(Flat)
    with pytest.raises(ConfigError) as error:
        mg.run(config_of(model=component("flat_of_one_length"), seed=0), tmp_path, data=data())
    assert str(error.value).startswith(
        "config.loader: 'bucketed' cuts batches to 4 of 24 positions, which what is built here does not take: "
    )
    assert not any(tmp_path.iterdir())
