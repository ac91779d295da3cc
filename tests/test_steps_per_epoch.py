"""Epochs in schedules: the gradient is 1, so the only parameter ends at minus the sum of all learning rates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import mlgym_jax as mg
from mlgym_jax import component, grid, register
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare


class _Weight(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.broadcast_to(self.param("w", nn.initializers.zeros, ()), (len(x),))


register("model", "one_weight")(lambda: _Weight())
register("loss", "output_itself")(lambda: lambda outputs, batch: outputs)
register("loss", "output_by_target")(lambda: lambda outputs, batch: outputs * batch["targets"])

WHOLE = component("holdout", val=0.0)
FOLDS = component("cross_validation", folds=5)


def in_epochs(name, **parameters):
    return component("in_epochs", schedule=component(name, **parameters))


def sgd_until(epoch):
    """Learn with the rate 1 during the first epochs, and then no more."""
    return component(
        "sgd",
        learning_rate=in_epochs("piecewise_constant_schedule", init_value=1.0, boundaries_and_scales=((epoch, 0.0),)),
    )


def study(folder, num_rows, optimizer, **fields):
    path = folder / f"{num_rows}.npz"
    np.savez(path, inputs=np.zeros((num_rows, 1)), targets=np.zeros(num_rows))
    return {
        "num_epochs": 8,
        "dataset": component("npz", path=str(path)),
        "validation": WHOLE,
        "loader": component("in_memory", batch_size=10),
        "model": component("one_weight"),
        "loss": component("output_itself"),
        "optimizer": optimizer,
    } | fields


def weights(config, folder):
    result = mg.run(config, folder)
    return [float(item.restore().params["w"]) for item in result.experiments]


def every(k, optimizer, **parameters):
    return component("MultiSteps", every_k_schedule=k, opt=optimizer, **parameters)


CLIPPED = component("clip_by_global_norm", max_norm=9.0)
GROWING = component("piecewise_constant_schedule", init_value=1, boundaries_and_scales=((4, 4),))


# Optimizers -> of how many steps the rates add up: four are an epoch.
SUMS = [
    (sgd_until(2), [8]),
    (sgd_until(2.5), [10]),
    (sgd_until("2.5"), [10]),
    (every(4, sgd_until(2)), [2]),
    (every(2, every(2, sgd_until(2))), [2]),
    (component("chain", transforms=(CLIPPED, every(4, sgd_until(2)))), [2]),
    (every(4, component("chain", transforms=(CLIPPED, sgd_until(2)))), [2]),
    # Four updates of a step each are the first epoch; then an update takes four steps, which is an epoch.
    (every(GROWING, sgd_until(2)), [5]),
    (component("chain", transforms=(sgd_until(2), component("apply_every", k=4))), [8]),
    (every(grid(1, 2, 4), sgd_until(2)), [8, 4, 2]),
]


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """Return the weights that each of these ends with; those without a sweep of their own are one."""
    folder, alone = tmp_path_factory.mktemp("sums"), [optimizer for optimizer, _ in SUMS[:-1]]
    found = weights(study(folder, 40, grid(*alone)), folder)
    assert len(found) == len(alone)
    return [[weight] for weight in found] + [weights(study(folder, 40, SUMS[-1][0]), folder)]


@pytest.mark.parametrize("number", range(len(SUMS)))
def test_epochs_are_those_of_training_steps_however_many_an_update_takes(ends, number):
    assert ends[number] == pytest.approx([-value for value in SUMS[number][1]], abs=1e-5)


def test_each_fold_counts_its_own_steps_in_one_program(tmp_path):
    # 26 rows: fold 0 trains on 20, the others on 21, which are two steps.
    config = study(tmp_path, 26, sgd_until(2), validation=FOLDS, loader=component("in_memory", batch_size=20))
    assert len(prepare(config).jobs) == 1
    assert weights(config, tmp_path) == pytest.approx([-2, -4, -4, -4, -4], abs=1e-5)
    accumulated = {**config, "optimizer": every(2, sgd_until(2))}
    assert weights(accumulated, tmp_path) == pytest.approx([-1, -2, -2, -2, -2], abs=1e-5)


def test_folds_of_swept_split_seeds_and_rates_count_their_own_steps(tmp_path):
    optimizer = component(
        "sgd", learning_rate=in_epochs("linear_schedule", init_value=grid(1.0, 2.0), end_value=0.0, transition_steps=2)
    )
    fields = dict(validation=FOLDS, loader=component("in_memory", batch_size=20), split_seed=grid(0, 1))
    found = weights(study(tmp_path, 26, optimizer, **fields), tmp_path)
    one = [-1.5, -2.5, -2.5, -2.5, -2.5]  # 1 + 1/2, and 1 + 3/4 + 1/2 + 1/4
    assert sorted(found) == pytest.approx(sorted(2 * [rate * value for rate in (1, 2) for value in one]), abs=1e-5)


def test_dropped_batches_are_no_steps(tmp_path):
    # 49 rows: the smallest fold trains on 39, the largest on 40; all take the one step that fills a batch everywhere.
    loader = component("in_memory", batch_size=20, drop_last=True)
    config = study(tmp_path, 49, sgd_until(2), validation=FOLDS, loader=loader)
    assert weights(config, tmp_path) == pytest.approx([-2] * 5, abs=1e-5)


ONECYCLE = {"transition_steps": 2.5, "peak_value": 1.0, "pct_start": 0.3}


@pytest.mark.parametrize(
    ("name", "parameters", "same"),
    [
        ("cosine_decay_schedule", {"init_value": 1.0, "decay_steps": 2.5}, {"decay_steps": 10}),
        ("exponential_decay", {"init_value": 1.0, "decay_rate": 0.5, "transition_steps": 0.5}, {"transition_steps": 2}),
        (
            "warmup_cosine_decay_schedule",
            {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 0.5, "decay_steps": 2.5},
            {"warmup_steps": 2, "decay_steps": 10},
        ),
        ("linear_onecycle_schedule", {**ONECYCLE, "pct_final": 0.9}, {"transition_steps": 10}),
        ("cosine_onecycle_schedule", ONECYCLE, {"transition_steps": 10}),
    ],
)
@pytest.mark.parametrize("swept", [False, True])
def test_fractions_of_epochs_are_whole_steps(name, parameters, same, swept, tmp_path):
    given = {**parameters, **({next(iter(same)): grid(parameters[next(iter(same))])} if swept else {})}
    config = study(tmp_path, 40, component("sgd", learning_rate=in_epochs(name, **given)), num_epochs=4)
    schedule = getattr(optax, name)(**{**parameters, **same})
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        total = sum(float(schedule(step)) for step in range(16))
    assert weights(config, tmp_path) == pytest.approx([-total], abs=1e-4)


@pytest.mark.parametrize(
    ("schedule", "path"),
    [
        (component("cosine_decay_schedule", init_value=1.0, decay_steps=2.5), "learning_rate.decay_steps: found 2.5"),
        (
            component("piecewise_constant_schedule", init_value=1.0, boundaries_and_scales=((2.5, 0.0),)),
            "learning_rate.boundaries_and_scales.2.5: found 2.5",
        ),
        (
            component(
                "join_schedules",
                schedules=(component("constant_schedule", value=1.0), in_epochs("constant_schedule", value=0.0)),
                boundaries=(1.5,),
            ),
            "learning_rate.boundaries.1.5: found 1.5",
        ),
    ],
)
def test_a_fraction_of_a_step_is_refused(schedule, path, tmp_path):
    with pytest.raises(ConfigError, match=f"config.optimizer.{path}, but steps are counted here.*in_epochs"):
        prepare(study(tmp_path, 40, component("sgd", learning_rate=schedule)))


def test_phases_change_at_fractions_of_epochs(tmp_path):
    phases = in_epochs(
        "join_schedules",
        schedules=(component("constant_schedule", value=1.0), component("constant_schedule", value=0.0)),
        boundaries=(1.5,),
    )
    found = weights(study(tmp_path, 40, component("sgd", learning_rate=phases)), tmp_path)
    assert found == pytest.approx([-6], abs=1e-5)


@pytest.mark.parametrize("sync_period", [2, 100])
def test_sharpness_aware_steps_are_all_updates(sync_period, tmp_path):
    # Each step ascends inside of itself. 8 steps of 2 epochs are 8 updates of the rate 1, the others of the rate 0.
    still = component("sgd", learning_rate=0.0)
    optimizer = component("contrib.sam", optimizer=sgd_until(2), adv_optimizer=still, sync_period=sync_period)
    assert weights(study(tmp_path, 40, optimizer), tmp_path) == pytest.approx([-8], abs=1e-5)


SGD = component("sgd", learning_rate=1.0)


def looking_ahead(period, size=0.5):
    return component("lookahead", fast_optimizer=SGD, sync_period=period, slow_step_size=size)


NEVER = "with which no parameter is ever updated; at least 1 is expected"


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (every(0, SGD), rf"config\.optimizer\.every_k_schedule: found 0, {NEVER}"),
        (every(-1, SGD), rf"config\.optimizer\.every_k_schedule: found -1, {NEVER}"),
        (every(grid(1, 0), SGD), rf"config\.optimizer\.every_k_schedule: found 0, {NEVER}"),
        (component("apply_every", k=0), rf"config\.optimizer\.k: found 0, {NEVER}"),
        (
            component("chain", transforms=(SGD, component("apply_every", k=-2))),
            rf"config\.optimizer\.transforms\.1\.k: found -2, {NEVER}",
        ),
        (every(component("constant_schedule", value=0), SGD), "every_k_schedule: it begins with 0, with which no"),
        (every(9, SGD), r"config\.optimizer\.every_k_schedule: found 9, but a training has 8 steps.* at most 8"),
        (every(grid(8, 100), SGD), "found 100, but a training has 8 steps"),
        (every(3, every(3, SGD)), r"config\.optimizer\.opt\.every_k_schedule: found 3 \(each of 3 steps\).* at most 2"),
        (every(component("constant_schedule", value=9), SGD), "every_k_schedule: found 9, but a training has 8 steps"),
        (component("chain", transforms=(SGD, component("apply_every", k=9))), r"transforms\.1\.k: found 9, but"),
        (looking_ahead(9), r"sync_period: found 9, but a training has 8 steps, so the slow parameters, which are eval"),
        (every(4, looking_ahead(3)), r"opt\.sync_period: found 3 \(each of 4 steps\).* at most 2"),
        (looking_ahead(2, 0.0), r"config\.optimizer\.slow_step_size: a number above 0 is expected, found 0\.0"),
    ],
)
def test_accumulation_that_never_updates_is_refused(optimizer, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        prepare(study(tmp_path, 40, optimizer, num_epochs=2))


def test_what_a_training_is_too_short_for_is_told(tmp_path, caplog):
    average = {"averaging": component("mean", first_step=8), "metrics": {"mse": component("mse", every_num_epochs=3)}}
    prepare(study(tmp_path, 40, SGD, num_epochs=2, **average))
    assert "averaging.first_step is 8, and a training has 8 steps: nothing is averaged" in caplog.text
    assert "metrics.mse.every_num_epochs is 3, and a training is evaluated 2 times" in caplog.text


def test_accumulation_over_all_steps_updates_once(tmp_path):
    assert weights(study(tmp_path, 40, every(8, SGD), num_epochs=2), tmp_path) == pytest.approx([-1], abs=1e-6)


def test_the_smallest_fold_decides_whether_accumulation_ever_updates(tmp_path):
    fields = dict(num_epochs=2, validation=FOLDS, loader=component("in_memory", batch_size=20))
    with pytest.raises(ConfigError, match="found 3, but a training has 2 steps"):
        prepare(study(tmp_path, 26, every(3, SGD), **fields))


@pytest.mark.parametrize(("batch_size", "mean"), [(4, (1.5 + 5.5 + 8.5) / 3), (5, 4.5)])
def test_accumulated_steps_weigh_alike_whatever_their_sizes(batch_size, mean, tmp_path):
    """Of ten examples 0 … 9 in batches of 4, 4 and 2 the mean of the means is 5.167, that of the examples 4.5."""
    np.savez(tmp_path / "ten.npz", inputs=np.arange(10.0)[:, None], targets=np.arange(10.0))
    config = study(tmp_path, 10, every(-(-10 // batch_size), component("sgd", learning_rate=1.0)), num_epochs=1) | {
        "dataset": component("npz", path=str(tmp_path / "ten.npz")),
        "loss": component("output_by_target"),
        "loader": component("in_memory", batch_size=batch_size, shuffle=False),
    }
    assert weights(config, tmp_path) == pytest.approx([-mean], abs=1e-5)


READ = []


class Counted:
    """Ten thousand records, each of which notes that it was read."""

    def __len__(self):
        return 10_000

    def __getitem__(self, row):
        READ.append(row)
        return {"inputs": np.zeros(1, np.float32), "targets": np.float32(0)}


@pytest.mark.parametrize("weights", [None, {"a": 0.5, "b": 0.5}])
def test_epochs_of_what_is_read_while_it_trains_are_counted_without_reading_it(weights, own_registry):
    READ.clear()
    register("dataset", "counted")(lambda: mg.Dataset({"train": Counted()}))
    sources = {"a": component("counted"), "b": component("counted")}
    [job] = prepare(
        {
            "num_epochs": 2,
            "dataset": component("mixture", sources=sources, weights=weights),
            "validation": WHOLE,
            "loader": component("streaming", batch_size=30),
            "model": component("one_weight"),
            "loss": component("output_itself"),
            "optimizer": sgd_until(1),
        }
    ).jobs
    assert job.components["steps_per_epoch"] == 667  # of 20,000 examples
    assert len(READ) < 1000
