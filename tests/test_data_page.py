"""The snippets of docs/data.md run as they stand."""

import datasets
import jax
import numpy as np
import pandas
import pytest
from ml_collections import ConfigDict
from PIL import Image
from sklearn.datasets import load_iris
from test_configs import snippets

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.study.expand import prepare


def write_table(folder, complete):
    """Write a table of 40 rows, in which every second age is missing, or none is."""
    lines = ["age,seen,note,outcome"]
    for row in range(40):
        age = row if complete or row % 2 else ""
        lines.append(f"{age},2026-11-{10 + row % 20},{('bad', 'good')[row % 2]} {row},{row % 2}")
    (folder / "table.csv").write_text("\n".join(lines))


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the page takes for granted, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    x, y = load_iris(return_X_y=True)
    frame = pandas.DataFrame(x, columns=list("abcd")).assign(species=np.array(["setosa", "versicolor", "virginica"])[y])
    write_table(tmp_path, complete=True)
    visits = frame.rename(columns={"species": "outcome"}).assign(patient_id=np.arange(150) // 3, weight=1.5)
    visits.to_csv("visits.csv", index=False)
    frame.rename(columns={"species": "outcome"}).to_parquet("table.parquet")
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            image = Image.fromarray(np.full((9, 12, 3), 20 * number, np.uint8))
            image.save(tmp_path / "photos" / name / f"{number}.png")
    label = datasets.ClassLabel(names=["no", "yes"])
    kinds = datasets.Features({"height": datasets.Value("float32"), "label": label})
    own = {"height": np.arange(20.0), "label": np.arange(20) % 2}
    datasets.Dataset.from_dict(own, features=kinds).save_to_disk("saved")
    for name in ("train", "val"):
        (np.arange(600) % 90).astype(np.uint16).tofile(f"{name}.bin")
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.txt").write_text("the cat sat on the mat and the dog sat on the cat\n" * 30)
    config = ConfigDict({"num_epochs": 3}, type_safe=False)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy_with_integer_labels")
    config.optimizer = component("adam", learning_rate=0.1)
    config.metrics = dict(accuracy=component("accuracy"))
    return {"config": config, "component": component, "x": x, "y": y, "frame": frame, "patients": np.arange(150) // 3}


def test_the_snippets_of_the_page_of_data_run(names, tmp_path):
    blocks = snippets("docs/data.md")
    assert len(blocks) == 9
    config = names["config"]
    for block in blocks:
        for statement in block.splitlines(keepends=True) if "photos" in block else [block]:
            exec(compile(statement, "docs/data.md", "exec"), names)
            if "photos" in block:
                assert mg.build(config)["dataset"].num_classes
        if "groups=" in block:
            assert len(names["result"].experiments) == 5
        if "fields=" in block:
            assert {*prepare(config).jobs[0].sample} == {
                "inputs",
                "targets",
                "where",
                "patient",
                "mask",
                "class_counts",
            }
            del config.validation
        if "encoding" in block:
            write_table(tmp_path, complete=False)
            (job,) = prepare(config).jobs
            # The age, whether it was there, the day as a code; of the notes "good", "bad" and the numbers 10 to 39.
            assert {leaf.shape for leaf in jax.tree.leaves(job.abstract.params)} == {(3 + 32, 2), (2,)}
            del config.encoding
    (job,) = prepare(config).jobs
    assert (
        job.outputs.shape == (*job.sample["segments"].shape, job.components["dataset"].num_classes)
        and job.surprises == ()
    )
    assert names["outputs"].shape == (150, 3)
    assert names["result"].status == "DONE" and names["best"].last["val/accuracy"] > 0.3
