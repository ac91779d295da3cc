"""What a notebook shows of runs, experiments and components: tables of text, whatever stands in that."""

import html.parser

import numpy as np
import pytest
from study_files import small

import mlgym_jax as mg
from mlgym_jax.config.html_table import html_table

TAGS = {"p", "pre", "table", "caption", "thead", "tbody", "tr", "th", "td"}


class Page(html.parser.HTMLParser):
    """Collects rows of cells and paragraphs; refuses what is not closed in order, attributes and other tags."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.paragraphs = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS and attrs == []
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        else:
            self.paragraphs.append(data)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """24 experiments, six of which diverge, of a run with markup in its name and in what is swept."""
    folder = tmp_path_factory.mktemp("html")
    edit = """
    config.name = "<script>alert(1)</script>"
    config.num_epochs = 2
    config.seed = grid(*range(6))
    config.model = grid(component("marked", note="<script>x</script>"), component("marked", note="&amp;"))
    config.optimizer.learning_rate = grid(0.1, 1e30)
    """
    top = """
@register("model", "marked")
def marked(*, note: str = ""):
    return nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(3)])
"""
    return mg.run(mg.load_config(str(small(folder, edit, top))), folder / "runs", run_id="r")


def test_a_run_is_its_best_twenty_experiments(result):
    page = Page(result._repr_html_())
    head, *rows = page.rows
    assert head[:5] == ["id", "model", "model.note", "optimizer.learning_rate", "seed"] and len(rows) == 20
    words, headline = page.paragraphs
    assert headline == result.verdict()["headline"] and headline in repr(result)
    assert "<script>alert(1)</script>" in words and "24 experiments" in words and "12 failed" in words
    assert "the best 20 are shown" in words
    assert {row[2] for row in rows} == {"<script>x</script>", "&amp;"}
    best = result.best("val/accuracy")
    assert rows[0][0] == str(best.experiment_id)
    assert rows[0][head.index("best val/accuracy")] == f"{max(best.history['val/accuracy']):.4f} @ {best.best_epoch}"


def test_an_experiment_is_its_hyperparameters_and_scores(result):
    for item in result.experiments:
        page = Page(item._repr_html_())
        cells = {row[0]: row[1:] for row in page.rows}
        assert set(item.hyperparameters) | set(item.history) <= set(cells)
        assert cells["seed"] == [str(item.hyperparameters["seed"])]
        assert cells["train/loss"][0] == f"{item.history['train/loss'][-1]:.4f}"
        assert f"experiment {item.experiment_id} of r" in page.paragraphs[0] and item.status in page.paragraphs[0]
    diverged = result.experiment(next(i.experiment_id for i in result.experiments if i.status == "FAILED"))
    assert diverged.error.splitlines()[0] in Page(diverged._repr_html_()).paragraphs[0]


def test_components_are_sections_with_their_parameters(tmp_path):
    edit = "config.optimizer = component('adam', learning_rate=grid(0.1, 0.2), b1=0.8)"
    components = mg.build(mg.load_config(str(small(tmp_path, edit))))
    assert "model=linear" in repr(components) and "optimizer=adam" in repr(components)
    rows = Page(components._repr_html_()).rows
    assert rows[0] == ["section", "component", "parameters", "swept"]
    assert ["optimizer", "adam", "b1=0.8, learning_rate=0.1", "learning_rate: 0.1, 0.2"] in rows
    assert ["metrics.accuracy", "accuracy", "", ""] in rows


def test_a_text_of_a_megabyte_is_cut():
    (_, (cell,)) = Page(html_table("", ("note",), [("<" * 10**6,)])).rows
    assert cell == "<" * 199 + "…"


def test_what_a_search_for_a_learning_rate_found_is_a_table(tmp_path):
    found = mg.find_learning_rate(mg.load_config(str(small(tmp_path))), low=1e-3, high=1.0, num=4, num_steps=8)
    page = Page(found._repr_html_())
    head, *rows = page.rows
    assert head == ["learning rate", "step 2", "step 4", "last 2 parts", ""] and [row[0] for row in rows] == [
        "0.001",
        "0.01",
        "0.1",
        "1",
    ]
    for row, curve in zip(rows, found.curves, strict=True):
        assert row[1:4] == [f"{value:.4g}" for value in (curve[1], curve[3], np.mean(curve[-2:]))]
    assert [row[0] for row in rows if row[4] == "suggested"] == [f"{found.suggestion:.3g}"]
    assert "optimizer.learning_rate = " in page.paragraphs[0] and rows[0][0] in str(found)


def test_data_are_their_shapes(tmp_path):
    splits = {"train": {"inputs": {"a<b": np.zeros((7, 3))}, "targets": [0, 1, 2] * 2 + [0]}, "test": ["record"] * 4}
    page = Page(mg.Dataset(splits=splits, num_classes=3)._repr_html_())
    assert page.rows[1:] == [
        ["train", "inputs.a<b", "(7, 3)", "float64"],
        ["train", "targets", "7 values", "list"],
        ["test", "", "4 records", "list"],
    ]
    assert page.paragraphs == ["3 classes"]


def test_a_state_is_its_arrays(result):
    best = result.best("val/accuracy")
    page = Page(best.restore()._repr_html_())
    assert page.rows[0] == ["array", "shape", "type"]
    shapes = {row[0]: row[1:] for row in page.rows[1:]}
    # 8 features to 4 units to 3 classes
    assert shapes[".params['layers_0']['kernel']"] == ["(8, 4)", "float32"] and shapes[".step"] == ["()", "int32"]
    steps = best.steps[best.best_epoch - 1]
    assert page.paragraphs == [f"step {steps}; {8 * 4 + 4 + 4 * 3 + 3} parameters in 4 arrays"]


def test_an_ensemble_is_its_members_and_an_evaluation_its_scores(result):
    ensemble = result.ensemble("top 2 by val/accuracy")
    page = Page(ensemble._repr_html_())
    assert [row[0] for row in page.rows] == ["id", *(str(member.experiment_id) for member in ensemble.members)]
    found = mg.evaluate(result.run_dir, split="val")
    page = Page(found._repr_html_())
    assert ["val/accuracy", *[f"{found.scores['val/accuracy']:.4f}"] * 2] in page.rows
    assert f"on val of the run's own data: {found.num_examples} examples" in page.paragraphs[0]


def test_a_forecast_is_its_words(tmp_path):
    forecast = mg.forecast(mg.load_config(str(small(tmp_path)), overrides={"name": "<b>"}))
    (text,) = Page(forecast._repr_html_()).paragraphs
    assert text == str(forecast) and text.startswith("<b>: ")


def test_charts_say_what_there_is(result):
    assert repr(result.plot) == "charts of r: curves(), influence(), parallel()"
