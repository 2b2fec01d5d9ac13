"""Run the pipeline at full speed for minutes and measure drift, temperature, power and throttling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgeharfer.benchmark.end_to_end import FRAMES_PER_ROUND, EndToEnd
from edgeharfer.benchmark.measure import Progress
from edgeharfer.benchmark.worker import BenchmarkWorker
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.sensors import SensorReading, Sensors

COMPARED_SHARE = 0.1
"""Share of the rows at the start and at the end that are compared."""

_NOT_REPORTED = "not reported by this machine"

Row = dict[str, Any]


def measure_sustained(
    setup: EndToEnd,
    minutes: float,
    progress: Progress = lambda done, total: None,
    *,
    sensors: Callable[[], SensorReading] | None = None,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Compute the `sustained` object of `benchmark --json`.

    Args:
        setup: The pipeline and its source.
        minutes: Duration.
        progress: Called with the seconds elapsed and the total.
        sensors: Reads the sensors of the machine.
        clock: Clock for wall time.

    Returns:
        "minutes", the figures of `drift`, and "rows" with one row per FRAMES_PER_ROUND frames.
    """
    clock = clock or SystemClock()
    read = sensors or Sensors(clock=clock).read
    rows: list[Row] = []
    start_s, end_s = clock.monotonic(), clock.monotonic() + 60 * minutes
    before = read()
    with BenchmarkWorker("pipeline", **setup.job, faces=setup.faces) as pipeline:
        while clock.monotonic() < end_s or not rows:
            part = pipeline.call("stream", frames=FRAMES_PER_ROUND)
            reading = read()
            rows.append(row(clock.monotonic() - start_s, part, reading))
            progress(round(clock.monotonic() - start_s), round(60 * minutes))
    return {
        "minutes": round((clock.monotonic() - start_s) / 60, 2),
        **drift(rows, before, reading),
        "rows": rows,
    }


def row(at_s: float, part: Mapping[str, Any], reading: SensorReading) -> Row:
    """The row of one round of frames, with the sensor reading after it."""
    return {
        "at_s": round(at_s, 1),
        "fps": round(part["frames"] / part["seconds"], 2),
        "cpu_ms_per_frame": round(1e3 * part["cpu_s"] / part["frames"], 4),
        "p99_ms": part["p99_ms"],
        "rss_mb": part["rss_mb"],
        **{name: value for name, value in asdict(reading).items() if name != "throttled"},
    }


def drift(rows: Sequence[Row], before: SensorReading, after: SensorReading) -> dict[str, Any]:
    """Compare the last tenth of the rows with the first.

    Returns:
        "fps" is the mean over all rows. In "drift", fps, cpu_ms_per_frame and p99_ms are ratios (1.0 without
        a change), and rss_mb is a difference. "hottest_celsius", "watts" and "throttled" are empty or None
        where the machine does not report them.
    """
    part = max(1, round(len(rows) * COMPARED_SHARE))
    first, last = rows[:part], rows[-part:]
    ratios = {
        name: round(_mean(last, name) / _mean(first, name), 4)
        for name in ("fps", "cpu_ms_per_frame", "p99_ms")
        if _mean(first, name) > 0
    }
    grown = _mean(last, "rss_mb") - _mean(first, "rss_mb") if rows[0]["rss_mb"] is not None else None
    counted = before.throttled is not None and after.throttled is not None
    return {
        "fps": round(_mean(rows, "fps"), 2),
        "drift": {**ratios, "rss_mb": None if grown is None else round(grown, 2)},
        "hottest_celsius": max(
            (max(row["celsius"].values()) for row in rows if row["celsius"]), default=None
        ),
        "watts": {name: round(_mean(_having(rows, name), name), 2) for name in _names(rows)},
        "throttled": (after.throttled or 0) - (before.throttled or 0) if counted else None,
    }


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows) if rows else 0.0


def _names(rows: Sequence[Row]) -> list[str]:
    return sorted({name for row in rows for name in row["watts"]})


def _having(rows: Sequence[Row], name: str) -> list[Mapping[str, float]]:
    return [row["watts"] for row in rows if name in row["watts"]]


def sustained_lines(figures: Mapping[str, Any]) -> list[str]:
    """The figures as text."""
    change, heat = figures["drift"], figures["hottest_celsius"]
    grown = "not reported" if change["rss_mb"] is None else f"{change['rss_mb']:+.1f} MiB"
    watts = ", ".join(f"{name} {value:.1f} W" for name, value in figures["watts"].items())
    slowed = figures["throttled"]
    return [
        f"sustained for {figures['minutes']:g} minutes: {figures['fps']:.1f} fps; "
        "last tenth compared with the first: "
        + ", ".join(f"{name} x {value:.3f}" for name, value in change.items() if name != "rss_mb")
        + f", memory {grown}",
        f"  temperature     {_NOT_REPORTED if heat is None else f'at most {heat:.1f} °C'}",
        f"  power           {watts or _NOT_REPORTED}",
        f"  throttled       {_NOT_REPORTED if slowed is None else f'{slowed} times'}",
    ]
