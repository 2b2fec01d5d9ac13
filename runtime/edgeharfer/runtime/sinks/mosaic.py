"""Shows several sources as a mosaic in a sink for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.overlay.mosaic import Mosaic
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

if TYPE_CHECKING:
    from typing_extensions import Self

INTERVAL_S = 1 / 15
"""Shortest time between two mosaics."""


class MosaicSink(Sink):
    """Passes a mosaic of all sources to another sink, at most every INTERVAL_S seconds.

    Args:
        sink: Shows the mosaic.
        names: Names of the sources.
        size: Width and height of the pictures of most sources.
        clock: Source of time; the system's by default.
    """

    def __init__(
        self, sink: Sink, names: Sequence[str], size: tuple[int, int], clock: Clock | None = None
    ) -> None:
        self._sink, self._clock = sink, clock or SystemClock()
        self._mosaic = Mosaic(names, size)
        self._started_s = self._clock.monotonic()
        self._shown_s = self._started_s - INTERVAL_S
        self._count = 0

    @property
    def closed(self) -> bool:  # type: ignore[override]
        return self._sink.closed

    @property
    def url(self) -> str:
        return self._sink.url

    def __enter__(self) -> Self:
        self._sink.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.__exit__(kind, error, trace)

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._mosaic.write(frame, result, status)
        self._show()

    def refresh(self, status: Status) -> None:
        self._mosaic.refresh(status)
        self._show()

    def poll(self) -> bool:
        return self._sink.poll()

    def finish(self, summary: dict[str, Any]) -> None:
        self._sink.finish(summary)

    def _show(self) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._shown_s < INTERVAL_S:
            return
        self._shown_s = now_s
        elapsed_s = now_s - self._started_s
        cells = list(self._mosaic.cells.values())
        results = [cell.view[1] for cell in cells if cell.view]
        faces = [face for result in results for face in result.faces]
        age_ms = max((result.age_ms for result in results), default=0.0)
        numbered = tuple(replace(face, track=number) for number, face in enumerate(faces, 1))
        frame = Frame(self._count, elapsed_s, now_s, self._mosaic.picture())
        self._sink.write(
            frame, Result(self._count, elapsed_s, age_ms, numbered), total([cell.status for cell in cells])
        )
        self._count += 1


def total(statuses: Sequence[Status]) -> Status:
    """Return the status of all sources together: "live" if one of them is."""
    states = [status.source_state for status in statuses]
    return replace(
        statuses[0],
        fps=sum(status.fps for status in statuses),
        latency_ms=max(status.latency_ms for status in statuses),
        frames_dropped=sum(status.frames_dropped for status in statuses),
        source_state="live" if "live" in states else states[0],
        source_name=f"{len(statuses)} sources",
        source="",
        rates_hz={
            name: sum(status.rates_hz.get(name, 0.0) for status in statuses)
            for name in dict.fromkeys(name for status in statuses for name in status.rates_hz)
        },
        breaks=sum(status.breaks for status in statuses),
    )
