"""Charts of a run: lines hold the log's numbers, words name the hyperparameters, what cannot be drawn is said."""

import math
import sys
import warnings

import matplotlib
import numpy as np
import pytest
from conftest import ROOT
from matplotlib import pyplot
from sklearn.linear_model import LinearRegression
from study_files import small
from test_configs import snippets

import mlgym_jax as mg
from mlgym_jax.config.words import component, grid
from mlgym_jax.events.influence import binned, share_explained
from mlgym_jax.events.views import RunView
from mlgym_jax.reading.axes import along_unit
from mlgym_jax.reading.results import RunResult

pyplot.switch_backend("Agg")

SWEPT = """
    config.seed = grid(0, 1)
    config.model = component("mlp", features=(4,))
    config.optimizer.learning_rate = grid(0.001, 0.1, 1e30)
    config.metrics = dict(accuracy=component("accuracy", every_num_epochs=2))
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Six experiments, two of which diverge at once; accuracy comes every second epoch of four."""
    folder = tmp_path_factory.mktemp("plots")
    edit = SWEPT + "\n    config.num_epochs = 4"
    return mg.run(mg.load_config(str(small(folder, edit))), folder / "event_storage", run_id="digits")


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    pyplot.close("all")


def drawn(figure):
    """Draw all of a figure as a file would have it."""
    figure.canvas.draw()
    return figure


def test_the_lines_are_the_log_s_numbers(result):
    ax = result.plot.curves("val/loss")
    kept = [item for item in result.experiments if item.hyperparameters["optimizer.learning_rate"] < 1]
    assert len(ax.lines) == len(kept) == 4
    for line, item in zip(ax.lines, kept, strict=True):
        assert line.get_xydata().tolist() == [[i + 1, value] for i, value in enumerate(item.history["val/loss"])]
        assert f"learning_rate={item.hyperparameters['optimizer.learning_rate']:g}" in line.get_label()
        assert f"seed={item.hyperparameters['seed']}" in line.get_label()
    assert "left out, 2 of 6" in ax.get_xlabel() and ax.get_ylabel() == "val/loss"
    drawn(ax.figure)


def test_a_score_of_some_epochs_is_a_line_over_those(result):
    ax = result.plot.curves("val/accuracy")
    epochs = ax.lines[0].get_xdata().tolist()
    assert 1 < len(epochs) < 4 and all(math.isfinite(value) for line in ax.lines for value in line.get_ydata())
    assert epochs == [
        number for number, row in enumerate(result.view.experiments[0].rows(), 1) if "val/accuracy" in row
    ]


def test_by_a_hyperparameter_one_value_has_one_colour(result):
    ax = result.plot.curves("val/loss", by="optimizer.learning_rate")
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["optimizer.learning_rate=0.001", "optimizer.learning_rate=0.1"]
    by_label = {}
    for line in ax.lines:
        by_label.setdefault(line.get_label(), set()).add(line.get_color())
    assert sorted(by_label) == words and all(len(colours) == 1 for colours in by_label.values())
    assert len(set.union(*by_label.values())) == 2


def test_a_legend_of_many_goes_from_the_first_to_the_last():
    view = RunView(run_id="many")
    for number in range(40):
        item = view.experiment(number)
        item.hyperparameters = {"$x$": float(number)}
        item._add_epoch(1, {"val/loss": number}, 1.0, 0, None)
    ax = RunResult("runs/many", view).plot.curves(by="$x$")
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(words) == 12 and (words[0], words[-1]) == (r"\$x\$=0", r"\$x\$=39")
    assert ax.get_legend().get_title().get_text() == "12 of 40" and len(ax.lines) == 40
    assert {line.get_marker() for line in ax.lines} == {"."}  # a line of one epoch would not be seen
    drawn(ax.figure)


def test_influence_draws_the_means_of_the_best_scores(result):
    axes = result.plot.influence("val/loss", "min")
    labels = [ax.get_xlabel().splitlines()[0] for ax in axes]
    assert sorted(labels) == ["optimizer.learning_rate", "seed"]
    shares = [int(ax.get_title().removeprefix("explains ").removesuffix("%")) for ax in axes]
    assert shares == sorted(shares, reverse=True)
    frame = result.to_dataframe()
    best = frame.groupby("experiment_id").agg({"val/loss": "min", "optimizer.learning_rate": "first", "seed": "first"})
    best = best[np.isfinite(best["val/loss"])]
    for ax, name in zip(axes, labels, strict=True):
        (means,) = [line for line in ax.lines if line.get_label() == "mean"]
        expected = best.groupby(name)["val/loss"].mean()
        np.testing.assert_allclose(means.get_xydata(), np.stack([expected.index, expected.to_numpy()], 1), rtol=1e-12)
        assert "left out, 2 of 6" in ax.get_xlabel()
        assert ax.get_xscale() == ("linear" if name == "seed" else "log")
    drawn(axes[0].figure)


def test_parallel_has_an_axis_for_each_hyperparameter_and_the_score(result):
    ax = result.plot.parallel("val/loss")
    titles = [text.get_text() for text in ax.get_xticklabels()]
    assert titles[:2] == ["optimizer.learning_rate (log)", "seed"] and titles[2].startswith("best val/loss")
    lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
    assert len(lines) == 4 and {line.get_ydata()[0] for line in lines} == {0.0, 1.0}
    least = min(range(4), key=lambda i: lines[i].get_ydata()[2])
    assert lines[least].get_ydata()[2] == 0 and lines[least].get_zorder() == max(line.get_zorder() for line in lines)
    assert {text.get_text() for text in ax.texts} >= {"0.001", "0.1", "0", "1"}
    drawn(ax.figure)


@pytest.mark.parametrize("seed", range(3))
def test_the_share_explained_is_the_adjusted_coefficient_of_determination(seed):
    """Epsilon squared is adjusted R² of a regression on the groups' indicators, here of distinct scores' ranks."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 4, 40)
    scores = random.normal(values * 0.5, 1.0)
    rank = scores.argsort().argsort() + 1.0
    found = LinearRegression().fit(np.eye(4)[values], rank).score(np.eye(4)[values], rank)
    adjusted = 1 - (1 - found) * (40 - 1) / (40 - 4)
    assert share_explained(values.tolist(), scores.tolist()) == pytest.approx(max(0.0, adjusted), rel=1e-9)


def test_the_share_explained_says_nothing_of_too_few():
    assert math.isnan(share_explained([1, 2], [0.1, 0.2])) and math.isnan(share_explained([1, 1, 1], [1.0, 2.0, 3.0]))
    assert math.isnan(share_explained(["a", "a", "b"], [1.0, 1.0, 1.0])) and math.isnan(share_explained([], []))
    assert share_explained(["a", "a", None, None], [1.0, 2.0, 1.0, 2.0]) == 0.0


def test_many_numbers_are_put_in_eight_bins_of_equal_count():
    values = np.random.default_rng(0).permutation(80).tolist()
    found = [binned(values)[values.index(number)] for number in range(80)]
    assert found == [number // 10 for number in range(80)]
    assert binned([True, 1, 1.0, None, "a", 10**400]) == ["True", 1.0, 1.0, None, "a", str(10**400)]


def test_places_along_an_axis():
    places, ticks = along_unit([0.001, 0.01, 0.1])
    assert places == pytest.approx([0, 0.5, 1]) and [value for _, value in ticks] == [0.001, 0.1, 0.01]
    places, ticks = along_unit([2, None, 4])
    assert places[1] == 0 and 0 < places[0] < places[2] == 1 and (0.0, None) in ticks
    assert along_unit(["b", "a", "c"])[0] == [0.5, 0.0, 1.0] and along_unit([3, 3])[0] == [0.5, 0.5]
    assert len(along_unit(list(range(1000)))[1]) < 20 and len(along_unit([f"{i}" for i in range(1000)])[1]) < 20


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda plot: plot.curves("val/los"), "no score 'val/los'; did you mean 'val/loss'?"),
        (lambda plot: plot.curves("val/loss", by="sed"), "no hyperparameter 'sed'; did you mean 'seed'?"),
        (lambda plot: plot.influence("val/loss", "least"), "write 'max' or 'min'"),
        (lambda plot: plot.parallel("val/loss", ax=3), "ax: Axes of matplotlib are expected, found 3"),
        (lambda plot: plot.influence("val/loss", ax=pyplot.figure().subplots()), "2 Axes are expected, found 1"),
    ],
)
def test_what_cannot_be_drawn_is_said(result, call, words):
    with pytest.raises(mg.MlgymError) as caught:
        call(result.plot)
    assert words in str(caught.value)


def test_a_run_that_sweeps_nothing_or_diverged(tmp_path):
    edit = """config.optimizer.learning_rate = 1e30
    config.num_epochs = 1
    config.model = component("mlp", features=(4,))"""
    result = mg.run(mg.load_config(str(small(tmp_path, edit))), tmp_path / "runs", run_id="r")
    with pytest.raises(mg.MlgymError, match="nothing is swept in r"):
        result.plot.influence("val/loss")
    with pytest.raises(mg.MlgymError, match="val/loss is finite in no epoch"):
        result.plot.curves("val/loss")
    assert pyplot.get_fignums() == []  # no empty figure is left


def test_without_matplotlib_one_line_says_what_to_type(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot")
    for call in (result.plot.curves, result.plot.influence, result.plot.parallel):
        with pytest.raises(mg.MlgymError) as caught:
            call()
        assert str(caught.value) == 'charts need matplotlib; type: pip install "mlgym-jax[plot]"'


def test_a_backend_without_its_display_is_said(result, monkeypatch):
    def refused(*_, **__):
        raise ImportError("Cannot load backend 'TkAgg'")

    monkeypatch.setattr(pyplot, "subplots", refused)
    with pytest.raises(mg.MlgymError, match=r"Cannot load backend 'TkAgg'; set the environment MPLBACKEND=agg"):
        result.plot.curves("val/loss")


def test_no_setting_is_changed(result):
    before = dict(matplotlib.rcParams)
    own = pyplot.figure().subplots()
    assert result.plot.curves("val/loss", ax=own) is own and pyplot.gcf() is own.figure
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result.plot.parallel()
    assert dict(matplotlib.rcParams) == before


def test_the_snippets_of_the_page_of_notebooks_run(result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "event_storage").symlink_to(ROOT / result.run_dir.removesuffix("/digits"))
    config = mg.load_config(str(small(tmp_path, "config.optimizer.learning_rate = grid(0.1, 0.2)")))
    names = {"config": config, "component": component, "grid": grid}
    blocks = snippets("docs/notebooks.md")
    assert len(blocks) == 6
    for block in blocks:
        exec(compile(block, "docs/notebooks.md", "exec"), names)
    assert (tmp_path / "digits.pdf").stat().st_size > 5_000 and names["left"].get_yscale() == "log"
