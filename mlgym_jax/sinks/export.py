"""Read a run's log, also while it is written, and show each sink the experiments of which there is something new."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import RunView, apply_lines, is_being_written, layout
from mlgym_jax.sinks import facts
from mlgym_jax.sinks.sink import Sink, open_sink

_LOOK_SECONDS = 0.5
_READ_BYTES = 1 << 24  # of the log at once, so that sinks see a large one grow


class Outlet:
    """A sink, and what it was shown: it is dropped when it fails, and the others go on.

    Attributes:
        epochs: how many were written; failure: why it was dropped, in words.
    """

    def __init__(self, name: str, make: Callable[[], Sink], tell: Callable[[str], None]):
        self.name, self._tell = name, tell
        self.epochs, self.failure, self.place = 0, None, ""
        self._shown: dict[int, object] = {}
        self._sink: Sink | None = None
        with self._dropped_if_it_fails():
            self._sink = make()
            self.place = self._sink.place

    def show(self, view: RunView, *, is_over: bool) -> None:
        """Write what is new; at the end of a run every experiment is shown once more."""
        with self._dropped_if_it_fails():
            for number, experiment in view.experiments.items():
                state = experiment.epochs, facts.state(experiment), is_over
                if self._sink is not None and self._shown.get(number) != state:
                    self.epochs += self._sink.write(view, experiment, is_over=is_over)
                    self._shown[number] = state

    def close(self) -> None:
        with self._dropped_if_it_fails():
            if self._sink is not None:
                self._sink.close()
        self._sink = None

    @contextlib.contextmanager
    def _dropped_if_it_fails(self) -> Iterator[None]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what its package has to say to its own developers
                yield
        except Exception as error:  # of another project's code, which may raise anything
            self._sink, self.failure = None, _in_a_line(error)
            self._tell(f"{self.name}: {self.failure}; nothing more is written there")


class Export:
    """A run on its way into sinks.

    Raises:
        MlgymError: the log cannot be read.
    """

    def __init__(self, run_dir: str, outlets: Sequence[Outlet]):
        self._path = os.path.join(run_dir, layout.LOG)
        self._outlets = outlets
        self._offset = 0
        self.view = RunView()

    def catch_up(self, *, is_over: bool = False) -> None:
        """Show the sinks all that the log holds now."""
        while lines := self._new_lines():
            apply_lines(self.view, lines)
            for outlet in self._outlets:
                outlet.show(self.view, is_over=False)
        if is_over:
            for outlet in self._outlets:
                outlet.show(self.view, is_over=True)

    def follow(self) -> None:
        """Catch up until nobody writes the run any more, or no sink is left."""
        is_over = False
        while not is_over and any(outlet.failure is None for outlet in self._outlets):
            is_over = not is_being_written(self._path)  # before the reading: what is read then is all
            self.catch_up(is_over=is_over)
            if not is_over:
                time.sleep(_LOOK_SECONDS)

    def _new_lines(self) -> list[bytes]:
        try:
            with open(self._path, "rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:  # a damaged end was cut off: read it once more
                    self._offset, self.view = 0, RunView()
                file.seek(self._offset)
                lines = file.readlines(_READ_BYTES)
        except OSError as error:
            raise MlgymError(f"{self._path}: cannot read the event log: {error.strerror}.") from error
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # is being written
        self._offset += sum(map(len, lines))
        return lines


@contextlib.contextmanager
def opened(names: Sequence[str], run_dir: str, out: str, tell: Callable[[str], None]) -> Iterator[list[Outlet]]:
    """Make the sinks of a run, and close them; one that cannot be made is told and counts as failed."""
    outlets = [Outlet(name, lambda name=name: open_sink(name, run_dir, out), tell) for name in names]
    try:
        yield outlets
    finally:
        for outlet in outlets:
            outlet.close()


def _in_a_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
