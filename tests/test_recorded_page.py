"""docs/recorded.md: its snippets run, in their order, and its commands have the options that they name."""

import re

import numpy as np
from conftest import ROOT
from matplotlib import pyplot
from PIL import Image

import mlgym_jax as mg

PAGE = (ROOT / "docs/recorded.md").read_text(encoding="utf-8")


def test_the_snippets_run(tmp_path, monkeypatch, own_registry):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    pyplot.switch_backend("Agg")
    names = {"__name__": "recorded_page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(block, "docs/recorded.md", "exec"), names)
    pyplot.close("all")
    best, result = names["best"], names["result"]
    matrices = best.recorded("val/confusion")
    assert matrices[-1]["epoch"] == 4 and np.sum(matrices[-1]["values"]) == 360
    assert [one["epoch"] for one in best.recorded("val/calibration")] == [2, 4]
    with Image.open(names["image"]) as read:
        pixels = np.asarray(read)
    own = result.experiments[0]
    job = result._trained.job_of(own.experiment_id)
    first = job.table.arrays["inputs"][job.folds.indices["val"][0][0]].reshape(8, 8)
    np.testing.assert_array_equal(pixels, np.round(np.clip(first, 0, 1) * 255))
    assert own.recorded("val/first/in_words")[-1]["text"] == "3600 outputs"
    assert sum(own.recorded("val/first/outputs")[-1]["counts"]) == 3600


def test_what_the_page_says_of_sizes_is_so():
    from mlgym_jax.core import record

    assert f"{record.MOST_VALUES:,} numbers" in PAGE and f"{record.MOST_PIXELS:,} pixels" in PAGE
    assert {
        name for name in ("histogram", "image", "table", "text", "curve", "matrix") if hasattr(mg.record, name)
    } == {*re.findall(r"`mg\.record\.(\w+)\(", PAGE)}
