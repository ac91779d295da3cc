"""A config that a run recorded is a config: one experiment, or all, run again as a new run; a path is one, too."""

import json

import pytest
from study_files import here, scores, small, write

import mlgym_jax as mg
from mlgym_jax.errors import MlgymError

SWEPT = """
    config.num_epochs = 2
    config.optimizer = component("sgd", learning_rate=grid(0.1, 0.3))
    config.model = component("mlp", features=(4, 4))
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A run of two experiments."""
    folder = tmp_path_factory.mktemp("recorded")
    return mg.run(str(small(folder, SWEPT)), folder / "runs", run_id="r")


def test_one_experiment_is_run_again(swept, tmp_path):
    words = [f"--config={swept.run_dir}/1/experiment_config.json", f"--event_storage={tmp_path}", "--run_id=again"]
    status, _, err = here("run", *words, "--quiet")
    assert (status, err) == (0, "")
    first, again = scores(swept.run_dir), scores(tmp_path / "again")
    assert again == {(0, epoch): first[1, epoch] for epoch in (1, 2)}
    assert mg.resume(tmp_path / "again").status == "DONE"


def test_a_whole_study_is_run_again_with_an_override(swept, tmp_path):
    config = mg.load_config(f"{swept.run_dir}/config.json", overrides={"num_epochs": 1, "optimizer.learning_rate": 0.3})
    result = mg.run(config, tmp_path)
    assert [item.history["train/loss"] for item in result.experiments] == [
        swept.experiments[1].history["train/loss"][:1]
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "it cannot be read .JSONDecodeError"),
        ("[1]", "no config is in it, found .1.; name a run's config.json"),
        ('{"experiment_id": 1, "config": {"model": {}}}', "no config is in it"),
        ("[" * 100_000, "it cannot be read .RecursionError"),
    ],
)
def test_json_that_is_no_config(text, message, tmp_path):
    with pytest.raises(MlgymError, match=message):
        mg.load_config(write(tmp_path, text, "config.json"))


def test_a_fold_cannot_be_run_alone_and_that_is_said(swept, tmp_path, caplog):
    with open(f"{swept.run_dir}/0/experiment_config.json", encoding="utf-8") as file:
        recorded = json.load(file)
    mg.load_config(write(tmp_path, json.dumps({**recorded, "fold": 2}), "experiment_config.json"))
    assert "experiment 0 was trained on fold 2; a new run trains on every fold" in caplog.text


def test_a_path_is_a_config(tmp_path):
    path = small(tmp_path, "config.num_epochs = 1")
    assert mg.run(path, tmp_path / "runs").status == "DONE"
    assert "optimizer" in mg.build(str(path))
    with pytest.raises(MlgymError, match="no such file"):
        mg.run("none.py", tmp_path / "runs")
