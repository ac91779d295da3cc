"""The pages that tell how and why: their snippets run, and the cluster's script survives its signal."""

import os
import re
import stat
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT
from test_configs import snippets

import mlgym_jax as mg
from mlgym_jax import component

STUDY = """
from ml_collections import ConfigDict
from mlgym_jax import component

def get_config():
    config = ConfigDict()
    config.num_epochs = 4000
    config.checkpoint_interval_seconds = 1.0
    config.dataset = component("synthetic", num_examples=64)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.01)
    return config
"""
# The first job is told that its time is over once it has trained an epoch.
SRUN = """#!/bin/bash
if [ ! -e signalled ]; then
  touch signalled
  (until grep -q evaluation_result event_storage/*/event_storage.log 2>/dev/null; do sleep 0.05; done; kill -USR1 $$) &
fi
exec "$@"
"""
SCONTROL = '#!/bin/sh\necho "$@" >> asked\n'


def executed(name, names, upto=None):
    for block in snippets(f"docs/{name}.md")[:upto]:
        exec(compile(block, name, "exec"), names)
    return names


@pytest.mark.usefixtures("own_registry")
def test_data_bigger_than_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = executed("how_to/bigger_than_memory", {"__name__": "bigger"})
    best = names["result"].best("val/accuracy")
    assert names["result"].status == "DONE" and best.steps == [50, 100, 150, 200]
    assert best.last["val/accuracy"] > 0.8  # four Gaussians three deviations from the origin
    config = names["config"]
    assert (config.dataset.component, config.loader.workers) == ("mixture", "processes")
    config.sampler = component("class_balanced", power=0.5)
    with pytest.raises(mg.ConfigError, match=r"sampler: a mixture draws .*weights={…}"):
        mg.forecast(config)
    del config.sampler
    config.dataset, config.loss, config.metrics = component("squares"), component("squared_error"), {}
    assert mg.forecast(config).groups[0].job.sample["inputs"].shape == (64, 1)


@pytest.mark.usefixtures("own_registry")
def test_a_loop_becomes_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with jax.numpy_dtype_promotion("standard"):  # a loop by hand calls Optax as people do
        names = executed("how_to/migrating", {"__name__": "migrating"}, upto=1)
    own = jax.tree.map(lambda leaf: leaf.shape, names["state"].params)
    second = snippets("docs/how_to/migrating.md")[1]
    exec(compile(second, "migrating", "exec"), names)
    assert jax.tree.map(lambda leaf: leaf.shape, names["params"]) == own
    assert names["result"].best("val/accuracy").last["val/accuracy"] > 0.8


def test_the_job_of_the_cluster_goes_on_after_its_signal(tmp_path):
    text = (ROOT / "docs/how_to/cluster.md").read_text(encoding="utf-8")
    script = re.search(r"```bash\n(#!.*?)```", text, re.S).group(1)
    (tmp_path / "study.py").write_text(STUDY)
    (tmp_path / "bin").mkdir()
    for name, body in {
        "srun": SRUN,
        "scontrol": SCONTROL,
        "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }.items():
        path = tmp_path / "bin" / name
        path.write_text(body)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    env = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "PYTHONPATH": str(ROOT),
    }

    def job():
        return subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
        )

    first = job()
    assert first.returncode == 130, first.stderr
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    cut = mg.load_run(tmp_path / "event_storage/job-7").experiments[0]
    assert 0 < len(cut.history["val/loss"]) < 4000
    second = job()
    assert second.returncode == 0, second.stderr
    whole = mg.load_run(tmp_path / "event_storage/job-7").experiments[0]
    assert len(whole.history["val/loss"]) == 4000
    assert whole.history["val/loss"][: len(cut.history["val/loss"])] == cut.history["val/loss"]


def test_the_estimate_of_a_selection_is_of_test_scores_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = executed("explanation/selection", {"__name__": "selection"})
    result, found = names["result"], names["found"]
    assert names["kind"] == "nested_cross_validation" and len(found["selected"]) == 3
    scores = []
    for outer in range(3):
        inner = [one for one in result.experiments if one.fold // 2 == outer]
        rates = sorted({one.hyperparameters["optimizer.learning_rate"] for one in inner})
        of_rate = {rate: [one for one in inner if rate in one.hyperparameters.values()] for rate in rates}
        chosen = max(rates, key=lambda rate: np.mean([max(one.history["val/accuracy"]) for one in of_rate[rate]]))
        assert found["selected"][outer] == {"optimizer.learning_rate": chosen}
        at_best = [(int(np.argmax(one.history["val/accuracy"])), one) for one in of_rate[chosen]]
        scores.append(np.mean([one.history["test/accuracy"][epoch] for epoch, one in at_best]))
    assert result.estimate()["score"] == "test/accuracy"
    np.testing.assert_allclose(result.estimate()["mean"], np.mean(scores), rtol=1e-12)
