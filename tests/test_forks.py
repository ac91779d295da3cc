"""Processes that tests fork are what new interpreters would be, and none of the server's is left behind."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from forks import ROOT, Forked, popen, run

pytestmark = pytest.mark.skipif("COVERAGE_PROCESS_CONFIG" in os.environ, reason="coverage follows no forks")

ENDS = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
SHOWN = """
import os, resource, signal, sys
print(sys.argv, sys.path[:1], sys.orig_argv[1:2], __name__, os.getcwd(), os.environ["MINE"])
print(sorted(map(int, os.listdir("/proc/self/fd")))[:-1], len(os.listdir("/proc/self/task")))
print([signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)])
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), resource.getrlimit(resource.RLIMIT_FSIZE)[0])
print(os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid())
print(sys.stdout.line_buffering, sys.stderr.line_buffering, sys.stdout.encoding, sys.stderr.errors)
sys.stderr.write("said")
sys.exit(sys.stdin.read())
"""


@pytest.mark.parametrize("own_session", [False, True])
def test_a_fork_is_as_a_new_interpreter_finds_itself(tmp_path, own_session):
    found = []
    for fresh in (False, True):
        settings = {"env": {"MINE": "ü"}, "max_file_bytes": 12345, "start_new_session": own_session, "fresh": fresh}
        process = popen("events", "a", "b c", code=SHOWN, cwd=tmp_path, stdin=subprocess.PIPE, **ENDS, **settings)
        assert isinstance(process, Forked) is not fresh
        assert process.poll() is None
        found.append((process.communicate("no", timeout=60), process.returncode, process.poll(), process.wait(0)))
    assert found[0] == found[1]
    assert found[0][0][1] == "saidno\n" and found[0][1] == 1


def test_signals_reach_it_and_its_end_is_known():
    code = "import time; print('here', flush=True); time.sleep(60)"
    for number, ended in ((signal.SIGINT, "KeyboardInterrupt\n"), (signal.SIGTERM, ""), (signal.SIGKILL, "")):
        process = popen("events", code=code, **ENDS)
        assert process.stdout.readline() == "here\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == -number and err.endswith(ended)
        process.send_signal(number)  # to nobody


def test_what_is_read_while_python_starts_is_read_by_a_new_one():
    with popen("events", code="", env={"PYTHONHASHSEED": "3"}) as process:
        assert isinstance(process, subprocess.Popen)
    assert (
        run("events", code="import sys; print(sys.flags.hash_randomization)", env={"PYTHONHASHSEED": "0"}).stdout
        == "0\n"
    )


HOLDER = """
import os, subprocess, sys
sys.path.insert(0, "tests")
import forks
process = forks.popen("events", code="import time; print(); time.sleep(60)", stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, forks._started["events"]._process.pid, flush=True)
sys.stdin.read()
"""


def test_the_server_ends_with_whoever_started_it_and_its_forks_go_on():
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    fork, server = map(int, holder.stdout.readline().split())
    holder.kill()
    holder.communicate()
    try:
        limit = time.monotonic() + 30
        while pathlib.Path(f"/proc/{server}/cmdline").exists() and pathlib.Path(f"/proc/{server}/cmdline").read_bytes():
            assert time.monotonic() < limit
            time.sleep(0.01)
        os.kill(fork, 0)
    finally:
        os.kill(fork, signal.SIGKILL)
