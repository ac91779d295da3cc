"""The thread beside a training: what it reads of a machine, when, and messages that come in any number."""

import logging
import threading
import time
import warnings

import pytest

from mlgym_jax.events import EventLog, RunView, read_log
from mlgym_jax.recording.machine import Machine
from mlgym_jax.recording.machine_log import collected, logged_beside
from mlgym_jax.recording.recorder import Recorder


@pytest.fixture
def log(tmp_path):
    with EventLog.open(tmp_path / "event_storage.log") as opened:
        yield opened


def payloads(log, kind):
    return [event["payload"] for event in read_log(log.path)[0] if event["event_type"] == kind]


def ticks(user, idle):
    return f"cpu  {user} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1\n"


def test_a_sample_is_of_the_time_since_the_one_before(tmp_path):
    (tmp_path / "self").mkdir()
    (tmp_path / "stat").write_text(ticks(100, 100))
    (tmp_path / "meminfo").write_text("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\nHugePages: 0\n")
    (tmp_path / "self/statm").write_text("500 300 0 0 0 0 0\n")
    now = [10.0]
    machine = Machine(str(tmp_path), clock=lambda: now[0], proc=tmp_path)
    now[0] = 14.0
    (tmp_path / "stat").write_text(ticks(175, 125))
    told = machine.sample()
    assert told["seconds"] == 4.0 and told["machine_busy"] == pytest.approx(0.75 * told["machine_cores"])
    assert (told["memory_total"], told["memory_available"]) == (1_024_000, 256_000)
    assert told["process_bytes"] % 300 == 0 and told["disk_total"] >= told["disk_free"] > 0
    now[0] = 15.0
    (tmp_path / "stat").write_text(ticks(175, 145))
    assert (again := machine.sample())["machine_busy"] == 0.0 and again["seconds"] == 1.0


def test_what_a_machine_does_not_tell_is_none(tmp_path):
    told = Machine(str(tmp_path / "gone"), proc=tmp_path / "no").sample()
    unknown = ("machine_busy", "memory_total", "memory_available", "process_bytes", "disk_free", "disk_total")
    assert [told[name] for name in unknown] == [None] * 6


def test_samples_come_at_the_interval_and_one_at_the_end(log, tmp_path):
    with logged_beside(Recorder("r", log, RunView()), None, Machine(str(tmp_path)), interval_seconds=0.05):
        deadline = time.monotonic() + 30
        while len(payloads(log, "system")) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    found = payloads(log, "system")
    assert len(found) >= 4 and all(one["seconds"] >= 0.05 for one in found[:-1])


def test_where_nothing_was_logged_there_is_no_sample(log, tmp_path):
    with logged_beside(Recorder("r", log, RunView()), None, Machine(str(tmp_path))):
        pass
    assert log.next_event_id == 0


def test_messages_are_shown_as_ever_and_logged_from_any_thread(log, monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: shown.append(str(message)))
    with collected() as messages, logged_beside(Recorder("r", log, RunView()), messages, None):
        thread = threading.Thread(target=lambda: logging.getLogger("a.b").error("no %d", 1))
        thread.start()
        thread.join()
        logging.getLogger("a.b").info("not this")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    found = [(one["level"], one["source"], one["text"]) for one in payloads(log, "message")]
    assert found == [("error", "a.b", "no 1"), ("warning", "DeprecationWarning", "old")] and shown == ["old"]
    assert not [one for one in logging.getLogger().handlers if type(one).__name__ == "_Collector"]


def test_a_flood_of_messages_is_cut_and_said_to_be(log):
    with collected() as messages, logged_beside(Recorder("r", log, RunView()), messages, None):
        for number in range(1_100):
            logging.getLogger("flood").warning("%d %s", number, "x" * 20_000 if not number else "")
    found = payloads(log, "message")
    assert len(found) == 1_001 and found[-1]["text"] == "further messages of this launch are not recorded"
    assert len(found[0]["text"]) == 10_001 and found[-1]["level"] == "info"


def test_a_log_that_is_gone_ends_nothing(log, tmp_path):
    with logged_beside(Recorder("r", log, RunView()), None, Machine(str(tmp_path)), interval_seconds=0.01):
        log.close()
        time.sleep(0.05)
