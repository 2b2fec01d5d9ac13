"""One run: frames from a capture through the pipeline into the sinks, until something says stop."""

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
"""Longest wait for a frame before the stop flag is looked at again."""

PHOTO_S = 3.0
"""How long each photograph of several is shown."""

POLL_S = 0.05
"""Between two looks for a key while a picture stays up."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunLimits:
    """What ends a run, and what is too old to be told.

    max_frames: results. duration_s: time of the source; of the clock where no frames come.
    max_age_ms: a result on an older frame is not given.
    """

    max_frames: int | None = None
    duration_s: float | None = None
    max_age_ms: float | None = None


@dataclass(frozen=True)
class HoldOptions:
    """How long a person can look at pictures that nothing follows soon.

    photo_s: each photograph is shown so long, or until a key. last: the last picture of the source stays
    until a key, a stop, or the end of the duration, which then is time that passes.
    """

    photo_s: float = 0.0
    last: bool = False

    @classmethod
    def of(cls, source: Source, *, paced: bool, last: bool | None = None) -> HoldOptions:
        """How long the pictures of a source stay: photographs PHOTO_S each, the last image until a key.

        Args:
            source: Of which pictures are shown.
            paced: A pace was asked for, by which photographs follow each other.
            last: Whether the last picture stays; by default that of image files does.
        """
        photo_s = PHOTO_S if source.photographs and not paced else 0.0
        return cls(photo_s, bool(source.paths) if last is None else last)


class Runner:
    """Drives one run. Sinks are entered and left by the caller.

    A live source may go and come back; where frames were missed, the pipeline forgets what it saw before.
    A sink that fails misses results, and the others do not.

    Args:
        stopping: Called before each frame; once it returns True, the run ends after the current frame.
        prepare: Changes each frame before the pipeline and the sinks see it, such as by masking areas.
        before_frame: Called before each frame, and about ten times a second while none come, from the thread
            of the run. It returns the pipeline to use from now on; another one than before is reset.
        jumps: Watches the wall clock; one of the caller's own also knows jumps between two runs.
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
        self._stats = Stats(self._clock)
        self._jumps = jumps or ClockJumpDetector(self._clock)
        self._stopping, self._prepare, self._before_frame = stopping, prepare, before_frame
        self._hold = hold or HoldOptions()
        self._photo_s: float | None = None  # when the photograph that is up was shown
        self._too_old = self._breaks = 0
        self._cut_untold = False
        self._keep_pace()

    def run(self) -> dict[str, Any]:
        """Run to the end and return the summary, which the sinks were given as well.

        Raises what the source raised; the summary is given to the sinks all the same.
        """
        started_s = self._clock.monotonic()
        ended = False
        try:
            while not self._over(started_s):
                self._choose_pipeline()
                frame = self._capture.next_frame(WAIT_S)
                if frame is None:
                    if self._capture.ended:
                        ended = True
                        if self._hold.last:
                            self._outputs.refresh(self._status())  # not live any more
                        break
                    self._outputs.refresh(self._status())
                elif not self._within(frame) or not self._next_photo(started_s):
                    break
                else:
                    self._take(self._prepare(frame))
        finally:
            summary = self._summary()
            self._outputs.finish(summary)
        if ended and self._hold.last and self._stats.frames_processed:
            self._keep_up(started_s, None)
        return summary

    def _keep_pace(self) -> None:
        if self._capture.in_real_time:
            self._pipeline.set_real_time(self._limits.max_age_ms)

    def _choose_pipeline(self) -> None:
        """Let the caller do what is due between two frames, and use the pipeline that it names."""
        if self._before_frame is None or (chosen := self._before_frame()) is self._pipeline:
            return
        self._pipeline = chosen
        self._pipeline.reset()
        self._keep_pace()

    def _next_photo(self, started_s: float) -> bool:
        """Wait until the photograph that is up has been seen; whether the run goes on."""
        if self._hold.photo_s and self._photo_s is not None:
            self._keep_up(started_s, self._photo_s + self._hold.photo_s)
            return not (self._over(started_s) or self._late(started_s))
        return True

    def _keep_up(self, started_s: float, until_s: float | None) -> None:
        """The last picture stays until a key, that time, a stop, or the end of the duration."""
        while not (self._stopping() or self._outputs.closed or self._late(started_s)):
            if self._outputs.poll() or (until_s is not None and self._clock.monotonic() >= until_s):
                return
            self._clock.sleep(POLL_S)

    def _late(self, started_s: float) -> bool:
        limit_s = self._limits.duration_s
        return limit_s is not None and self._clock.monotonic() - started_s >= limit_s

    def _over(self, started_s: float) -> bool:
        late = self._capture.source.live and self._late(started_s)
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
        if self._cut_untold:
            result = replace(result, cut=True)
        expired = self._capture.outdated(frame) or self._expired(result.age_ms)
        self._cut_untold = expired and result.cut
        if expired:
            return
        self._stats.add(result)
        self._outputs.write(frame, result, self._status())
        if frame.still:
            self._photo_s = self._clock.monotonic()

    def _expired(self, age_ms: float) -> bool:
        expired = self._limits.max_age_ms is not None and age_ms > self._limits.max_age_ms
        self._too_old += expired
        return expired

    def _status(self) -> Status:
        if jump := self._jumps.check():
            _log.warning("%s", jump)
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
            }
        elif not source.live:
            summary["unreadable"] = source.unreadable
            if source.missing:
                summary["missing"] = len(source.missing)
        return summary


def short_providers(providers: dict[str, str]) -> str:
    """ "CPU", or "CUDA + CPU" where the parts differ."""
    return " + ".join(
        sorted({name.removesuffix("ExecutionProvider") for name in providers.values()}, reverse=True)
    )
