"""Samplers of data that are read while they train: who is drawn, how often, from what, and what is refused."""

import numpy as np
import pytest

import mlgym_jax as mg
from mlgym_jax import component, grid, register
from mlgym_jax.data.blocks import Blocks
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.drawn import Draws
from mlgym_jax.data.feed import TRAINING, Feed
from mlgym_jax.data.mixtures import mixture
from mlgym_jax.data.sources import Records
from mlgym_jax.data.streams import StreamedTable, to_stream
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare

pytestmark = pytest.mark.usefixtures("own_registry")
ROWS = 60
TARGETS = np.r_[np.zeros(48), np.ones(8), np.full(4, 2)].astype(np.int32)
DAMAGED = (3, 50)


class Endless:
    """Records whose input is their number; it counts how often each is read."""

    def __init__(self, damaged=()):
        self.times, self._damaged = np.zeros(ROWS, int), damaged

    def __getitem__(self, row):
        self.times[row] += 1
        if row in self._damaged:
            raise ValueError("torn")
        weight = np.float32(row % 5)  # a fifth of them is never drawn
        return {"inputs": np.array([row], np.float32), "targets": TARGETS[row], "weights": weight}


class Numbered(Endless):
    def __len__(self):
        return ROWS


def study(records, sampler, **fields):
    register("dataset", "numbered_to_draw")(lambda: Dataset({"train": records}, 3))
    return {
        "num_epochs": 12,
        "dataset": component("numbered_to_draw"),
        "validation": component("holdout", val=0.0),
        "loader": component("streaming", batch_size=8),
        "model": component("linear"),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.01),
        "sampler": sampler,
        **fields,
    }


def drawn_in(job, epoch, first=0):
    """Return the numbers of the examples of an epoch from a batch on, as a run reads them, but for padding."""
    feed, found = Feed(job.table, job.folds, job.origins, job.shape, job.cadence, job.weights), []
    for part in feed.parts(TRAINING, epoch, first):
        data, mask = feed.read(part)
        found += data["inputs"][0][mask[0]].reshape(-1).astype(int).tolist()
    feed.close()
    return found


def by_pencil(start, place):
    """The number of SplitMix64 at a place (Steele, Lea and Flood, 2014), as Vigna's C code has it."""
    z = (start + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_a_draw_is_found_by_its_place_alone():
    weights, places = np.random.default_rng(0).random(1000) * (np.arange(1000) % 3), np.arange(5000)
    drawn = Draws(weights).positions(places, (7, 0, 2))
    np.testing.assert_array_equal(Draws(weights).positions(places[4000:], (7, 0, 2)), drawn[4000:])
    start, upto = int(np.random.SeedSequence([7, 0, 2]).generate_state(1, np.uint64)[0]), weights.cumsum()
    for place in (0, 1, 4999):
        assert drawn[place] == np.searchsorted(upto, by_pencil(start, place) / 2**64 * upto[-1], "right")
    assert (weights[drawn] > 0).all() and {*Draws(np.array([0.0, 5e-324, 0.0])).positions(places, (0,)).tolist()} == {1}


def test_each_is_drawn_as_often_as_its_weight_says():
    weights = np.array([1.0, 0.5, 0.0, 2.5, 4.0, 0.25])
    counts = np.bincount(Draws(weights).positions(np.arange(80_000), (0, 0, 1)), minlength=6)
    expected = 80_000 * weights / weights.sum()
    seen = expected > 0
    assert counts[2] == 0 and ((counts - expected)[seen] ** 2 / expected[seen]).sum() < 18.5  # chi-square's 0.999


def test_rare_classes_come_as_often_as_others_epoch_by_epoch():
    (job,) = prepare(study(Numbered(), component("class_balanced"))).jobs
    epochs = [drawn_in(job, epoch) for epoch in range(1, 13)]
    assert {len(drawn) for drawn in epochs} == {ROWS} and epochs[0] != epochs[1]
    assert drawn_in(job, 2, first=3) == epochs[1][24:]
    counts = np.bincount(TARGETS[np.concatenate(epochs)], minlength=3)
    assert abs(counts - 240).max() < 4 * np.sqrt(720 * 2 / 9)  # four standard deviations of 720 draws


def test_a_fold_draws_from_what_it_trains_on_by_weights_of_that():
    config = study(Numbered(), component("weighted"), validation=component("cross_validation", folds=3))
    (job,) = prepare(config).jobs
    for fold, weights in enumerate(job.weights):
        rows = job.folds.indices["train"][fold][job.folds.mask["train"][fold]]
        np.testing.assert_array_equal(weights, rows % 5)
    rows = job.folds.indices["train"][0][job.folds.mask["train"][0]]
    assert {*drawn_in(job, 1)} <= {*rows[rows % 5 > 0].tolist()}


def test_swept_weights_are_groups_of_their_own_and_records_are_read_once_for_all(monkeypatch):
    def read_field(table, rows, field):
        asked.append((field, len(rows)))
        return plainly(table, rows, field)

    asked, plainly = [], StreamedTable.read_field
    monkeypatch.setattr(StreamedTable, "read_field", read_field)
    rates = component("sgd", learning_rate=grid(0.1, 0.2))
    found = prepare(study(Numbered(), component("class_balanced", power=grid(0.0, 1.0)), optimizer=rates, strict=True))
    assert [len(job.group.experiments) for job in found.jobs] == [2, 2]
    assert "drawn once for all experiments" in found.static_because["sampler.power"]
    flat, balanced = (job.weights[0] for job in found.jobs)
    assert {*flat} == {1.0} and balanced[[0, 48, 56]] == pytest.approx([1 / 48, 1 / 8, 1 / 4])
    assert asked.count(("targets", ROWS)) == 1 + 2  # for both groups; `known_fields` of each, as there are but so few


def test_one_field_of_many_records_is_read_without_holding_the_others(monkeypatch):
    monkeypatch.setattr("mlgym_jax.data.streams._READ_BYTES", 7 * 12)  # seven records
    table, rows = to_stream(Dataset({"train": Numbered()}, 3)), np.random.default_rng(0).permutation(ROWS)
    asked, plainly = [], StreamedTable.read
    monkeypatch.setattr(StreamedTable, "read", lambda table, rows: asked.append(rows) or plainly(table, rows))
    np.testing.assert_array_equal(table.read_field(rows, "targets"), TARGETS[rows])
    assert max(map(len, asked)) == 7 and np.concatenate(asked).tolist() == [*range(ROWS)]


def test_records_that_are_left_out_are_never_drawn(caplog):
    loader = component("streaming", batch_size=8, on_bad_record="skip")
    (job,) = prepare(study(Numbered(DAMAGED), component("class_balanced", power=0.0), loader=loader)).jobs
    drawn = [number for epoch in range(1, 6) for number in drawn_in(job, epoch)]
    assert len(drawn) == 5 * ROWS and not {*drawn} & {*DAMAGED}
    with pytest.raises(ConfigError, match=r"dataset: split 'train', record (3|50): ValueError: torn"):
        prepare(study(Numbered(DAMAGED), component("class_balanced")))


def test_a_run_trains_on_what_is_drawn_and_predicts_without_looking_for_it_again(tmp_path, monkeypatch):
    sampler = component("class_weighted", weights=(0.0, 0.0, 1.0))
    result = mg.run(study(Numbered(), sampler, optimizer=component("sgd", learning_rate=0.1), num_epochs=1), tmp_path)
    assert result.status == "DONE"
    monkeypatch.setattr("mlgym_jax.study.job.weights_of_stream", None)
    assert mg.load_run(result.run_dir).experiments[0].predict(np.array([[1.0]], np.float32)).argmax() == 2


def of_inputs():
    return lambda arrays: arrays["inputs"][:, 0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"sampler": component("of_inputs")},
            r"sampler: it weighs examples by their inputs, .* Fields: targets, weights",
        ),
        ({"sampler": component("weighted", field="weight")}, r"sampler\.field: .*'weight'; did you mean 'weights'"),
        (
            {"sampler": component("class_weighted", weights=(0.0, 0.0, -1.0))},
            r"sampler\.weights: class 2 has the weight -1",
        ),
        ({"dataset": component("grouped_to_draw")}, r"sampler: rows are read by 2 row groups, one of which each draw"),
        ({"dataset": component("two_to_draw")}, r"sampler: a mixture draws from its sources by their weights"),
        (
            {"dataset": component("endless_to_draw"), "num_epochs": None, "num_steps": 3},
            r"sampler: it draws by .*, and the dataset's split 'train' has no end",
        ),
    ],
)
def test_bad_input(fields, message):
    register("sampler", "of_inputs")(of_inputs)
    grouped, numbered = Numbered(), Dataset({"train": Numbered()}, 3)
    grouped.blocks, grouped.read = Blocks(np.array([0, 30, 60]), most=30), Records(grouped).read
    register("dataset", "grouped_to_draw")(lambda: Dataset({"train": grouped}, 3))
    register("dataset", "two_to_draw")(
        lambda: mixture(sources={"a": numbered, "b": numbered}, weights={"a": 1, "b": 2})
    )
    register("dataset", "endless_to_draw")(lambda: Dataset({"train": Endless()}, 3))
    with pytest.raises(ConfigError, match=message):
        prepare({**study(Numbered(), component("class_balanced")), **fields})
