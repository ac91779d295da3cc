"""What a run would do is said before it does it: --dry_run, and a word where many programs will be compiled."""

import logging
import math

import pytest
from study_files import events, here, small

import mlgym_jax as mg
from mlgym_jax.recording import rehearsal
from mlgym_jax.study.expand import prepare


def dry(folder, edit="", *words):
    asked = [] if any(word.startswith("--dry_run") for word in words) else ["--dry_run"]
    status, out, err = here("run", f"--config={small(folder, edit)}", *asked, *words)
    return status, out, err


def test_a_dry_run_says_what_would_be_trained_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    edit = """
    config.seed = grid(0, 1)
    config.validation = component("holdout", val=0.1, test=0.05)
    config.model = component("mlp", features=grid((4,), (8, 8)))"""
    status, out, err = dry(tmp_path, edit, "--devices=1", "--run_id=r")
    assert (status, err) == (0, "")
    assert "4 experiments, 12 epochs, on 1 cpu device; nothing was trained or written" in out
    assert "2 programs for 4 experiments: config.model.features has 2 values ((4,), (8, 8))\n" in out
    # 200 examples, of which ceil(0.1 * 200) and ceil(0.05 * 200) are held out, in batches of 32.
    rest = 200 - math.ceil(20) - math.ceil(10)
    assert f"plan vmap+scanx1, {math.ceil(rest / 32)} steps of 32 an epoch" in out
    assert f"examples: train {rest}, val 20, test 10" in out
    assert "  plan: networks so small that 2 of them fit a core's cache are computed in one batch; mesh exp" in out
    # Dense layers from 8 inputs to 3 classes.
    assert (
        f", {8 * 4 + 4 + 4 * 3 + 3} parameters;" in out and f", {8 * 8 + 8 + 8 * 8 + 8 + 8 * 3 + 3} parameters;" in out
    )
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["study.py"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--config.loss=none"], "config.loss: unknown loss 'none'"),
        (["--plan=fast"], "--plan=fast: 'fast' is no plan"),
        (["--run_id=../x"], "--run_id=../x: allowed are"),
        (["--devices=99"], "--devices=99: this process has"),
        (["--resume=r"], "--dry_run is of a new run; leave --resume out"),
        (["--dry_run=mesure"], "--dry_run=mesure: unknown; did you mean 'measure'? Allowed: --dry_run, which compiles"),
        (["--dry_run=measure", "--plan=tune"], "--plan=tune: it measures and remembers plans when it runs"),
    ],
)
def test_a_dry_run_refuses_what_a_run_refuses(words, message, tmp_path):
    status, out, err = dry(tmp_path, "", *words)
    assert (status, out) == (2, "") and err.startswith(f"error: {message}"), err


def test_what_is_forecast_is_what_a_run_records(tmp_path, monkeypatch):
    """Sizes and operations alike; measuring them leaves no file, not even in the cache of compiled programs."""
    edit = """
    config.seed = grid(0, 1, 2)
    config.model = component("mlp", features=grid((4,), (8,)))
    config.checkpointing = component("last")"""
    config, cache = mg.load_config(small(tmp_path, edit)), tmp_path / "cache"
    monkeypatch.setenv("MLGYM_JAX_CACHE_DIR", str(cache))
    least, measured = mg.forecast(config), mg.forecast(config, measure=True)
    assert {path.name for path in tmp_path.iterdir()} <= {"study.py", "__pycache__"}
    result = mg.run(config, tmp_path / "storage")
    compiled, saved = (events(result.run_dir, kind) for kind in ("group_compiled", "checkpoint_saved"))
    for said in (least, measured):
        assert [str(group.plan) for group in said.groups] == [group["plan"] for group in compiled]
        assert [group.mesh for group in said.groups] == [group["mesh"] for group in compiled]
        assert [group.flops_per_step for group in said.groups] == [group["flops_per_step"] for group in compiled]
        assert [group.checkpoint_bytes for group in said.groups] == [group["bytes"] for group in saved]
    needed = [group["bytes_per_device"] for group in compiled]
    assert [group.bytes_per_device for group in measured.groups] == needed
    for group, bytes_needed in zip(least.groups, needed, strict=True):
        assert 200 * (8 + 1) * 4 < group.bytes_per_device <= bytes_needed


def test_seconds_are_those_of_the_epochs_that_were_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "_CORE_FLOPS", 1.0)  # so slow that an epoch is timed on a part of its steps
    edit = """
    config.num_epochs = 50
    config.loader = component("in_memory", batch_size=4)"""
    [group], seconds = (said := mg.forecast(mg.load_config(small(tmp_path, edit)), measure=True)).groups, said.seconds
    found = group.rehearsal
    assert (found.num_steps, group.job.shape.num_steps) == (8, 40)
    assert seconds.train == pytest.approx(found.first_epoch_seconds + 49 * found.epoch_seconds)
    assert seconds.compile == pytest.approx(found.compile_seconds + found.init_seconds)
    assert seconds.total == pytest.approx(seconds.start + seconds.compile + seconds.train + seconds.record)
    assert "s an epoch (by 8 of its steps)\npredicted: " in str(said) and "nothing was recorded or written" in str(said)


def test_a_program_for_each_of_a_few_experiments_is_said(tmp_path):
    _, out, _ = dry(tmp_path, 'config.model = component("mlp", features=grid((4,), (8,)))')
    assert "\neach experiment compiles a program of its own; seeds, folds and numbers of losses" in out


MANY = """
    config.model = component("mlp", features=(int_uniform(1, 10**6),))
    config.search = component("random", num_experiments=12)"""
TOP = "from mlgym_jax import int_uniform"


def test_a_program_for_every_experiment_is_said_beforehand(tmp_path, caplog):
    config = mg.load_config(small(tmp_path, MANY, TOP))
    with caplog.at_level(logging.WARNING):
        assert len(prepare(config).jobs) == 12
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("12 programs for 12 experiments: config.model.features.0 has 12 values (")
    assert "fewer different values of model.features.0, such as grid(…) of two or three, compile fewer" in said


def test_few_programs_or_values_that_are_arrays_are_not_worth_a_word(tmp_path, caplog):
    edit = """
    config.optimizer.learning_rate = log_uniform(0.001, 0.1)
    config.model = component("mlp", features=grid((2,), (3,), (4,)))
    config.search = component("random", num_experiments=40)"""
    config = mg.load_config(small(tmp_path, edit, "from mlgym_jax import log_uniform"))
    with caplog.at_level(logging.WARNING):
        assert len(prepare(config).jobs) == 3
    assert not caplog.records


def test_swept_components_count_by_name_and_say_which_of_their_values_cannot_be_arrays(tmp_path):
    edit = """
    config.optimizer = grid(
        component("adam", learning_rate=grid(0.1, 0.2), nesterov=grid(False, True)), component("sgd", learning_rate=0.1)
    )"""
    _, out, _ = dry(tmp_path, edit)
    assert "3 programs for 5 experiments: config.optimizer has 2 values (adam, sgd); " in out
    assert "config.optimizer.nesterov has 2 values (False, True)\n" in out


@pytest.mark.parametrize(
    ("values", "place", "why"),
    [
        ("1, 0.5, 1.0", "config", "a value of optimizer.learning_rate stands twice in a grid or list. Write each once"),
        # numpy.float32(0.1) == numpy.float32(0.100000001)
        (
            "0.1, 0.5, 0.100000001",
            "config.optimizer.learning_rate",
            "0.1 and 0.100000001 are one number to a program, whose numbers have 32 bits. Write values that differ in "
            "their first 7 digits",
        ),
    ],
)
def test_a_grid_that_names_a_value_twice_says_so(values, place, why, tmp_path, caplog):
    prepare(mg.load_config(small(tmp_path, f"\n    config.optimizer.learning_rate = grid({values})")))
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{place}: 1 of 3 experiments repeat the values of another one") and said.endswith(why)


def test_a_list_that_repeats_an_experiment_says_so(tmp_path, caplog):
    edit = """
    config.search = component("list", experiments=({"seed": 1}, {"seed": 2}, {"seed": 1}))"""
    prepare(mg.load_config(small(tmp_path, edit)))
    assert "a value of seed stands twice in a grid or list" in caplog.text


def test_a_random_search_that_repeats_values_says_so(tmp_path, caplog):
    edit = """
    config.optimizer.learning_rate = grid(0.1, 0.2)
    config.search = component("random", num_experiments=10)"""
    config = mg.load_config(small(tmp_path, edit))
    with caplog.at_level(logging.WARNING):
        found = prepare(config)
    assert {item.assignment.hyperparameters["optimizer.learning_rate"] for item in found.experiments} == {0.1, 0.2}
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("config.search: 8 of 10 experiments repeat the values of another one, seed included")
    caplog.clear()
    with config.unlocked(), config.ignore_type():
        config.seed = mg.int_uniform(0, 10**6)
    prepare(config)
    assert not caplog.records
