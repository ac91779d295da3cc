"""`--plan=tune`: the fastest of the measured plans is taken, remembered, and changes no number."""

import re

import numpy as np
import pytest
from study_files import small

import mlgym_jax as mg

pytestmark = pytest.mark.usefixtures("own_registry")

# Its state is made without a draw, which compiles quickly, in each of the measured plans.
FROM_ZERO = """
@register("model", "from_zero")
def from_zero():
    return nn.Dense(3, kernel_init=nn.initializers.zeros)
"""


def test_the_fastest_plan_is_taken_and_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("MLGYM_JAX_CACHE_DIR", str(tmp_path / "cache"))
    edit = "config.model = component('from_zero'); config.loader = component('in_memory', batch_size=8);"
    path = small(tmp_path, f"{edit} config.seed = grid(0, 1, 2)", FROM_ZERO)
    runs = [mg.run(mg.load_config(path), tmp_path, plan="tune", devices=1)]
    [group] = runs[0].view.groups
    found = re.findall(r"(\w+\+\w+) ([\d.]+) ms", group["reason"])
    assert group["reason"].startswith("measured on 8 steps: ") and len(found) == 6
    times = {name: float(value) for name, value in found}
    assert group["plan"] == f"{min(times, key=times.get)}x1"
    runs.append(mg.run(mg.load_config(path), tmp_path, plan="tune", devices=1))
    assert runs[1].view.groups[0]["reason"] == "the fastest when it was measured before"
    assert runs[1].view.groups[0]["plan"] == group["plan"]
    [file] = (tmp_path / "cache/plans").iterdir()
    file.write_text("{damaged")
    runs.append(mg.run(mg.load_config(path), tmp_path, plan="tune", devices=1))
    assert runs[2].view.groups[0]["reason"].startswith("measured on 8 steps")
    plain = mg.run(mg.load_config(path), tmp_path, devices=1)
    for run in runs:
        for one, other in zip(run.experiments, plain.experiments, strict=True):
            for name, values in other.history.items():
                np.testing.assert_allclose(one.history[name], values, rtol=0, atol=1e-6)
    resumed = mg.resume(runs[0].run_dir, num_epochs=4, devices=1)
    assert resumed.view.groups[-1]["plan"] == group["plan"] and not resumed.mismatches


def test_a_strict_study_is_tuned_without_batches_and_without_a_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MLGYM_JAX_CACHE_DIR", "off")
    edit = "config.model = component('from_zero'); config.strict = True; config.num_epochs = 1"
    path = small(tmp_path, f"{edit}; config.seed = grid(0, 1)", FROM_ZERO)
    [group] = mg.run(mg.load_config(path), tmp_path, plan="tune", devices=1).view.groups
    assert re.findall(r"(\w+)\+\w+ [\d.]+ ms", group["reason"]).count("vmap") == 0
    assert group["reason"].count(" ms") == 4


def test_a_stream_is_tuned_among_the_plans_that_it_can_have(tmp_path, monkeypatch):
    monkeypatch.setenv("MLGYM_JAX_CACHE_DIR", "off")
    edit = "config.model = component('from_zero'); config.loader = component('streaming', batch_size=8)"
    path = small(tmp_path, f"{edit}; config.num_epochs = 1; config.strict = True", FROM_ZERO)
    [group] = mg.run(mg.load_config(path), tmp_path, plan="tune", devices=1).view.groups
    assert {*re.findall(r"(\w+\+\w+) [\d.]+ ms", group["reason"])} == {"map+stretch", "none+stretch"}
