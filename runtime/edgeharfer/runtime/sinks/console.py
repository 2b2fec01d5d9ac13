"""A line for people whenever something changes, where neither a window nor JSON lines are asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TextIO

from edgeharfer.runtime.overlay.style import humanise, label_text
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink, SinkOptions
from edgeharfer.runtime.sinks.stream import is_writable
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import BACKGROUND, Frame, Reading

MIN_STABLE_RESULTS = 3
"""Results over which a new state must stand before it is told."""


def make_sink(target: str, options: SinkOptions) -> Sink:
    """Lines on standard error."""
    return ConsoleSink()


class ConsoleSink(Sink):
    """Tells labels when they change, and the summary, on standard error.

    A line that nobody reads is left out: a full pipe does not hold up the run.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._told = self._candidate = ""
        self._seen = 0

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        state = describe(result)
        self._seen = self._seen + 1 if state == self._candidate else 1
        self._candidate = state
        if state != self._told and (self._seen >= MIN_STABLE_RESULTS or frame.still):
            self._told = state
            self._say(f"{result.pts_s:8.2f} s  {state}")

    def finish(self, summary: dict[str, Any]) -> None:
        total = summary["latency_ms"].get("total")
        latency = f", {total['p50']:.1f} ms a frame (p95 {total['p95']:.1f})" if total else ""
        share = summary["cpu_share"]
        cores = "" if share is None else f", {100 * share:.0f} % of a core"
        self._say(
            f"{summary['frames_processed']} frames, {summary['frames_dropped']} dropped, "
            f"{summary['fps']:.0f} a second{latency}{cores}, {summary['rss_mb']} MB"
        )

    def _say(self, line: str) -> None:
        if is_writable(self._stream):
            print(line, file=self._stream, flush=True)


def describe(result: Result) -> str:
    """The labels of a result in words, without figures that change all the time."""
    faces = [
        f"face {face.track}: {', '.join(_labels(face.readings)) or 'in view'}"
        for face in sorted(result.faces, key=lambda face: face.track)
    ]
    return " · ".join((faces or ["no face"]) + _labels(result.readings))


def _labels(readings: Mapping[str, Reading]) -> list[str]:
    """Labels alone: numbers change all the time."""
    return [_words(name, reading) for name, reading in readings.items() if reading.label is not None]


def _words(task: str, reading: Reading) -> str:
    """The label of a tag, and of a scene in which nothing goes on, as it is; others after their task."""
    words, name = label_text(reading.label or "").lower(), humanise(task).lower()
    if reading.shown == "line":
        return f"{name} {words}"
    if reading.shown == "bar" and not reading.ready:
        return f"{name}: gathering"
    return words if reading.shown == "tag" or reading.label == BACKGROUND else f"{name}: {words}"
