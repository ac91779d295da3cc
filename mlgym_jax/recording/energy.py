"""Measured energy of a launch: RAPL counters of the processors, NVML counters of the GPUs; never an estimate."""

from __future__ import annotations

import contextlib
import pathlib
import threading
from collections.abc import Callable
from typing import Any

RAPL = pathlib.Path("/sys/class/powercap")
# A RAPL counter of 32 bits wraps after some minutes of full load, so it is read more often than that.
_SAMPLE_SECONDS = 30.0


class _Counter:
    """Adds up a counter of joules that may wrap around."""

    def __init__(self, read: Callable[[], float], wraps_at: float | None = None):
        self._read, self._wraps_at = read, wraps_at
        self._last, self.joules = read(), 0.0

    def sample(self) -> None:
        now = self._read()
        step = now - self._last
        if step < 0 and self._wraps_at is not None:
            step += self._wraps_at
        self.joules += max(step, 0.0)
        self._last = now


class EnergyMeter:
    """Measures from its making to `stop`.

    The counters are of whole processors and GPUs: what else runs on the machine counts, too.

    Args:
        rapl: the folder of the Linux power capping framework.
    """

    def __init__(self, rapl: pathlib.Path = RAPL):
        self._reasons: dict[str, str] = {}
        self._counters = {"processor": self._processors(rapl), "gpu": self._gpus()}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        if any(self._counters.values()):
            self._thread = threading.Thread(target=self._keep_sampling, daemon=True, name="energy")
            self._thread.start()

    def stop(self) -> dict[str, Any]:
        """Return {"processor_joules", "gpu_joules", "reasons"}; None and a reason for what cannot be measured."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._sample()
        found: dict[str, Any] = {
            f"{name}_joules": round(sum(counter.joules for counter in counters), 3) if counters else None
            for name, counters in self._counters.items()
        }
        return {**found, "reasons": dict(self._reasons)}

    def _keep_sampling(self) -> None:
        while not self._stopped.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        for counters in self._counters.values():
            for counter in counters:
                with contextlib.suppress(Exception):  # a counter that vanishes must not end a training
                    counter.sample()

    def _processors(self, rapl: pathlib.Path) -> list[_Counter]:
        packages = sorted(rapl.glob("intel-rapl:[0-9]*")) if rapl.is_dir() else []
        packages = [folder for folder in packages if folder.name.count(":") == 1]
        if not packages:
            self._reasons["processor"] = f"this machine reports none: {rapl} has no intel-rapl counters"
            return []
        try:
            return [self._rapl_counter(folder) for folder in packages]
        except (OSError, ValueError) as error:
            self._reasons["processor"] = f"the RAPL counters cannot be read ({error}); on Linux only root may"
            return []

    @staticmethod
    def _rapl_counter(folder: pathlib.Path) -> _Counter:
        wraps_at = int((folder / "max_energy_range_uj").read_text()) / 1e6
        return _Counter(lambda: int((folder / "energy_uj").read_text()) / 1e6, wraps_at)

    def _gpus(self) -> list[_Counter]:
        try:
            import pynvml  # pyright: ignore[reportMissingImports]  # of the optional package nvidia-ml-py

            pynvml.nvmlInit()
            handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            read = pynvml.nvmlDeviceGetTotalEnergyConsumption
            return [_Counter(lambda handle=handle: read(handle) / 1e3) for handle in handles]
        except ImportError:
            self._reasons["gpu"] = "NVML is not asked: the package nvidia-ml-py is not installed"
        except Exception as error:  # NVMLError, a type of the optional package
            self._reasons["gpu"] = f"NVML reports none: {error}"
        return []
