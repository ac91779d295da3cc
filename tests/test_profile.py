"""--profile: a trace of some steps in the run's folder, and the same numbers as without it."""

import gzip
import json

import jax
import pytest
from study_files import events, here, scores, small

import mlgym_jax as mg
from mlgym_jax.errors import MlgymError

# 200 examples in batches of 32, of which 40 are held out: 5 steps an epoch.
EDIT = """
    config.num_epochs = 4
    config.seed = grid(0, 1)
    config.validation = component("holdout", val=0.2)
    config.model = component("mlp", features=grid((4,), (5,)))"""


def traced(run_dir):
    """The one trace of a run, as its log tells it."""
    [path] = (run_dir / "profile").rglob("*.trace.json.gz")
    assert [file.suffix for file in path.parent.iterdir() if file != path] == [".pb"]
    assert json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    [said] = events(run_dir, "profile_saved")
    return {name: said[name] for name in ("group", "first_epoch", "last_epoch", "num_steps", "folder")}


def test_the_epochs_behind_a_warm_one_that_hold_the_steps_are_traced_and_numbers_stay(tmp_path):
    path = small(tmp_path, EDIT)
    status, _, _ = here("run", f"--config={path}", f"--event_storage={tmp_path}", "--run_id=it", "--profile=7")
    # 7 steps of an experiment are in two epochs, in which the first group's 2 experiments have 20.
    held = {"group": 0, "first_epoch": 2, "last_epoch": 3, "num_steps": 20, "folder": "profile"}
    assert status == 0 and traced(tmp_path / "it") == held
    plain = mg.run(mg.load_config(path), tmp_path, run_id="plain")
    assert scores(tmp_path / "it") == scores(plain.run_dir)
    # What was trained again in a resumed run may be traced there, too: here a single epoch, which is the last.
    mg.resume(tmp_path / "plain", 5, profile=100)
    assert traced(tmp_path / "plain") == {**held, "first_epoch": 5, "last_epoch": 5, "num_steps": 2 * 5}


AFTER = """
@register("early_stopping", "after")
def after(*, epochs):
    return lambda history: len(history) >= epochs
"""


def test_a_trace_ends_where_all_have_stopped_early(tmp_path):
    edit = EDIT + "\n    config.early_stopping = component('after', epochs=3)"
    config = mg.load_config(small(tmp_path, edit, AFTER))
    mg.run(config, tmp_path, run_id="it", profile=10**9)
    held = traced(tmp_path / "it")
    assert (held["first_epoch"], held["last_epoch"], held["num_steps"]) == (2, 3, 2 * 2 * 5)
    config.early_stopping.epochs = 1  # of no group there is an epoch behind a warm one
    mg.run(config, tmp_path, run_id="other", profile=10**9)
    assert events(tmp_path / "other", "profile_saved") == [] and not (tmp_path / "other/profile").exists()


def test_a_trace_that_cannot_be_begun_ends_no_training(tmp_path, caplog):
    little = jax.profiler.ProfileOptions()
    little.python_tracer_level = little.host_tracer_level = 0
    jax.profiler.start_trace(str(tmp_path / "own"), profiler_options=little)
    try:
        result = mg.run(mg.load_config(small(tmp_path)), tmp_path, run_id="it", profile=1)
    finally:
        jax.profiler.stop_trace()
    assert result.status == "DONE" and events(result.run_dir, "profile_saved") == []
    assert "--profile: no trace can be begun: Profile has already been started" in caplog.text


@pytest.mark.parametrize("steps", ["0", "-5", "1.5", "many", ""])
def test_what_is_no_number_of_steps_is_refused_before_anything_is_written(steps, tmp_path):
    path = small(tmp_path, EDIT)
    status, out, err = here("run", f"--config={path}", f"--event_storage={tmp_path / 'new'}", f"--profile={steps}")
    assert (status, out) == (2, "") and not (tmp_path / "new").exists()
    assert err.startswith(f"error: --profile={steps}: a number of training steps is expected, at least 1, such as")
    with pytest.raises(MlgymError, match="--profile=True: a number of training steps"):
        mg.run(path, tmp_path, profile=True)
    assert here("run", f"--config={path}", "--dry_run", "--profile=5")[2].startswith("error: --profile traces a run")
