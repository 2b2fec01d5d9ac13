"""The sustained benchmark: drift of the last tenth against the first, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from edgeharfer.benchmark import sustained
from edgeharfer.benchmark.end_to_end import EndToEnd
from edgeharfer.benchmark.sustained import drift, measure_sustained, row, sustained_lines
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.sensors import SensorReading

COLD = SensorReading({"cpu": 40.0}, {"package": 10.0}, 3000.0, 1)
HOT = SensorReading({"cpu": 80.0}, {"package": 30.0}, 2000.0, 4)


def rows(*fps: float) -> list[dict[str, Any]]:
    """Stretches of 100 frames, the later the hotter."""
    return [
        row(n, {"frames": 100, "seconds": 100 / rate, "cpu_s": 0.3, "p99_ms": 5.0 + n, "rss_mb": 150.0 + n},
            HOT if n else COLD)
        for n, rate in enumerate(fps)
    ]  # fmt: skip


def test_the_last_tenth_against_the_first() -> None:
    found = drift(rows(*[200.0] * 18, *[100.0] * 2), COLD, HOT)
    assert found["drift"] == {
        "fps": 0.5, "cpu_ms_per_frame": 1.0, "p99_ms": pytest.approx(23.5 / 5.5, abs=1e-3), "rss_mb": 18.0
    }  # fmt: skip
    assert (found["hottest_celsius"], found["throttled"]) == (80.0, 3)
    assert found["watts"] == {"package": 29.0}


def test_a_machine_that_tells_nothing() -> None:
    blind = [{**one, "celsius": {}, "watts": {}} for one in rows(100.0, 100.0)]
    found = drift(blind, SensorReading(), SensorReading())
    assert (found["hottest_celsius"], found["watts"], found["throttled"]) == (None, {}, None)
    assert (
        sum("not reported by this machine" in line for line in sustained_lines({"minutes": 1, **found})) == 3
    )


def test_it_runs_as_long_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()

    class Stretch:
        def __init__(self, job: str, **settings: Any) -> None:
            assert (job, settings["spec"]) == ("pipeline", "clip")

        def __enter__(self) -> Stretch:
            return self

        def __exit__(self, *error: object) -> None: ...

        def call(self, name: str, *, frames: int) -> dict[str, float]:
            clock.sleep(20.0)
            return {"frames": frames, "seconds": 20.0, "cpu_s": 10.0, "p99_ms": 4.0, "rss_mb": 100.0}

    monkeypatch.setattr(sustained, "BenchmarkWorker", Stretch)
    told: list[tuple[int, int]] = []
    found = measure_sustained(
        EndToEnd("clip", {}), 1.5, lambda *at: told.append(at), sensors=SensorReading, clock=clock
    )
    assert (found["minutes"], len(found["rows"])) == (pytest.approx(100 / 60, abs=0.01), 5)
    assert told[-1] == (100, 90)
    assert found["drift"] == {"fps": 1.0, "cpu_ms_per_frame": 1.0, "p99_ms": 1.0, "rss_mb": 0.0}
