"""docs/how_to/own_components.md: its snippets run, the config at its end trains, and no kind is left out."""

import numpy as np
import pytest
from conftest import ROOT
from test_configs import snippets

import mlgym_jax as mg
from mlgym_jax.components.registry import built_in_kinds

NAME = "docs/how_to/own_components.md"
# Parts of another component, which are named with it.
PARTS = {"player", "steps_per_epoch"}


@pytest.mark.usefixtures("own_registry")
def test_the_components_of_the_page_train_together(tmp_path):
    names = {"__name__": "own_components"}
    for block in snippets(NAME):
        exec(compile(block, NAME, "exec"), names)
    result = mg.run(names["get_config"](), event_storage=tmp_path)
    assert result.status == "DONE" and len(result.experiments) == 2  # every other one of 2 x 2
    first = result.experiments[0]
    assert first.hyperparameters == {"sampler.power": 0.0, "model.dropout_rate": 0.0}
    assert first.steps[-1] == len(first.history["val/loss"]) * 6  # 180 rows in batches of 32, counted as one step each
    scores = {name: first.last[f"val/{name}"] for name in ("accuracy", "confusions/of_0", "confusions/of_1")}
    wrong = scores["confusions/of_0"] + scores["confusions/of_1"]
    np.testing.assert_allclose(scores["accuracy"], 1 - wrong / 60, rtol=1e-6)
    assert 0.5 <= first.last["val/confidence"] <= 1


def test_the_page_names_every_kind():
    text = (ROOT / NAME).read_text(encoding="utf-8")
    assert not {kind for kind in built_in_kinds() - PARTS if f"`{kind}`" not in text}
