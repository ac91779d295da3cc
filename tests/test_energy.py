"""The energy meter against counters whose readings the test chooses."""

import sys

import pytest
from permissions import as_its_owner

from mlgym_jax.recording.energy import EnergyMeter

# The three functions of nvidia-ml-py that the meter asks; what the two GPUs have used stands in files.
PYNVML = """
import pathlib

HERE = pathlib.Path(__file__).parent


def nvmlInit():
    if (HERE / "no_driver").exists():
        raise RuntimeError("Driver Not Loaded")


def nvmlDeviceGetCount():
    return 2


def nvmlDeviceGetHandleByIndex(index):
    return HERE / f"gpu_{index}"


def nvmlDeviceGetTotalEnergyConsumption(handle):
    return int(handle.read_text())
"""


def counter(folder, name, microjoules):
    package = folder / name
    package.mkdir(exist_ok=True)
    (package / "max_energy_range_uj").write_text("262143328850\n")
    (package / "energy_uj").write_text(f"{microjoules}\n")


def gpus(folder, *millijoules):
    for index, used in enumerate(millijoules):
        (folder / f"gpu_{index}").write_text(str(used))


@pytest.fixture
def nvml(tmp_path, monkeypatch):
    """A folder with a package `pynvml` for two GPUs."""
    folder = tmp_path / "nvml"
    folder.mkdir()
    (folder / "pynvml.py").write_text(PYNVML)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    yield folder
    sys.modules.pop("pynvml", None)


def test_packages_are_added_up_also_when_a_counter_wraps(tmp_path):
    counter(tmp_path, "intel-rapl:0", 262_143_000_000)
    counter(tmp_path, "intel-rapl:1", 5_000_000)
    counter(tmp_path, "intel-rapl:0:0", 0)  # a core's counter, part of package 0
    meter = EnergyMeter(tmp_path)
    counter(tmp_path, "intel-rapl:0", 1_671_150)
    counter(tmp_path, "intel-rapl:1", 7_500_000)
    counter(tmp_path, "intel-rapl:0:0", 9_000_000)
    assert meter.stop()["processor_joules"] == 2.0 + 2.5


def test_gpus_are_added_up(tmp_path, nvml):
    gpus(nvml, 1_000_500, 70_000)
    meter = EnergyMeter(tmp_path)
    gpus(nvml, 1_003_000, 71_250)
    found = meter.stop()
    assert found["gpu_joules"] == 2.5 + 1.25
    assert "gpu" not in found["reasons"]


def test_a_counter_that_vanishes_keeps_what_it_counted_and_ends_nothing(tmp_path, nvml):
    gpus(nvml, 1_000, 2_000)
    meter = EnergyMeter(tmp_path)
    gpus(nvml, 5_000)
    (nvml / "gpu_1").unlink()
    assert meter.stop()["gpu_joules"] == 4.0


def test_a_machine_without_counters_says_so(tmp_path, nvml):
    (nvml / "no_driver").touch()
    found = EnergyMeter(tmp_path / "none").stop()
    assert found["processor_joules"] is None
    assert "reports none" in found["reasons"]["processor"]
    assert found["gpu_joules"] is None
    assert found["reasons"]["gpu"] == "NVML reports none: Driver Not Loaded"


def test_a_missing_package_for_gpus_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it raises ImportError
    found = EnergyMeter(tmp_path).stop()
    assert found["gpu_joules"] is None
    assert "nvidia-ml-py is not installed" in found["reasons"]["gpu"]


def test_counters_that_cannot_be_read_say_why(tmp_path):
    counter(tmp_path, "intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0/energy_uj").unlink()
    found = EnergyMeter(tmp_path).stop()
    assert found["processor_joules"] is None
    assert "cannot be read" in found["reasons"]["processor"]


def test_counters_that_only_root_may_read_say_so(tmp_path):
    counter(tmp_path, "intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0/energy_uj").chmod(0)
    found = as_its_owner(lambda: EnergyMeter(tmp_path).stop())
    assert found["processor_joules"] is None
    assert "Permission denied" in found["reasons"]["processor"] and "only root may" in found["reasons"]["processor"]
