"""From a config to jobs: what shares a program, its rows, its scores; what is wrong is found before any effect."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare

pytestmark = pytest.mark.usefixtures("own_registry")


def study(**sections):
    config = ConfigDict(type_safe=False)
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=40, num_features=4)
    config.validation = component("holdout", val=0.25)
    config.loader = component("in_memory", batch_size=8)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.1)
    config.metrics = dict(accuracy=component("accuracy"))
    for name, value in sections.items():
        config[name] = value
    return prepare(config)


def ids_of(prepared):
    return [job.group.ids for job in prepared.jobs]


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_one_job_holds_an_array_row_for_each_experiment():
    prepared = study(seed=grid(3, 2**32 - 1), optimizer=component("sgd", learning_rate=grid(0.1, 1)))
    [job] = prepared.jobs
    assert [e.experiment_id for e in prepared.experiments] == job.group.ids == [0, 1, 2, 3]
    assert job.seeds.tolist() == [3, 2**32 - 1, 3, 2**32 - 1] and job.seeds.dtype == np.uint32
    [(path, rates)] = job.hyperparams.items()
    assert (path, rates.dtype) == ("optimizer.learning_rate", np.float32)
    np.testing.assert_array_equal(rates, np.float32([0.1, 0.1, 1, 1]))
    assert job.fold_of_row.tolist() == [0, 0, 0, 0]
    assert job.names == ("train/accuracy", "train/loss", "val/accuracy", "val/loss")
    assert job.abstract.params["Dense_0"]["kernel"].shape == (4, 2)
    assert len(job.sample["inputs"]) == 8


def test_what_counts_stays_an_integer():
    schedule = component("linear_schedule", init_value=0.1, end_value=grid(0, 1), transition_steps=grid(5, 10))
    [job] = study(optimizer=component("sgd", learning_rate=schedule)).jobs
    dtypes = {path.rsplit(".", 1)[1]: values.dtype for path, values in job.hyperparams.items()}
    assert dtypes == {"end_value": np.float32, "transition_steps": np.int32}


def test_each_layer_size_is_a_job_and_data_is_read_once():
    prepared = study(model=component("mlp", features=grid((4,), (8,))), seed=grid(0, 1))
    assert ids_of(prepared) == [[0, 1], [2, 3]]
    assert [job.abstract.params["Dense_0"]["kernel"].shape[1] for job in prepared.jobs] == [4, 8]
    assert prepared.jobs[0].table is prepared.jobs[1].table
    assert prepared.fingerprints() == {"group_0": prepared.jobs[0].table.fingerprint}


def test_each_dataset_has_its_fingerprint():
    prepared = study(dataset=component("synthetic", num_examples=40, num_features=4, seed=grid(0, 1)))
    assert list(prepared.fingerprints()) == ["group_0", "group_1"]
    assert len(set(prepared.fingerprints().values())) == 2
    assert all(len(value) == hashlib.sha256().digest_size * 2 for value in prepared.fingerprints().values())


def test_split_seeds_are_folds_of_one_job():
    [job] = study(split_seed=grid(5, 6, 5)).jobs
    assert job.fold_of_row.tolist() == [0, 1, 0]
    assert job.folds.num_folds == 2
    alone = [study(split_seed=seed).jobs[0].folds.indices["val"][0] for seed in (5, 6)]
    np.testing.assert_array_equal(job.folds.indices["val"], alone)
    assert not np.array_equal(*alone)


def test_the_folds_of_a_validation_are_experiments_of_their_own():
    def parts(dataset, seed):
        return [{"train": range(20), "val": range(20, 40)}, {"train": range(20, 40), "val": range(20)}]

    register("validation", "two")(lambda: parts)
    prepared = study(validation=component("two"), seed=grid(7, 8))
    assert [(e.experiment_id, e.seed, e.fold, e.num_folds) for e in prepared.experiments] == [
        (0, 7, 0, 2),
        (1, 7, 1, 2),
        (2, 8, 0, 2),
        (3, 8, 1, 2),
    ]
    assert prepared.jobs[0].fold_of_row.tolist() == [0, 1, 0, 1]


def test_grids_inside_a_grid_of_optimizers_share_a_program_each():
    optimizer = grid(component("sgd", learning_rate=grid(0.1, 0.2)), component("adam", learning_rate=grid(0.3, 0.4)))
    prepared = study(optimizer=optimizer)
    assert ids_of(prepared) == [[0, 1], [2, 3]]
    rates = [job.hyperparams["optimizer.learning_rate"].tolist() for job in prepared.jobs]
    assert rates == np.float32([[0.1, 0.2], [0.3, 0.4]]).tolist()


def test_with_and_without_early_stopping():
    prepared = study(early_stopping=grid(None, component("nan")))
    assert [job.early_stopping is None for job in prepared.jobs] == [True, False]


def test_a_batch_larger_than_the_data_is_one_step_with_all_of_it():
    [job] = study(loader=component("in_memory", batch_size=1000)).jobs
    assert (job.shape.num_steps, len(job.sample["inputs"])) == (1, 30)


def test_a_part_that_is_overridden_with_none_is_left_out():
    [job] = study(metrics=dict(accuracy=None, top=component("top_k", k=1))).jobs
    assert set(job.names) == {"train/loss", "train/top", "val/loss", "val/top"}


def test_evaluation_without_the_training_split_still_names_its_running_scores():
    [job] = study(evaluation_splits=("val",)).jobs
    assert {name.split("/")[0] for name in job.names} == {"train", "val"}
    assert list(job.shape.eval_batches) == ["val"]
    assert study(validation=component("holdout", val=0)).jobs[0].folds.sizes == {"train": (40,)}


# --- dynamic by declaration, static by nature ------------------------------------------------------------------------


class Scaled(nn.Module):
    scale: float

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x) * self.scale


def needs_a_number(*, scale=1.0, shift=0.0):
    return Scaled(2.0 if scale > 1 else scale)


def formats_it(*, scale=1.0, shift=0.0):
    assert f"{scale:.1f}"
    return Scaled(1.0)


def checks_its_type(*, scale=1.0, shift=0.0):
    if not isinstance(scale, float):
        raise ValueError("a float is wanted")
    return Scaled(scale)


@pytest.mark.parametrize("factory", [needs_a_number, formats_it, checks_its_type])
def test_a_value_that_is_needed_as_a_number_splits_the_sweep(factory):
    register("model", "peculiar", dynamic=("scale", "shift"))(factory)
    model = component("peculiar", scale=grid(0.5, 2.0), shift=grid(0.0, 1.0))
    prepared = study(model=model, optimizer=component("sgd", learning_rate=grid(0.1, 0.2)))
    assert len(prepared.jobs) == 2 and len(prepared.experiments) == 8
    assert list(prepared.static_because) == ["model.scale"]
    assert [sorted(job.hyperparams) for job in prepared.jobs] == [["model.shift", "optimizer.learning_rate"]] * 2


def test_a_value_that_its_factory_refuses_is_found_though_it_would_be_an_array():
    @register("loss", "careful", dynamic=("power",))
    def careful(*, power=1.0):
        if isinstance(power, float) and power < 0:
            raise ValueError(f"power is {power}")
        return lambda outputs, batch: jnp.abs(outputs).sum(axis=1) ** power

    with pytest.raises(
        ConfigError, match=r"config\.loss: loss 'careful' could not be built: ValueError: power is -1\.0"
    ):
        study(loss=component("careful", power=grid(1.0, 2.0, -1.0)))


# --- what is wrong ---------------------------------------------------------------------------------------------------


def dataset_of(**fields):
    return lambda: mg.Dataset(splits={"train": fields}, num_classes=2)


def junk_metric(state=None, shape=()):
    return lambda: mg.Metric(lambda: jnp.zeros(shape), lambda s, outputs, batch: s, lambda a, b: a, lambda s: s)


@pytest.mark.parametrize(
    "sections, message",
    [
        ({"model": component("mlp", features=grid((4,), (0,)))}, r"config\.model\.features: layer widths .*\(0,\)"),
        ({"model": component("mlp", features=grid((4,), "x"))}, r"config\.model\.features: wrong type: found 'x'"),
        (
            {"model": grid(component("linear"), component("mpl"))},
            r"config\.model: unknown model 'mpl'; did you mean 'mlp'",
        ),
        (
            {"optimizer": grid(component("sgd", learning_rate=grid(0.1, "x")), component("adam", learning_rate=1))},
            r"config\.optimizer\.learning_rate: wrong type: found 'x'",
        ),
        ({"loader": component("in_memory", batch_size=grid(8, 0))}, r"config\.loader\.batch_size: found 0"),
        (
            {"loader": component("in_memory", batch_size=64, drop_last=True)},
            r"config\.loader\.batch_size: found 64, but",
        ),
        ({"evaluation_splits": ("vall",)}, r"config\.evaluation_splits: no split 'vall'; did you mean 'val'\?"),
        (
            {"early_stopping": component("no_improvement", monitor="val/acuracy", mode="max", window_epochs=2)},
            r"config\.early_stopping\.monitor: no score 'val/acuracy' will exist; did you mean 'val/accuracy'\?",
        ),
        (
            {"checkpointing": component("best", monitor="test/loss", mode="min")},
            r"config\.checkpointing\.monitor: no score 'test/loss' will exist; did you mean 'train/loss'\?",
        ),
        (
            {
                "validation": component("holdout", val=grid(0.2, 0.0)),
                "checkpointing": component("best", monitor="val/loss", mode="min"),
            },
            r"config\.checkpointing\.monitor: no score 'val/loss' will exist",
        ),
        (
            {
                "validation": component(
                    "nested_cross_validation", outer_folds=2, inner_folds=2, monitor="val/f1", mode="max"
                )
            },
            r"config\.validation\.monitor: no score 'val/f1' will exist",
        ),
        (
            {"metrics": dict(odd=component("odd"))},
            r"config\.metrics\.odd: compute returns a scalar .* found shape \(3,\)",
        ),
        (
            {"dataset": component("fieldless")},
            r"config\.dataset: its examples have no field 'inputs'.* Fields: input, t",
        ),
        ({"dataset": component("masked")}, r"config\.dataset: its examples have a field 'mask'"),
        ({"model": component("speaking")}, r"config\.model: ValueError: images of 28x28 are wanted"),
        (
            {"loss": component("squared_error")},
            r"config\.loss: .*outputs float32\[8, 2\] and targets int32\[8\] do not m",
        ),
    ],
)
def test_what_is_wrong_is_found_before_any_training(sections, message):
    class Speaking(nn.Module):
        @nn.compact
        def __call__(self, x):
            raise ValueError("images of 28x28 are wanted")

    register("model", "speaking")(Speaking)
    register("metric", "odd")(junk_metric(shape=(3,)))
    inputs, targets = np.zeros((9, 2)), np.zeros(9, int)
    register("dataset", "fieldless")(dataset_of(input=inputs, targets=targets))
    register("dataset", "masked")(dataset_of(inputs=inputs, targets=targets, mask=targets))
    with pytest.raises(ConfigError, match=message):
        study(**sections)


def test_a_step_that_cannot_be_traced_is_an_error_of_the_config():
    def update(updates, state, params=None):
        raise RuntimeError("two\nlines")

    register("optimizer", "broken")(lambda *, rate=1.0: optax.GradientTransformation(lambda params: (), update))
    with pytest.raises(ConfigError, match=r"RuntimeError: two"):
        study(optimizer=component("broken", rate=grid(0.1, 0.2)))


def test_preparing_compiles_no_program_of_its_own():
    study(model=component("mlp", features=(5,)))  # what JAX compiles for itself, such as a constant, once a process
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    [job] = study(model=component("mlp", features=(7,)), optimizer=component("sgd", learning_rate=grid(0.1, 0.2))).jobs
    assert compiled == []
    jax.block_until_ready(jax.jit(lambda x: x * 3 + 7)(jnp.zeros(11)))
    assert len(compiled) >= 1  # the listener does hear
    assert isinstance(job.abstract.params["Dense_0"]["kernel"], jax.ShapeDtypeStruct)
