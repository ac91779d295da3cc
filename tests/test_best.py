"""The best of a run is the same everywhere: which scores are better is read from the score where nobody says it."""

import json
import pathlib
import re

import numpy as np
import pytest
import safetensors.numpy
from study_files import here, small

import mlgym_jax as mg
from mlgym_jax.errors import MlgymError
from mlgym_jax.study.expand import prepare

# Few examples of many noisy features: learnt by heart, so that an early epoch is the best on others.
EDIT = """
    config.num_epochs = 4
    config.dataset = component("synthetic", num_examples=60, num_features=30, num_classes=3, noise=3.0)
    config.optimizer = component("sgd", learning_rate=grid(1.0, 3.0))
    config.metrics = dict(accuracy=component("accuracy"), odd=component("brier_score"))
    config.checkpointing = component({checkpointing})
"""


def train(folder, checkpointing="'last'", more="", top=""):
    edit = EDIT.replace("{checkpointing}", checkpointing) + more
    return mg.run(small(folder, edit, top), folder / "runs", run_id="r")


@pytest.fixture(scope="module")
def last(tmp_path_factory, modules_registry):
    """A run that keeps the last epoch alone, with a metric of its own."""
    top = 'register("metric", "word_errs")(lambda: mg.mean_of(lambda outputs, batch: outputs[:, 0]))'
    return train(tmp_path_factory.mktemp("last"), more='\n    config.metrics.wer = component("word_errs")\n', top=top)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The same, keeping what is best by the loss of validation."""
    return train(tmp_path_factory.mktemp("kept"), "'best', monitor='val/loss', mode='min'")


@pytest.mark.parametrize("monitor, better", [("val/loss", min), ("val/odd", min), ("train/loss", min)])
def test_lower_is_better_for_losses_and_errors_without_a_mode(last, monitor, better):
    history = {(e.experiment_id, i): score for e in last.experiments for i, score in enumerate(e.history[monitor], 1)}
    found = last.best(monitor)
    assert history[found.experiment_id, found.best_epoch] == better(history.values())
    assert found.best_score(monitor) == (found.best_epoch, better(history.values()))
    status, out, _ = here("report", last.run_dir, f"--monitor={monitor}", "--json")
    reported = json.loads(out)["experiments"][found.experiment_id]["best"]
    assert status == 0 and (reported["epoch"], reported["score"]) == found.best_score(monitor)


def test_higher_is_better_for_accuracies_and_a_mode_is_obeyed(last):
    scores = [score for e in last.experiments for score in e.history["val/accuracy"]]
    assert last.best("val/accuracy").best_score("val/accuracy")[1] == max(scores)
    worst = last.best("val/loss", mode="max")
    assert worst.best_score("val/loss", "max")[1] == max(s for e in last.experiments for s in e.history["val/loss"])


def test_a_guess_is_said(last, caplog):
    last.best("val/accuracy"), last.best("val/odd"), last.best("val/wer", mode="min")
    assert caplog.text == ""
    last.best("val/wer")
    assert "val/wer: nothing says which is better, so the largest is the best; write mode='min' else" in caplog.text


@pytest.mark.parametrize("monitor, mode", [("val/loss", "max"), ("val/odd", "max"), ("val/accuracy", "min")])
def test_a_mode_that_takes_the_worst_for_the_best_is_told(monitor, mode, tmp_path, caplog):
    odd = f"'best', monitor='{monitor}', mode='{mode}'"
    prepare(mg.load_config(str(small(tmp_path, EDIT.replace("{checkpointing}", odd)))))
    assert f"config.checkpointing.mode is '{mode}', and {monitor} is better the " in caplog.text


def test_a_rate_that_raises_the_loss_is_told(tmp_path, caplog):
    edit = EDIT.replace("{checkpointing}", "'last'").replace("grid(1.0, 3.0)", "grid(1.0, -3.0)")
    prepare(mg.load_config(str(small(tmp_path, edit))))
    assert "config.optimizer.learning_rate is -3, below 0, so that steps go up the gradient" in caplog.text


def test_what_was_not_kept_is_said(last, caplog):
    best = last.best("val/loss")
    assert best.best_epoch != 4
    state = best.restore()
    assert re.search(rf"epoch {best.best_epoch}, the best by val/loss, was not kept; this is epoch 4", caplog.text)
    assert int(state.step) == int(best.restore(4).step)


def test_what_was_kept_is_what_is_restored_and_exported(kept, caplog, tmp_path):
    best = kept.best("val/loss")
    restored = best.restore()
    assert not caplog.text
    out = tmp_path / "best.safetensors"
    status, _, err = here("export", kept.run_dir, "--best", f"--output={out}")
    assert (status, err) == (
        0,
        f"{out}: experiment {best.experiment_id}, epoch {best.best_epoch}, the best by val/loss\n",
    )
    arrays = safetensors.numpy.load_file(out)
    (layer,) = restored.params.values()
    np.testing.assert_array_equal(next(v for k, v in arrays.items() if k.endswith("kernel")), layer["kernel"])
    card = json.loads(
        pathlib.Path(kept.run_dir, str(best.experiment_id), "model_card.json").read_text(encoding="utf-8")
    )
    at_best = card["evaluation"]["best_epoch"]
    assert (at_best["monitor"], at_best["mode"], at_best["epoch"]) == ("val/loss", "min", best.best_epoch)
    assert at_best["scores"]["val/loss"] == min(best.history["val/loss"])
    text = pathlib.Path(kept.run_dir, str(best.experiment_id), "model_card.md").read_text(encoding="utf-8")
    assert f"| Score after epoch {best.best_epoch}, the best by val/loss |" in text


@pytest.mark.parametrize(
    "words, message",
    [
        (["--best=val/loss"], r"epoch \d, the best by val/loss, was not kept; name a kept one, --epoch=4, or train"),
        (["--best=val/los"], r"no score 'val/los'; did you mean 'val/loss'\?"),
        (["--best", "--epoch=4"], r"--best chooses the epoch; leave --epoch out"),
        (["--best", "--experiment=7"], r"experiment 7 has no finite val/accuracy"),
    ],
)
def test_an_export_of_what_is_not_there_is_refused(last, words, message, tmp_path):
    status, _, err = here("export", last.run_dir, *words, f"--output={tmp_path / 'out'}")
    assert status == 2 and re.search(message, err) and not (tmp_path / "out").exists()


def test_an_export_of_the_newest_names_a_better_one(last, tmp_path):
    best = last.best("val/accuracy")
    words = [f"--experiment={best.experiment_id}", f"--output={tmp_path / 'out'}"]
    status, _, err = here("export", last.run_dir, *words)
    assert status == 0 and f"epoch 4, the newest that is kept; epoch {best.best_epoch} is the best by" in err


def test_a_warm_start_begins_with_the_best(kept, tmp_path):
    best = kept.best("val/loss")
    config = mg.load_config(f"{kept.run_dir}/config.json")
    config.warm_start = mg.component("experiment", run_dir=kept.run_dir, monitor="val/loss")
    components = mg.build(config)
    shapes = best.restore()
    loaded = components["warm_start"](shapes)
    (layer,) = shapes.params.values()
    found = next(array for path, array in loaded.values["params"].items() if path.endswith("kernel"))
    np.testing.assert_array_equal(found, layer["kernel"])
    with pytest.raises(MlgymError, match="mode"):
        kept.best("val/loss", mode="lowest")
