"""The run loop: frames of one or more sources go through their pipelines into the sinks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeharfer.runtime.channel import Channel, RunInput, RunLimits
from edgeharfer.runtime.clock import Clock, ClockJumpDetector, SystemClock
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks import Sink
from edgeharfer.runtime.sinks.outputs import SinkGroup
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.stats import Stats, Status
from edgeharfer.runtime.turns import FairShare
from edgeharfer.runtime.types import Frame

WAIT_S = 0.1
"""Maximum wait for a frame before the stop condition is checked again."""

PHOTO_S = 3.0
"""Seconds for which each photograph of a series is shown."""

POLL_S = 0.05
"""Interval in seconds at which keys are polled while a picture is held."""

ALL_SOURCES = "all"
"""Value of "source" in the summary of all sources together."""

_log = logging.getLogger(__name__)


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
    """Runs pipelines on the frames of captures and passes the results to sinks.

    The caller enters and exits the sinks. After a gap in a live source its pipeline is reset. A sink that
    fails misses results; the other sinks are not affected.

    There may be several sources, each with a capture and a pipeline. Each has an equal share of the time (see
    `FairShare`). One that ends, is lost or cannot be read does not affect the others, and the run ends when
    all have ended.

    Args:
        inputs: The sources, at least one. The captures of several have the same `changed`.
        sinks: Receive each result with its frame.
        limits: When the run ends, and which results are dropped.
        stopping: Called before each frame; once it returns True, the run ends after the current frame.
        clock: Source of time; the system's by default.
        hold: How long pictures stay in the view.
        jumps: Detects jumps of the wall clock. Pass one to detect jumps between runs as well.
        changed: Set when a frame of any source arrives; needed with several sources.
    """

    def __init__(
        self,
        inputs: Sequence[RunInput],
        sinks: Sequence[Sink],
        limits: RunLimits | None = None,
        *,
        stopping: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
        hold: HoldOptions | None = None,
        jumps: ClockJumpDetector | None = None,
        changed: threading.Event | None = None,
    ) -> None:
        self._outputs = SinkGroup(sinks)
        self._limits = limits or RunLimits()
        self._clock = clock or SystemClock()
        self._uses_status = self._outputs.uses_status
        self._channels = [Channel(one, self._limits, self._clock) for one in inputs]
        self._share, self._changed = FairShare(len(self._channels)), changed or threading.Event()
        self._totals = Stats(self._clock) if len(inputs) > 1 else None
        self._jumps = jumps or ClockJumpDetector(self._clock)
        self._stopping = stopping
        self._hold = hold or HoldOptions()
        self._photo_s: float | None = None  # when the current photograph was first shown
        self._error: Exception | None = None

    def run(self) -> dict[str, Any]:
        """Run until all sources end, a limit is reached, a sink closes or `stopping` returns True.

        Returns:
            The summary of the run, which the sinks also receive.

        Raises:
            SourceError: A source could not be read any further. The sinks receive the summary nevertheless.
            TaskError: An extra task failed; likewise.
        """
        started_s = self._clock.monotonic()
        ended = False
        try:
            while not self._finished(started_s):
                for channel in self._channels:
                    channel.choose_pipeline()
                turn = self._next_turn()
                if turn is None:
                    if all(channel.over or channel.capture.ended for channel in self._channels):
                        ended = True
                        break
                    self._refresh_idle(0.0)
                elif not self._take_turn(*turn, started_s):
                    break
            if ended and self._hold.last:
                for channel in self._channels:  # shows that the source has ended
                    self._outputs.refresh(self._status(channel))
        finally:
            summary = self._summary()
            self._outputs.finish(summary)
        if self._error is not None:
            raise self._error
        if ended and self._hold.last and any(one.stats.frames_processed for one in self._channels):
            self._hold_picture(started_s, None)
        return summary

    def _next_turn(self) -> tuple[Channel, Frame] | None:
        """Wait for a frame and return it with its channel; None if none arrives within WAIT_S."""
        if len(self._channels) == 1:
            frame = self._channels[0].capture.next_frame(WAIT_S)
            return None if frame is None else (self._channels[0], frame)
        self._changed.clear()
        if not (waiting := self._waiting()):
            self._changed.wait(WAIT_S)
            waiting = self._waiting()
        while waiting:
            number = self._share.choose(waiting)
            if (frame := self._channels[number].capture.next_frame(0.0)) is not None:
                return self._channels[number], frame
            del waiting[number]  # it got too old
        return None

    def _waiting(self) -> dict[int, float]:
        """Return the capture time of the next frame of each source that has one, by number."""
        waiting = {}
        for number, channel in enumerate(self._channels):
            if channel.over:
                continue
            if (since_s := channel.capture.waiting_since_s) is not None:
                waiting[number] = since_s
            elif channel.capture.ended:
                self._end(channel)
        return waiting

    def _end(self, channel: Channel) -> None:
        """Record the end of one of several sources."""
        channel.over = True
        try:
            channel.capture.next_frame(0.0)
        except Exception as error:
            self._contain(channel, error)
        self._outputs.refresh(self._status(channel))

    def _contain(self, channel: Channel, error: Exception) -> None:
        """Let an error end only the source, if there are several; it is raised once all have ended."""
        if len(self._channels) == 1:
            raise error
        channel.over = True
        _log.warning("%s; the other sources continue", _describe(channel, error))
        self._error = self._error or error

    def _take_turn(self, channel: Channel, frame: Frame, started_s: float) -> bool:
        """Process a frame and write its result; return whether the run continues."""
        start_s = self._clock.monotonic()
        if not channel.is_before_end(frame):
            channel.over = True
            return len(self._channels) > 1
        if not self._finish_photo(started_s):
            return False
        done = None
        try:
            done = channel.process(frame)
        except Exception as error:
            self._contain(channel, error)
        if done is not None:
            self._write(channel, *done)
        if len(self._channels) > 1:
            channel.active_s = self._clock.monotonic()
            self._share.charge(self._channels.index(channel), channel.active_s - start_s)
            self._refresh_idle(WAIT_S)
        return True

    def _write(self, channel: Channel, frame: Frame, result: Result) -> None:
        if self._totals is not None:
            self._totals.add(result)
        self._outputs.write(frame, result, self._status(channel) if self._uses_status else self._no_status())
        if frame.still:
            self._photo_s = self._clock.monotonic()

    def _refresh_idle(self, idle_s: float) -> None:
        """Update the status of the sources that have had no result for `idle_s` seconds."""
        now_s = self._clock.monotonic()
        for channel in self._channels:
            if now_s - channel.active_s >= idle_s and not (channel.over and len(self._channels) > 1):
                channel.active_s = now_s
                self._outputs.refresh(self._status(channel))

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
        elapsed_s = self._clock.monotonic() - started_s
        for channel in self._channels:
            channel.over = channel.over or channel.reaches_limit(elapsed_s)
        return self._stopping() or all(one.over for one in self._channels) or self._outputs.closed

    def _check_clock(self) -> None:
        if jump := self._jumps.check():
            _log.warning("%s", jump)

    def _no_status(self) -> Status:
        self._check_clock()
        return Status()

    def _status(self, channel: Channel) -> Status:
        self._check_clock()
        return channel.status(self._jumps.last)

    def _summary(self) -> dict[str, Any]:
        first = self._channels[0]
        pipeline, totals = first.pipeline, self._totals or first.stats
        summary = totals.summary(
            frames_in=sum(one.capture.frames_in for one in self._channels),
            frames_dropped=sum(one.capture.dropped for one in self._channels),
            provider=pipeline.providers,
            models=pipeline.models,
        )
        if pipeline.precision_reasons:
            summary["precision_reasons"] = pipeline.precision_reasons
        about = first.source_figures()
        if self._totals is None and "frames_too_old" in about:
            summary["frames_too_old"] = about.pop("frames_too_old")
        if self._outputs.errors:
            summary["sink_errors"] = self._outputs.errors
        if self._totals is None:
            return {**summary, **about}
        sources = {one.name: {**one.figures(), **one.source_figures()} for one in self._channels}
        return {"source": ALL_SOURCES, **summary, "sources": sources}


def _describe(channel: Channel, error: Exception) -> str:
    """Return the text of an error, which names the source."""
    if isinstance(error, EdgeharferError):
        return str(error)
    return f"{channel.name}: {type(error).__name__}: {error}"
