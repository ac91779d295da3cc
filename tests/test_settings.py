"""A run that goes on, or is repeated, with other settings of JAX that change its numbers says so."""

import json
import os
import shutil

import forks
import jax
import numpy as np
import pytest
from study_files import finish, here, small, start

import mlgym_jax as mg
from mlgym_jax.errors import MlgymError
from mlgym_jax.execution.mesh import use_devices
from mlgym_jax.run_folder import provenance


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    status, _, err = finish(start("run", f"--config={small(folder)}", f"--event_storage={folder}", "--run_id=it"))
    assert status == 0, err
    return folder / "it"


def record_of(run_dir):
    return json.loads((run_dir / "run.json").read_text(encoding="utf-8"))


def test_each_launch_records_its_settings(study):
    [launch] = record_of(study)["launches"]
    assert launch["settings"]["jax_enable_x64"] is False
    assert launch["settings"]["jax_default_prng_impl"] == "threefry2x32"  # JAX's own default
    assert launch["settings"]["jax_default_matmul_precision"] is None
    assert {"jax_threefry_partitionable", "xla_flags"} <= set(launch["settings"])
    assert "changed_settings" not in launch


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("JAX_ENABLE_X64", "1", "jax_enable_x64 False then, True now"),
        ("JAX_DEFAULT_MATMUL_PRECISION", "highest", "jax_default_matmul_precision None then, highest now"),
        ("XLA_FLAGS", "--xla_cpu_enable_fast_math=true", "xla_flags none then, --xla_cpu_enable_fast_math=true now"),
    ],
)
def test_a_run_that_goes_on_with_another_setting_says_so(variable, value, words, study, tmp_path, monkeypatch):
    shutil.copytree(study, tmp_path / "it")
    then = " ".join(sorted(os.environ.get("XLA_FLAGS", "").split()))  # the suite may have some of its own
    words = words.replace("xla_flags none", f"xla_flags {then or 'none'}")
    monkeypatch.setenv(variable, value)
    status, _, err = finish(start("run", "--resume=it", f"--event_storage={tmp_path}", "--config.num_epochs=4"))
    assert status == 0, err
    [line] = [line for line in err.splitlines() if "other settings of JAX" in line]
    assert words in line
    assert record_of(tmp_path / "it")["launches"][1]["changed_settings"]


def test_what_is_repeated_with_other_settings_is_said_before_and_after(study, tmp_path):
    run_dir = shutil.copytree(study, tmp_path / "it")
    record = record_of(run_dir)
    record["launches"][0]["settings"]["jax_threefry_partitionable"] = not jax.config.jax_threefry_partitionable
    (run_dir / "run.json").write_text(json.dumps(record), encoding="utf-8")
    status, out, err = here("reproduce", run_dir)
    assert status == 0, err
    now = jax.config.jax_threefry_partitionable
    before, after = out.splitlines()
    assert f"jax_threefry_partitionable {not now} then, {now} now" in before
    assert f"jax_threefry_partitionable {not now} then, {now} now" in after


def test_what_forbids_to_compile_is_refused_before_anything_is_written(study, tmp_path):
    folder, before = study.parent, {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    with jax.disable_jit():  # what JAX_DISABLE_JIT=1 sets for a whole process
        for words in (
            ("run", f"--config={folder / 'study.py'}", f"--event_storage={tmp_path}"),
            ("run", "--resume=it", f"--event_storage={folder}", "--config.num_epochs=9"),
            ("reproduce", study),
        ):
            status, out, err = here(*words)
            assert (
                (status, out, err.count("\n")) == (2, "", 1) and "JAX_DISABLE_JIT" in err and "jax.debug.print" in err
            )
        assert mg.load_run(study).experiments[0].predict(np.zeros((2, 8), np.float32)).shape == (2, 3)
    assert list(tmp_path.iterdir()) == [] and {path: path.stat().st_mtime_ns for path in study.rglob("*")} == before


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        (
            "transfer_guard",
            "disallow",
            "JAX_TRANSFER_GUARD_HOST_TO_DEVICE=disallow, or what sets it in Python",
        ),
        ("debug_key_reuse", True, "JAX_DEBUG_KEY_REUSE, or what sets it in Python: an experiment that rests"),
    ],
)
def test_what_forbids_to_train_is_refused(setting, value, said):
    with getattr(jax, setting)(value), pytest.raises(MlgymError, match=said):
        use_devices(None)


def test_a_value_that_jax_refuses_is_one_plain_message(tmp_path):
    environment = {"JAX_DEFAULT_PRNG_IMPL": "thre"}
    words = f"--config={forks.ROOT}/configs/gs.py", f"--event_storage={tmp_path}"
    found = forks.run("engine", *words, module="mlgym_jax.run", cwd=tmp_path, env=environment)
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert found.stderr.startswith("error: JAX_DEFAULT_PRNG_IMPL=thre: JAX does not take this value")


def test_flags_that_change_no_number_and_their_order_are_no_difference():
    then = {"xla_flags": "--xla_b=1 --xla_force_host_platform_device_count=4 --xla_a=2 --xla_dump_to=/there"}
    assert provenance.changed_settings([then], {"xla_flags": "--xla_a=2 --xla_b=1"}) == {}
    assert provenance.changed_settings([{}], {"xla_flags": "--xla_a=2"}) == {}
    [words] = provenance.in_words(provenance.changed_settings([then], {"xla_flags": "--xla_a=2"}))
    assert words == "xla_flags --xla_a=2 --xla_b=1 then, --xla_a=2 now"


def test_a_record_of_before_settings_were_recorded_is_compared_in_its_flags_alone():
    record = {"xla_flags": "--xla_a=1", "launches": [{}, {}]}
    assert provenance.launched_settings(record) == [{"xla_flags": "--xla_a=1"}, {}]
