"""What is recorded besides scores: when, what it says, images as files, under every plan, after a crash, on demand."""

import json
import logging
import math
import warnings

import jax
import numpy as np
import optax
import pytest
import sklearn.metrics as sk
from PIL import Image
from study_files import events, here, small

import mlgym_jax as mg
from mlgym_jax.events import read_log
from mlgym_jax.reading.examined import Examined

# A metric of a user's own: what it has seen of the outputs, as whatever can be recorded.
TOP = """
def seen():
    def init():
        return {"number": jnp.zeros((), jnp.int32), "counts": jnp.zeros((4,), jnp.int32)}

    def update(state, outputs, batch):
        counts = mg.record.histogram(outputs, 4, low=-1.0, high=1.0, mask=batch["mask"]).counts
        return {"number": state["number"] + batch["mask"].sum(dtype=jnp.int32), "counts": state["counts"] + counts}

    def compute(state):
        share = state["counts"].astype(jnp.float32) / state["counts"].sum().astype(jnp.float32)
        return {
            "number": state["number"].astype(jnp.float32),
            "histogram": mg.record.Histogram(state["counts"], (-1.0, -0.5, 0.0, 0.5, 1.0)),
            "image": mg.record.image(jnp.broadcast_to(share[None, :], (2, 4))),
            "table": mg.record.table({"bin": jnp.arange(4), "share": share}, mask=jnp.arange(4) != 1),
            "text": mg.record.text("<b>{number}</b> of {{n}}, {counts}", **state),
        }

    return mg.Metric(init, update, lambda a, b: jax.tree.map(jnp.add, a, b), compute)


register("metric", "seen_outputs")(seen)
"""
EDIT = """
    config.seed = grid(0, 1, 2)
    config.num_epochs = 4
    config.checkpoint_interval_seconds = 0.0
    config.validation = component("cross_validation", folds=3)
    config.metrics = dict(
        accuracy=component("accuracy"),
        confusion=component("confusion_matrix"),
        roc=component("roc_curve"),
        calibration=component("calibration_curve", every_num_epochs=2),
        seen=component("seen_outputs", every_num_epochs=4),
    )
    config.checkpointing = component("best", monitor="val/accuracy", mode="max")
"""
KINDS = ("evaluation_curves", "recorded")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small(tmp_path_factory.mktemp("study"), EDIT, TOP)


@pytest.fixture(scope="module")
def result(study, tmp_path_factory):
    """Nine experiments in one program, of three folds that differ in size by one."""
    return mg.run(mg.load_config(str(study)), tmp_path_factory.mktemp("runs"), run_id="run", plan="map+scan")


def curves_of(run_dir):
    """Return {(experiment, epoch, split/metric, label): curve}, and see that none is there twice."""
    found = {}
    for payload in events(run_dir, "evaluation_curves"):
        for one in payload["curves"]:
            place = payload["experiment_id"], payload["epoch"], f"{one['split']}/{one['metric']}", one.get("label")
            assert place not in found
            found[place] = one
    return found


def inputs_of(result, experiment, split):
    job = result._trained.job_of(experiment.experiment_id)
    fold = int(job.fold_of_row[job.group.ids.index(experiment.experiment_id)])
    rows = job.folds.indices[split][fold][job.folds.mask[split][fold]]
    return job.table.arrays["inputs"][rows], job.table.arrays["targets"][rows]


def test_matrices_and_curves_of_each_fold_are_scikit_learns(result):
    found = curves_of(result.run_dir)
    assert [len(item.checkpoints) for item in result.experiments]
    for experiment in result.experiments:
        epoch = experiment.num_epochs
        inputs, targets = inputs_of(result, experiment, "val")
        outputs = experiment.predict(inputs, epoch=epoch)
        number = experiment.experiment_id
        matrix = found[number, epoch, "val/confusion", None]
        wanted = sk.confusion_matrix(targets, outputs.argmax(axis=1), labels=range(3))
        assert matrix["values"] == wanted.tolist() and matrix["classes"] == ["0", "1", "2"]
        scores = np.asarray(jax.nn.softmax(outputs), np.float64)
        for label in range(3):
            line = found[number, epoch, "val/roc", str(label)]
            assert line["x"][0] == line["y"][0] == 0.0 and line["x"][-1] == line["y"][-1] == 1.0
            for x, y, threshold in zip(line["x"], line["y"], line["thresholds"], strict=True):
                said = scores[:, label] >= float(threshold)
                own = targets == label
                assert (x, y) == (pytest.approx(said[~own].mean()), pytest.approx(said[own].mean()))


def test_they_come_in_the_epochs_that_are_kept_then_and_the_last_or_as_the_metric_says(result):
    by_metric = {}
    for number, epoch, name, _ in curves_of(result.run_dir):
        by_metric.setdefault((number, name), set()).add(epoch)
    for experiment in result.experiments:
        scores = experiment.history["val/accuracy"]
        kept = {epoch for epoch in range(1, 5) if all(scores[epoch - 1] > before for before in scores[: epoch - 1])}
        for split in ("train", "val"):
            assert by_metric[experiment.experiment_id, f"{split}/confusion"] == kept | {4}
            assert by_metric[experiment.experiment_id, f"{split}/calibration"] == {2, 4}
    assert {payload["epoch"] for payload in events(result.run_dir, "recorded")} == {4}
    assert set(result.view.recorded) >= {(0, 4, "val/roc"), (8, 4, "train/seen/image")}


def test_what_a_metric_of_ones_own_records_is_what_it_has_seen(result):
    of = {"experiment_id": 2, "split": "val"}
    own = {p["kind"]: p for p in events(result.run_dir, "recorded") if {name: p[name] for name in of} == of}
    experiment = result.experiments[2]
    outputs = experiment.predict(inputs_of(result, experiment, "val")[0], epoch=4)
    counts = np.histogram(np.clip(outputs, -1, 1), bins=4, range=(-1, 1))[0]
    assert own["histogram"]["counts"] == counts.tolist() and own["histogram"]["edges"] == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert own["text"]["text"] == f"<b>{len(outputs)}</b> of {{n}}, {counts.tolist()}"
    kept = [0, 2, 3]
    assert own["table"]["columns"]["bin"] == kept
    np.testing.assert_allclose(own["table"]["columns"]["share"], (counts / counts.sum())[kept], rtol=1e-6)
    image = own["image"]
    with Image.open(f"{result.run_dir}/2/{image['file']}") as read:
        assert (read.size, image["width"], image["height"]) == ((4, 2), 4, 2)
        np.testing.assert_array_equal(np.asarray(read), np.round(counts / counts.sum() * 255)[None].repeat(2, axis=0))
    assert own["image"]["name"] == "seen/image" and experiment.history["val/seen/number"][3] == len(outputs)


@pytest.mark.parametrize("plan", ["vmap+scan", "none+step", "map+stretch"])
def test_every_plan_records_the_same(study, result, tmp_path, plan):
    config = mg.load_config(str(study), overrides={"seed": 1})
    other = mg.run(config, tmp_path, plan=plan)
    first = {item.fold: item.experiment_id for item in result.experiments if item.hyperparameters["seed"] == 1}
    own = {first[item.fold]: item.experiment_id for item in other.experiments}
    wanted = {place: one for place, one in curves_of(result.run_dir).items() if place[0] in own and place[1] == 4}
    found = curves_of(other.run_dir)
    assert wanted
    for (number, epoch, name, label), one in wanted.items():
        same = found[own[number], epoch, name, label]
        if one["kind"] == "matrix":
            assert one == same
        elif name.endswith("calibration"):
            np.testing.assert_allclose(one["x"], same["x"], rtol=1e-4)
        else:
            assert (one["y"][-1], one["x"][-1], one["label"]) == (1.0, 1.0, label)


def test_a_log_cut_short_anywhere_is_gone_on_with_and_nothing_is_twice(study, result, tmp_path):
    config = mg.load_config(str(study), overrides={"seed": 1})
    whole = mg.run(config, tmp_path / "whole", run_id="run")
    wanted = curves_of(whole.run_dir)
    log = tmp_path / "whole/run/event_storage.log"
    lines = log.read_bytes().splitlines(keepends=True)
    cut = [n for n, line in enumerate(lines) if b'"evaluation_curves"' in line and b'"epoch":4' in line]
    log.write_bytes(b"".join(lines[: cut[1] + 1]))  # its scores are not there yet
    again = mg.resume(whole.run_dir)
    assert again.status == "DONE" and not again.mismatches
    assert curves_of(again.run_dir) == wanted
    recorded = [(p["experiment_id"], p["epoch"], p["split"], p["name"]) for p in events(again.run_dir, "recorded")]
    assert len(recorded) == len({*recorded}) == 3 * 2 * 4


def test_kept_models_are_asked_for_what_was_recorded_and_their_worst(result):
    experiment = result.experiments[4]
    recorded = curves_of(result.run_dir)
    assert experiment.confusion("val", epoch=4).values.tolist() == recorded[4, 4, "val/confusion", None]["values"]
    inputs, targets = inputs_of(result, experiment, "val")
    outputs = experiment.predict(inputs, epoch=4)
    losses = np.asarray(optax.softmax_cross_entropy_with_integer_labels(outputs, targets))
    worst = experiment.errors("val", k=5, epoch=4)
    assert [one["loss"] for one in worst] == pytest.approx(np.sort(losses)[::-1][:5].tolist(), rel=1e-5)
    table = result._trained.job_of(4).table.arrays
    for one in worst:
        assert one["of"] == "train" and one["target"] == table["targets"][one["index"]]
        (row,) = np.flatnonzero((inputs == table["inputs"][one["index"]]).all(axis=1))
        assert one["prediction"] == outputs[row].argmax()
        assert one["probability"] == pytest.approx(float(jax.nn.softmax(outputs[row]).max()), rel=1e-5)
    for question in (experiment.roc, experiment.precision_recall, experiment.calibration):
        found = question("val", epoch=4, **({} if question == experiment.calibration else {"num_thresholds": 11}))
        assert found.x.shape == found.y.shape == ((1, 15) if question == experiment.calibration else (3, 13))
    with pytest.raises(mg.MlgymError, match="there is no split 'vall'; did you mean 'val'"):
        experiment.confusion("vall")
    with pytest.raises(mg.MlgymError, match="k: how many examples, at least 1, is expected; found 0"):
        experiment.errors(k=0)


def test_labels_have_a_matrix_each_and_numbers_none(tmp_path, own_registry):
    top = """
import numpy as np

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 4)).astype("float32")
Y = (X[:, :3] + 0.5 * rng.normal(size=(90, 3)) > 0).astype("float32")
register("dataset", "labelled")(lambda: mg.Dataset({"train": {"inputs": X, "targets": Y}}))
register("model", "three")(lambda: nn.Dense(3))
"""
    edit = """
    config.dataset, config.model = component("labelled"), component("three")
    config.loss, config.metrics = component("sigmoid_binary_cross_entropy"), {}
    """
    result = mg.run(mg.load_config(str(small(tmp_path, edit, top))), tmp_path / "runs")
    experiment = result.experiments[0]
    inputs, targets = inputs_of(result, experiment, "val")
    wanted = sk.multilabel_confusion_matrix(targets, experiment.predict(inputs) > 0)
    found = experiment.confusion("val")
    assert [found[str(label)].values.tolist() for label in range(3)] == wanted.tolist()
    assert experiment.roc("val").labels == ("0", "1", "2")
    assert len(experiment.errors("val", 2)[0]["prediction"]) == 3
    status, out, _ = here("evaluate", result.run_dir, "--experiment=0", "--split=val", "--confusion", "--json")
    assert status == 0
    assert [one["values"] for one in json.loads(out)["curves"]] == wanted.tolist()
    assert [one["label"] for one in events(result.run_dir, "evaluation_curves")[0]["curves"]] == ["0", "1", "2"]


def test_what_is_plotted_of_a_kept_model_is_the_best_ones_where_none_is_named(result):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    best = result.best(result.verdict()["monitor"])
    titles = [draw().get_title() for draw in (result.plot.confusion, result.plot.roc)]
    pyplot.close("all")
    assert all(title.startswith(f"experiment {best.experiment_id}, val") for title in titles)


def test_the_command_prints_what_is_asked_for(result):
    arguments = ("--experiment=1", "--split=val", "--confusion", "--roc", "--errors=2")
    status, out, err = here("evaluate", result.run_dir, *arguments)
    assert (status, err) == (0, "")
    matrix = result.experiment(1).confusion("val", epoch=mg.load_run(result.run_dir).experiment(1).checkpoints[-1])
    assert "confusion: rows target, columns predicted" in out and "roc, 2: true positive rate over" in out
    assert str(int(matrix.values[0, 0])) in out and out.count("train[") == 2


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            'config.early_stopping = component("threshold", monitor="val/confusion", mode="min", value=0.1)\n'
            '    config.metrics = dict(confusion=component("confusion_matrix"))',
            "early_stopping.monitor: 'val/confusion' is a matrix, of which none is better than another; a score is",
        ),
        (
            'config.checkpointing = component("best", monitor="val/auroc_curve", mode="max")\n'
            '    config.metrics = dict(auroc=component("auroc"), auroc_curve=component("roc_curve"))',
            "checkpointing.monitor: 'val/auroc_curve' is a curve, of which none is better than another; a score is "
            "expected; did you mean 'val/auroc'",
        ),
        (
            'config.metrics = dict(all=component("all_outputs"))',
            "metrics.all: compute returns a scalar or {name: scalar}, found shape (3,); what is no score is recorded",
        ),
        (
            'config.metrics = dict(all=component("a_picture"))',
            "metrics.all: record.image: [height, width] or [height, width, 1, 3 or 4 channels] is expected, found flo",
        ),
    ],
)
def test_what_is_no_score_or_cannot_be_recorded_is_said_before_training(tmp_path, own_registry, edit, words):
    top = """
def summed(compute):
    return mg.Metric(lambda: jnp.zeros(3), lambda s, o, b: s + o.sum(axis=0), lambda a, b: a + b, compute)
register("metric", "all_outputs")(lambda: summed(lambda s: s))
register("metric", "a_picture")(lambda: summed(lambda s: mg.record.image(s)))
"""
    config = mg.load_config(str(small(tmp_path, edit, top)))
    with pytest.raises(mg.ConfigError) as error:
        mg.run(config, tmp_path / "runs")
    assert str(error.value).startswith("config." + words) or words in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_warnings_are_recorded_and_the_machine_unless_it_is_asked_not_to(tmp_path, own_registry):
    config = mg.load_config(str(small(tmp_path)))

    def sink(_, written):
        if any(event["event_type"] == "group_compiled" for event in written):
            logging.getLogger("some.library").warning("slow %s", "<disk>")

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        result = mg.run(config, tmp_path, sinks=[sink])
    (message,) = events(result.run_dir, "message")
    assert (message["level"], message["source"], message["text"]) == ("warning", "some.library", "slow <disk>")
    assert result.view.messages == [message]
    *_, system = events(result.run_dir, "system")
    assert system["process_cores"] > 0 and system["memory_total"] > system["process_bytes"] > 0
    assert 0 < system["seconds"] < 600 and system["machine_busy"] <= system["machine_cores"]
    kinds = [event["event_type"] for event in read_log(f"{result.run_dir}/event_storage.log")[0]]
    assert (kinds[0], kinds[-1]) == ("run_started", "run_finished")
    quiet = mg.run(config, tmp_path, sinks=[sink], system_metrics=False, messages=False)
    assert not events(quiet.run_dir, "system") and not events(quiet.run_dir, "message")
    status, _, err = here(
        "run",
        f"--config={tmp_path / 'study.py'}",
        f"--event_storage={tmp_path}",
        "--run_id=r",
        "--quiet",
        "--no_system_metrics",
        "--no_messages",
    )
    assert (status, err) == (0, "") and not events(tmp_path / "r", "system")


def test_an_example_whose_loss_is_no_number_is_the_worst(result):
    experiment = result.experiments[0]
    asked = experiment._examined("val", 4)
    broken = jax.tree.map(lambda leaf: leaf * math.nan if leaf.ndim == 2 else leaf, asked.state.params)
    found = Examined(asked.job, 0, asked.state.replace(params=broken), "val").worst(2)
    assert [math.isnan(one["loss"]) for one in found] == [True, True]
