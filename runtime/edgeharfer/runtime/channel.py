"""One source of a run: its capture, its pipeline and its figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import Clock, ClockJump
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.stats import LatencyHistogram, Stats, Status
from edgeharfer.runtime.types import Frame


@dataclass(frozen=True)
class RunLimits:
    """Limits of a run. None means no limit. With several sources each of them has these limits.

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
class RunInput:
    """A source of a run.

    Attributes:
        pipeline: The pipeline for the frames.
        capture: The frames; already started.
        name: Name in results and events if there are several sources; "" if there is one.
        prepare: Applied to each frame before the pipeline and the sinks, for instance to mask areas.
        before_frame: Called from the thread of the run before each frame, and about ten times a second while
            no frames arrive. Returns the pipeline to use from now on, which is reset if it is another one.
    """

    pipeline: Pipeline
    capture: Capture
    name: str = ""
    prepare: Callable[[Frame], Frame] = lambda frame: frame
    before_frame: Callable[[], Pipeline] | None = None


class Channel:
    """Runs the pipeline of one source on its frames. After a gap in a live source it is reset.

    Attributes:
        name: Name of the source; "" if it is the only one.
        pipeline: The pipeline in use.
        capture: The frames.
        stats: Figures of the results.
        over: Whether no more frames are processed, because the source has ended or reached a limit.
        active_s: Monotonic time of the last result or refresh.
    """

    def __init__(self, given: RunInput, limits: RunLimits, clock: Clock) -> None:
        self.name, self.pipeline, self.capture = given.name, given.pipeline, given.capture
        self.stats = Stats(clock)
        self.over = False
        self.active_s = clock.monotonic()
        self._given, self._limits, self._clock = given, limits, clock
        self._ages = LatencyHistogram() if given.name else None  # in the summary of several sources only
        self._too_old = self._breaks = 0
        self._pending_cut = False
        self._set_real_time()

    def choose_pipeline(self) -> None:
        """Call `before_frame` and switch to the pipeline that it returns."""
        choose = self._given.before_frame
        if choose is None or (chosen := choose()) is self.pipeline:
            return
        self.pipeline = chosen
        self.pipeline.reset()
        self._set_real_time()

    def reaches_limit(self, elapsed_s: float) -> bool:
        """Return whether the source has reached a limit, `elapsed_s` after the start of the run."""
        duration_s, most = self._limits.duration_s, self._limits.max_frames
        late = self.capture.source.live and duration_s is not None and elapsed_s >= duration_s
        return late or (most is not None and self.stats.frames_processed >= most)

    def is_before_end(self, frame: Frame) -> bool:
        """Return whether a frame comes before the maximum duration."""
        return self._limits.duration_s is None or frame.pts_s < self._limits.duration_s

    def process(self, frame: Frame) -> tuple[Frame, Result] | None:
        """Process a frame; return it as prepared, with its result; None if it is too old."""
        frame = self._given.prepare(frame)
        if self._breaks != self.capture.breaks:
            self._breaks = self.capture.breaks
            self.pipeline.reset()
        if self._is_too_old((self._clock.monotonic() - frame.captured_s) * 1e3):
            return None
        result = self.pipeline.process(frame)
        if self._pending_cut or self.name:
            result = replace(result, cut=result.cut or self._pending_cut, source=self.name)
        expired = self.capture.outdated(frame) or self._is_too_old(result.age_ms)
        self._pending_cut = expired and result.cut
        if expired:
            return None
        self.stats.add(result)
        if self._ages is not None:
            self._ages.add(result.age_ms)
        return frame, result

    def status(self, jump: ClockJump | None) -> Status:
        """Return the state and the figures of the source; `jump` is the last jump of the wall clock."""
        return self.stats.status(
            frames_dropped=self.capture.dropped,
            provider=short_providers(self.pipeline.providers),
            source_state=self.capture.state,
            source_name=self.capture.source.name,
            clock_jump=jump,
            breaks=self._breaks,
            source=self.name,
        )

    def figures(self) -> dict[str, Any]:
        """Return what the summary says of the source and its results."""
        return self.stats.figures(frames_in=self.capture.frames_in, frames_dropped=self.capture.dropped)

    def source_figures(self) -> dict[str, Any]:
        """Return what the summary says of the input, after all other figures."""
        figures: dict[str, Any] = {}
        if self._ages is not None:
            figures["age_ms"] = self._ages.summary() if self._ages.count else {}
        if self._limits.max_age_ms is not None:
            figures["frames_too_old"] = self._too_old
        source = self.capture.source
        if source.restartable:
            figures["connection" if self.name else "source"] = {
                "state": self.capture.state,
                "breaks": self.capture.breaks,
                "reconnects": self.capture.reconnects,
                "bad_pictures": source.bad_pictures,
                "details": source.details,
            }
        elif not source.live:
            figures["unreadable"] = source.unreadable
            if source.missing:
                figures["missing"] = len(source.missing)
        return figures

    def _set_real_time(self) -> None:
        if self.capture.in_real_time:
            self.pipeline.set_real_time(self._limits.max_age_ms)

    def _is_too_old(self, age_ms: float) -> bool:
        expired = self._limits.max_age_ms is not None and age_ms > self._limits.max_age_ms
        self._too_old += expired
        return expired


def short_providers(providers: dict[str, str]) -> str:
    """Return the providers in use as a short text, such as "CPU" or "CUDA + CPU"."""
    return " + ".join(
        sorted({name.removesuffix("ExecutionProvider") for name in providers.values()}, reverse=True)
    )
