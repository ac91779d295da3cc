"""The published configs, shrunk, from end to end; the snippets of the README run as they stand."""

import re

import numpy as np
import pytest
from conftest import ROOT

import mlgym_jax as mg
from mlgym_jax.study import prepare

# name -> (overrides, experiments, compiled programs, a score that this little training reaches)
CONFIGS = {
    "gs": ({"num_epochs": 2}, 12, 1, 0.90),
    "cnn": ({"num_epochs": 2, "model.features": (8,)}, 2, 1, 0.80),
    "nnx": ({"num_epochs": 4, "model.width": 32}, 4, 1, 0.90),
    "custom": ({"num_epochs": 20}, 4, 1, 0.70),
}


def test_every_published_config_is_tested():
    assert {path.stem for path in (ROOT / "configs").glob("*.py")} == set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_published_config_trains(name, tmp_path):
    overrides, num_experiments, num_programs, score = CONFIGS[name]
    result = mg.run(mg.load_config(ROOT / f"configs/{name}.py", overrides=overrides), tmp_path)
    assert result.status == "DONE"
    assert len(result.experiments) == num_experiments
    assert len(result.view.groups) == num_programs
    assert result.best("val/accuracy").best_score("val/accuracy")[1] >= score


@pytest.mark.parametrize("name", CONFIGS)
def test_a_published_config_says_command_score_and_time(name):
    text = (ROOT / f"configs/{name}.py").read_text(encoding="utf-8").split('"""')[1]
    assert f"python -m mlgym_jax.run --config=configs/{name}.py" in text
    assert re.search(r"Expected:\s+best\s+val/accuracy\s+about\s+[\d.]+,\s+in\s+about\s+\d+\s+s", text)


def snippets(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)


def test_the_snippets_of_the_readme_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    names = {"inputs": np.zeros((5, 64), np.float32), "__name__": "readme"}
    blocks = snippets("README.md")
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert prepare(names["get_config"]()).config["name"] == "digits-mlp"
    assert names["my_net"] is not None
    assert names["outputs"].shape == (5, 10)
    assert np.isfinite(float(capsys.readouterr().out.splitlines()[-1]))
