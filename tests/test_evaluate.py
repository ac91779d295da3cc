"""A kept checkpoint evaluated once more: the very scores that training recorded, or of other data what it predicts."""

import json
import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss
from study_files import events, finish, here, scores, small, start

import mlgym_jax as mg
from mlgym_jax.events import EventLog

# Uneven splits, a metric that gathers, batch statistics, experiments that stop early and make the group smaller.
TOP = """
import numpy as np


@register("model", "evaluated_net")
class EvaluatedNet(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.relu(nn.Dense(5)(x)))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))
"""
EDIT = """
    config.dataset = component("synthetic", num_examples=203, num_features=8, num_classes=3, noise=0.9)
    config.loader = component("in_memory", batch_size=32, eval_batch_size=24)
    config.optimizer = component("adam", learning_rate=grid(0.3, 0.01))
    config.metrics = dict(accuracy=component("accuracy"), auroc=component("auroc", every_num_epochs=2))
    config.checkpointing = component("all")
    config.num_epochs = 4
    config.model = component("evaluated_net")
    """
CASES = {
    "vmap": ('config.encoding = component("standardise"); config.seed = grid(0, 1)', "vmap+scan"),
    "map": ("", "map+scan"),
    "none": ('config.averaging = component("ema", decay=0.9)', "none+step"),
    "nested": (
        """
    monitored = dict(monitor="val/accuracy", mode="max")
    config.validation = component("nested_cross_validation", outer_folds=2, inner_folds=2, **monitored)
    """,
        "auto",
    ),
    "refit": (
        """
    config.validation = component("cross_validation", folds=2)
    config.refit = component("selected", monitor="val/accuracy", mode="max")
    """,
        "auto",
    ),
    "streamed": (
        """
    config.loader = component("streaming", batch_size=32, eval_batch_size=24)
    config.validation = component("holdout", val=0.2)
    """,
        "auto",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_that_training_recorded_to_the_bit(tmp_path, own_registry, name):
    edit, plan = CASES[name]
    study = small(tmp_path, EDIT + edit, TOP)
    result = mg.run(mg.load_config(str(study)), tmp_path, plan=plan)
    split = "test" if "test/loss" in result.scores else "val"
    for experiment, of in [(result.experiments[-1], split), *((refit, "train") for refit in result.refit[:1])]:
        epoch = experiment.checkpoints[-1]
        found = mg.evaluate(result.run_dir, experiment.experiment_id, epoch=epoch, split=of)
        recorded = {n: s[epoch - 1] for n, s in experiment.history.items() if n.startswith(f"{of}/")}
        assert found.recorded == recorded and len(recorded) >= 2
        assert {name: found.scores[name] for name in recorded} == recorded and len(found.scores) == 3
    again = mg.load_run(result.run_dir)
    assert again.status == "DONE" and again.experiments[-1].history == result.experiments[-1].history


def test_a_group_that_shrank_is_as_wide_as_it_was(tmp_path, own_registry):
    edit = (
        EDIT
        + """
    config.seed = grid(*range(4))
    config.optimizer = component("adam", learning_rate=grid(0.03, 1e-5))
    config.early_stopping = component("threshold", monitor="train/loss", mode="min", value=1.1)
    """
    )
    result = mg.run(mg.load_config(str(small(tmp_path, edit, TOP))), tmp_path, plan="vmap+scan")
    shrunk = events(result.run_dir, "group_compacted")[0]
    longest = max(result.experiments, key=lambda one: one.num_epochs)
    assert longest.num_epochs > shrunk["epoch"]
    epoch = shrunk["epoch"] + 1
    found = mg.evaluate(result.run_dir, longest.experiment_id, epoch=epoch, split="val")
    assert found.scores.items() >= found.recorded.items() and found.recorded


TABLE = """
    config.dataset = component("csv", path={path!r}, target="outcome", task="classification")
    config.validation = component("holdout", val=0.2, stratified=True)
    config.encoding = component(
        "by_column", groups=(("numeric", component("standardise")), ("categorical", component("one_hot"))))
"""


def patients(number, seed=0):
    random = np.random.default_rng(seed)
    age, ward = random.normal(50, 10, number), random.choice(["a", "b", "c"], number)
    outcome = np.where(age + 5 * (ward == "b") > 52, "ill", np.where(age < 40, "new", "well"))
    return pd.DataFrame({"ward": ward, "age": age, "outcome": outcome})


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    patients(90).to_csv(folder / "patients.csv", index=False)
    study = small(folder, TABLE.format(path=str(folder / "patients.csv")))
    return mg.run(study, folder / "runs")


def test_other_data_is_read_by_its_names(table, tmp_path):
    """Fewer words and classes, in another order of columns: their numbers in the file are others."""
    new = patients(60, seed=1)
    new = new[(new["ward"] != "a") & (new["outcome"] != "ill")][["outcome", "age", "ward"]]
    new.to_csv(tmp_path / "new.csv", index=False)
    best = table.best("val/accuracy")
    status, out, err = here("evaluate", table.run_dir, f"--dataset.path={tmp_path / 'new.csv'}", "--json")
    assert status == 0, err
    found = json.loads(out)
    frame = best.predict(new.drop(columns="outcome"), as_frame=True)
    assert found["scores"]["train/accuracy"] == pytest.approx(accuracy_score(new["outcome"], frame["prediction"]))
    wanted = log_loss(new["outcome"], frame[["ill", "new", "well"]], labels=["ill", "new", "well"])
    assert found["scores"]["train/loss"] == pytest.approx(wanted, rel=1e-5)
    assert (found["num_examples"], found["split"], found["recorded"]) == (len(new), "train", {})
    payload = events(table.run_dir, "model_evaluated")[-1]
    assert payload["scores"] == found["scores"] and payload["dataset"]["path"] == str(tmp_path / "new.csv")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda rows: rows.assign(outcome="dead"),
            "the target holds 'dead', which was not there in training. Known: ill",
        ),
        (
            lambda rows: rows.assign(ward="d"),
            "the column 'ward' holds 'd', which was not there in training. Known: a, b, c",
        ),
        (lambda rows: rows.drop(columns="age"), "it has no column 'age'. Columns of the model: ward, age"),
        (lambda rows: rows.assign(height=1.0), "the model was not trained on the column 'height'"),
        (lambda rows: rows.assign(ward=1.0), "the column 'ward' was of words in training, and is of numbers here"),
        (lambda rows: rows.assign(age=np.nan), "the value is missing"),
    ],
)
def test_data_of_another_kind_is_refused(table, tmp_path, change, words):
    change(patients(6, seed=2)).to_csv(tmp_path / "new.csv", index=False)
    before = len(events(table.run_dir))
    status, out, err = here("evaluate", table.run_dir, f"--dataset.path={tmp_path / 'new.csv'}")
    assert (status, out) == (2, "") and err.startswith("error: config.dataset") and words in err, err
    assert len(events(table.run_dir)) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--experiment=9"], "has no experiment 9. Experiments: 0"),
        (["--experiment=first"], "--experiment=first: an id or best is expected"),
        (["--monitor=val/f1"], "no score 'val/f1'"),
        (["--experiment=0", "--monitor=val/f1"], "no score 'val/f1'"),
        (["--experiment=0", "--epoch=1"], "epoch 1"),
        (["--split=tset"], "there is no split 'tset'. Splits: train, val. Write --split=val, in Python split='val'"),
        (["--dataset=digts"], "unknown dataset 'digts'; did you mean 'digits'?"),
        (["--dataset=digits"], "columns of the model: ward, age"),
        (["--dataset=synthetic"], "and the model knows float32[n, 2]"),
        (["--dataset=3"], "--dataset=3: a name such as csv is expected"),
        (["--dataset.path.x=3"], "'path' holds no fields"),
        (["--dataset.="], "write --dataset.FIELD=VALUE"),
        (["--dataset.header=maybe"], "config.dataset"),
    ],
)
def test_wrong_requests_are_one_line_and_record_nothing(table, arguments, words):
    before = len(events(table.run_dir))
    status, out, err = here("evaluate", table.run_dir, *arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1 and words.lower() in err.lower(), err
    assert len(events(table.run_dir)) == before


def test_a_config_that_makes_something_else_than_what_was_trained_is_told(table, tmp_path):
    other = shutil.copytree(table.run_dir, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["optimizer"] = {"component": "sgd", "learning_rate": 0.1, "momentum": 0.9}
    (other / "config.json").write_text(json.dumps(config))
    for words in (("evaluate",), ("export", "--experiment=0", "--format=stablehlo", f"--output={tmp_path / 'model'}")):
        status, out, err = here(words[0], other, *words[1:])
        assert (status, out) == (2, "") and "config makes here is not what experiment 0 trained" in err, err


def test_report_and_model_card_show_it(table):
    assert here("evaluate", table.run_dir, "--experiment=0", "--split=val")[0] == 0
    _, shown, _ = here("report", table.run_dir)
    assert "evaluated after training" in shown and "its own" in shown
    _, told, _ = here("report", table.run_dir, "--json")
    scores = json.loads(told)["evaluations"][-1]["scores"]
    folder = pathlib.Path(table.run_dir) / "0"
    card = json.loads((folder / "model_card.json").read_text())
    assert card["evaluation"]["after_training"][-1]["scores"] == scores
    assert "evaluated after training on 18 examples" in (folder / "model_card.md").read_text()


def test_a_run_that_is_written_is_refused_and_so_is_a_copy(table, tmp_path):
    copied = shutil.copytree(table.run_dir, tmp_path / "copied")
    with EventLog.open(copied / "event_storage.log"):
        status, _, err = here("evaluate", copied)
        assert status == 2 and "the run is being trained now" in err
    (copied / "received.txt").touch()
    for trust in ([], ["--trust"]):
        status, _, err = here("evaluate", copied, *trust)
        assert status == 2 and ("--trust" in err if not trust else "evaluate it where it was trained" in err)
    shutil.rmtree(copied / "checkpoints")
    (copied / "received.txt").unlink()
    status, _, err = here("evaluate", copied)
    assert status == 2 and "has no checkpoint" in err


def test_a_run_goes_on_after_an_evaluation_as_without(tmp_path, own_registry):
    study = small(tmp_path, EDIT.replace("num_epochs = 4", "num_epochs = 2"), TOP)
    one, other = mg.run(mg.load_config(str(study)), tmp_path / "one", run_id="r").run_dir, tmp_path / "other/r"
    shutil.copytree(one, other)
    mg.evaluate(one, 1, split="val")
    for run_dir in (one, other):
        assert mg.resume(run_dir, num_epochs=4).mismatches == []
    assert scores(one) == scores(other)
    assert len(events(one, "model_evaluated")) == 1


def test_as_a_command_of_its_own(table, tmp_path):
    process = start("evaluate", table.run_dir, "--split=val", cwd=tmp_path)
    status, out, err = finish(process)
    assert (status, err) == (0, "") and out.count("as recorded") == 2


@pytest.mark.parametrize("classes", [(0, 1, 2), (1, 2, 3)])
def test_classes_that_are_numbers_are_those_numbers_whichever_of_them_there_are(classes, tmp_path):
    """A table without class 0 names its classes, one with 0 … k - 1 does not."""
    x = np.repeat([*classes], 20)
    whole = pd.DataFrame({"x": x + np.random.default_rng(0).normal(0, 0.01, len(x)), "y": x})
    whole.to_parquet(tmp_path / "whole.parquet")
    part = whole[whole["y"].isin((1, 2))]
    part.to_parquet(tmp_path / "part.parquet")
    whole.assign(y=0).to_parquet(tmp_path / "zeros.parquet")
    section = mg.component("parquet", path=str(tmp_path / "whole.parquet"), target="y")
    config = {"num_epochs": 60, "dataset": section, "model": mg.component("mlp", features=(16,))}
    config |= {"loss": mg.component("softmax_cross_entropy"), "optimizer": mg.component("adam", learning_rate=0.05)}
    config["metrics"] = {"accuracy": mg.component("accuracy")}
    result = mg.run(config, tmp_path / "runs")
    predicted = np.array([*classes])[result.experiments[0].predict(part[["x"]]).argmax(axis=1)]

    def evaluated(name):
        return mg.evaluate(
            result.run_dir, dataset=mg.component("parquet", path=str(tmp_path / name), target="y")
        ).scores

    found = evaluated("part.parquet")
    assert found["train/accuracy"] == pytest.approx(accuracy_score(part["y"], predicted)) and predicted.size
    with pytest.raises(mg.MlgymError, match=r"config\.dataset: a component is expected, such as .*; found"):
        mg.evaluate(result.run_dir, dataset={"path": str(tmp_path / "part.parquet")})
    if 0 not in classes:
        with pytest.raises(mg.MlgymError, match="the target holds '0', which was not there in training"):
            evaluated("zeros.parquet")
