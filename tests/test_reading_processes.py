"""Processes that read: the values of threads, and the death of one told with its record."""

import os
import pyexpat
import signal

import numpy as np
import pytest
from study_files import events

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.loaders import Stream
from mlgym_jax.data.processes import Processes, ReaderDied
from mlgym_jax.data.streams import UnreadableRecord, to_stream
from mlgym_jax.errors import ConfigError

assert pyexpat.model  # a module of two names that no file made: it must not be in the way of what is sent


class Deadly:
    """Records, one of which ends whoever reads it, and two of which cannot be read."""

    def __init__(self, number, deadly=None):
        self.number, self.deadly, self.home = number, deadly, os.getpid()

    def __len__(self):
        return self.number

    def __getitem__(self, row):
        if row == self.deadly and os.getpid() != self.home:
            os.kill(os.getpid(), signal.SIGKILL)
        if row in (77, 301):
            raise ValueError(f"torn {row}")
        return {"inputs": np.array([row, -row], np.float32), "targets": np.int32(row % 2)}


class DeadlyBlocks(Deadly):
    def __getitems__(self, rows):
        return [self[row] for row in rows]


def test_processes_read_what_threads_read(tmp_path):
    """Records of a test's own class, and a memory-mapped array, which is mapped there and not sent."""
    mapped = np.random.default_rng(0).normal(size=(100_000, 2)).astype(np.float32)
    np.save(tmp_path / "inputs.npy", mapped)
    inputs = np.load(tmp_path / "inputs.npy", mmap_mode="r")
    other = {"inputs": inputs, "targets": np.zeros(100_000, np.int32)}
    splits = {"train": Deadly(400), "test": other, "val": DeadlyBlocks(50, deadly=9)}
    table = to_stream(Dataset(splits, 2), Stream(processes=True))
    assert len(table.pickled()) < mapped.nbytes
    processes = Processes(table, 2)
    try:
        rows = np.random.default_rng(1).permutation(np.r_[0:77, 78:301, 302:400, 400:700])
        read = processes.read(rows)
        expected = np.where(rows < 400, rows, 0)[:, None] * np.array([1, -1], np.float32)
        expected[rows >= 400] = mapped[rows[rows >= 400] - 400]
        np.testing.assert_array_equal(read["inputs"], expected)
        np.testing.assert_array_equal(read["targets"], np.where(rows < 400, rows % 2, 0))
        with pytest.raises(UnreadableRecord, match=r"split 'train', record 77: .*torn 77") as caught:
            processes.read(np.arange(400))
        assert sorted(caught.value.rows) == [77, 301]
        with pytest.raises(
            ReaderDied, match=r"by SIGKILL while it read 3 records, the first of which is .*'val', record 4;"
        ):
            processes.read(100_400 + np.array([9, 4, 8]))
    finally:
        processes.close()
    ends = []
    for process in processes._processes:
        with pytest.raises(ReaderDied) as died:
            process.read(np.arange(3))
        ends.append("was killed by SIGKILL" if "SIGKILL" in str(died.value) else str(died.value)[-9:])
    assert sorted(ends) == ["was ended", "was killed by SIGKILL"]  # whichever of the two it was that read


register("dataset", "deadly_records")(lambda: Dataset({"train": Deadly(60, deadly=31)}, 2))


def test_a_process_that_dies_ends_the_experiments_with_its_record(tmp_path):
    """Also where records that cannot be read are left out: a killed process says nothing of the data."""
    config = {
        "num_epochs": 1,
        "dataset": component("mixture", sources={"first": component("deadly_records")}),
        "validation": component("holdout", val=0.0),
        "loader": component("streaming", batch_size=20, shuffle=False, workers="processes", on_bad_record="skip"),
        "model": component("mlp", features=(4,)),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.0),
    }
    (failed,) = events(mg.run(config, tmp_path).run_dir, "experiment_failed")
    assert (
        "was killed by SIGKILL while it read split 'train', record 31 (source 'first', record 31); " in failed["error"]
    )
    assert failed["error"].startswith("config.loader.workers: reading process ")


def test_a_dataset_that_cannot_be_sent_is_refused():
    class Locked(Deadly):
        def __reduce__(self):
            raise TypeError("it holds a lock")

    with pytest.raises(ConfigError, match=r"config\.loader\.workers: .*it holds a lock.*workers='threads'"):
        to_stream(Dataset({"train": Locked(9)}, 2), Stream(processes=True))
