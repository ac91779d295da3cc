"""What a run's start costs, counted, as no clock can be believed: traces, compiled programs, imports, collections."""

import gc

import flax.linen as nn
import jax
import numpy as np
import pytest
from forks import run
from study_files import small

import mlgym_jax as mg
from mlgym_jax import component, grid, register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.execution.collecting import seldom_collected
from mlgym_jax.recording import group

# Not before somebody asks for it: checkpoints, images, boards, prepared data sets, tables, charts.
LATER = {
    *("orbax", "tensorstore", "PIL", "websockets", "tensorflow_datasets", "array_record", "pandas", "pyarrow"),
    *("sklearn", "scipy", "matplotlib", "quart", "hypercorn", "textual", "optuna", "ray", "tensorboard", "wandb"),
}


@pytest.mark.usefixtures("own_registry")
def test_a_run_compiles_two_programs_and_traces_its_model_eight_times(tmp_path):
    traced, compiled = [], []

    class Noting(nn.Module):
        @nn.compact
        def __call__(self, x):
            traced.append(x.shape[0])
            return nn.Dense(2)(x)

    register("model", "noting_its_traces")(lambda: Noting())
    inputs = np.random.default_rng(0).normal(size=(53, 3)).astype(np.float32)
    split = {"inputs": inputs, "targets": (inputs[:, 0] > 0).astype(np.int32)}
    register("dataset", "of_53")(lambda: Dataset({"train": split, "val": {k: v[:19] for k, v in split.items()}}, 2))
    config = mg.load_config("configs/gs.py")
    config.dataset, config.model = component("of_53"), component("noting_its_traces")
    config.loader = component("in_memory", batch_size=10)
    config.optimizer = component("adam", learning_rate=grid(1e-3, 1e-2))
    config.num_epochs, config.seed, config.validation = 2, grid(0), component("holdout", val=0)
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, fun_name="", **__: compiled.append(fun_name) if "backend_compile" in event else None
    )
    result = mg.run(config, tmp_path, system_metrics=False)
    assert result.status == "DONE"
    assert len(compiled) == 2  # the initial state and an epoch
    state_step_prediction, proof_of_independence, splits, all_targets = [10, 10, 10], [10, 3], [53, 19], [72]
    assert sorted(traced) == sorted([*state_step_prediction, *proof_of_independence, *splits, *all_targets])


def test_what_a_run_begins_with_imports_nothing_that_it_may_not_need():
    code = "import mlgym_jax as mg, sys; mg.run; from mlgym_jax.components.registry import kinds; kinds()\n"
    done = run("engine", code=f"{code}print(*{{name.partition('.')[0] for name in sys.modules}})", fresh=True)
    found = {*done.stdout.split()}
    assert {"jax", "flax", "optax", "msgspec"} <= found, done.stderr
    assert not LATER & found


def test_garbage_is_looked_for_seldom_while_a_run_starts_and_as_before_behind_it():
    before, looks = gc.get_threshold(), []
    gc.callbacks.append(lambda phase, _: looks.append(phase))
    try:
        with pytest.raises(KeyError), seldom_collected():
            objects = [[] for _ in range(60_000)]
            assert gc.get_threshold()[0] >= 100_000 and looks == []
            raise KeyError
        assert gc.get_threshold() == before
        more = [[] for _ in range(60_000)]
        assert looks and len(objects) == len(more)
    finally:
        gc.callbacks.pop()


@pytest.mark.parametrize(("num_objects", "num_counts"), [(10, 0), (60_000, 1)])
def test_what_a_program_has_frozen_stays_so_and_is_counted_seldom(monkeypatch, num_objects, num_counts):
    """To count a million frozen objects takes 0.1 s, and a run's start enters it ten times."""
    real, counts = gc.get_freeze_count, []
    assert real() > 0  # of tests/conftest.py
    monkeypatch.setattr(gc, "get_freeze_count", lambda: counts.append(real()) or counts[-1])
    gc.collect()
    with seldom_collected():
        objects = [[] for _ in range(num_objects)]
    assert len(counts) == num_counts and real() > 0 and len(objects) == num_objects


def test_a_collector_that_is_off_stays_off():
    before = gc.get_threshold()
    try:
        gc.set_threshold(0)
        with seldom_collected():
            assert gc.get_threshold()[0] == 0
        assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)


@pytest.mark.usefixtures("own_registry")
def test_epochs_leave_nothing_that_only_the_garbage_collector_finds(tmp_path, monkeypatch):
    """It is asked seldom while a group trains, and states on a device must not wait for it."""
    found = []

    def of_epochs(num_epochs):
        def watched(*arguments):
            gc.collect()
            gc.disable()
            try:
                return real(*arguments)
            finally:
                found.append(gc.collect())
                gc.enable()

        monkeypatch.setattr(group, "_fit", watched)
        config = mg.load_config(small(tmp_path, f"config.num_epochs = {num_epochs}"))
        mg.run(config, tmp_path / str(num_epochs), progress=False)

    real = group._fit
    of_epochs(2)
    of_epochs(20)
    assert found[1] <= found[0]
