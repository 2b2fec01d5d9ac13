"""The run loop: frames from a capture go through the pipeline into the sinks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import Clock, ClockJumpDetector, SystemClock
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.sinks import Sink
from edgeharfer.runtime.sinks.outputs import SinkGroup
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.stats import Stats, Status
from edgeharfer.runtime.types import Frame

WAIT_S = 0.1
"""Maximum wait for a frame before the stop condition is checked again."""

PHOTO_S = 3.0
"""Seconds for which each photograph of a series is shown."""

POLL_S = 0.05
"""Interval in seconds at which keys are polled while a picture is held."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunLimits:
    """Limits of a run. None means no limit.

    Attributes:
        max_frames: Number of results after which the run ends.
        duration_s: Source time in seconds after which the run ends. For live sources also elapsed time, so
            that the run ends even if no frames arrive.
        max_age_ms: Results of frames older than this are dropped.
    """

    max_frames: int | None = None
    duration_s: float | None = None
    max_age_ms: float | None = None


@dataclass(frozen=True)
class HoldOptions:
    """How long pictures stay in the view.

    Attributes:
        photo_s: Seconds for which each photograph is shown, unless a key is pressed; 0 does not wait.
        last: Keep the last picture of the source until a key is pressed, the run is stopped, or
            `RunLimits.duration_s` has elapsed.
    """

    photo_s: float = 0.0
    last: bool = False

    @classmethod
    def for_source(cls, source: Source, *, paced: bool, last: bool | None = None) -> HoldOptions:
        """Return the defaults for a source: PHOTO_S for photographs, and the last image file is kept.

        Args:
            source: The source of the run.
            paced: Whether a pace was requested, at which photographs then follow each other.
            last: Whether to keep the last picture. None: only for image files.
        """
        photo_s = PHOTO_S if source.photographs and not paced else 0.0
        return cls(photo_s, bool(source.paths) if last is None else last)


class Runner:
    """Runs a pipeline on the frames of a capture and passes the results to sinks.

    The caller enters and exits the sinks. After a gap in a live source the pipeline is reset. A sink that
    fails misses results; the other sinks are not affected.

    Args:
        pipeline: The pipeline for the frames.
        capture: The frames; already started.
        sinks: Receive each result with its frame.
        limits: When the run ends, and which results are dropped.
        stopping: Called before each frame; once it returns True, the run ends after the current frame.
        clock: Source of time; the system's by default.
        hold: How long pictures stay in the view.
        prepare: Applied to each frame before the pipeline and the sinks, for instance to mask areas.
        before_frame: Called from the thread of the run before each frame, and about ten times a second while
            no frames arrive. Returns the pipeline to use from now on, which is reset if it is another one.
        jumps: Detects jumps of the wall clock. Pass one to detect jumps between runs as well.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        capture: Capture,
        sinks: Sequence[Sink],
        limits: RunLimits | None = None,
        *,
        stopping: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
        hold: HoldOptions | None = None,
        prepare: Callable[[Frame], Frame] = lambda frame: frame,
        before_frame: Callable[[], Pipeline] | None = None,
        jumps: ClockJumpDetector | None = None,
    ) -> None:
        self._pipeline, self._capture, self._outputs = pipeline, capture, SinkGroup(sinks)
        self._limits = limits or RunLimits()
        self._clock = clock or SystemClock()
        self._uses_status = self._outputs.uses_status
        self._stats = Stats(self._clock)
        self._jumps = jumps or ClockJumpDetector(self._clock)
        self._stopping, self._prepare, self._before_frame = stopping, prepare, before_frame
        self._hold = hold or HoldOptions()
        self._photo_s: float | None = None  # when the current photograph was first shown
        self._too_old = self._breaks = 0
        self._pending_cut = False
        self._set_real_time()

    def run(self) -> dict[str, Any]:
        """Run until the source ends, a limit is reached, a sink closes or `stopping` returns True.

        Returns:
            The summary of the run, which the sinks also receive.

        Raises:
            SourceError: The source cannot be read any further. The sinks receive the summary nevertheless.
            TaskError: An extra task failed; likewise.
        """
        started_s = self._clock.monotonic()
        ended = False
        try:
            while not self._finished(started_s):
                self._choose_pipeline()
                frame = self._capture.next_frame(WAIT_S)
                if frame is None:
                    if self._capture.ended:
                        ended = True
                        if self._hold.last:
                            self._outputs.refresh(self._status())  # shows that the source has ended
                        break
                    self._outputs.refresh(self._status())
                elif not self._before_end(frame) or not self._finish_photo(started_s):
                    break
                else:
                    self._process(self._prepare(frame))
        finally:
            summary = self._summary()
            self._outputs.finish(summary)
        if ended and self._hold.last and self._stats.frames_processed:
            self._hold_picture(started_s, None)
        return summary

    def _set_real_time(self) -> None:
        if self._capture.in_real_time:
            self._pipeline.set_real_time(self._limits.max_age_ms)

    def _choose_pipeline(self) -> None:
        """Call `before_frame` and switch to the pipeline that it returns."""
        if self._before_frame is None or (chosen := self._before_frame()) is self._pipeline:
            return
        self._pipeline = chosen
        self._pipeline.reset()
        self._set_real_time()

    def _finish_photo(self, started_s: float) -> bool:
        """Hold the current photograph for its time; return whether the run continues."""
        if self._hold.photo_s and self._photo_s is not None:
            self._hold_picture(started_s, self._photo_s + self._hold.photo_s)
            return not (self._finished(started_s) or self._time_is_up(started_s))
        return True

    def _hold_picture(self, started_s: float, until_s: float | None) -> None:
        """Hold the current picture until a key is pressed, `until_s`, a stop, or the end of the duration."""
        while not (self._stopping() or self._outputs.closed or self._time_is_up(started_s)):
            if self._outputs.poll() or (until_s is not None and self._clock.monotonic() >= until_s):
                return
            self._clock.sleep(POLL_S)

    def _time_is_up(self, started_s: float) -> bool:
        limit_s = self._limits.duration_s
        return limit_s is not None and self._clock.monotonic() - started_s >= limit_s

    def _finished(self, started_s: float) -> bool:
        late = self._capture.source.live and self._time_is_up(started_s)
        done = self._limits.max_frames is not None and self._stats.frames_processed >= self._limits.max_frames
        return self._stopping() or late or done or self._outputs.closed

    def _before_end(self, frame: Frame) -> bool:
        return self._limits.duration_s is None or frame.pts_s < self._limits.duration_s

    def _process(self, frame: Frame) -> None:
        if self._breaks != self._capture.breaks:
            self._breaks = self._capture.breaks
            self._pipeline.reset()
        if self._is_too_old((self._clock.monotonic() - frame.captured_s) * 1e3):
            return
        result = self._pipeline.process(frame)
        if self._pending_cut:
            result = replace(result, cut=True)
        expired = self._capture.outdated(frame) or self._is_too_old(result.age_ms)
        self._pending_cut = expired and result.cut
        if expired:
            return
        self._stats.add(result)
        self._outputs.write(frame, result, self._status() if self._uses_status else self._no_status())
        if frame.still:
            self._photo_s = self._clock.monotonic()

    def _is_too_old(self, age_ms: float) -> bool:
        expired = self._limits.max_age_ms is not None and age_ms > self._limits.max_age_ms
        self._too_old += expired
        return expired

    def _check_clock(self) -> None:
        if jump := self._jumps.check():
            _log.warning("%s", jump)

    def _no_status(self) -> Status:
        self._check_clock()
        return Status()

    def _status(self) -> Status:
        self._check_clock()
        return self._stats.status(
            frames_dropped=self._capture.dropped,
            provider=short_providers(self._pipeline.providers),
            source_state=self._capture.state,
            source_name=self._capture.source.name,
            clock_jump=self._jumps.last,
            breaks=self._breaks,
        )

    def _summary(self) -> dict[str, Any]:
        summary = self._stats.summary(
            frames_in=self._capture.frames_in,
            frames_dropped=self._capture.dropped,
            provider=self._pipeline.providers,
            models=self._pipeline.models,
        )
        if self._pipeline.precision_reasons:
            summary["precision_reasons"] = self._pipeline.precision_reasons
        if self._limits.max_age_ms is not None:
            summary["frames_too_old"] = self._too_old
        if self._outputs.errors:
            summary["sink_errors"] = self._outputs.errors
        source = self._capture.source
        if source.restartable:
            summary["source"] = {
                "state": self._capture.state,
                "breaks": self._capture.breaks,
                "reconnects": self._capture.reconnects,
                "bad_pictures": source.bad_pictures,
                "details": source.details,
            }
        elif not source.live:
            summary["unreadable"] = source.unreadable
            if source.missing:
                summary["missing"] = len(source.missing)
        return summary


def short_providers(providers: dict[str, str]) -> str:
    """Return the providers in use as a short text, such as "CPU" or "CUDA + CPU"."""
    return " + ".join(
        sorted({name.removesuffix("ExecutionProvider") for name in providers.values()}, reverse=True)
    )
