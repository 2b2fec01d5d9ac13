"""One run: frames from a capture through the pipeline into the sinks, until something says stop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import Clock, JumpWatch, SystemClock
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.sinks import EventsSink, Sink
from edgeharfer.runtime.sinks.outputs import Outputs
from edgeharfer.runtime.source import LiveSource
from edgeharfer.runtime.source.unreadable import missing_count, unreadable_count
from edgeharfer.runtime.stats import Stats, Status
from edgeharfer.runtime.types import Frame

WAIT_S = 0.1
"""Longest wait for a frame before the stop flag is looked at again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What ends a run, and what is too old to be told.

    max_frames: results. duration_s: time of the source; of the clock where no frames come.
    max_age_ms: a result on an older frame is not given.
    """

    max_frames: int | None = None
    duration_s: float | None = None
    max_age_ms: float | None = None


class Runner:
    """Drives one run. Sinks are entered and left by the caller.

    A live source may go and come back; where frames were missed, the pipeline forgets what it saw before.
    A sink that fails misses results, and the others do not.
    stopping: asked before each frame; once true, the run ends after the frame in work.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        capture: Capture,
        sinks: Sequence[Sink],
        limits: Limits | None = None,
        *,
        stopping: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> None:
        self._pipeline, self._capture, self._outputs = pipeline, capture, Outputs(sinks)
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._stats = Stats(self._clock)
        self._jumps = JumpWatch(self._clock)
        self._stopping = stopping
        for sink in sinks:
            if isinstance(sink, EventsSink):
                sink.stopping = stopping
        self._too_old = self._breaks = 0
        if capture.in_real_time:
            pipeline.keep_pace(self._limits.max_age_ms)

    def run(self) -> dict[str, Any]:
        """Run to the end and return the summary, which the sinks were given as well.

        Raises what the source raised; the summary is given to the sinks all the same.
        """
        started_s = self._clock.monotonic()
        try:
            while not self._over(started_s):
                frame = self._capture.next_frame(WAIT_S)
                if frame is None:
                    if self._capture.ended:
                        break
                    self._outputs.refresh(self._status())
                elif not self._within(frame):
                    break
                else:
                    self._take(frame)
        finally:
            summary = self._summary()
            self._outputs.finish(summary)
        return summary

    def _over(self, started_s: float) -> bool:
        limit_s = self._limits.duration_s
        live = self._capture.source.live
        late = live and limit_s is not None and self._clock.monotonic() - started_s >= limit_s
        done = self._limits.max_frames is not None and self._stats.frames_processed >= self._limits.max_frames
        return self._stopping() or late or done or self._outputs.closed

    def _within(self, frame: Frame) -> bool:
        return self._limits.duration_s is None or frame.pts_s < self._limits.duration_s

    def _take(self, frame: Frame) -> None:
        if self._breaks != self._capture.breaks:
            self._breaks = self._capture.breaks
            self._pipeline.reset()
        if self._expired((self._clock.monotonic() - frame.captured_s) * 1e3):
            return
        result = self._pipeline.process(frame)
        if self._expired(result.age_ms):
            return
        self._stats.add(result)
        self._outputs.write(frame, result, self._status())

    def _expired(self, age_ms: float) -> bool:
        expired = self._limits.max_age_ms is not None and age_ms > self._limits.max_age_ms
        self._too_old += expired
        return expired

    def _status(self) -> Status:
        if jump := self._jumps.look():
            _log.warning("%s", jump)
        return self._stats.status(
            frames_dropped=self._capture.dropped,
            provider=short_providers(self._pipeline.providers),
            source_state=self._capture.state,
            source_name=self._capture.source.name,
            clock_jump=self._jumps.last,
        )

    def _summary(self) -> dict[str, Any]:
        summary = self._stats.summary(
            frames_in=self._capture.frames_in,
            frames_dropped=self._capture.dropped,
            provider=self._pipeline.providers,
            models=self._pipeline.models,
        )
        if self._limits.max_age_ms is not None:
            summary["frames_too_old"] = self._too_old
        if self._outputs.errors:
            summary["sink_errors"] = self._outputs.errors
        source = self._capture.source
        if isinstance(source, LiveSource):
            summary["source"] = {
                "state": self._capture.state,
                "breaks": self._capture.breaks,
                "reconnects": self._capture.reconnects,
                "bad_pictures": source.bad_pictures,
            }
        elif not source.live:
            summary["unreadable"] = unreadable_count(source)
            if missing := missing_count(source):
                summary["missing"] = missing
        return summary


def short_providers(providers: dict[str, str]) -> str:
    """ "CPU", or "CUDA + CPU" where the parts differ."""
    return " + ".join(
        sorted({name.removesuffix("ExecutionProvider") for name in providers.values()}, reverse=True)
    )
