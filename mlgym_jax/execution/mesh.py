"""The devices as a mesh with the axes `experiment` and `data`, and host devices for a CPU's cores."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mlgym_jax.errors import MlgymError, nearest
from mlgym_jax.execution import backend
from mlgym_jax.execution.jax_settings import check_settings

EXPERIMENT, DATA = "experiment", "data"
_PLATFORMS = {"cuda": "CUDA", "gpu": "GPU", "rocm": "ROCm", "tpu": "TPU", "METAL": "Metal"}


class MeshSizes(NamedTuple):
    """How many devices lie along each axis: experiments are dealt to the first, a batch is split over the second."""

    experiment: int
    data: int = 1

    def __str__(self) -> str:
        return f"{EXPERIMENT}:{self.experiment},{DATA}:{self.data}"

    @property
    def num_devices(self) -> int:
        return self.experiment * self.data


def parse_mesh(text: str) -> MeshSizes:
    """Read `experiment:2,data:4`; an axis that is not named has size 1.

    Raises:
        MlgymError: another text.
    """
    sizes: dict[str, int] = {}
    for part in str(text).split(","):
        axis, _, size = part.strip().partition(":")
        if axis not in MeshSizes._fields or axis in sizes or not re.fullmatch("0*[1-9][0-9]{0,8}", size):
            hint = "." if axis in MeshSizes._fields else nearest(axis, MeshSizes._fields)
            raise MlgymError(
                f"--mesh={text}: {part!r} is no axis with its size{hint} Allowed: {EXPERIMENT} and {DATA}, each once "
                f"and at least 1, as in --mesh={MeshSizes(2, 4)}"
            )
        sizes[axis] = int(size)
    return MeshSizes(sizes.get(EXPERIMENT, 1), sizes.get(DATA, 1))


def described(of: Any) -> str:
    """Write the sizes of a mesh, or of a plan's, as `--mesh` takes them: `experiment:2,data:1`."""
    if isinstance(of, Mesh):
        return str(MeshSizes(of.shape[EXPERIMENT], of.shape.get(DATA, 1)))
    return str(MeshSizes(of.num_devices, of.data))


def use_devices(number: int | None, mesh: MeshSizes | None = None, *, like: int | None = None) -> list[jax.Device]:
    """Return the local devices to train on; on a CPU, before JAX has started, the cores become as many devices.

    Args:
        number: how many; by default those of `mesh`, else all.
        like: how many devices the cores become unless either is given, where it matters.

    Raises:
        MlgymError: fewer devices than asked for, none of the platform that is asked for, or nothing may be compiled.
    """
    check_settings()
    if number is not None and not (isinstance(number, int) and number >= 1):
        raise MlgymError(f"--devices={number}: at least 1 is expected")
    needed = None if mesh is None else mesh.num_devices
    if number is not None and needed is not None and needed > number:
        raise _too_few(mesh, f"--devices={number} leaves {number}", number)
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not (chosen or backend.is_started() or jax.config.values["jax_num_cpu_devices"] > 0):
        jax.config.update("jax_num_cpu_devices", number or needed or like or _usable_cores())
    devices = _local_devices()
    if number is not None and number > len(devices):
        raise MlgymError(f"--devices={number}: this process has {len(devices)} ({devices[0].platform})")
    if needed is not None and needed > len(devices):
        raise _too_few(mesh, f"this process has {len(devices)} ({devices[0].platform})", len(devices))
    return devices[: number or needed]


def _too_few(mesh: MeshSizes | None, found: str, number: int) -> MlgymError:
    assert mesh is not None
    data = min(mesh.data, number)
    return MlgymError(
        f"--mesh={mesh}: {mesh.num_devices} devices are needed, {mesh.experiment} x {mesh.data}, and {found}; write "
        f"sizes whose product is at most {number}, such as --mesh={MeshSizes(number // data, data)}"
    )


def _local_devices() -> list[jax.Device]:
    try:
        return jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # the latter is how JAX says that the one platform asked for failed
        asked = jax.config.values["jax_platforms"]
        known = _PLATFORMS.get(str(asked).split(",")[0], str(asked))
        reason = " ".join(str(error).split())[:200]
        raise MlgymError(
            f"JAX_PLATFORMS={asked}: no {known} device{f' ({reason})' if reason else ''}; devices here: cpu. Leave "
            "JAX_PLATFORMS out, so that JAX takes what there is, or write JAX_PLATFORMS=cpu"
        ) from error


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mesh_of(devices: list[jax.Device], sizes: MeshSizes) -> Mesh:
    """Return a mesh of the first of `devices`; without a second size, of the one axis that shards experiments."""
    if sizes.data == 1:
        return Mesh(devices[: sizes.experiment], (EXPERIMENT,), axis_types=(AxisType.Auto,))
    grid = np.array(devices[: sizes.num_devices]).reshape(sizes)
    return Mesh(grid, (EXPERIMENT, DATA), axis_types=(AxisType.Auto,) * 2)


def by_experiment(mesh: Mesh) -> NamedSharding:
    """Shard the leading axis, one of experiments."""
    return NamedSharding(mesh, PartitionSpec(EXPERIMENT))


def on_all(mesh: Mesh) -> NamedSharding:
    """Keep a whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())
