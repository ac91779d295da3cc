"""How busy the machine is: processor, memory, disk and GPUs, as Linux and NVML tell it; None for what nobody tells."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import time
from collections.abc import Callable
from typing import Any

PROC = pathlib.Path("/proc")


class Machine:
    """Samples what this process and its machine do, each time since the sample before.

    Args:
        folder: whose disk is looked at.
        clock: monotonic seconds; proc: Linux's folder of such numbers.
    """

    def __init__(self, folder: str, *, clock: Callable[[], float] = time.monotonic, proc: pathlib.Path = PROC):
        self._folder, self._clock, self._proc = folder, clock, proc
        self._host, self._cores = socket.gethostname(), os.cpu_count()
        self._gpus = _gpus()
        self._at, self._own, self._all = clock(), _own_seconds(), self._ticks()

    def sample(self) -> dict[str, Any]:
        """Return the fields of a `system` event."""
        now, own, ticks = self._clock(), _own_seconds(), self._ticks()
        seconds = now - self._at
        busy = None
        if ticks is not None and self._all is not None and self._cores and (total := ticks[1] - self._all[1]) > 0:
            busy = round(self._cores * max(0.0, ticks[0] - self._all[0]) / total, 3)
        used = round((own - self._own) / seconds, 3) if seconds > 0 else None
        self._at, self._own, self._all = now, own, ticks
        total, available = self._memory()
        disk = self._disk()
        return {
            "host": self._host,
            "seconds": round(seconds, 3),
            "process_cores": used,
            "machine_cores": self._cores,
            "machine_busy": busy,
            "process_bytes": self._resident(),
            "memory_total": total,
            "memory_available": available,
            "disk_free": disk and disk.free,
            "disk_total": disk and disk.total,
            "gpus": [gpu for gpu in (read() for read in self._gpus) if gpu],
        }

    def _ticks(self) -> tuple[int, int] | None:
        """Return the machine's busy and all clock ticks since it started."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = (self._proc / "stat").read_text().split("\n", 1)[0].split()[1:9]
            ticks = [int(word) for word in words]  # user nice system idle iowait irq softirq steal
            return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
        return None

    def _memory(self) -> tuple[int | None, int | None]:
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = (self._proc / "meminfo").read_text().splitlines()
            found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}
            return found.get("MemTotal"), found.get("MemAvailable")
        return None, None

    def _resident(self) -> int | None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int((self._proc / "self" / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return None

    def _disk(self) -> Any:
        with contextlib.suppress(OSError):
            return shutil.disk_usage(self._folder)
        return None


def _own_seconds() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _gpus() -> list[Callable[[], dict[str, Any] | None]]:
    """Return a function for each GPU that reads it by NVML; none where that is not installed, or finds none."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]  # of the optional package nvidia-ml-py

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # NVMLError, a type of the optional package
        return []

    def reader(index: int, handle: Any) -> Callable[[], dict[str, Any] | None]:
        def read() -> dict[str, Any] | None:
            def asked(name: str, *more: Any) -> Any:
                with contextlib.suppress(Exception):  # what one GPU tells another does not
                    return getattr(pynvml, name)(handle, *more)
                return None

            name, memory = asked("nvmlDeviceGetName"), asked("nvmlDeviceGetMemoryInfo")
            rates, power = asked("nvmlDeviceGetUtilizationRates"), asked("nvmlDeviceGetPowerUsage")
            return {
                "index": index,
                "name": name.decode() if isinstance(name, bytes) else name,
                "utilisation": rates and rates.gpu / 100,
                "memory_used": memory and memory.used,
                "memory_total": memory and memory.total,
                "watts": power and power / 1000,
                "celsius": asked("nvmlDeviceGetTemperature", 0),
            }

        return read

    return [reader(index, handle) for index, handle in enumerate(handles)]
