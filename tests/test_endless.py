"""Sources without an end: read in their order, for so many steps; and what is refused of them."""

import numpy as np
import pytest

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare


class Endless:
    """An example for every place."""

    def __getitem__(self, place):
        x = np.random.default_rng(int(place)).normal(size=3).astype(np.float32)
        return {"inputs": x, "targets": np.int32(x.sum() > 0)}


register("dataset", "endless_records")(lambda: Dataset({"train": Endless()}, 2))
register("dataset", "generated_records")(lambda: Dataset({"train": (Endless()[place] for place in range(9))}, 2))


def endless(**fields):
    return {
        "num_steps": 6,
        "evaluate_every_steps": 3,
        "dataset": component("endless_records"),
        "validation": component("holdout", val=0.0),
        "loader": component("streaming", batch_size=5),
        "model": component("mlp", features=(4,)),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.1),
        "evaluation_splits": (),
        **fields,
    }


def test_a_stream_without_an_end_is_read_in_its_order_and_goes_on(tmp_path):
    begun = mg.run(endless(), tmp_path, run_id="begun")
    more = mg.resume(begun.run_dir, num_steps=12)
    inputs, targets = zip(
        *((one["inputs"], one["targets"]) for one in map(Endless().__getitem__, range(60))), strict=True
    )
    arrays = {"train": {"inputs": np.stack(inputs), "targets": np.stack(targets)}}
    in_memory = component("in_memory", batch_size=5, shuffle=False)
    config = endless(loader=in_memory, num_steps=12)
    del config["dataset"]
    whole = mg.run(config, tmp_path, run_id="whole", data=arrays)
    found = more.experiments[0].history["train/loss"]
    assert len(found) == 4 and not more.mismatches
    np.testing.assert_allclose(found, whole.experiments[0].history["train/loss"], rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"num_steps": None, "num_epochs": 2, "evaluate_every_steps": None},
            r"config\.num_steps: split 'train', an Endless, has no end .* write config\.num_steps = 10_000, and",
        ),
        ({"validation": component("holdout", val=0.2)}, r"config\.validation: .* has no end, .*'holdout', val=0\.0\)"),
        (
            {"loader": component("in_memory")},
            r"config\.loader: .*has no end .*component\('streaming', …\), and num_steps",
        ),
        ({"dataset": component("generated_records")}, r"config\.dataset: .*is a generator, .* a resume .*__getitem__"),
    ],
)
def test_what_has_no_end_or_no_places_is_refused(fields, message):
    given = {name: value for name, value in endless(**fields).items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        prepare(given)
