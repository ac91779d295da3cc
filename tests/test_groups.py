"""Groups of experiments in whole runs: together as alone, failures stay apart, networks of the user's own."""

import json
import shutil

import jax
import numpy as np
import pytest
from plain_loop import train_by_hand
from study_files import assert_same_outcome, events, finish, here, outcome, small, start

import mlgym_jax as mg
from mlgym_jax.study.expand import prepare

pytestmark = pytest.mark.usefixtures("own_registry")


def run(path, storage, *arguments):
    status, out, err = here("run", f"--config={path}", f"--event_storage={storage}", "--run_id=it", *arguments)
    assert "Traceback" not in err
    return status, out, err


def test_fifteen_experiments_equal_each_of_them_alone(tmp_path):
    edit = (
        "config.model = component('mlp', features=(16,)); config.seed = grid(0, 1, 2);"
        "config.optimizer = component('adam', learning_rate=grid(1e-4, 1e-3, 1e-2, 3e-2, 1e-1))"
    )
    path = small(tmp_path, edit)
    together = mg.run(mg.load_config(path), tmp_path)
    assert len(together.experiments) == 15 and len(together.view.groups) == 1
    [job] = prepare(mg.load_config(path)).jobs
    for row, experiment in enumerate(together.experiments):
        scores, state = train_by_hand(job, row, epochs=3)
        assert_equal(dict(zip(job.names, scores.T, strict=True)), state.params, experiment)
    for experiment in together.experiments[::7]:  # of every seed and three learning rates, by the engine
        [alone] = mg.run(mg.load_config(path, overrides=experiment.hyperparameters), tmp_path).experiments
        assert_equal(alone.history, alone.restore().params, experiment)


def assert_equal(history, params, experiment):
    assert history.keys() == experiment.history.keys()
    for name, values in history.items():
        np.testing.assert_allclose(values, experiment.history[name], rtol=0, atol=1e-6)
    its = experiment.restore().params
    assert params.keys() == its.keys()
    for layer, arrays in params.items():
        for name, array in arrays.items():
            np.testing.assert_allclose(array, its[layer][name], rtol=0, atol=1e-6)


PICTURES = """
import numpy as np


@register("dataset", "pictures")
def pictures():
    random = np.random.default_rng(0)
    train = {"inputs": random.random((200, 8, 8, 1)), "targets": random.integers(0, 10, 200, np.int32)}
    return mg.Dataset({"train": train}, num_classes=10)
"""


@pytest.mark.parametrize(
    "edit",
    [
        "config.model = component('mlp', features=(6,), dropout_rate=grid(0.1, 0.2));"
        "config.optimizer = component('adam', learning_rate=grid(1e-3, 1e-2), b1=grid(0.85, 0.9))",
        "config.model = component('cnn', features=(4,), dense_features=(8,));"
        "config.dataset = component('pictures');"
        "config.optimizer = component('sgd', learning_rate=grid(0.01, 0.1), momentum=grid(0.8, 0.9))",
    ],
    ids=["mlp", "cnn"],
)
def test_strict_experiments_have_the_bits_that_they_have_alone(tmp_path, edit):
    path = small(tmp_path, "config.strict = True; config.seed = grid(0, 1); " + edit, PICTURES)
    together = mg.run(mg.load_config(path), tmp_path)
    for experiment in together.experiments[::7]:
        [alone] = mg.run(mg.load_config(path, overrides=experiment.hyperparameters), tmp_path).experiments
        assert alone.history == experiment.history
        jax.tree.map(np.testing.assert_array_equal, alone.restore().params, experiment.restore().params)


def test_eight_devices_give_the_numbers_of_one(tmp_path):
    edit = (
        "config.model = component('mlp', features=(6,)); config.seed = grid(0, 1, 2);"
        "config.optimizer = component('adam', learning_rate=grid(1e-3, 1e-2, 1e-1))"
    )
    path = small(tmp_path, edit)
    histories = []
    for devices in (8, 1):  # 9 experiments do not divide by 8
        words = f"--config={path}", f"--event_storage={tmp_path}", f"--run_id=on{devices}", f"--devices={devices}"
        words += ("--plan=map",)
        if devices > jax.device_count():
            assert finish(start("run", *words, env={"JAX_NUM_CPU_DEVICES": str(devices)}))[0] == 0
        else:
            assert here("run", *words)[0] == 0
        result = mg.load_run(tmp_path / f"on{devices}")
        assert result.view.groups[0]["plan"] == f"map+scanx{devices}"
        histories.append([experiment.history for experiment in result.experiments])
    for eight, one in zip(*histories, strict=True):
        for name, values in one.items():
            np.testing.assert_allclose(eight[name], values, rtol=0, atol=1e-6)


def test_two_layer_sizes_are_two_programs(tmp_path):
    top = """
@register("model", "from_zero")
class FromZero(nn.Module):
    features: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for width in (*self.features, 3):
            x = nn.Dense(width, kernel_init=nn.initializers.zeros)(x)
        return x
"""
    edit = "config.model = component('from_zero', features=grid((4,), (6,))); config.seed = grid(0, 1)"
    path = small(tmp_path, edit, top)
    result = mg.run(mg.load_config(path), tmp_path)
    assert [group["experiments"] for group in events(result.run_dir, "group_compiled")] == [[0, 1], [2, 3]]
    assert [group["plan"] for group in events(result.run_dir, "group_compiled")] == ["map+scanx2"] * 2


def test_an_experiment_that_diverges_is_recorded_and_the_others_finish(tmp_path, caplog):
    edit = (
        "config.dataset = component('synthetic', num_examples=200, num_features=8, task='regression');"
        "config.model = component('linear', num_outputs=1); config.loss = component('squared_error');"
        "config.metrics = dict(mse=component('mse'));"
        "config.optimizer = component('sgd', learning_rate=grid(0.01, 1e30, 0.02))"
    )
    with jax.debug_nans(True):  # which would end the others, too
        status, out, err = run(small(tmp_path, edit), tmp_path)
    assert status == 1
    assert "experiment 1 failed: diverged: train/loss is" in err and "JAX_DEBUG_NANS does not hold" in caplog.text
    assert "it study FAILED" in out and out.count("experiment 1 failed") == 1
    result = mg.load_run(tmp_path / "it")
    assert [(e.status, e.num_epochs) for e in result.experiments] == [("DONE", 3), ("FAILED", 1), ("DONE", 3)]
    assert all(np.isfinite(result.experiments[n].history["train/loss"]).all() for n in (0, 2))
    [failed] = events(tmp_path / "it", "experiment_failed")
    assert (failed["experiment_id"], failed["epoch"]) == (1, 1)
    done = [job for job in events(tmp_path / "it", "job_status") if job["experiment_id"] == 1][-1]
    assert done["status"] == "DONE" and "train/loss" in done["error"]
    assert result.best("val/loss", mode="min").experiment_id in (0, 2)
    found = json.loads(here("report", tmp_path / "it", "--json")[1])["experiments"][1]
    assert found["status"] == "FAILED" and found["last"]["train/loss"] in ("NaN", "Infinity")
    before = outcome(tmp_path / "it")
    status, _, _ = here("run", "--resume=it", f"--event_storage={tmp_path}")
    assert status == 1 and len(events(tmp_path / "it", "experiment_failed")) == 1
    assert_same_outcome(outcome(tmp_path / "it"), before)


# Raises while it runs, not while it is traced; the file FIXED makes it well.
BREAKS = """
import os
import numpy as np


class Breaks(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        def check(value):
            if self.width == 5 and not os.path.exists("FIXED"):
                raise RuntimeError("the sensor is gone")
            return value

        x = nn.Dense(self.width, kernel_init=nn.initializers.zeros)(x)
        x = x + jax.lax.stop_gradient(
            jax.pure_callback(check, jax.ShapeDtypeStruct((), x.dtype), jnp.zeros((), x.dtype))
        )
        return nn.Dense(3, kernel_init=nn.initializers.zeros)(x)


@register("model", "breaks")
def breaks(*, width: int):
    if width == 7:
        raise ValueError("seven is unlucky")
    return Breaks(width)
"""


def test_a_group_whose_program_raises_leaves_the_others_and_can_be_tried_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = small(tmp_path, "config.model = component('breaks', width=grid(4, 5, 6)); config.seed = grid(0, 1)", BREAKS)
    words = f"--config={path}", f"--event_storage={tmp_path}", "--run_id=it", "--devices=1"
    status, _, err = here("run", *words)
    assert status == 1, err
    assert "experiment 2 failed" in err and "the sensor is gone" in err
    result = mg.load_run(tmp_path / "it")
    assert [e.status for e in result.experiments] == ["DONE", "DONE", "FAILED", "FAILED", "DONE", "DONE"]
    assert [e.num_epochs for e in result.experiments] == [3, 3, 0, 0, 3, 3]
    failed = events(tmp_path / "it", "experiment_failed")
    assert [payload["experiment_id"] for payload in failed] == [2, 3]
    assert all("the sensor is gone" in payload["stacktrace"] for payload in failed)
    (tmp_path / "FIXED").touch()
    status, _, err = here("run", "--resume=it", *words[1:2], words[3])
    assert status == 0, err
    again = mg.load_run(tmp_path / "it")
    assert [(e.status, e.num_epochs, e.error) for e in again.experiments] == [("DONE", 3, None)] * 6
    assert [group["group"] for group in events(tmp_path / "it", "group_compiled")] == [0, 1, 2, 1]


def test_what_raises_while_it_is_built_is_refused_before_anything_is_written(tmp_path):
    path = small(tmp_path, "config.model = component('breaks', width=grid(4, 7))", BREAKS)
    status, out, err = run(path, tmp_path / "storage")
    assert (status, out) == (2, "") and len(err.splitlines()) == 1
    assert "config.model" in err and "seven is unlucky" in err
    assert not (tmp_path / "storage").exists()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("{history[0]['val/nothing']}", "raised KeyError: 'val/nothing'"),
        ("len(history)", "returned 1; a set of epochs, which count from 1, is expected, such as {1}"),
        ("range(len(history))", "returned range(0, 1); a set of epochs, which count from 1, is expected"),
    ],
)
def test_a_checkpoint_strategy_that_is_wrong_is_named(tmp_path, wanted, said):
    top = f"@register('checkpointing', 'wrong')\ndef wrong():\n    return lambda history: {wanted}"
    status, _, err = run(small(tmp_path, "config.checkpointing = component('wrong')", top), tmp_path)
    assert status == 1
    assert f"experiment 0 failed: checkpointing {said}" in " ".join(err.split())


# Networks of people who never heard of this engine, and the two lines that register each.
NETWORKS = """
@register("model", "linen_net")
class LinenNet(nn.Module):
    width: int = 24

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(self.width)(x)))
        return nn.Dense(3)(nn.Dropout(0.2, deterministic=not train)(x))


class NnxNet(nnx.Module):
    def __init__(self, width, *, rngs):
        self.hidden, self.norm = nnx.Linear(8, width, rngs=rngs), nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.dropout, self.output = nnx.Dropout(0.2, rngs=rngs), nnx.Linear(width, 3, rngs=rngs)

    def __call__(self, x):
        return self.output(self.dropout(nnx.relu(self.norm(self.hidden(x)))))


@register("model", "nnx_net")
def nnx_net(*, width: int = 24):
    return lambda rngs: NnxNet(width, rngs=rngs)
"""


def test_linen_and_nnx_networks_of_a_config_file_train_unchanged(tmp_path, monkeypatch):
    edit = (
        "config.num_epochs = 8; config.model = grid(component('linen_net'), component('nnx_net'));"
        "config.optimizer = component('adam', learning_rate=grid(0.003, 0.01))"
    )
    small(tmp_path, edit, NETWORKS)
    monkeypatch.chdir(tmp_path)
    result = mg.run(mg.load_config("study.py"), "storage")  # by a relative path, as one types it
    assert result.status == "DONE" and len(result.view.groups) == 2
    components = mg.build(mg.load_config("study.py"))
    [fold] = components["validation"](components["dataset"], 0)
    inputs, targets = (np.asarray(components["dataset"].splits["train"][f])[fold["val"]] for f in ("inputs", "targets"))
    (tmp_path / "study.py").write_text("raise SystemExit  # edited since: the run's own copy counts", encoding="utf-8")
    result = mg.load_run(result.run_dir)
    for experiment in result.experiments:
        assert experiment.history["val/accuracy"][-1] > 0.9
        outputs = experiment.predict(inputs)
        assert np.mean(outputs.argmax(axis=1) == targets) == pytest.approx(experiment.last["val/accuracy"], abs=1e-6)
        averages = [np.asarray(leaf) for leaf in _leaves(experiment.restore().model_state)]
        assert averages and any(not np.allclose(leaf, 0) and not np.allclose(leaf, 1) for leaf in averages)


def _leaves(tree):
    import jax

    return [leaf for leaf in jax.tree.leaves(tree) if np.issubdtype(leaf.dtype, np.floating)]


def test_each_group_is_resumed_and_repeated_by_its_own_plan(tmp_path):
    edit = (
        "config.dataset = component('squares'); config.num_epochs = 2; config.seed = grid(*range(5));"
        "config.model = grid(component('cnn', features=(2,), dense_features=()), component('flat'))"
    )
    top = """
import numpy as np


@register("dataset", "squares")
def squares():
    inputs = np.random.default_rng(0).normal(size=(48, 4, 4, 1)).astype(np.float32)
    return mg.Dataset(splits={"train": {"inputs": inputs, "targets": np.arange(48, dtype=np.int32) % 3}}, num_classes=3)


@register("model", "flat")
class Flat(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x.reshape(x.shape[0], -1))
"""
    path = small(tmp_path, edit, top)
    assert run(path, tmp_path)[0] == 0
    plans = ["map+scanx4", "vmap+scanx4"]
    assert [group["plan"] for group in events(tmp_path / "it", "group_compiled")] == plans
    before = outcome(tmp_path / "it")
    assert here("reproduce", tmp_path / "it")[0] == 0
    shutil.rmtree(tmp_path / "it/checkpoints")
    status, _, err = here("run", "--resume=it", f"--event_storage={tmp_path}")
    assert status == 0, err
    assert [group["plan"] for group in events(tmp_path / "it", "group_compiled")] == plans * 2
    assert_same_outcome(outcome(tmp_path / "it"), before)
