"""Python processes for tests, forked from one that has imported what they do: imports are most of what many cost.

`popen` stands for `subprocess.Popen([sys.executable, …])`. What it starts is a real process, with its own id, files,
signals and exit status. What a new interpreter reads while it starts or imports cannot be changed in a fork: a request
that sets it starts a new interpreter. All forks of a server have one seed of string hashes.
"""

import atexit
import contextlib
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref

from fork_server import JAX_SETTINGS, MAX_REQUEST_BYTES

ROOT = pathlib.Path(__file__).parent.parent

# By server, what it has imported; what would start a thread, as pyarrow does for scikit-learn, is left to each process.
SERVERS = {
    "board": ["board_server.*", "board_server.__main__"],
    "engine": ["mlgym_jax.*", "jax", "flax.linen", "flax.nnx", "optax", "orbax.checkpoint", "rich.live"],
    "events": ["mlgym_jax.events.*"],
    "data": ["mlgym_jax.data.datasets", "tensorflow_datasets", "scipy.stats"],
}

# What an interpreter or a library reads while it starts or is imported; this project's programs read theirs later.
_READ_AT_START = re.compile(
    r"(JAX|XLA|LIBTPU|TPU|CUDA|NVIDIA|TF|TFDS|GRAIN|ORBAX|TENSORSTORE|FLAX|OPENBLAS|OMP|MKL|NUMPY|PYTHON|LD|MALLOC"
    r"|GLIBC|LC|XDG|SSL|OPENSSL|FSSPEC)_|PYTHON|LANG|HOME$|TZ$"
)

_started: dict[str, "_Server"] = {}
_starting = threading.Lock()


def popen(server, *words, module=None, code=None, cwd=None, env=None, max_file_bytes=None, fresh=False, **settings):
    """Start `python -m module words` or `python -c code words`.

    Args:
        server: which one has imported what it needs.
        env: what is set beside this process's own environment.
        max_file_bytes: how large a file it may write.
        fresh: start a new interpreter, whatever the request.
        settings: stdin, stdout, stderr, text, bufsize and start_new_session, as Popen takes them.

    Returns:
        A Popen, or a `Forked`, which has what tests use of one.
    """
    words = [str(word) for word in words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    argv = ["-m" if code is None else "-c", *words]
    asked = {"module": module, "code": code, "argv": argv, "env": env, "max_file_bytes": max_file_bytes}
    asked |= {"cwd": str(cwd or os.getcwd()), "new_session": settings.get("start_new_session", False)}
    request = json.dumps(asked).encode()
    able = hasattr(os, "pidfd_open") and "COVERAGE_PROCESS_CONFIG" not in env  # coverage follows new interpreters
    if able and not fresh and len(request) <= MAX_REQUEST_BYTES and (one := _server(server)).takes(env):
        settings.pop("start_new_session", None)
        return Forked(one, argv, request, **settings)
    if max_file_bytes is not None:
        env.pop("COVERAGE_PROCESS_CONFIG", None)  # its data would be such a file
        program = code or f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
        limits = max_file_bytes, max_file_bytes
        code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, {limits})\n{program}"
    program = ["-m", module] if code is None else ["-c", code]
    return subprocess.Popen([sys.executable, *program, *words], cwd=cwd, env=env, **settings)


def run(server, *words, timeout=240, **settings):
    """Start one, and return what `subprocess.run` does of its text."""
    process = popen(server, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _server(name):
    with _starting:
        if name not in _started:
            _started[name] = _Server(SERVERS[name])
        return _started[name]


class _Server:
    def __init__(self, names):
        self._env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            command = [sys.executable, ROOT / "tests/fork_server.py", str(other.fileno()), *names]
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)  # no files: Python asks once whether
            self._process = subprocess.Popen(command, pass_fds=[other.fileno()], cwd=ROOT, env=self._env, **pipes)
        atexit.register(self._end)
        said = self._control.recv(1 << 16).decode()
        assert said == "ready", said

    def takes(self, env):
        names = {name for name in self._env.keys() | env.keys() if self._env.get(name) != env.get(name)}
        return not any(_READ_AT_START.match(name) and (name not in env or name not in JAX_SETTINGS) for name in names)

    def ask(self, request, files):
        """Have a process forked; return where its id and its end are told."""
        told, tell = os.pipe()
        try:
            socket.send_fds(self._control, [request], [*files, tell])
        finally:
            os.close(tell)
        return told

    def _end(self):
        self._control.close()
        self._process.communicate()


class Forked:
    """A process that a server has forked, with what tests use of `subprocess.Popen`."""

    def __init__(self, server, args, request, *, stdin=None, stdout=None, stderr=None, text=False, bufsize=-1):
        self.args, self.returncode = args, None
        self.stdin = self.stdout = self.stderr = None
        self._lock, self._readers, self._found, self._said = threading.Lock(), None, {}, b""
        with contextlib.ExitStack() as stack:
            files = []
            for name, what in {"stdin": stdin, "stdout": stdout, "stderr": stderr}.items():
                if what == subprocess.PIPE:
                    reads, writes = os.pipe()
                    theirs, ours, mode = (reads, writes, "w") if name == "stdin" else (writes, reads, "r")
                    stack.callback(os.close, theirs)
                    setattr(self, name, os.fdopen(ours, mode if text else f"{mode}b", -1 if text else bufsize))
                elif what == subprocess.DEVNULL:
                    theirs = os.open(os.devnull, os.O_RDWR)
                    stack.callback(os.close, theirs)
                elif what is None:
                    theirs = ("stdin", "stdout", "stderr").index(name)
                else:
                    theirs = what if isinstance(what, int) else what.fileno()
                files.append(theirs)
            self._told = server.ask(request, files)
        weakref.finalize(self, os.close, self._told)
        self.pid = self._next()["pid"]

    def _next(self):
        while b"\n" not in self._said:
            more = os.read(self._told, 4096)
            assert more, "the server that forks processes has ended"
            self._said += more
        line, _, self._said = self._said.partition(b"\n")
        return json.loads(line)

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._told, select.POLLIN)
            if not self._said and not poll.poll(None if timeout is None else max(0, timeout) * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout)
            with self._lock:  # one of those who wait reads it
                if self.returncode is None:
                    self.returncode = self._next()["status"]
        return self.returncode

    def communicate(self, input=None, timeout=None):
        """Write `input`, read what it says to the end, and wait for it; after a timeout it may be called again."""
        limit = None if timeout is None else time.monotonic() + timeout

        def left():
            return None if limit is None else max(0.0, limit - time.monotonic())

        streams = [stream for stream in (self.stdout, self.stderr) if stream is not None and not stream.closed]
        if self._readers is None:
            self._readers = [threading.Thread(target=self._read, args=(one,), daemon=True) for one in streams]
            for reader in self._readers:
                reader.start()
        if self.stdin is not None and not self.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.write(input or ("" if "b" not in self.stdin.mode else b""))
                self.stdin.close()
        for reader in self._readers:
            reader.join(left())
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(left())
        return tuple(None if one is None else self._found.get(one) for one in (self.stdout, self.stderr))

    def _read(self, stream):
        self._found[stream] = stream.read()
        stream.close()

    def send_signal(self, number):
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)
