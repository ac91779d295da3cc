"""Batches that are read while a study trains: the examples that they should hold, from files, once for all folds."""

import signal

import jax
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from plain_loop import first_states
from study_files import events, finish, here, kill
from test_cadence import normed
from test_stretches import SLOW, assert_goes_on, begun, runner_end, write

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.data import array_record_files, sources
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.permutation import permuted
from mlgym_jax.data.record_files import array_records
from mlgym_jax.data.streams import UnreadableRecord, to_stream
from mlgym_jax.errors import ConfigError
from mlgym_jax.execution.plan import choose_plan, parse_plan
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.runners import make_runner

STREAMING = component("streaming", batch_size=5, eval_batch_size=16)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 1000, 4097])
def test_an_order_is_a_permutation_and_a_place_of_it_is_found_alone(size):
    whole = permuted(np.arange(size), size, (7, 0, 1))
    assert sorted(whole.tolist()) == list(range(size))
    assert permuted(np.array([size - 1, 0]), size, (7, 0, 1)).tolist() == [whole[-1], whole[0]]


def by_pencil(place, size, key):
    """Walk one place through the network with whole numbers of Python."""
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    keys = np.random.SeedSequence([*key, size]).generate_state(6, np.uint64).tolist()
    while True:
        left, right = place >> half, place % 2**half
        for one in keys:
            mixed = right ^ one
            mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
            mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
            left, right = right, left ^ (mixed ^ mixed >> 31) % 2**half
        place = left << half | right
        if place < size:
            return place


@pytest.mark.parametrize("size", [300, 5001, 2**40 + 7])
def test_an_order_is_the_same_looked_up_or_not(size):
    expected = [by_pencil(place, size, (3, 1, 2)) for place in range(300)]
    assert permuted(np.arange(300), size, (3, 1, 2)).tolist() == expected
    assert permuted(np.array([299, 4]), size, (3, 1, 2)).tolist() == [expected[299], expected[4]]


def test_orders_are_as_if_drawn():
    """Of 4 examples each of the 24 orders comes equally often, of 1,000 no place tells of the next epoch's."""
    orders = [tuple(permuted(np.arange(4), 4, (seed,)).tolist()) for seed in range(4800)]
    counts = np.array([orders.count(order) for order in {*orders}])
    assert len(counts) == 24 and ((counts - 200) ** 2 / 200).sum() < 49.7  # the chi-square's 0.999 quantile
    first, second = (permuted(np.arange(1000), 1000, (0, 0, epoch)) for epoch in (1, 2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.11 and abs(np.corrcoef(first, np.arange(1000))[0, 1]) < 0.11


def trained_by_hand(job, row, epochs, evaluated_after=None):
    """Train over true-size batches, in the order of a stream; scores as `plain_loop` has them."""
    fold, program, size = int(job.fold_of_row[row]), job.program, job.shape.batch_size
    members = {s: job.folds.indices[s][fold][job.folds.mask[s][fold]] for s in job.folds.indices}
    hyperparams = {path: values[row] for path, values in job.hyperparams.items()}
    state = program.init(jax.random.key(job.seeds[row]), job.sample, hyperparams)
    step = jax.jit(program.train_step)
    evaluate = jax.jit(lambda state, batch: program.compute(program.eval_step(state, batch)))
    found, done = [], 0
    for epoch in range(1, epochs + 1):
        mine = members["train"]
        order = mine[permuted(np.arange(len(mine)), len(mine), (0, fold, epoch))]
        for start in range(0, len(order), size):
            state, _ = step(state, job.table.read(order[start : start + size]))
            done += 1
            if done in (evaluated_after or ()) or (evaluated_after is None and start + size >= len(order)):
                scores = {split: evaluate(state, job.table.read(rows)) for split, rows in members.items()}
                found.append([float(scores[name.split("/")[0]][name.split("/")[1]]) for name in job.names])
    return np.array(found), state


@pytest.mark.parametrize(
    ("plan", "fields", "after"),
    [
        ("map", {"num_epochs": 2}, None),  # folds of 17 and 18 batches with rests; batch statistics see no padding
        ("vmap", {"num_steps": 23, "evaluate_every_steps": 9}, (9, 18, 23)),
    ],
)
def test_streams_equal_a_plain_loop(plan, fields, after):
    (job,) = prepare(normed(**fields, loader=STREAMING)).jobs
    rows = len(job.group.experiments)
    plan = choose_plan(parse_plan(plan), num_experiments=rows, num_devices=2)
    with_feed = make_runner(job, plan, jax.devices())
    with_feed.start(first_states(job, range(rows)))
    active, found = np.ones(rows, bool), []
    for number in range(1, job.cadence.num_evaluations + 1):
        found.append(with_feed.read_scores(runner_end(with_feed.stretches(active, number))))
    with_feed.close()
    for row in (0, 4):
        expected, state = trained_by_hand(job, row, 2, after)
        np.testing.assert_allclose([scores[row] for scores in found], expected, rtol=2e-4, atol=2e-5)
        assert int(state.step) >= 23


def records(folder, number, size=4, name="train"):
    """Write records of float32 inputs and int32 targets in two files; return the arrays."""
    rng = np.random.default_rng(number)
    inputs, targets = rng.normal(size=(number, size)).astype(np.float32), rng.integers(0, 2, number).astype(np.int32)
    for part, rows in enumerate(np.array_split(np.arange(number), 2)):
        writer = ArrayRecordWriter(f"{folder}/{name}-{part}.array_record", "group_size:8")
        for row in rows:
            writer.write(inputs[row].tobytes() + targets[row].tobytes())
        writer.close()
    return inputs, targets


FIELDS = {"inputs": ("float32", (4,)), "targets": ("int32", ())}


def test_files_of_records_and_mapped_arrays_hold_what_was_written(tmp_path):
    inputs, targets = records(tmp_path, 101)
    np.save(tmp_path / "x.npy", inputs)
    np.save(tmp_path / "y.npy", targets)
    mapped = {"inputs": str(tmp_path / "x.npy"), "targets": str(tmp_path / "y.npy")}
    study = {
        "num_epochs": 2,
        "model": component("mlp", features=(4,)),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.1),
        "loader": component("streaming", batch_size=8),
    }
    files = component("array_records", splits={"train": f"{tmp_path}/train-*"}, fields=FIELDS, num_classes=2)
    results = [
        mg.run({**study, "dataset": dataset}, tmp_path / "runs")
        for dataset in (files, component("memmap", splits={"train": mapped}, num_classes=2))
    ]
    assert results[0].experiments[0].history == results[1].experiments[0].history
    table = to_stream(array_records(splits={"train": f"{tmp_path}/train-*"}, fields=FIELDS, num_classes=2))
    rows = np.array([100, 3, 3, 57])
    read = table.read(rows)
    np.testing.assert_array_equal(read["inputs"], inputs[rows])
    np.testing.assert_array_equal(read["targets"], targets[rows])


def test_large_records_are_copied_to_their_places(tmp_path):
    inputs, targets = records(tmp_path, 9, size=1500)  # of 6,004 bytes
    fields = {"inputs": ("float32", (30, 50)), "targets": ("int32", ()), "nothing": ("int8", (0,))}
    table = to_stream(array_records(splits={"train": f"{tmp_path}/train-*"}, fields=fields, num_classes=2))
    rows = np.array([8, 3, 3, 0, 5])
    read = table.read(rows)
    np.testing.assert_array_equal(read["inputs"], inputs[rows].reshape(-1, 30, 50))
    np.testing.assert_array_equal(read["targets"], targets[rows])
    assert read["nothing"].shape == (5, 0)
    writer = ArrayRecordWriter(f"{tmp_path}/train-2.array_record", "group_size:8")
    writer.write(b"short")
    writer.close()
    longer = to_stream(array_records(splits={"train": f"{tmp_path}/train-*"}, fields=fields, num_classes=2))
    with pytest.raises(UnreadableRecord, match=r"records of 6004 bytes are expected, found \[5\]"):
        longer.read(np.array([1, 9]))


def test_few_records_of_a_long_file_are_found_without_its_index(tmp_path, monkeypatch):
    monkeypatch.setattr(array_record_files, "_INDEX", 8)
    writer = ArrayRecordWriter(str(tmp_path / "long.array_record"), "group_size:1")
    for number in range(100):
        writer.write(np.int32(number).tobytes())
    writer.close()
    files = array_record_files.ArrayRecordFiles([str(tmp_path / "long.array_record")], "train")
    for rows in ([99, 3, 3, 57], [*range(99, -1, -2)]):  # one by one, and in one call
        ((found, places),) = files.read(np.array(rows))
        assert [np.frombuffer(record, np.int32)[0] for record in found] == sorted(rows)
        assert np.array(rows)[places].tolist() == sorted(rows)


def test_a_file_that_was_not_written_whole_is_no_empty_one(tmp_path):
    records(tmp_path, 40)
    whole = (tmp_path / "train-1.array_record").read_bytes()
    (tmp_path / "train-1.array_record").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ConfigError, match=r"dataset\.splits\.train: '.*train-1\.array_record' cannot be read: .*not written whole"
    ):
        array_records(splits={"train": f"{tmp_path}/train-*"}, fields=FIELDS)


class Faulty:
    """Records of which two cannot be decoded, and one has no number."""

    def __len__(self):
        return 60

    def __getitem__(self, row):
        if row in (7, 31):
            raise ValueError(f"no image at {row}")
        value = np.float32("nan") if row == 12 else np.float32(row)
        return {"inputs": np.array([value, 1], np.float32), "targets": np.int32(row % 2)}


register("dataset", "faulty_records")(lambda: Dataset({"train": Faulty()}, 2))


def faulty(**loader):
    return {
        "num_epochs": 2,
        "dataset": component("faulty_records"),
        "validation": component("holdout", val=0.0),
        "loader": component("streaming", batch_size=20, shuffle=False, **loader),
        "model": component("mlp", features=(4,)),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.0),
    }


def test_records_that_cannot_be_read_are_named_or_left_out(tmp_path, caplog, monkeypatch):
    with pytest.raises(ConfigError, match=r"config\.dataset: split 'train', record 7: .*no image at 7.*record='skip'"):
        mg.run(faulty(), tmp_path)
    late = faulty()
    late["loader"]["batch_size"] = 5  # before training a batch is read, and some of all targets
    monkeypatch.setattr("mlgym_jax.study.known._MAX_READ", 2)
    result = mg.run(late, tmp_path, run_id="late")
    (failed,) = events(result.run_dir, "experiment_failed")
    assert "split 'train', record 7: " in failed["error"] and "on_bad_record='skip'" in failed["error"]
    monkeypatch.undo()
    skipped = mg.run(faulty(on_bad_record="skip"), tmp_path, run_id="skip")
    said = "split 'train', record 7, split 'train', record 12, split 'train', record 31 are left out (3 so far)"
    assert said in caplog.text
    rest = {"inputs": [], "targets": []}
    for row in sorted({*range(60)} - {7, 12, 31}):
        for field, value in Faulty()[row].items():
            rest[field].append(value)
    register("dataset", "whole_records")(lambda: Dataset({"train": {k: np.array(v) for k, v in rest.items()}}, 2))
    config = {**faulty(), "dataset": component("whole_records"), "loader": component("in_memory", batch_size=20)}
    whole = mg.run(config, tmp_path, run_id="whole")
    found, expected = (run.experiments[0].history["train/loss"] for run in (skipped, whole))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


STREAMED = SLOW.replace("slow_net", "slow_net_of_streams").replace(
    "def get_config():",
    """class Half:
    def __init__(self, part, number):
        self.part, self.number = part, number

    def __len__(self):
        return self.number

    def __getitem__(self, row):
        if (self.part, row) == (1, 17):
            raise ValueError("damaged")
        random = np.random.default_rng([self.part, row])
        x = random.normal(size=4).astype(np.float32)
        return {"inputs": x, "targets": np.int32(x.sum() + random.normal() > 0)}


@register("dataset", "half")
def half(*, part: int, number: int):
    return mg.Dataset({"train": Half(part, number), "val": Half(part + 10, 36)}, 2)


def get_config():""",
)
for old, new in {
    "import numpy as np\n": "import numpy as np\nimport mlgym_jax as mg\n",
    'component("in_memory", batch_size=6)': 'component("streaming", batch_size=6, workers="processes", '
    'on_bad_record="skip")\n    config.validation = component("holdout", val=0.0)',
    'component("synthetic", num_examples=360, num_features=4, num_classes=2, noise=0.7)': """component(
        "mixture",
        sources=dict(one=component("half", part=0, number=248), two=component("half", part=1, number=40)),
        weights=dict(one=0.5, two=0.5),
    )""",
}.items():
    assert old in STREAMED
    STREAMED = STREAMED.replace(old, new)


def test_killed_in_the_middle_of_an_epoch_and_interrupted(tmp_path, caplog):
    """A mixture, read in processes, a record of which cannot be read: what one loses, the other draws again."""
    study = write(tmp_path, STREAMED)
    status, _, err = here("run", f"--config={study}", f"--event_storage={tmp_path}", "--run_id=whole", "--plan=map")
    assert status == 0, err
    assert "split 'train', record 265 (source 'two', record 17) is left out" in caplog.text
    process, _ = begun(study, tmp_path, "killed", 4)
    kill(process)
    assert_goes_on(tmp_path, tmp_path / "whole", "killed")
    process, _ = begun(study, tmp_path, "cut", 2)
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130
    assert_goes_on(tmp_path, tmp_path / "whole", "cut")


def test_few_reads_find_the_records_that_cannot_be_read():
    """Two of 4,096: at most two reads at each of 12 halvings for each of them, and the first."""
    asked = []

    def read(rows):
        asked.append(len(rows))
        if {*rows.tolist()} & {77, 3000}:
            raise ValueError("torn")

    assert {*sources.faulty(read, np.arange(4096))} == {77, 3000} and len(asked) <= 1 + 2 * 2 * 12


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loader": component("streaming", num_workers=0)}, r"config\.loader\.num_workers: found 0; at least 1"),
        (
            {"dataset": component("array_records", splits={"train": "nowhere*"}, fields=FIELDS)},
            r"config\.dataset\.splits\.train: there is no file 'nowhere\*'",
        ),
        (
            {"dataset": component("memmap", splits={"train": {"inputs": "nowhere.npy"}})},
            r"config\.dataset\.splits\.train\.inputs: 'nowhere\.npy' is no \.npy file",
        ),
    ],
)
def test_bad_input(fields, message):
    with pytest.raises(ConfigError, match=message):
        prepare({**normed(num_epochs=1, loader=STREAMING), **fields})


def test_records_of_another_size_are_refused(tmp_path):
    records(tmp_path, 12)
    with pytest.raises(ConfigError, match=r"dataset\.fields: they are 12 bytes a record, and those of .* have 20"):
        array_records(splits={"train": f"{tmp_path}/train-*"}, fields={"inputs": ("float32", (3,))})
    with pytest.raises(ConfigError, match=r"dataset\.fields\.inputs: found .*; did you mean 'float32'\?"):
        array_records(splits={"train": f"{tmp_path}/train-*"}, fields={"inputs": ("flaot32", (4,))})
