"""Print labels to standard error when they change, and the summary at the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TextIO

from edgeharfer.runtime.overlay.style import humanise, label_text
from edgeharfer.runtime.progress import paused
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink, SinkOptions
from edgeharfer.runtime.sinks.stream import is_writable
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import BACKGROUND, Frame, Reading, ReadingStyle

MIN_STABLE_RESULTS = 3
"""Number of results for which new labels must persist before they are printed."""


def make_sink(target: str, options: SinkOptions) -> Sink:
    """Create a sink that prints to standard error."""
    return ConsoleSink()


class ConsoleSink(Sink):
    """Prints labels when they change, and the summary, to standard error.

    Lines are dropped while the reader of standard error does not keep up, so that the run is not blocked.
    """

    uses_pictures = uses_status = False

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown: dict[str, _Shown] = {}  # by source

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        shown = self._shown.setdefault(result.source, _Shown())
        if shown.changes_to(describe(result), at_once=frame.still):
            where = f"{result.source}  " if result.source else ""
            self._print(f"{where}{result.pts_s:8.2f} s  {shown.printed}")

    def finish(self, summary: dict[str, Any]) -> None:
        for source, part in summary.get("sources", {}).items():
            rates = ", ".join(f"{rate:.1f} {name}/s" for name, rate in part["rates_hz"].items())
            self._print(
                f"{source}: {part['frames_processed']} frames, {part['frames_dropped']} dropped, "
                f"{part['fps']:.0f} fps{rates and ', ' + rates}"
            )
        total = summary["latency_ms"].get("total")
        latency = f", {total['p50']:.1f} ms per frame (p95 {total['p95']:.1f})" if total else ""
        share = summary["cpu_share"]
        cores = "" if share is None else f", {100 * share:.0f} % of a core"
        self._print(
            f"{summary['frames_processed']} frames, {summary['frames_dropped']} dropped, "
            f"{summary['fps']:.0f} fps{latency}{cores}, {summary['rss_mb']} MB"
        )

    def _print(self, line: str) -> None:
        if is_writable(self._stream):
            with paused():
                print(line, file=self._stream, flush=True)


class _Shown:
    """The labels of a source that were printed last, and those that may follow."""

    def __init__(self) -> None:
        self.printed = self._candidate = ""
        self._count = 0

    def changes_to(self, state: str, *, at_once: bool) -> bool:
        """Record the labels of a result; return whether they are new, and have persisted."""
        self._count = self._count + 1 if state == self._candidate else 1
        self._candidate = state
        if state == self.printed or not (at_once or self._count >= MIN_STABLE_RESULTS):
            return False
        self.printed = state
        return True


def describe(result: Result) -> str:
    """Format the labels of a result, without numbers, which change with every frame."""
    faces = [
        f"face {face.track}: {', '.join(_labels(face.readings)) or 'in view'}"
        for face in sorted(result.faces, key=lambda face: face.track)
    ]
    return " · ".join((faces or ["no face"]) + _labels(result.readings))


def _labels(readings: Mapping[str, Reading]) -> list[str]:
    """Format the readings that have a label."""
    return [
        _label(name, reading.label, reading.shown, reading.ready)
        for name, reading in readings.items()
        if reading.label is not None
    ]


@lru_cache(maxsize=256)
def _label(task: str, label: str, shown: ReadingStyle, ready: bool) -> str:
    """Format a label; it follows the name of its task unless it is a tag or the background."""
    words, name = label_text(label).lower(), humanise(task).lower()
    if shown == "line":
        return f"{name} {words}"
    if shown == "bar" and not ready:
        return f"{name}: warming up"
    return words if shown == "tag" or label == BACKGROUND else f"{name}: {words}"
