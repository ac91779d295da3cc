"""Signals are obeyed wherever they come: in a callback, in what a library makes of exceptions, in compiled code."""

import gc
import os
import pathlib
import pty
import signal
import subprocess
import sys
import threading
import time

import forks
import pytest
from conftest import ROOT
from study_files import assert_same_outcome, events, finish, here, outcome, small, start, wait_until

import mlgym_jax as mg
from mlgym_jax.execution import compiling
from mlgym_jax.execution.interruption import Interruption, interruptible, safe_point

# What happens where WHERE says: a signal in a callback of garbage collection, which swallows what is raised in it; two
# signals whose exception is swallowed, or made another one of.
TOP = """
import gc
import os
import signal


def happen(where):
    if os.environ.get("WHERE") != where:
        return
    first, *second = [getattr(signal, name) for name in os.environ["SIGNALS"].split()]

    def callback(phase, info):
        gc.callbacks.remove(callback)
        signal.raise_signal(first)
        if os.environ["THEN"] == "is swallowed":
            signal.raise_signal(second.pop())

    gc.callbacks.append(callback)
    gc.collect()
    for number in second:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            if os.environ["THEN"] == "raises":
                raise RuntimeError("INTERNAL: an error of the compiler")


@register("dataset", "of_signals")
def of_signals():
    happen("reading data")
    inputs = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    return mg.Dataset({"train": {"inputs": inputs, "targets": (inputs[:, 0] > 0).astype(np.int32)}}, 2)


@register("checkpointing", "of_signals")
def policy_of_signals():
    def policy(history):
        if len(history) == 2:
            happen("training")
        return {1}

    return policy


@register("early_stopping", "of_signals")
def stopping_of_signals():
    def stops(history):
        if len(history) == 2:
            happen("judging")
        return False

    return stops
"""
EDIT = """config.dataset = component("of_signals")
    config.loader = component("in_memory", batch_size=8)
    config.early_stopping = component("of_signals")
    config.checkpointing = component("of_signals")"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small(tmp_path_factory.mktemp("signals"), EDIT, "import numpy as np\n" + TOP)


@pytest.fixture(scope="module")
def undisturbed(study):
    status, _, err = run(study, study.parent, "whole")
    assert status == 0, err
    return outcome(study.parent / "whole")


@pytest.fixture
def disturbed(monkeypatch):
    def happens(where, signals, then=""):
        for name, value in {"WHERE": where, "SIGNALS": signals, "THEN": then}.items():
            monkeypatch.setenv(name, value)

    return happens


def run(study, storage, run_id):
    return here("run", f"--config={study}", f"--event_storage={storage}", f"--run_id={run_id}", "--quiet")


def assert_goes_on(run_dir, undisturbed, monkeypatch):
    monkeypatch.delenv("WHERE", raising=False)
    status, _, err = here("run", f"--resume={run_dir.name}", f"--event_storage={run_dir.parent}", "--quiet")
    assert status == 0, err
    assert_same_outcome(outcome(run_dir), undisturbed)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
@pytest.mark.parametrize("where", ["reading data", "training"])
def test_a_signal_in_a_callback_is_obeyed(study, undisturbed, disturbed, tmp_path, monkeypatch, where, name):
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGUSR1)}
    disturbed(where, name)
    status, out, err = run(study, tmp_path, "cut")
    assert (status, out) == (130, "") and "interrupted" in err and "Traceback" not in err
    assert {number: signal.getsignal(number) for number in before} == before
    if where == "reading data":
        assert list(tmp_path.iterdir()) == []
    else:
        assert mg.load_run(tmp_path / "cut").status == "INTERRUPTED"
        assert [event["epoch"] for event in events(tmp_path / "cut", "evaluation_result")] == [1, 2]
        if name == "SIGTERM":
            assert_goes_on(tmp_path / "cut", undisturbed, monkeypatch)


def test_a_signal_in_a_callback_ends_a_search_for_a_learning_rate(disturbed, tmp_path):
    disturbed("the config is read", "SIGINT")
    config = small(tmp_path, top=f"import numpy as np\n{TOP}\nhappen('the config is read')\n")
    status, out, err = finish(start("find_learning_rate", f"--config={config}"))
    assert (status, out) == (130, "") and "interrupted" in err and "ignored" not in err


@pytest.mark.parametrize("then", ["raises", "passes", "is swallowed"])
@pytest.mark.parametrize("where", ["reading data", "training", "judging"])
def test_a_second_signal_is_obeyed_whatever_is_made_of_it(
    study, undisturbed, disturbed, tmp_path, monkeypatch, where, then
):
    disturbed(where, "SIGTERM SIGINT", then)
    status, out, err = run(study, tmp_path, "cut")
    assert (status, out) == (130, "") and "interrupted" in err and "Traceback" not in err and "ignored" not in err
    if where != "reading data":
        assert mg.load_run(tmp_path / "cut").status == "INTERRUPTED"
        assert events(tmp_path / "cut", "experiment_failed") == []
        if then == "raises":
            assert_goes_on(tmp_path / "cut", undisturbed, monkeypatch)


def test_a_hangup_that_is_ignored_stays_so(study, disturbed, tmp_path):
    disturbed("training", "SIGHUP")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` has it
    try:
        assert run(study, tmp_path, "whole")[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_long_compilation_is_not_waited_for(study, tmp_path, monkeypatch):
    real, go_on, compiled = compiling._compiled, threading.Event(), []

    def long(*item):
        signal.raise_signal(signal.SIGTERM)
        go_on.wait(60)
        compiled.append(item)
        return real(*item)

    monkeypatch.setattr(compiling, "_compiled", long)
    try:
        status, _, err = run(study, tmp_path, "cut")
        assert status == 130 and "--resume=cut" in err and compiled == []
    finally:
        go_on.set()


def test_a_handler_of_ones_own_is_called_in_the_end():
    came = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))

    @interruptible
    def training():
        signal.raise_signal(signal.SIGUSR1)
        assert came == []
        gc.collect()
        safe_point()

    try:
        with pytest.raises(KeyboardInterrupt):
            training()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came == [signal.SIGUSR1]


def test_what_is_noted_inside_is_delivered_outside():
    with pytest.raises(KeyboardInterrupt), Interruption() as outer:
        with Interruption() as inner:
            signal.raise_signal(signal.SIGINT)
        assert inner.requested and outer.requested
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        interruption.forget()


# The main thread computes in C for minutes, where it runs no handler; before that, a child is forked.
STUCK = """
import hashlib, os, signal
from mlgym_jax.execution.interruption import Interruption, Watch

signal.signal(signal.SIGTERM, signal.default_int_handler)
with Watch(), Interruption():
    child = os.fork()
    if child == 0:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    print(child, flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


def test_a_process_that_is_stuck_is_ended_by_insisting():
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", STUCK],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        child = int(process.stdout.readline())
        os.kill(child, signal.SIGINT)  # no child is interrupted with care, nor counted for one
        limit = time.monotonic() + 30
        while pathlib.Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
            assert time.monotonic() < limit
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "\n" and process.stderr.readline().startswith("stopping after this epoch")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        status, _, err = finish(process, timeout=30)
        assert status == 130 and "--resume goes on from it" in err
    finally:
        if process.poll() is None:  # nor is its child gone then
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()


def test_a_process_that_is_signalled_while_it_starts_ends_so(study, tmp_path):
    process = start("run", f"--config={study}", f"--event_storage={tmp_path}", "--run_id=cut", "--quiet", fresh=True)
    wait_until(lambda: "jax" in pathlib.Path(f"/proc/{process.pid}/maps").read_text(), process, "JAX")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    status, out, err = finish(process)
    assert (status, out) == (130, "") and "Traceback" not in err and "ignored" not in err


HUNG_UP = """
import fcntl, os, signal, sys, termios
from mlgym_jax.execution.interruption import Interruption, Watch

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.default_int_handler)
with Watch(), Interruption() as interruption:
    print("ready", flush=True)
    while not interruption.requested:
        signal.pause()
    interruption.forget()
    print("to nobody", flush=True)
    print("to nobody", file=sys.stderr, flush=True)
sys.exit(7)
"""


def test_a_terminal_that_is_closed_makes_no_other_error():
    terminal, inside = pty.openpty()
    ends = dict.fromkeys(("stdin", "stdout", "stderr"), inside)
    process = subprocess.Popen([sys.executable, "-c", HUNG_UP], cwd=ROOT, start_new_session=True, **ends)
    os.close(inside)
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    assert process.wait(30) == 7


@pytest.mark.parametrize("status", [0, 1])
def test_a_failed_command_ends_though_a_thread_does_not(status):
    code = "import sys, threading; from mlgym_jax import command_line; command_line._LEAVING_SECONDS = 0.1\n"
    code += "threading.Thread(target=threading.Event().wait, args=(float(sys.argv[2]),)).start()\n"
    code += "print('said'); command_line.leave(int(sys.argv[1]))"
    seconds = 0.3 if status == 0 else 1_000  # one that succeeded waits, as Python does
    began = time.monotonic()
    found = forks.run("engine", status, seconds, code=code, timeout=60)
    assert (found.returncode, found.stdout) == (status, "said\n") and (status or time.monotonic() - began > 0.3)
