"""Heat, power and clock of a machine, from a copy of the files that Linux gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.sensors import SensorReading, Sensors, temperatures


def write(root: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    assert Sensors(tmp_path).read() == SensorReading()


def test_thermal_zones(tmp_path: Path) -> None:
    write(tmp_path, {"class/thermal/thermal_zone0/type": "cpu", "class/thermal/thermal_zone0/temp": 45500})
    write(tmp_path, {"class/thermal/thermal_zone1/type": "asleep"})
    write(tmp_path, {"class/thermal/thermal_zone2/temp": -5000})
    write(tmp_path, {"class/thermal/thermal_zone3/type": "cpu", "class/thermal/thermal_zone3/temp": "broken"})
    assert dict(temperatures(tmp_path)) == {"0-cpu": 45.5, "2-unknown": -5.0}


def test_energy_is_power_since_the_reading_before(tmp_path: Path) -> None:
    clock = ManualClock()
    zone = "class/powercap/intel-rapl:0"
    write(tmp_path, {f"{zone}/name": "package-0", f"{zone}/energy_uj": 5_000_000})
    write(tmp_path, {f"{zone}:0/name": "core", f"{zone}:0/energy_uj": 1_000_000})
    sensors = Sensors(tmp_path, clock)
    assert sensors.read().watts == {}
    clock.sleep(2.0)
    write(tmp_path, {f"{zone}/energy_uj": 35_000_000})
    assert sensors.read().watts == {"package-0": pytest.approx(15.0)}


def test_an_energy_counter_starts_anew(tmp_path: Path) -> None:
    clock = ManualClock()
    zone = "class/powercap/intel-rapl:0"
    files = {"name": "package-0", "energy_uj": 90_000_000, "max_energy_range_uj": 100_000_000}
    write(tmp_path, {f"{zone}/{name}": value for name, value in files.items()})
    sensors = Sensors(tmp_path, clock)
    sensors.read()
    clock.sleep(1.0)
    write(tmp_path, {f"{zone}/energy_uj": 2_000_000})
    assert sensors.read().watts == {"package-0": pytest.approx(12.0)}


def test_volts_times_amperes_of_a_jetson(tmp_path: Path) -> None:
    chip = "class/hwmon/hwmon3"
    write(tmp_path, {f"{chip}/name": "ina3221", f"{chip}/in1_label": "VDD_IN"})
    write(tmp_path, {f"{chip}/in1_input": 5000, f"{chip}/curr1_input": 1200, f"{chip}/curr2_input": 7})
    assert Sensors(tmp_path).read().watts == {"VDD_IN": pytest.approx(6.0)}


def test_watts_as_such_and_a_battery_in_use(tmp_path: Path) -> None:
    write(tmp_path, {"class/hwmon/hwmon0/name": "amdgpu", "class/hwmon/hwmon0/power1_input": 7_250_000})
    write(tmp_path, {"class/power_supply/BAT0/status": "Discharging"})
    write(tmp_path, {"class/power_supply/BAT0/power_now": 9_000_000})
    write(tmp_path, {"class/power_supply/BAT1/status": "Charging"})
    write(tmp_path, {"class/power_supply/BAT1/power_now": 20_000_000})
    assert Sensors(tmp_path).read().watts == {"amdgpu power1": 7.25, "BAT0": 9.0}


def test_clock_and_throttling(tmp_path: Path) -> None:
    cores = "devices/system/cpu"
    for core, (khz, count) in enumerate([(1_500_000, 2), (2_500_000, 3)]):
        write(tmp_path, {f"{cores}/cpu{core}/cpufreq/scaling_cur_freq": khz})
        write(tmp_path, {f"{cores}/cpu{core}/thermal_throttle/core_throttle_count": count})
    reading = Sensors(tmp_path).read()
    assert (reading.mhz, reading.throttled) == (2000.0, 5)
