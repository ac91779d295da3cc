"""Sinks of a run that this process trains: a process of their own follows its log, so that no training waits for them.

A tracker's package takes seconds to import, may hold the interpreter's lock and may crash; here it costs the training
what a reader of its log costs. The process ends by itself when nobody writes the log any more.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence

from mlgym_jax.errors import MlgymError
from mlgym_jax.sinks.sink import OUT, command, wanted

_WAIT_SECONDS = 10.0  # for what is unwritten when a run ends
_LOOK_SECONDS = 0.05
_COMMAND = 2  # of the words of the command, how many say what is run
# Behind the training, where processors are few.
_NICED = "import os, runpy; os.nice(19); runpy.run_module('mlgym_jax.export_logs', run_name='__main__', alter_sys=True)"


class LogsBeside:
    """A context around the writing of a run's log; `begin` is called once the log is there and open.

    Args:
        to: the names of trackers, `tensorboard`, `wandb`, `mlflow`, `aim`; none writes nothing.
        out: the folder to write to.

    Raises:
        MlgymError: an unknown name, or a package that is not installed.
    """

    def __init__(self, to: str | Sequence[str] | None, out: str | os.PathLike[str] | None = None):
        self._names = wanted(to, "log_to")
        if out is not None and not self._names:
            raise MlgymError("log_out is given, but no log_to; write --log_to=tensorboard")
        self._out = os.path.abspath(os.fspath(out or OUT))
        self._process: subprocess.Popen[bytes] | None = None
        self._again = ""

    def begin(self, run_dir: str) -> None:
        """Start to follow a run's log; that this is impossible is told, and the training goes on."""
        if not self._names:
            return
        words = command(run_dir, self._names, self._out)
        self._again = shlex.join(["python", *words])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _NICED, *words[_COMMAND:], "--follow"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the training, which ends it by ending
            )
        except OSError as error:
            self._tell(f"no process could be started ({error.strerror})")

    def __enter__(self) -> LogsBeside:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait, for a bounded time, until what the log holds is written; an impatient Ctrl-C ends the waiting."""
        process, until = self._process, time.monotonic() + _WAIT_SECONDS
        if process is None:
            return
        try:
            while process.poll() is None and time.monotonic() < until:
                time.sleep(_LOOK_SECONDS)
        except KeyboardInterrupt:
            pass
        if process.returncode is None:
            process.returncode = 0  # it is left alone, and no warning says so
            print(f"{', '.join(self._names)}: process {process.pid} writes the rest", file=sys.stderr, flush=True)
        elif process.returncode:
            self._tell("not all is written")

    def _tell(self, problem: str) -> None:
        lines = f"{', '.join(self._names)}: {problem}. Write it later with:\n  {self._again}"
        print(lines, file=sys.stderr, flush=True)
