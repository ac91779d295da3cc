"""The energy meter against a counter whose readings the test chooses."""

from mlgym_jax.recording.energy import EnergyMeter


def counter(folder, name, microjoules):
    package = folder / name
    package.mkdir(exist_ok=True)
    (package / "max_energy_range_uj").write_text("262143328850\n")
    (package / "energy_uj").write_text(f"{microjoules}\n")


def test_packages_are_added_up_also_when_a_counter_wraps(tmp_path):
    counter(tmp_path, "intel-rapl:0", 262_143_000_000)
    counter(tmp_path, "intel-rapl:1", 5_000_000)
    counter(tmp_path, "intel-rapl:0:0", 0)  # a core's counter, part of package 0
    meter = EnergyMeter(tmp_path)
    counter(tmp_path, "intel-rapl:0", 1_671_150)
    counter(tmp_path, "intel-rapl:1", 7_500_000)
    counter(tmp_path, "intel-rapl:0:0", 9_000_000)
    assert meter.stop()["processor_joules"] == 2.0 + 2.5


def test_a_machine_without_counters_says_so(tmp_path):
    found = EnergyMeter(tmp_path / "none").stop()
    assert found["processor_joules"] is None
    assert "reports none" in found["reasons"]["processor"]
    assert found["gpu_joules"] is not None or found["reasons"]["gpu"]


def test_counters_that_cannot_be_read_say_why(tmp_path):
    counter(tmp_path, "intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0/energy_uj").unlink()
    found = EnergyMeter(tmp_path).stop()
    assert found["processor_joules"] is None
    assert "cannot be read" in found["reasons"]["processor"]
