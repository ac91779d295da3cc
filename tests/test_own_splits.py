"""A dataset's own parts to validate and test on, and what takes their place only where it is asked for."""

import logging

import numpy as np
import pytest
from study_files import here, small

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.study.expand import prepare


def rows(count):
    return {"inputs": np.arange(2.0 * count).reshape(count, 2), "targets": np.arange(count) % 2}


def npz(folder, **counts):
    arrays = {f"{split}_{field}": array for split, count in counts.items() for field, array in rows(count).items()}
    np.savez(folder / "own.npz", **arrays)
    return component("npz", path=str(folder / "own.npz"))


def csv(folder, **counts):
    paths = {}
    for split, count in counts.items():
        paths[split] = str(folder / f"{split}.csv")
        table = np.column_stack([*rows(count)["inputs"].T, rows(count)["targets"]])
        np.savetxt(paths[split], table, fmt="%d", delimiter=",", header="a,b,c", comments="")
    return component("csv", paths=paths, target="c", task="classification")


def sizes_of(dataset, validation, **fields):
    config = {
        "num_epochs": 1,
        "dataset": dataset,
        "model": component("linear"),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.1),
        **fields,
    }
    if validation is not None:
        config["validation"] = component(*validation[:1], **validation[1])
    return {split: sizes[0] for split, sizes in prepare(config).jobs[0].folds.sizes.items()}


OWN = {"train": 300, "val": 100}


@pytest.mark.parametrize(
    ("counts", "validation", "expected", "unused"),
    [
        (OWN, None, {"train": 300, "val": 100}, None),
        ({"train": 300, "validation": 100}, None, {"train": 300, "val": 100}, None),
        ({"train": 300, "valid": 100}, None, {"train": 300, "val": 100}, None),
        ({"train": 300, "Valid": 100}, None, {"train": 300, "val": 100}, None),
        ({"train": 300, "dev": 100, "val": 60}, None, {"train": 300, "val": 60, "dev": 100}, None),
        ({"train": 300, "dev": 100}, ("holdout", {"val": 0.2}), {"train": 240, "val": 60}, "'dev' (100 examples)"),
        ({"train": 300, "test": 50}, None, {"train": 240, "val": 60, "test": 50}, None),
        ({"train": 300}, None, {"train": 240, "val": 60}, None),
        (OWN, ("holdout", {}), {"train": 300, "val": 100}, None),
        (OWN, ("holdout", {"val": 0.0}), {"train": 300, "val": 100}, None),
        (OWN, ("holdout", {"test": 0.1}), {"train": 270, "val": 100, "test": 30}, None),
        (OWN, ("holdout", {"val": 0.2}), {"train": 240, "val": 60}, "'val' (100 examples)"),
        (OWN, ("cross_validation", {"folds": 5}), {"train": 240, "val": 60}, "'val' (100 examples)"),
        (
            {"train": 300, "val": 100, "test": 50},
            ("holdout", {"test": 0.1}),
            {"train": 270, "val": 100, "test": 30},
            "'test' (50 examples)",
        ),
    ],
)
@pytest.mark.parametrize("make", [npz, csv])
def test_an_own_split_is_used_unless_another_is_asked_for(make, counts, validation, expected, unused, tmp_path, caplog):
    if make is csv and "validation" in counts:
        counts = {"train": 300, "val": 100}
    with caplog.at_level(logging.WARNING):
        assert sizes_of(make(tmp_path, **counts), validation) == expected
    said = [text for text in caplog.messages if "is not used" in text]
    assert len(said) == (unused is not None)
    assert unused is None or unused in said[0]


def test_a_split_is_evaluated_once_by_whichever_of_its_names(own_registry):
    mg.register("dataset", "with_a_dev")(lambda: mg.Dataset({"train": rows(30), "dev": rows(10)}, 2))
    fields = {"evaluation_splits": ("val", "dev"), "num_epochs": 1, "dataset": component("with_a_dev")}
    fields |= {"model": component("linear"), "loss": component("softmax_cross_entropy")}
    [job] = prepare(fields | {"optimizer": component("sgd", learning_rate=0.1)}).jobs
    assert job.names == ("train/loss", "val/loss")


@pytest.mark.parametrize("name", ["combine", "mixture"])
def test_parts_that_mean_the_same_are_one_of_several_datasets(name, own_registry):
    def parts(split):
        return mg.Dataset({"train": rows(30), split: rows(10)}, 2)

    for split in ("val", "validation", "dev"):
        mg.register("dataset", f"with_{split}")(lambda split=split: parts(split))
    several = {f"of_{split}": component(f"with_{split}") for split in ("val", "validation", "dev")}
    if name == "combine":
        assert sizes_of(component("combine", datasets=tuple(several.values())), None) == {"train": 90, "val": 30}
    else:
        loader = component("streaming", batch_size=10)
        assert sizes_of(component("mixture", sources=several), None, loader=loader) == {"train": 90, "val": 30}


@pytest.mark.parametrize("written", ["config.validation = None", ""])
def test_a_validation_that_is_said_to_be_none_holds_nothing_out(written, tmp_path):
    words = ["--config.validation=None"] * (not written)
    path = small(tmp_path, written)
    status, out, err = here("run", f"--config={path}", "--dry_run", *words)
    assert status == 0 and "examples: train 200; scores: train/accuracy, train/loss" in out, err
    status, out, _ = here("run", f"--config={path}", "--dry_run", "--config.validation=holdout")
    assert "examples: train 160, val 40;" in out
