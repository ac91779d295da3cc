"""The published configs, shrunk, from end to end; the snippets of the pages that begin run as they stand."""

import functools
import re
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from conftest import ROOT
from ml_collections import ConfigDict
from scipy.stats import norm

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.study.expand import prepare

# name -> (overrides, experiments, compiled programs, {score: what this little training reaches})
CONFIGS = {
    "bert_mlm": (
        {
            "num_steps": 20,
            "evaluate_every_steps": 10,
            "validation.val": 0.02,
            "model.depth": 1,
            "model.width": 32,
            "dataset.dataset.length": 16,
        },
        1,
        1,
        {"val/accuracy": 0.08},
    ),
    "bundle": ({"num_epochs": 2}, 6, 1, {"val/accuracy": 0.85}),
    "cnn": ({"num_epochs": 2, "model.features": (8,)}, 2, 1, {"val/accuracy": 0.80}),
    "contrastive": ({"num_epochs": 3, "model.features": 64}, 2, 1, {"val/accuracy": 0.5}),
    "custom": ({"num_epochs": 8}, 4, 1, {"val/accuracy": 0.70}),
    "distil": ({"num_epochs": 3, "model.features": (64,)}, 3, 1, {"val/accuracy": 0.80}),
    "gan": ({"num_epochs": 10}, 2, 1, {}),
    "gs": ({"num_epochs": 2}, 12, 1, {"val/accuracy": 0.90}),
    "gnn": ({"num_epochs": 6}, 4, 1, {"val/accuracy": 0.4}),
    "imbalanced": ({"num_epochs": 4}, 12, 1, {"val/balanced_accuracy": 0.90, "val/recall/class_1": 0.90}),
    "lm": (
        {
            "num_steps": 20,
            "evaluate_every_steps": 10,
            "model.depth": 1,
            "model.width": 32,
            "dataset.length": 16,
            "validation.val": 0.02,
        },
        1,
        1,
        {"val/accuracy": 0.08},
    ),
    "multitask": ({"num_epochs": 4}, 4, 1, {"val/digit": 0.8, "val/even": 0.8}),
    "nnx": ({"num_epochs": 4, "model.width": 32}, 4, 1, {"val/accuracy": 0.90}),
    "own_data": ({"num_epochs": 3, "model.features": (32,)}, 10, 1, {"val/accuracy": 0.8, "val/auroc": 0.85}),
    "regression": ({"num_epochs": 10, "model.features": ()}, 3, 1, {"val/r2": 0.35}),
    "resnet": ({"num_epochs": 1, "model.width": 2, "validation.val": 0.7}, 2, 1, {"val/accuracy": 0.08}),
    "segmentation": (
        {"num_epochs": 5, "model.features": (4, 8), "dataset.size": 16, "dataset.num_examples": 100},
        2,
        1,
        {"val/accuracy": 0.65, "val/f1": 0.45},
    ),
    "sequence_tagging": ({"num_epochs": 2, "dataset.num_examples": 200}, 4, 1, {"val/accuracy": 0.3}),
    "tabular": (
        {"num_epochs": 5, "validation.folds": 3, "model.features": (32,)},
        6,
        2,
        {"val/auroc": 0.98, "val/aupr": 0.97},
    ),
    "vae": ({"num_epochs": 2, "model.features": (16,)}, 4, 2, {}),
    "vit": (
        {"num_epochs": 1, "model.depth": 1, "model.width": 16, "validation.val": 0.7},
        4,
        1,
        {"val/accuracy": 0.08},
    ),
    "warm_start": ({"num_epochs": 10}, 3, 1, {"val/accuracy": 0.93}),
}


def test_every_published_config_is_tested():
    assert {path.stem for path in (ROOT / "configs").glob("*.py")} == set(CONFIGS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a function from the name of a config to its run, which is trained once."""

    @functools.cache
    def run(name):
        config = mg.load_config(ROOT / f"configs/{name}.py", overrides=CONFIGS[name][0])
        return mg.run(config, tmp_path_factory.mktemp(name))

    return run


@pytest.mark.parametrize("name", CONFIGS)
def test_a_published_config_trains(name, trained):
    _, num_experiments, num_programs, reached = CONFIGS[name]
    result = trained(name)
    assert result.status == "DONE"
    assert len(result.experiments) == num_experiments
    assert len(result.view.groups) == num_programs
    for name, score in reached.items():
        assert result.best(name).best_score(name)[1] >= score


def test_fine_tuning_begins_with_what_was_learnt(trained, tmp_path):
    config, first = ROOT / "configs/warm_start.py", trained("warm_start")
    tuned = mg.run(mg.load_config(f"{config}:{first.run_dir}"), tmp_path)
    scratch = mg.run(mg.load_config(f"{config}:{first.run_dir}", overrides={"warm_start": None}), tmp_path)
    means = [np.mean([max(item.history["val/accuracy"]) for item in run.experiments]) for run in (tuned, scratch)]
    assert means[0] > means[1] + 0.02


def test_a_student_learns_what_its_teacher_says(trained, tmp_path):
    name = f"{ROOT / 'configs/distil.py'}:{trained('distil').run_dir}"
    students = mg.run(mg.load_config(name, overrides={"num_epochs": 3, "loss.alpha": [0.0, 0.9]}), tmp_path).experiments
    soft = {
        alpha: [e.last["val/loss/soft"] for e in students if e.hyperparameters["loss.alpha"] == alpha]
        for alpha in (0, 0.9)
    }
    assert max(soft[0.9]) < min(soft[0])


def test_made_digits_come_near_to_real_ones(trained):
    found = [item.history["val/frechet"] for item in trained("gan").experiments]
    assert all(history[-1] < 0.7 * history[0] for history in found)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_published_config_says_command_score_and_time(name):
    text = (ROOT / f"configs/{name}.py").read_text(encoding="utf-8").split('"""')[1]
    assert f"python -m mlgym_jax.run --config=configs/{name}.py" in text
    assert re.search(r"Expected:\s+best\s+val/\w+\s+about\s+[\d.]+,\s+in\s+about\s+\d+\s+s", text)
    assert f"| [{name}.py](../configs/{name}.py) | `" in (ROOT / "docs/config.md").read_text(encoding="utf-8")


def snippets(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)


def test_the_snippets_of_the_first_pages_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "patients.csv").write_text("age,sex,outcome\n" + 20 * "50,m,ill\n40,f,well\n,f,ill\n60,f,well\n")
    names = {"inputs": np.zeros((5, 64), np.float32), "__name__": "docs"}
    blocks = [*snippets("docs/config.md"), *snippets("docs/python.md")]
    assert len(blocks) == 7
    (tmp_path / "shards").mkdir()
    for split in ("train", "test"):
        writer = ArrayRecordWriter(f"shards/{split}-0.array_record", "group_size:1")
        for row in range(400):
            writer.write(bytes(4 * 784) + np.int32(row % 10).tobytes())
        writer.close()
    for block in blocks:
        exec(compile(block, "docs/config.md", "exec"), names)
        if block.startswith("from ml_collections"):
            assert prepare(names["get_config"]()).config["name"] == "digits-mlp"
            names["config"] = names["get_config"]()
        if block.startswith("config.model"):
            names["config"].dataset.flat = False
            assert [len(job.group.experiments) for job in prepare(names["config"]).jobs] == [12]
            names["config"] = names["get_config"]()
        if "array_records" in block:
            del names["config"].encoding, names["config"].sampler
            assert [job.sample["inputs"].shape for job in prepare(names["config"]).jobs] == [(256, 28, 28)]
        elif block.startswith("config.dataset"):
            names["config"].validation.stratified = False
            assert [job.sample["inputs"].shape[1] for job in prepare(names["config"]).jobs] == [3]
    assert names["my_net"] is not None
    assert names["outputs"].shape == (5, 10)
    assert names["table"]["prediction"].isin(range(10)).all()
    assert len(names["ensemble"].members) == 5
    assert np.isfinite(float(capsys.readouterr().out.splitlines()[-1]))


@pytest.mark.usefixtures("own_registry")
def test_a_loss_of_the_docs_is_the_one_of_the_paper():
    """KL(N(m, s) || N(0, 1)), Kingma and Welling's appendix B, by the integral of SciPy's densities."""
    names = {"__name__": "docs", "component": component, "config": ConfigDict({"loader": None}, type_safe=False)}
    for block in snippets("docs/models.md"):
        exec(compile(block, "docs/models.md", "exec"), names)
    mean, scale = np.array([[0.5, -1.0]]), np.array([[0.7, 2.0]])
    outputs = jnp.zeros((1, 3)), jnp.asarray(mean), jnp.asarray(2 * np.log(scale))
    found = names["annealed_elbo"](num_steps=10)(outputs, {"inputs": jnp.ones((1, 3))}, step=jnp.int32(5))
    grid = np.linspace(-30, 30, 200_001)[:, None]
    density = norm.pdf(grid, mean, scale)
    divergence = np.trapezoid(density * (norm.logpdf(grid, mean, scale) - norm.logpdf(grid)), grid, axis=0).sum()
    assert float(found[0]) == pytest.approx(3 + 0.5 * divergence, rel=1e-5)
    solution = SimpleNamespace(apply=lambda variables, x: variables["params"] * jnp.sin(x))  # -u'' = sin x of factor 1
    batch = {"inputs": jnp.float32([[0.5], [2.0]])}
    assert names["poisson"](solution)(None, batch, params=1.0).tolist() == [0.0, 0.0]
    np.testing.assert_allclose(
        names["poisson"](solution)(None, batch, params=3.0), 4 * np.sin([0.5, 2.0]) ** 2, rtol=1e-5
    )
