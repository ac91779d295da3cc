"""A run that goes on, or is repeated, with other versions of what its numbers depend on says so."""

import json
import shutil

import jax
import numpy as np
import pytest
from study_files import finish, here, small, start

import mlgym_jax as mg


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small run that nothing disturbed: its folder."""
    folder = tmp_path_factory.mktemp("versions")
    status, _, err = here("run", f"--config={small(folder)}", f"--event_storage={folder}", "--run_id=it")
    assert status == 0, err
    return folder / "it"


def record_of(run_dir):
    return json.loads((run_dir / "run.json").read_text(encoding="utf-8"))


@pytest.fixture
def copied(study, tmp_path):
    """Return a function that copies the run as one that was trained with other versions of some packages."""

    def copy(by_launch=True, **versions):
        run_dir = shutil.copytree(study, tmp_path / "it")
        record = record_of(run_dir)
        [launch] = record["launches"]
        if by_launch:
            launch["versions"] |= versions
        else:  # as it was recorded before each launch had its own
            del launch["versions"]
            record["versions"] |= versions
        (run_dir / "run.json").write_text(json.dumps(record), encoding="utf-8")
        return run_dir

    return copy


def arguments(run_dir):
    return [f"--resume={run_dir.name}", f"--event_storage={run_dir.parent}", "--config.num_epochs=4"]


def warnings_of_going_on(run_dir, caplog):
    caplog.clear()
    status, _, err = here("run", *arguments(run_dir))
    assert status == 0, err
    return [record.getMessage() for record in caplog.records if "versions" in record.getMessage()]


def test_each_launch_records_its_versions(study):
    record = record_of(study)
    [launch] = record["launches"]
    assert launch["versions"] == record["versions"]
    assert (launch["versions"]["jax"], launch["versions"]["numpy"]) == (jax.__version__, np.__version__)
    assert launch["versions"]["mlgym-jax"] == mg.__version__
    assert "changed_versions" not in launch


def test_a_run_that_goes_on_with_other_versions_says_so_in_one_line(copied):
    run_dir = copied(jax="0.9.1", numpy="1.26.4", python="3.10.1")
    status, _, err = finish(start("run", *arguments(run_dir)))
    assert status == 0, err
    [line] = [line for line in err.splitlines() if "versions" in line]
    assert f"jax 0.9.1 then, {jax.__version__} now; numpy 1.26.4 then, {np.__version__} now" in line
    first, second = record_of(run_dir)["launches"]
    assert second["versions"]["jax"] == jax.__version__
    assert second["changed_versions"] == {"jax": ["0.9.1", jax.__version__], "numpy": ["1.26.4", np.__version__]}
    assert "changed_versions" not in first


def test_a_run_whose_launches_did_not_record_their_versions_is_compared_with_its_first(copied, caplog):
    run_dir = copied(by_launch=False, jax="0.9.1")
    [line] = warnings_of_going_on(run_dir, caplog)
    assert f"jax 0.9.1 then, {jax.__version__} now" in line


def test_a_run_that_goes_on_with_the_same_versions_says_nothing(copied, caplog):
    run_dir = copied(python="3.10.1")
    assert warnings_of_going_on(run_dir, caplog) == []
    assert "changed_versions" not in record_of(run_dir)["launches"][1]


def test_only_the_launch_before_counts_but_what_is_repeated_has_scores_of_all(copied, caplog):
    run_dir = copied(jax="0.9.1")
    assert len(warnings_of_going_on(run_dir, caplog)) == 1
    assert warnings_of_going_on(run_dir, caplog) == []
    status, out, err = here("reproduce", run_dir, "--experiment=0")
    assert status == 0, err
    assert f"jax 0.9.1 and {jax.__version__} then, {jax.__version__} now" in out


def test_what_is_repeated_with_other_versions_is_said_before_and_after(copied):
    words = f"jax 0.9.1 then, {jax.__version__} now"
    status, out, err = here("reproduce", copied(jax="0.9.1"))
    assert status == 0, err
    before, after = out.splitlines()
    assert words in before
    assert after.startswith("12 scores of 1 experiments repeated to the bit") and words in after


def test_it_is_said_before_anything_trains(copied):
    status, out, err = here("reproduce", copied(jax="0.9.1"), "--experiment=9")
    assert status == 2 and "--experiment=9" in err
    assert "jax 0.9.1 then" in out


def test_every_version_that_differs_is_named_where_scores_do(copied):
    run_dir = copied(python="3.10.1", jax="0.9.1")
    log = run_dir / "event_storage.log"
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    found = next(line for line in lines if line["event_type"] == "evaluation_result")
    found["payload"]["loss_scores"][0]["score"] += 1e-9
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    status, out, _ = here("reproduce", run_dir)
    assert status == 1
    assert "\njax: 0.9.1 then" in out and "\npython: 3.10.1 then" in out
