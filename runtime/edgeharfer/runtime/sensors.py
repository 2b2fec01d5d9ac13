"""Temperature, power and clock-frequency sensors, from files under /sys on Linux. Empty on other systems.

Sources: the kernel's documentation of the thermal and power capping (RAPL) frameworks, of hwmon, cpufreq
and the power supply class; NVIDIA's Jetson guide for the INA3221 monitors, which are hwmon devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeharfer.runtime.clock import Clock, SystemClock

SYSTEM = Path("/sys")
_MICRO = 1e6
_MILLI = 1e3


@dataclass(frozen=True)
class SensorReading:
    """The values of all sensors at one time. Sensors that are not available are missing or None.

    Attributes:
        celsius: Temperature in degrees Celsius, by the name of the sensor.
        watts: Power in watts, by the name of the sensor.
        mhz: Mean clock frequency of all cores in MHz.
        throttled: Number of thermal throttling events of all cores since the machine started.
    """

    celsius: Mapping[str, float] = field(default_factory=dict)
    watts: Mapping[str, float] = field(default_factory=dict)
    mhz: float | None = None
    throttled: int | None = None


class Sensors:
    """Reads all sensors.

    Args:
        root: The folder in place of /sys, for tests.
        clock: Source of time; the system's by default.
    """

    def __init__(self, root: Path = SYSTEM, clock: Clock | None = None) -> None:
        self._root, self._clock = root, clock or SystemClock()
        self._joules: dict[str, tuple[float, float]] = {}

    def read(self) -> SensorReading:
        """Read all sensors. Power from energy counters is the mean since the previous call."""
        watts = {**dict(self._by_energy()), **dict(self._by_power())}
        return SensorReading(dict(temperatures(self._root)), watts, self._mhz(), self._throttled())

    def _by_energy(self) -> Iterator[tuple[str, float]]:
        """RAPL: an energy counter in microjoules for each CPU package, which wraps around at its range."""
        now = self._clock.monotonic()
        for zone in sorted((self._root / "class/powercap").glob("*-rapl:[0-9]*")):
            energy, name = _number(zone / "energy_uj"), _text(zone / "name")
            if energy is None or not name or zone.name.count(":") > 1:
                continue
            before = self._joules.get(zone.name)
            self._joules[zone.name] = energy / _MICRO, now
            if before is not None and now > before[1]:
                span = (_number(zone / "max_energy_range_uj") or 0.0) / _MICRO
                used = energy / _MICRO - before[0]
                yield name, (used if used >= 0 else used + span) / (now - before[1])

    def _by_power(self) -> Iterator[tuple[str, float]]:
        """hwmon: power, or voltage times current (INA3221); power_supply: a battery that is discharging."""
        for chip in sorted((self._root / "class/hwmon").glob("hwmon*")):
            name = _text(chip / "name") or chip.name
            for path in sorted(chip.glob("power*_input")):
                if (power := _number(path)) is not None:
                    yield f"{name} {path.stem.removesuffix('_input')}", power / _MICRO
            for path in sorted(chip.glob("curr*_input")):
                number = path.stem.removeprefix("curr").removesuffix("_input")
                volts, amperes = _number(chip / f"in{number}_input"), _number(path)
                if volts is not None and amperes is not None:
                    label = _text(chip / f"in{number}_label") or f"{name} {number}"
                    yield label, volts * amperes / _MILLI**2
        for supply in sorted((self._root / "class/power_supply").glob("*")):
            power = _number(supply / "power_now")
            if power is not None and _text(supply / "status") == "Discharging":
                yield supply.name, power / _MICRO

    def _mhz(self) -> float | None:
        cores = (self._root / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
        found = [value / _MILLI for path in cores if (value := _number(path)) is not None]
        return sum(found) / len(found) if found else None

    def _throttled(self) -> int | None:
        cores = (self._root / "devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
        found = [int(value) for path in cores if (value := _number(path)) is not None]
        return sum(found) if found else None


def temperatures(root: Path = SYSTEM) -> Iterator[tuple[str, float]]:
    """Yield the name and the temperature in degrees Celsius of each thermal zone that can be read."""
    for zone in sorted((root / "class/thermal").glob("thermal_zone*")):
        degrees = _number(zone / "temp")
        if degrees is not None:
            number = zone.name.removeprefix("thermal_zone")
            yield f"{number}-{_text(zone / 'type') or 'unknown'}", degrees / _MILLI


def _text(path: Path) -> str:
    """Return the text of a file; "" if it cannot be read, as when a sensor sleeps or requires root."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    text = _text(path)
    return float(text) if text.lstrip("-").isdecimal() else None
