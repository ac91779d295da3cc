"""What a run left behind, as one asks for it in Python: values as the config had them."""

import json

import pytest
from study_files import small

import mlgym_jax as mg
from mlgym_jax.reading.results import as_configured

SWEPT = """
    config.num_epochs = 1
    config.model = component("mlp", features=grid((4,), (4, 4)))
    config.validation = component("cross_validation", folds=2)
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A run that sweeps a tuple."""
    folder = tmp_path_factory.mktemp("swept")
    return mg.run(mg.load_config(small(folder, SWEPT)), folder / "runs", run_id="r")


@pytest.mark.parametrize("opened", [False, True])
def test_swept_tuples_come_back_as_tuples(swept, opened):
    result = mg.load_run(swept.run_dir) if opened else swept
    found = [item.hyperparameters["model.features"] for item in result.experiments]
    assert sorted(found) == [(4,), (4,), (4, 4), (4, 4)]
    counts = result.to_dataframe().groupby("model.features").size()
    assert counts.to_dict() == {(4,): 2, (4, 4): 2}
    _, selected = result.selection("val/loss", "min")
    assert selected["selected"]["model.features"] in {(4,), (4, 4)}


def test_tuples_inside_of_swept_components_are_tuples(tmp_path):
    edit = """
    config.num_epochs = 1
    config.model = grid(component("mlp", features=(4, 4)), component("linear"))"""
    result = mg.run(mg.load_config(small(tmp_path, edit)), tmp_path / "runs")
    assert result.experiments[0].hyperparameters["model"]["features"] == (4, 4)


@pytest.mark.parametrize(
    "configured",
    [
        None,
        True,
        (),
        (1, (2, (3.5, None))),
        {"a": (1, {"b": ("c",)}), "d": None},
        ({"component": "adam", "betas": (0.9, 1)},),
    ],
)
def test_what_a_log_holds_comes_back_as_a_config_has_it(configured):
    found = as_configured(json.loads(json.dumps({"x": configured})))["x"]
    assert found == configured and type(found) is type(configured)
