"""Events are plain facts with pinned names, and their log is whole whatever happens to its writer."""

import errno
import itertools
import json
import math
import os
import random
import signal
import struct
import subprocess
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from forks import Forked, popen
from hypothesis import example, given
from hypothesis import strategies as st

from mlgym_jax import events as ev
from mlgym_jax.errors import DiskError, MlgymError

ROOT = Path(__file__).resolve().parents[1]
RUN = "2026-11-23--17-59-10"
ONE = {"experiment_id": 3}
EVENTS = {
    "job_scheduled": ev.job_scheduled(RUN, job_id="j", config={"num_epochs": 3}, now_ms=1),
    "job_status": ev.job_status(RUN, **ONE, job_id="j", status="RUNNING", now_ms=2),
    "experiment_config": ev.experiment_config(
        RUN, **ONE, job_id="j", config={}, hyperparameters={"optimizer.learning_rate": 0.1}, fold=2, now_ms=3
    ),
    "experiment_status": ev.experiment_status(
        RUN,
        **ONE,
        status="TRAINING",
        num_epochs=3,
        current_epoch=1,
        splits=["train", "val"],
        current_split="train",
        num_batches=9,
        current_batch=4,
        now_ms=4,
    ),
    "evaluation_result": ev.evaluation_result(RUN, **ONE, epoch=1, scores={"val/f1": 0.5}, seconds=0.1, now_ms=5),
    "group_compiled": ev.group_compiled(
        RUN, group=0, experiments=[3, 4], plan="vmap+scan", reason="small", compile_seconds=0.7, now_ms=6
    ),
    "run_started": ev.run_started(
        RUN, name="digits", config_hash="ab", num_experiments=2, num_groups=1, resumed=False, now_ms=7
    ),
    "checkpoint_saved": ev.checkpoint_saved(
        RUN, group=0, epoch=2, kept=[[3, 1], [4, 2]], bytes=1000, seconds=0.02, now_ms=8
    ),
    "checkpoint_skipped": ev.checkpoint_skipped(RUN, group=0, step=2, error="no metadata", now_ms=9),
    "experiment_stopped": ev.experiment_stopped(RUN, **ONE, epoch=2, reason="no_improvement", now_ms=10),
    "experiment_failed": ev.experiment_failed(RUN, **ONE, epoch=2, error="NaN", stacktrace="at x", now_ms=11),
    "warm_started": ev.warm_started(
        RUN,
        group=0,
        experiments=[3],
        source="run",
        loaded=["a/kernel"],
        left=["b/kernel"],
        mismatched={"c": "[1] there, [2] here"},
        checksum=7,
        now_ms=12,
    ),
    "group_compacted": ev.group_compacted(RUN, group=0, epoch=2, rows=[4], now_ms=13),
    "resume_mismatch": ev.resume_mismatch(RUN, **ONE, epoch=2, key="val/f1", logged=0.5, repeated=math.nan, now_ms=14),
    "run_finished": ev.run_finished(RUN, status="DONE", num_failed=0, seconds=3.5, now_ms=15),
    "group_trained": ev.group_trained(
        RUN,
        group=0,
        num_steps=8,
        num_examples=400,
        seconds=0.5,
        examples_per_second=800.0,
        tokens_per_second=None,
        device_kind="cpu",
        utilisation=None,
        now_ms=16,
    ),
    "profile_saved": ev.profile_saved(
        RUN, group=0, first_epoch=2, last_epoch=5, num_steps=1392, folder="profile", now_ms=17
    ),
    "model_evaluated": ev.model_evaluated(
        RUN,
        **ONE,
        epoch=2,
        split="test",
        dataset=None,
        num_examples=40,
        fingerprint="3f",
        scores={"test/loss": 0.5},
        now_ms=18,
    ),
}
FIELDS = {
    "job_scheduled": "job_id config",
    "job_status": "experiment_id job_id job_type status starting_time finishing_time error stacktrace device",
    "experiment_config": "experiment_id job_id config hyperparameters fold round",
    "experiment_status": "experiment_id status num_epochs current_epoch splits current_split num_batches current_batch",
    "evaluation_result": "experiment_id epoch metric_scores loss_scores seconds",
    "group_compiled": "group experiments plan reason compile_seconds num_examples mesh flops_per_step bytes_per_device "
    "waited_seconds",
    "run_started": "name config_hash num_experiments num_groups resumed",
    "checkpoint_saved": "group epoch kept bytes seconds",
    "checkpoint_skipped": "group step error",
    "experiment_stopped": "experiment_id epoch reason",
    "experiment_failed": "experiment_id epoch error stacktrace",
    "warm_started": "group experiments source loaded left mismatched checksum",
    "group_compacted": "group epoch rows",
    "resume_mismatch": "experiment_id epoch key logged repeated",
    "model_evaluated": "experiment_id epoch split dataset num_examples fingerprint scores",
    "run_finished": "status num_failed seconds",
    "profile_saved": "group first_epoch last_epoch num_steps folder",
    "group_trained": (
        "group num_steps num_examples seconds examples_per_second tokens_per_second device_kind utilisation"
    ),
}


def numbered(number: int, padding: int = 0) -> ev.Event:
    return {"event_type": "numbered", "creation_ts": number, "payload": {"number": number, "padding": "x" * padding}}


def numbers(path: Path) -> list[tuple[int, int]]:
    return [(event_id, event["payload"]["number"]) for event_id, event in ev.read_events(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "event_storage.log"


# --- schema --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", FIELDS)
def test_every_event_has_exactly_its_pinned_fields(event_type):
    event = EVENTS[event_type]
    assert list(event) == ["event_type", "creation_ts", "payload"]
    assert event["event_type"] == event_type
    assert event["creation_ts"] == 1 + list(EVENTS).index(event_type)
    assert list(event["payload"]) == ["grid_search_id", *FIELDS[event_type].split()]
    assert event["payload"]["grid_search_id"] == RUN


def test_scores_are_split_into_metrics_and_losses():
    scores = {"train/loss": 0.3, "val/accuracy": 0.9, "val/recall_at_k/1": 0.8, "val/loss/aux": 2, "val/lossy": 1.0}
    payload = ev.evaluation_result(RUN, experiment_id=0, epoch=1, scores=scores, seconds=0.1, now_ms=0)["payload"]
    assert payload["metric_scores"] == [
        {"metric": "accuracy", "split": "val", "score": 0.9},
        {"metric": "recall_at_k/1", "split": "val", "score": 0.8},
        {"metric": "lossy", "split": "val", "score": 1.0},
    ]
    assert payload["loss_scores"] == [
        {"loss": "loss", "split": "train", "score": 0.3},
        {"loss": "loss/aux", "split": "val", "score": 2.0},
    ]
    assert type(payload["loss_scores"][1]["score"]) is float


def test_a_score_without_a_split_says_what_to_write():
    with pytest.raises(MlgymError, match=r"score 'accuracy' names no split; write it as .* 'val/accuracy'"):
        ev.evaluation_result(RUN, experiment_id=0, epoch=1, scores={"accuracy": 1.0}, seconds=0.1, now_ms=0)


@given(
    st.dictionaries(
        st.builds("{}/{}".format, st.text().filter(lambda text: "/" not in text), st.text() | st.just("loss")),
        st.floats(),
    )
)
def test_scores_come_back_from_the_wire_to_the_same_bits(scores):
    event = ev.evaluation_result(RUN, experiment_id=0, epoch=1, scores=scores, seconds=0.1, now_ms=0)
    back = ev.scores_of(ev.decode(ev.encode(event))["payload"])
    assert back.keys() == scores.keys()
    for key, score in scores.items():
        assert type(back[key]) is float
        assert math.isnan(back[key]) if math.isnan(score) else struct.pack("d", back[key]) == struct.pack("d", score)


# --- codec ---------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def as_on_the_wire(value):
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[repr(value)]
    if isinstance(value, list):
        return [as_on_the_wire(item) for item in value]
    if isinstance(value, dict):
        return {key: as_on_the_wire(item) for key, item in value.items()}
    return value


@given(st.dictionaries(st.text(), VALUES, max_size=5))
@example({"a": [None, {"b": -math.inf}], "c": -0.0, "d": 5e-324, "e": 1.7976931348623157e308, "f": "\n\r\x00\u2028é🙂"})
@example({"null": "null", "n": math.nan, "ok": 0.1})
def test_every_event_comes_back_exactly_and_is_one_strict_json_line(payload):
    event = {"event_type": "any", "creation_ts": 1, "payload": payload}
    line = ev.encode(event)
    expected = json.dumps(as_on_the_wire(event))
    assert b"\n" not in line and b"\r" not in line
    assert json.dumps(ev.decode(line)) == expected  # the text of a float in Python names one bit pattern
    assert json.dumps(json.loads(line, parse_constant=pytest.fail)) == expected
    assert ev.encode(ev.decode(line)) == line  # replicas are byte-identical


def test_encoding_leaves_the_event_alone():
    event = {"event_type": "any", "creation_ts": 1, "payload": {"scores": [math.nan, math.inf]}}
    ev.encode(event)
    assert math.isnan(event["payload"]["scores"][0]) and event["payload"]["scores"][1] == math.inf


@pytest.mark.parametrize("with_null", [{}, {"n": None}], ids=["fast", "careful"])
def test_scalars_and_arrays_of_numpy_are_numbers(with_null):
    payload = {"a": np.float32(0.5), "b": np.float64(0.1), "c": np.int64(3), "d": np.bool_(True), "e": np.arange(3)}
    assert (
        json.loads(ev.encode(payload | with_null))
        == {"a": 0.5, "b": 0.1, "c": 3, "d": True, "e": [0, 1, 2]} | with_null
    )
    assert ev.encode({"a": np.float32("nan"), "b": np.array([[np.inf]])}) == b'{"a":"NaN","b":[["Infinity"]]}'


def test_the_text_of_a_broken_locale_is_escaped_and_not_refused():
    assert ev.decode(ev.encode({"error": "no file '\udcff\u00e9'"})) == {"error": "no file '\\udcffé'"}


def test_what_json_cannot_hold_is_refused_by_name():
    with pytest.raises(TypeError, match="not object"):
        ev.encode({"payload": object()})


@pytest.mark.parametrize(
    "line", [b"", b"{", b"5", b"[]", b'{"a":NaN}', b'{"a":"\xff"}', b'{"a":1}{"a":1}', b'{"a":' * 9999, b"\0\0"]
)
def test_decode_refuses_whatever_is_not_one_json_object(line):
    with pytest.raises(ValueError):
        ev.decode(line)


def test_decode_number_turns_only_the_three_spellings_back():
    assert math.isnan(ev.decode_number("NaN"))
    assert [ev.decode_number(x) for x in ("Infinity", "-Infinity", 0.5, 3, "adam", None)] == [
        *(math.inf, -math.inf, 0.5, 3, "adam", None)
    ]


# --- the log, undisturbed ------------------------------------------------------------------------------------------


def test_ids_are_line_numbers_across_reopening(path):
    with ev.EventLog.open(path) as log:
        assert log.next_event_id == 0
        assert log.append([numbered(0), numbered(1)]) == 0
        assert log.append([]) == 2
        assert log.append([numbered(2)]) == 2
    with ev.EventLog.open(path) as log:
        assert (log.next_event_id, log.repaired_bytes) == (3, 0)
        assert log.append([numbered(3)]) == 3
        assert numbers(path) == [(n, n) for n in range(4)]  # readable as soon as append returns
    assert path.read_bytes() == b"".join(ev.encode(numbered(n)) + b"\n" for n in range(4))


@pytest.mark.parametrize("after", [-5, -1, 0, 2, 4, 5, 99])
def test_reading_goes_on_behind_an_event(path, after):
    with ev.EventLog.open(path) as log:
        log.append([numbered(n) for n in range(5)])
    assert list(ev.read_events(path, after=after)) == [(n, numbered(n)) for n in range(5) if n > after]


def test_lines_longer_than_a_block_are_counted_and_repaired(path):
    with ev.EventLog.open(path) as log:
        log.append([numbered(n, padding=3_000_000) for n in range(3)])
    os.truncate(path, path.stat().st_size - 1)
    with ev.EventLog.open(path) as log:
        assert log.next_event_id == 2
        assert log.repaired_bytes == len(ev.encode(numbered(2, padding=3_000_000)))


def test_threads_append_whole_batches_and_sinks_see_them_in_order(path):
    seen = []
    with ev.EventLog.open(path, sinks=[lambda first, events: seen.append((first, list(events)))]) as log:

        def write(thread: int) -> None:
            for n in range(50):
                first = log.append([numbered(thread * 1000 + n), numbered(thread * 1000 + n)])
                assert first % 2 == 0

        threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    logged = list(ev.read_events(path))
    assert [first for first, _ in seen] == list(range(0, 400, 2))
    assert [event for _, batch in seen for event in batch] == [event for _, event in logged]
    assert all(logged[n][1] == logged[n + 1][1] for n in range(0, 400, 2))


def test_a_sink_sees_only_what_a_reader_can_see_already(path):
    found = []
    with ev.EventLog.open(path, sinks=[lambda first, events: found.append(len(numbers(path)))]) as log:
        log.append([numbered(0), numbered(1)])
        log.append([numbered(2)])
    assert found == [2, 3]


def test_a_sink_that_raises_is_dropped_with_a_warning_and_the_others_go_on(path):
    calls, seen = [], []

    def bad(first, events):
        calls.append(first)
        raise RuntimeError("board on fire")

    with ev.EventLog.open(path, sinks=[bad, lambda first, events: seen.append(first)]) as log:
        with pytest.warns(RuntimeWarning, match="board on fire"):
            assert log.append([numbered(0)]) == 0
        assert log.append([numbered(1)]) == 1
    assert (calls, seen) == ([0], [0, 1])
    assert numbers(path) == [(0, 0), (1, 1)]


def test_fsync_comes_soon_but_never_more_often_than_the_interval(path, monkeypatch):
    synced, real = [], os.fsync

    def fsync(fd):
        number = log.next_event_id  # before, as more may be appended while it lasts
        real(fd)
        synced.append((time.monotonic(), number))

    with ev.EventLog.open(path, fsync_interval_seconds=0.1) as log:
        monkeypatch.setattr(os, "fsync", fsync)
        for n in range(60):
            log.append([numbered(n)])
            time.sleep(0.005)
        deadline = time.monotonic() + 5
        while not synced or synced[-1][1] < 60:  # the last event gets its fsync without another append and before close
            assert time.monotonic() < deadline
            time.sleep(0.01)
        background = list(synced)
        time.sleep(0.25)
        assert synced == background  # an idle log asks nothing of the disk
    assert all(later - earlier >= 0.09 for (earlier, _), (later, _) in itertools.pairwise(background))
    assert len(synced) == len(background) + 1


def test_a_closed_log_says_so_and_closes_twice(path):
    log = ev.EventLog.open(path)
    log.close()
    log.close()
    with pytest.raises(MlgymError, match="closed"):
        log.append([numbered(0)])
    assert path.read_bytes() == b""


def test_an_event_that_cannot_be_encoded_leaves_the_log_untouched(path):
    with ev.EventLog.open(path) as log:
        log.append([numbered(0)])
        with pytest.raises(TypeError):
            log.append([numbered(1), {"payload": object()}])
        assert log.append([numbered(1)]) == 1
    assert numbers(path) == [(0, 0), (1, 1)]


def test_no_log_is_a_message_and_not_a_traceback(tmp_path):
    missing = tmp_path / "none" / "event_storage.log"
    for use in (ev.EventLog.open, ev.read_log, lambda path: list(ev.read_events(path))):
        with pytest.raises(MlgymError, match=r"none/event_storage\.log: cannot .* No such file"):
            use(missing)


# --- the log, damaged ----------------------------------------------------------------------------------------------


def test_a_line_torn_at_any_byte_is_cut_off_and_its_id_used_again(path):
    lines = [ev.encode(event) + b"\n" for event in (numbered(0), numbered(1), EVENTS["evaluation_result"])]
    whole = lines[0] + lines[1]
    for cut in range(len(lines[2])):
        path.write_bytes(whole + lines[2][:cut])
        assert numbers(path) == [(0, 0), (1, 1)]
        assert ev.read_log(path) == ([numbered(0), numbered(1)], [])
        with ev.EventLog.open(path) as log:
            assert (log.next_event_id, log.repaired_bytes) == (2, cut)
            assert log.append([numbered(2)]) == 2
        assert path.read_bytes() == whole + ev.encode(numbered(2)) + b"\n"


@pytest.mark.parametrize(
    ("tail", "is_kept"),
    [
        (b"\n", False),
        (b'{"event_type": "numb', False),
        (b'{"event_type": "numb\n', True),
        (b"\0" * 5000, False),
        (b"\0\0\n\0", False),
        (b"5\n", True),
        (b"\xff\n{\n{", True),
        (b'"x"\n\n\n', True),
        (b"\x1f\x8b", True),
    ],
)
def test_garbage_at_the_end_is_cut_off_and_kept_if_it_is_more_than_a_torn_line(path, tail, is_kept, caplog):
    whole = ev.encode(numbered(0)) + b"\n"
    for name, kept in (("x.damaged", b""), ("x.damaged-2", whole)):
        path.write_bytes(kept + tail)
        with ev.EventLog.open(path) as log:
            assert (log.next_event_id, log.repaired_bytes) == (kept.count(b"\n"), len(tail))
        assert path.read_bytes() == kept
        aside = path.with_name(name.replace("x", path.name))
        assert aside.exists() == is_kept and (not is_kept or aside.read_bytes() == tail)
        assert (f"{aside}: the last {len(tail)} bytes" in caplog.text) == is_kept


def test_damage_in_the_middle_keeps_its_number_and_is_reported(path):
    lines = [ev.encode(numbered(n)) for n in range(6)]
    lines[1], lines[3], lines[4] = b"", lines[3][:-4], b"\xff\xfe"
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert numbers(path) == [(0, 0), (2, 2), (5, 5)]
    assert list(ev.read_events(path, after=2)) == [(5, numbered(5))]
    assert ev.read_log(path) == ([numbered(0), numbered(2), numbered(5)], [1, 3, 4])
    with ev.EventLog.open(path) as log:
        assert (log.next_event_id, log.repaired_bytes) == (6, 0)


# --- the writer, disturbed -----------------------------------------------------------------------------------------


def start(code: str, *arguments: object) -> Forked | subprocess.Popen:
    program = "import os, sys\nfrom mlgym_jax.events import *\nfrom mlgym_jax.errors import *\n" + textwrap.dedent(code)
    ends = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
    return popen("events", *arguments, code=program, cwd=ROOT, **ends)


def finish(process: Forked | subprocess.Popen) -> str:
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err.decode()
    return out.decode()


def test_a_killed_writer_leaves_a_whole_log_with_all_that_it_had_been_promised(path):
    code = """
        with EventLog.open(sys.argv[1], fsync_interval_seconds=0.01) as log:
            while True:
                first = log.next_event_id
                size = 300 if first % 3 else 1
                padding = "x" * (1000 * (first % 5))
                log.append([{"payload": {"number": first + n, "padding": padding}} for n in range(size)])
                os.write(1, b"%d\\n" % log.next_event_id)
    """
    chance, promised = random.Random(0), 0
    for _ in range(8):
        process = start(code, path)
        first_promise = process.stdout.readline()
        time.sleep(chance.uniform(0, 0.04))
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL, err.decode()
        # A promise cut short by the kill is not one.
        promises = [int(line) for line in (first_promise + out).splitlines(keepends=True) if line.endswith(b"\n")]
        assert promises[-1] > promised
        promised = promises[-1]
        events, damaged = ev.read_log(path)
        assert damaged == []
        assert [event["payload"]["number"] for event in events] == list(range(len(events)))
        assert len(events) >= promised
    with ev.EventLog.open(path) as log:  # the lock died with the writer
        assert log.next_event_id == len(events)


def test_a_full_disk_leaves_a_whole_log_that_can_be_appended_to_later(tmp_path):
    path = tmp_path / RUN / "event_storage.log"
    path.parent.mkdir()
    code = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        batch = lambda n: [{"payload": {"number": n + k, "padding": "x" * 50}} for k in range(3)]
        sunk = []
        with EventLog.open(sys.argv[1], sinks=[lambda first, events: sunk.extend(events)]) as log:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
            for _ in range(2):  # and it fails in the same way again
                try:
                    while True:
                        log.append(batch(log.next_event_id))
                except DiskError as error:
                    assert os.path.getsize(sys.argv[1]) < 1000
                    assert log.next_event_id == len(sunk) == len(list(read_events(sys.argv[1]))) > 0
                    message = str(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            log.append(batch(log.next_event_id))
        print(message)
    """
    message = finish(start(code, path))
    logged = numbers(path)
    assert logged == [(n, n) for n in range(len(logged))] and len(logged) % 3 == 0
    assert ev.read_log(path)[1] == []
    for part in (str(path), os.strerror(errno.EFBIG), "Everything logged before is safe", "can be resumed", RUN):
        assert part in message


def test_an_interrupt_between_two_parts_of_a_write_undoes_the_first(path, monkeypatch):
    real = os.write

    def interrupted(fd, data):
        if len(data) < 100:
            raise KeyboardInterrupt
        return real(fd, bytes(data[:100]))

    with ev.EventLog.open(path) as log:
        log.append([numbered(0)])
        monkeypatch.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            log.append([numbered(1), numbered(2)])
        monkeypatch.undo()
        assert log.append([numbered(1)]) == 1
    assert numbers(path) == [(0, 0), (1, 1)]


def test_a_write_that_cannot_be_undone_ends_this_writer_and_the_next_one_repairs(path, monkeypatch):
    real = os.write

    def broken(fd, data):
        if len(data) < 100:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, bytes(data[:100]))

    def refused(fd, size):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with ev.EventLog.open(path) as log:
        log.append([numbered(0)])
        monkeypatch.setattr(os, "write", broken)
        monkeypatch.setattr(os, "ftruncate", refused)
        with pytest.raises(DiskError, match="safe"):
            log.append([numbered(1), numbered(2)])
        monkeypatch.undo()
        with pytest.raises(DiskError, match="safe"):
            log.append([numbered(1)])
    with ev.EventLog.open(path) as log:
        assert log.repaired_bytes > 0
        assert log.append([numbered(log.next_event_id)]) >= 1
    assert numbers(path) == [(n, n) for n in range(len(numbers(path)))]


def test_a_failing_fsync_is_told_by_the_next_append_and_by_close(path, monkeypatch):
    def refused(fd):
        failed.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    failed = threading.Event()
    log = ev.EventLog.open(path, fsync_interval_seconds=0.0)
    monkeypatch.setattr(os, "fsync", refused)
    log.append([numbered(0)])
    assert failed.wait(5)
    deadline = time.monotonic() + 5
    with pytest.raises(DiskError, match="power loss"):
        while time.monotonic() < deadline:
            log.append([])
    with pytest.raises(DiskError, match="power loss"):
        log.close()
    monkeypatch.undo()
    ev.EventLog.open(path).close()  # the file and its lock were let go all the same


# --- one writer ----------------------------------------------------------------------------------------------------

TRY_TO_WRITE = """
    try:
        EventLog.open(sys.argv[1]).close()
        print("opened")
    except MlgymError as error:
        print(error)
"""


def test_a_run_has_one_writer(path):
    with ev.EventLog.open(path) as log:
        log.append([numbered(0)])
        assert "another process is writing this run" in finish(start(TRY_TO_WRITE, path))
        with pytest.raises(MlgymError, match="another process is writing this run"):
            ev.EventLog.open(path)
        log.append([numbered(1)])
    assert finish(start(TRY_TO_WRITE, path)) == "opened\n"
    assert numbers(path) == [(0, 0), (1, 1)]


def test_a_forked_child_neither_writes_nor_holds_the_log(path):
    code = """
        log = EventLog.open(sys.argv[1])
        log.append([{"payload": {"number": 0}}])
        leave, to_leave = os.pipe()
        told, tell = os.pipe()
        if os.fork() == 0:
            try:
                log.append([{"payload": {"number": -1}}])
            except MlgymError:
                os.write(tell, b"refused")
            log.close()
            os.read(leave, 1)
            os._exit(0)
        assert os.read(told, 9) == b"refused"
        try:
            EventLog.open(sys.argv[1])
        except MlgymError:
            pass
        else:
            sys.exit("the child let go of its parent's lock")
        log.append([{"payload": {"number": 1}}])
        log.close()
        EventLog.open(sys.argv[1]).close()  # while the child lives
        os.write(to_leave, b".")
        assert os.wait()[1] == 0
    """
    finish(start(code, path))
    assert numbers(path) == [(0, 0), (1, 1)]


def test_a_program_started_meanwhile_does_not_inherit_the_log(path):
    with ev.EventLog.open(path):
        sleeper = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        ev.EventLog.open(path).close()
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_descriptor_and_no_thread_is_left_behind(path):
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before = held()
    for n in range(5):
        with ev.EventLog.open(path) as log:
            log.append([numbered(n)])
            with pytest.raises(MlgymError):
                ev.EventLog.open(path)
        assert ev.read_log(path)[1] == []
        assert next(ev.read_events(path)) == (0, numbered(0))
    assert held() == before
