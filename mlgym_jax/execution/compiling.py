"""A group's programs: each is compiled in a thread as soon as it is traced, side by side with the others."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

from mlgym_jax.execution.interruption import safe_point
from mlgym_jax.execution.memory import memory_needed

_LOOK_SECONDS = 0.1  # between two looks for an interruption while programs are compiled


class Programs:
    """Compiled programs by what they are called and how wide their blocks are.

    Attributes:
        compiled: those that may be called; results: shapes of what they, and those that only are traced yet, return.
        while_compiling: called when all is traced, once a compilation.
        look: called between two traces, and while the rest is waited for; what it raises ends the compilation.
    """

    def __init__(self) -> None:
        self.compiled: dict[Any, Any] = {}
        self.results: dict[Any, Any] = {}
        self._bytes: dict[Any, int] = {}  # of each, as asked once: it takes milliseconds
        self.while_compiling: Callable[[], object] = lambda: None
        self.look: Callable[[], object] = safe_point
        self._coming: dict[Any, concurrent.futures.Future[Any]] = {}
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None

    @property
    def bytes_needed(self) -> int:
        """What a call needs on a device, of the program that needs most; 0 before any is compiled."""
        return max(self._bytes.values(), default=0)

    def forget(self) -> None:
        """Let go of all of them: they are to be compiled for blocks of another width."""
        self.compiled, self.results, self._bytes = {}, {}, {}

    def add(self, key: Any, lowered: Any) -> None:
        """Begin to compile a program that was traced."""
        assert self._pool is not None, "programs are added while they are `collected`"
        self.look()
        self.results[key] = lowered.out_info
        self._coming[key] = self._pool.submit(_compiled, key[0], lowered)

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Compile each program as soon as it is added; at the end, wait for all of them."""
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=2)
        self._coming, waits = {}, True
        try:
            yield
            self.while_compiling()
            while concurrent.futures.wait(self._coming.values(), timeout=_LOOK_SECONDS).not_done:
                self.look()
            new = {key: part.result() for key, part in self._coming.items()}
            self.compiled.update(new)
            self._bytes.update((key, memory_needed(compiled)) for key, compiled in new.items())
        except KeyboardInterrupt:
            waits = False  # a compilation cannot be broken off, and takes minutes
            raise
        finally:
            self._pool.shutdown(wait=waits, cancel_futures=not waits)


def _compiled(name: Any, lowered: Any) -> Any:
    # What runs once need not be fast: less optimisation halves the compile time on a CPU.
    quick = name == "init" and jax.default_backend() == "cpu"
    return lowered.compile(compiler_options={"xla_backend_optimization_level": 1} if quick else None)
