"""docs/after_training.md: its snippets run, in their order, on a run of its own."""

import re

import numpy as np
import pandas as pd
from conftest import ROOT
from study_files import small

import mlgym_jax as mg

PAGE = (ROOT / "docs/after_training.md").read_text(encoding="utf-8")
EDIT = """
    config.dataset = component("csv", path="patients.csv", target="outcome", task="classification")
    config.validation = component("holdout", val=0.2)
    config.encoding = component(
        "by_column", groups=(("numeric", component("standardise")), ("categorical", component("one_hot"))))
    config.optimizer = component("sgd", learning_rate=grid(0.1, 0.01, 1e-5))
    config.checkpointing = component("best", monitor="val/loss", mode="min")
"""


def test_the_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    age = random.normal(50, 10, 80)
    rows = pd.DataFrame({"ward": random.choice(["a", "b", "c"], 80), "age": age})
    rows.assign(outcome=np.where(age > 50, "ill", "well")).to_csv("patients.csv", index=False)
    mg.run(mg.load_config(str(small(tmp_path, EDIT))), run_id="patients")
    names = {"inputs": np.array([[0.0, 37.0], [2.0, 61.0]])}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(block, "docs/after_training.md", "exec"), names)
    assert names["outputs"].shape == (2, 2) and [*names["table"]] == ["prediction", "ill", "well"]
    assert len(names["ensemble"].members) == 2 and names["found"].scores == names["found"].recorded
    assert (tmp_path / "model/predict.py").is_file() and (tmp_path / "model_of_two/predict.py").is_file()
