"""Records from files, of more than memory or not: read alone, trained on, and trained on beside arrays; as JSON.

    python -m benchmarks.big_streams reading|blocks|fed|whole --folder=RECORDS [--rounds=7] [--write=5_000_000]

`reading`: `component("streaming")` against ArrayRecordReader.read of as many records at once, sorted, drawn from the
whole files, on one thread and on as many as it has, whose bytes are not looked at; and one thread that makes arrays of
them by hand, in the order drawn. `blocks`: the same against reads of 256 records of one file a call, a batch, sorted,
with the reader's own options, without its reading ahead, and by array_record's data source; its calls are a sample, so
records a second are to be compared. `fed`: an epoch of a wide MLP that reads one file against the same that has it in
memory. `whole`: a study of a small MLP, recorded as always, that reads all files once, and the memory that it takes
beyond what it had when its programs were compiled. `--write` makes so many records in the folder before.
"""

import argparse
import collections
import concurrent.futures
import glob
import itertools
import json
import pathlib
import statistics
import sys
import tempfile
import time

import jax
import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from ml_collections import ConfigDict

import mlgym_jax as mg
from benchmarks.networks import OfBytes
from mlgym_jax import component, register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.feed import TRAINING, Feed
from mlgym_jax.execution.plan import request_of
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.planning import plan_of
from mlgym_jax.study.runners import make_runner

PIXELS, CLASSES, BATCH = 784, 10, 256
FIELDS = {"inputs": ("uint8", (PIXELS,)), "targets": ("int32", ())}
SMALL = 80 * BATCH  # records of the first file, which may also be in memory
ALONE = "readahead_buffer_size:0,max_parallelism:0"  # what is read ahead of records drawn at random is not wanted


def write_records(folder, num_records):
    """Write images of noise and their classes: a small file, and four that share the rest."""
    random = np.random.default_rng(0)
    for number, size in enumerate([SMALL, *[(num_records - SMALL) // 4] * 4]):
        writer = ArrayRecordWriter(str(pathlib.Path(folder) / f"{number}.array_record"), "group_size:1")
        for start in range(0, size, 1 << 16):
            rows = min(1 << 16, size - start)
            inputs = random.integers(0, 256, (rows, PIXELS), np.uint8)
            targets = random.integers(0, CLASSES, (rows, 1), np.int32).view(np.uint8)
            for record in np.concatenate([inputs, targets], axis=1):
                writer.write(record.tobytes())
        writer.close()


@register("dataset", "big_records_in_memory")
def in_memory(*, path: str):
    records = np.frombuffer(b"".join(ArrayRecordReader(path).read_all()), np.uint8).reshape(-1, PIXELS + 4)
    targets = np.ascontiguousarray(records[:, PIXELS:]).view(np.int32)[:, 0]
    return Dataset({"train": {"inputs": records[:, :PIXELS], "targets": targets}}, CLASSES)


@register("model", "of_bytes")
def of_bytes(*, width: int):
    return OfBytes((width, width), CLASSES)


def config_of(paths, width, *, streams=True):
    config = ConfigDict()
    config.num_epochs = 1
    files = component("array_records", splits=dict(train=paths), fields=FIELDS, num_classes=CLASSES)
    config.dataset = files if streams else component("big_records_in_memory", path=paths)
    config.validation = component("holdout", val=0.0)
    config.loader = component("streaming" if streams else "in_memory", batch_size=BATCH, drop_last=True)
    config.model = component("of_bytes", width=width)
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=1e-3)
    config.evaluation_splits = ("val",)  # there is none: the training steps alone are measured
    return config


def rounds_of(functions, number):
    """Call each in turn; return name -> seconds, by the clock and of the processors, of all rounds but the first."""
    found = {name: {"seconds": [], "processor": []} for name in functions}
    for round_ in range(number + 1):
        for name in [*functions] if round_ % 2 else [*functions][::-1]:
            started, worked = time.perf_counter(), time.process_time()
            functions[name]()
            if round_:
                found[name]["seconds"].append(time.perf_counter() - started)
                found[name]["processor"].append(time.process_time() - worked)
    return found


class Streaming:
    """Reads as `component("streaming")` does: `calls` parts whenever it is called, in another order each time."""

    def __init__(self, folder, num_calls):
        started = time.perf_counter()
        (job,) = prepare({**config_of(f"{folder}/*", 8), "num_epochs": 1000}).jobs
        self.feed = Feed(job.table, job.folds, job.origins, job.shape, job.cadence)
        self.parts = self.feed.parts(TRAINING, 1)
        prepared = time.perf_counter()
        self.feed.read(self.parts[0])
        self.first = {"prepare": prepared - started, "first part": time.perf_counter() - prepared}
        self.size, self.threads = self.feed.batches_a_part(TRAINING) * BATCH, job.table.stream.num_workers
        self.calls = min(num_calls, len(self.parts) - 1)  # the last one is smaller
        self.starts = np.cumsum([0, *[reader.num_records() for reader in opened(folder, ALONE)]])
        self._epochs = itertools.count(1)

    def __call__(self):
        parts = self.feed.parts(TRAINING, next(self._epochs))[: self.calls]
        for number, part in enumerate(parts):
            self.feed.read(part, parts[number + 1 :])


def opened(folder, options):
    return [ArrayRecordReader(path, options) for path in _paths(folder)]


def on_threads(number, share):
    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        list(pool.map(share, range(number)))


def reading(folder, rounds, num_calls=12):
    streaming = Streaming(folder, num_calls)
    size, threads, calls, starts = streaming.size, streaming.threads, streaming.calls, streaming.starts
    readers = [opened(folder, ALONE) for _ in range(threads)]
    random = np.random.default_rng(1)
    drawn = [random.choice(starts[-1], size, replace=False) for _ in range(calls)]
    blocks = [np.sort(rows) for rows in drawn]

    def block(number, thread):
        for file, reader in enumerate(readers[thread]):
            inside = blocks[number][(blocks[number] >= starts[file]) & (blocks[number] < starts[file + 1])]
            yield reader.read((inside - starts[file]).tolist())

    def alone():
        for number in range(calls):
            collections.deque(block(number, 0), 0)

    def as_arrays():
        for number in range(calls):
            inputs, targets, done = np.empty((size, PIXELS), np.uint8), np.empty(size, np.int32), 0
            order = np.argsort(drawn[number])
            for found in block(number, 0):
                records = np.frombuffer(b"".join(found), np.uint8).reshape(-1, PIXELS + 4)
                places, done = order[done : done + len(found)], done + len(found)
                inputs[places], targets[places] = records[:, :PIXELS], records[:, PIXELS:].copy().view(np.int32)[:, 0]

    def share(thread):
        return [[*block(number, thread)] for number in range(thread, calls, threads)]

    programs = {
        "streaming": streaming,
        "blocks, one thread": alone,
        "blocks, one thread, as arrays": as_arrays,
        f"blocks, {threads} threads": lambda: on_threads(threads, share),
    }
    found = rounds_of(programs, rounds)
    streaming.feed.close()
    return {"programs": found, "records": calls * size, "of": int(starts[-1]), **streaming.first}


def blocks(folder, rounds, num_calls=6, num_blocks=60):
    streaming, random = Streaming(folder, num_calls), np.random.default_rng(1)
    threads, starts = streaming.threads, streaming.starts
    sizes = np.diff(starts)

    def drawn():
        """Return blocks of one file each, of the files by their sizes."""
        files = random.choice(len(sizes), num_blocks, p=sizes / sizes.sum())
        return [(file, np.sort(random.choice(sizes[file], BATCH, replace=False)).tolist()) for file in files]

    def of_reader(options, threads):
        readers, calls = [opened(folder, options) for _ in range(threads)], iter([drawn() for _ in range(rounds + 1)])

        def read():
            wanted = next(calls)

            def share(thread):
                for file, rows in wanted[thread::threads]:
                    readers[thread][file].read(rows)

            on_threads(threads, share)

        return read

    def of_source():
        for rows in wanted:
            source.__getitems__(rows)

    source = ArrayRecordDataSource(_paths(folder))
    wanted = [random.choice(starts[-1], BATCH, replace=False).tolist() for _ in range(num_blocks // 4)]
    programs = {"streaming": streaming, "__getitems__ of 256": of_source}
    for options, name in ((ALONE, ", nothing ahead"), ("", "")):
        for number in (1, threads):
            programs[f"read of 256{name}, {number} threads"] = of_reader(options, number)
    found = rounds_of(programs, rounds)
    streaming.feed.close()
    numbers = dict.fromkeys(programs, num_blocks * BATCH)
    numbers |= {"streaming": streaming.calls * streaming.size, "__getitems__ of 256": num_blocks // 4 * BATCH}
    for name, seconds in found.items():
        seconds["records a second"] = numbers[name] / statistics.median(seconds["seconds"])
        seconds["processor us a record"] = 1e6 * statistics.median(seconds["processor"]) / numbers[name]
    return {"programs": found, "of": int(starts[-1]), **streaming.first}


def fed(folder, rounds, width=1024):
    epochs = {}
    for name, streams in (("streaming", True), ("in memory", False)):
        (job,) = prepare({**config_of(_paths(folder)[0], width, streams=streams), "num_epochs": 1000}).jobs
        devices = jax.local_devices()[:1]
        runner = make_runner(job, plan_of(job, request_of("map+stretch", None), devices, strict=False), devices)
        runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
        number = iter(range(1, 1000))
        epochs[name] = lambda runner=runner, number=number: runner.read_scores(
            runner.epoch(np.ones(1, bool), next(number))
        )
    return {"programs": rounds_of(epochs, rounds), "records": SMALL}


def whole(folder, rounds):
    """Read all once; `rounds` is not used."""
    memory, began = {}, {}

    def sink(_first_event_id, events):
        for event in events:
            if event["event_type"] == "group_compiled":
                memory["before"], began["at"] = _memory("VmRSS"), time.perf_counter()

    with tempfile.TemporaryDirectory() as runs:
        result = mg.run(config_of(f"{folder}/*", 8), runs, sinks=[sink], devices=1)
        seconds = time.perf_counter() - began["at"]
    data = sum(pathlib.Path(path).stat().st_size for path in _paths(folder))
    number = sum(ArrayRecordReader(path).num_records() for path in _paths(folder))
    assert result.status == "DONE"
    return {"bytes": data, "records": number, "seconds": seconds, "before": memory["before"], "peak": _memory("VmHWM")}


def _paths(folder):
    return sorted(glob.glob(f"{folder}/*.array_record"))


def _memory(field):
    """Return the bytes that the kernel says of this process."""
    with open("/proc/self/status") as status:
        return 1024 * int(next(line for line in status if line.startswith(field)).split()[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", choices=(programs := {"reading": reading, "blocks": blocks, "fed": fed, "whole": whole})
    )
    parser.add_argument("--folder", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", type=int, default=0)
    options = parser.parse_args()
    if options.write:
        pathlib.Path(options.folder).mkdir(parents=True, exist_ok=True)
        write_records(options.folder, options.write)
    json.dump(programs[options.what](options.folder, options.rounds), sys.stdout)


if __name__ == "__main__":
    main()
