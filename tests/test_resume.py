"""Runs that were killed, interrupted or damaged go on to the bits of a run that was left alone."""

import json
import os
import pathlib
import shutil
import signal
import sys

import pytest
from study_files import (
    STUDY,
    assert_same_outcome,
    edit_log,
    events,
    finish,
    here,
    kill,
    outcome,
    overwrite,
    scores,
    start,
    state,
    steps,
    truncate,
    wait_until,
    write,
)

import mlgym_jax as mg
from mlgym_jax.execution.interruption import Interruption

# For processes that are not allowed to end what they write: a compiled program cut short would be read by others. And
# what they compile by themselves has the bits of the reference's programs, which this process compiled or was given.
NO_CACHE = {"MLGYM_JAX_CACHE_DIR": "off", "JAX_ENABLE_COMPILATION_CACHE": "false"}


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """The one file of the study, so that its components are registered under one name."""
    return write(tmp_path_factory.mktemp("study"), STUDY)


@pytest.fixture(scope="session")
def reference(study, tmp_path_factory):
    """A run that nothing disturbed: its folder and its outcome."""
    storage = tmp_path_factory.mktemp("reference")
    status, _, err = here("run", f"--config={study}", f"--event_storage={storage}", "--run_id=whole")
    assert status == 0, err
    found = outcome(storage / "whole")
    ends = {stop for _, stop, _, _ in found[1].values()}
    assert ends == {None, "early stopping"}, "the case is meant to stop some and not others"
    return storage / "whole", found


@pytest.fixture
def copied(reference, tmp_path):
    """A copy of the finished run, to be damaged."""
    return pathlib.Path(shutil.copytree(reference[0], tmp_path / "whole"))


@pytest.fixture
def held(study, tmp_path):
    """Start the study as a process that stands still after an epoch; return the process and the files HELD, RELEASE."""
    processes = []

    def begin(after_epoch, *arguments, env=None):
        files = {"HELD": str(tmp_path / "held"), "RELEASE": str(tmp_path / "release")}
        process = start(
            "run",
            f"--config={study}",
            f"--event_storage={tmp_path}",
            "--run_id=cut",
            *arguments,
            env={**files, "HOLD_AFTER_EPOCH": str(after_epoch), **(env or {})},
        )
        processes.append(process)
        return process, pathlib.Path(files["HELD"]), pathlib.Path(files["RELEASE"])

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def resume(run_dir, *arguments):
    return here("run", f"--resume={run_dir.name}", f"--event_storage={run_dir.parent}", *arguments)


def assert_resumes(run_dir, reference):
    status, _, err = resume(run_dir)
    assert status == 0, err
    assert_same_outcome(outcome(run_dir), reference[1])


# -- killed ------------------------------------------------------------------------------------------------------------


def test_killed_before_the_first_epoch(held, reference, tmp_path):
    process, _, _ = held(1, env=NO_CACHE)
    log = tmp_path / "cut/event_storage.log"
    wait_until(lambda: log.exists() and log.stat().st_size > 0, process, "the first event")
    kill(process)
    assert not (tmp_path / "cut/checkpoints/group_0").exists() or not steps(tmp_path / "cut")
    assert_resumes(tmp_path / "cut", reference)


def test_killed_between_epochs_with_a_torn_last_line(held, reference, tmp_path):
    run_dir = tmp_path / "cut"
    process, marker, _ = held(5)
    wait_until(marker.exists, process, "epoch 5")
    kill(process)
    path = run_dir / "event_storage.log"
    text = path.read_bytes()
    path.write_bytes(text[:-25])
    assert max(epoch for _, epoch in scores(run_dir)) == 5
    status, out, err = resume(run_dir)
    assert status == 0, err
    assert "small DONE" in out
    assert path.read_bytes().startswith(text[: text[:-25].rindex(b"\n") + 1])
    assert_same_outcome(outcome(run_dir), reference[1])


def test_killed_while_a_checkpoint_is_written(held, reference, tmp_path):
    run_dir = tmp_path / "cut"
    group = run_dir / "checkpoints/group_0"

    def half_written():
        return group.is_dir() and [name for name in os.listdir(group) if "tmp" in name]

    def killed_half_way():
        """Stop the process at the first sight of an unfinished step, and kill it if the step is unfinished still."""
        process, _, _ = held(None)
        wait_until(group.is_dir, process, "the folder of checkpoints")
        while process.poll() is None:
            if half_written():
                process.send_signal(signal.SIGSTOP)
                wait_until(lambda: state(process) in "TXZ", process, "it stopped")
                if half_written():
                    kill(process)
                    return True
                process.send_signal(signal.SIGCONT)
        process.communicate()
        shutil.rmtree(run_dir)
        return False

    assert any(killed_half_way() for _ in range(5)), "no save was ever seen half-way"
    assert_resumes(run_dir, reference)
    assert not half_written()


# -- damaged -----------------------------------------------------------------------------------------------------------


def test_damaged_checkpoints_are_passed_over(reference, copied):
    newest, before = steps(copied)[-1:-3:-1]
    truncate(newest / "meta")
    overwrite(before / "state")
    status, _, err = resume(copied, "--quiet")
    assert status == 0, err
    skipped = events(copied, "checkpoint_skipped")
    assert [entry["step"] for entry in skipped] == [int(before.name), int(newest.name)]
    assert f"checkpoint {newest.name} of group 0 passed over" in err
    assert_same_outcome(outcome(copied), reference[1])


def test_damage_to_kept_rows_alone_is_found(reference, copied):
    newest = next(step for step in reversed(steps(copied)) if (step / "kept").exists())
    for step in steps(copied):
        if int(step.name) > int(newest.name):
            shutil.rmtree(step)
    overwrite(newest / "kept")
    assert_resumes(copied, reference)
    assert [entry["step"] for entry in events(copied, "checkpoint_skipped")] == [int(newest.name)]


def test_without_checkpoints_it_starts_over_and_writes_only_what_is_missing(reference, copied):
    shutil.rmtree(copied / "checkpoints")
    lost = []

    def damage(_, line):
        payload = json.loads(line)["payload"]
        if b'"evaluation_result"' in line and (payload["experiment_id"], payload["epoch"]) == (1, 3):
            lost.append(len(line))
            return b"?" * (len(line) - 1) + b"\n"
        return line

    edit_log(copied, damage)
    assert len(lost) == 1 and (1, 3) not in scores(copied)
    before = len(events(copied, "evaluation_result"))
    assert_resumes(copied, reference)
    assert len(events(copied, "evaluation_result")) == before + 1
    assert events(copied, "resume_mismatch") == []


def test_an_altered_score_is_a_mismatch_and_stays_one(copied):
    shutil.rmtree(copied / "checkpoints")
    altered = {}

    def alter(_, line):
        event = json.loads(line)
        payload = event["payload"]
        if event["event_type"] == "evaluation_result" and (payload["experiment_id"], payload["epoch"]) == (2, 4):
            entry = next(entry for entry in payload["loss_scores"] if entry["split"] == "val")
            altered["true"] = entry["score"]
            altered["false"] = entry["score"] = entry["score"] + 1e-9
            return json.dumps(event).encode() + b"\n"
        return line

    edit_log(copied, alter)
    for _ in range(2):  # the second time there is nothing to train, and still the log does not hold what was computed
        status, _, err = resume(copied)
        assert status == 1
        assert "experiment 2, epoch 4, val/loss" in err and "Traceback" not in err
        [mismatch] = events(copied, "resume_mismatch")
        assert (mismatch["experiment_id"], mismatch["epoch"], mismatch["key"]) == (2, 4, "val/loss")
        assert (mismatch["logged"], mismatch["repeated"]) == (altered["false"], altered["true"])
    assert mg.load_run(copied).status == "FAILED"


# -- asked for more, or for what cannot be -----------------------------------------------------------------------------


def test_more_epochs_equal_a_run_with_that_many_from_the_start(study, reference, tmp_path):
    options = f"--config={study}", f"--event_storage={tmp_path}", "--run_id=short", "--config.num_epochs=5"
    status, _, err = here("run", *options)
    assert status == 0, err
    status, _, err = resume(tmp_path / "short", "--config.num_epochs=8", "--config.checkpoint_interval_seconds=20")
    assert status == 0, err
    assert_same_outcome(outcome(tmp_path / "short"), reference[1])
    files = [tmp_path / "short/config.json", tmp_path / "short/3/experiment_config.json"]
    whole, single = (json.loads(path.read_text(encoding="utf-8")) for path in files)
    logged = events(tmp_path / "short", "job_scheduled")[-1]["config"]
    for config in (whole, single["config"], logged, mg.load_run(tmp_path / "short").experiments[3].config):
        assert (config["num_epochs"], config["checkpoint_interval_seconds"]) == (8, 20.0)
    launched = [launch["status"] for launch in json.loads((tmp_path / "short/run.json").read_text())["launches"]]
    assert launched == ["DONE", "DONE"]


def test_resuming_a_finished_run_changes_no_result(reference, copied):
    before = events(copied)
    assert_resumes(copied, reference)
    added = (copied / "event_storage.log").read_text(encoding="utf-8").splitlines()[len(before) :]
    assert [json.loads(line)["event_type"] for line in added] == ["run_started", "run_finished"]


REFUSED = {
    ("--resume=whole", "--config.model.features=(4,)"): "config.model",
    ("--resume=whole", "--config.num_epochs=3"): "has 8 already",
    ("--resume=whole", "--config.num_epochs=grid(8,9)"): "swept",
    ("--resume=whole", "--run_id=other"): "--run_id",
    ("--resume=whale",): "did you mean 'whole'?",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=lambda arguments: arguments[-1])
def test_what_a_resumed_run_cannot_change_is_refused(copied, arguments):
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    status, out, err = here("run", f"--event_storage={copied.parent}", *arguments)
    assert (status, out) == (2, "")
    assert REFUSED[arguments] in err
    assert len(err.splitlines()) == 1 and "Traceback" not in err
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_a_run_that_sweeps_its_epochs_is_resumed_as_it_is(study, tmp_path):
    options = "--config.num_epochs=grid(1,2)", "--config.seed=0", "--config.optimizer.learning_rate=0.01"
    status, _, err = here("run", f"--config={study}", f"--event_storage={tmp_path}", "--run_id=swept", *options)
    assert status == 0, err
    found = outcome(tmp_path / "swept")
    shutil.rmtree(tmp_path / "swept/checkpoints")
    assert resume(tmp_path / "swept")[0] == 0
    assert_same_outcome(outcome(tmp_path / "swept"), found)
    status, _, err = resume(tmp_path / "swept", "--config.num_epochs=3")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "swept" in err


@pytest.fixture(scope="session")
def opened():
    """Return the files that this process opens for reading; it is emptied by whoever wants to count."""
    found = []

    def hook(event, arguments):
        if event == "open" and arguments[2] & os.O_ACCMODE == os.O_RDONLY:
            found.append(os.path.basename(str(arguments[0])))

    sys.addaudithook(hook)
    return found


READERS = {
    "resume": lambda run_dir: resume(run_dir)[0],
    "resume with more epochs": lambda run_dir: resume(run_dir, "--config.num_epochs=9")[0],
    "report": lambda run_dir: here("report", str(run_dir), "--json")[0],
    "load_run": lambda run_dir: mg.load_run(run_dir).status != "DONE",
}


@pytest.mark.parametrize("reader", READERS)
def test_a_log_is_read_once(copied, opened, reader):
    opened.clear()
    assert READERS[reader](copied) == 0
    assert opened.count("event_storage.log") == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"data_fingerprint": {"group_0": "0" * 64}}, "the data is not what experiment 0 was trained on"),
        ({"launches": {"a": 1}}, "launches is {'a': 1}, a list is expected. Put back what was there"),
        ({"launches": [{"settings": 3}]}, "launches.0.settings is 3, a dict is expected"),
    ],
)
def test_other_data_or_another_record_is_refused_and_nothing_is_touched(changed, said, copied):
    record = json.loads((copied / "run.json").read_text(encoding="utf-8"))
    record |= changed
    (copied / "run.json").write_text(json.dumps(record), encoding="utf-8")
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    status, out, err = resume(copied, "--config.num_epochs=9")
    assert (status, out) == (2, "") and said in err, err
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


# -- interrupted, or without room --------------------------------------------------------------------------------------


def test_one_writer_and_an_interruption(held, reference, tmp_path):
    run_dir = tmp_path / "cut"
    process, marker, release = held(3)
    wait_until(marker.exists, process, "epoch 3")
    config = (run_dir / "config.json").read_bytes()
    status, _, err = resume(run_dir, "--config.num_epochs=50")
    assert status == 2 and "another process is writing this run" in err
    assert (run_dir / "config.json").read_bytes() == config
    process.send_signal(signal.SIGINT)
    release.touch()
    status, _, err = finish(process)
    assert status == 130 and "Traceback" not in err
    assert f"python -m mlgym_jax.run --resume=cut --event_storage={tmp_path}" in err
    assert mg.load_run(run_dir).status == "INTERRUPTED"
    assert {epoch for _, epoch in scores(run_dir)} == {1, 2, 3}
    assert [int(step.name) for step in steps(run_dir)][-1] == 3
    assert_resumes(run_dir, reference)
    assert events(run_dir, "checkpoint_skipped") == []


def test_termination_before_a_checkpoint_was_due(held, reference, tmp_path):
    run_dir = tmp_path / "cut"
    process, marker, release = held(2, "--config.checkpoint_interval_seconds=1000")
    wait_until(marker.exists, process, "epoch 2")
    assert not (run_dir / "checkpoints/group_0").exists() or not steps(run_dir)
    process.send_signal(signal.SIGTERM)
    release.touch()
    status, _, err = finish(process)
    assert status == 130 and "--resume=cut" in err and "Traceback" not in err
    assert [int(step.name) for step in steps(run_dir)] == [2]
    assert_resumes(run_dir, reference)


def test_a_second_signal_is_delivered_at_once():
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.requested
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it goes on")
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        raise ValueError("a failure of the program, which must not hide the request")


# Room for less than the log, or for no checkpoint: a layer of 8 x 2048 float32 takes 64 KiB.
WIDE = ("--config.model.features=(2048,)", "--config.seed=0", "--config.optimizer.learning_rate=0.01")
FULL = {"event_storage.log": (20_000, ()), "checkpoints": (50_000, WIDE)}


@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_ends_a_run_that_can_go_on(study, reference, tmp_path, name):
    size, changed = FULL[name]
    options = f"--config={study}", f"--event_storage={tmp_path}", *changed
    status, out, err = finish(start("run", *options, "--run_id=full", max_file_bytes=size, env=NO_CACHE))
    assert (status, out) == (1, "")
    assert err.count("error:") == 1 and "Traceback" not in err
    assert f"{tmp_path / 'full' / name}" in err and "File too large" in err and "--resume=full" in err
    status, _, err = resume(tmp_path / "full")
    assert status == 0, err
    expected = reference[1]
    if changed:
        assert here("run", *options, "--run_id=whole")[0] == 0
        expected = outcome(tmp_path / "whole")
    assert_same_outcome(outcome(tmp_path / "full"), expected)
