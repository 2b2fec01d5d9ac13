"""Predicts which frames of a file the pipeline will look at, so that the source need not decode the others.

A frame that no other frame refers to (most B-frames) is only decoded if faces may be detected or features
sampled in it. The source asks before it decodes, several frames before the pipeline gets there. The answer
follows from what the pipeline had planned LAG_FRAMES earlier, and errs on the side of decoding. After a key
frame, which may begin a new scene and thereby change the plan, so many frames are needed. The pipeline makes
the same prediction again when it receives the frame, and ignores a frame that was not needed even if it was
decoded. So the results do not depend on the timing of the threads.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass

from edgeharfer.runtime.picture import SkippedPicture
from edgeharfer.runtime.types import Frame

LAG_FRAMES = 11
"""Frames from the plan that a prediction uses to the frame in question: six that are read in advance, two in
the queue of the capture, two that most files reorder, and one in progress. A source that asks earlier decodes
more.
"""
MAX_TIMES = 256
"""Number of frame times and plans that are kept."""
_GRID_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class SampleGrid:
    """Regular points in time, each of which takes the first frame at or after it.

    Attributes:
        origin_s: Source time of point 0, in seconds.
        step_s: Seconds between points.
    """

    origin_s: float
    step_s: float

    def point(self, pts_s: float) -> int:
        """Return the number of the last point at or before a time."""
        return math.floor((pts_s - self.origin_s) / self.step_s + _GRID_TOLERANCE)

    def samples(self, previous_s: float, pts_s: float) -> bool:
        """Return whether a point takes the frame at `pts_s`, the one before it being at `previous_s`."""
        return self.point(pts_s) > self.point(previous_s)


@dataclass(frozen=True, slots=True)
class DetectionPlan:
    """When faces are detected: in the first frame `interval_s` after `last_s`, and so on.

    Attributes:
        last_s: Source time of the last detection, in seconds.
        interval_s: Minimum time until the next one.
        later_s: Possible minimum times from one detection to the next after that.
    """

    last_s: float
    interval_s: float
    later_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the pipeline will look at, as far as it is known after a frame.

    Attributes:
        detection: When faces are detected; None: perhaps in any frame.
        grids: When frames are sampled by tasks on the scene; None: perhaps any frame.
    """

    detection: DetectionPlan | None
    grids: tuple[SampleGrid, ...] | None

    def may_include(self, times: Sequence[float]) -> bool:
        """Return whether the pipeline may look at a frame.

        Args:
            times: Source times of the frames up to this one, in ascending order, in seconds.
        """
        if self.detection is None or self.grids is None or times[0] > self.detection.last_s:
            return True
        previous_s, pts_s = times[-2:]
        if any(grid.samples(previous_s, pts_s) for grid in self.grids):
            return True
        dues = {self.detection.last_s + self.detection.interval_s}
        for time_s in times[bisect_right(times, self.detection.last_s) : -1]:
            if later := {due for due in dues if due <= time_s}:
                dues = (dues - later) | {time_s + interval_s for interval_s in self.detection.later_s}
        return min(dues) <= pts_s


class Lookahead:
    """Answers `Source.wanted` for a pipeline.

    `announce` and `wanted` are called in the thread that reads the source, the other methods in that of the
    pipeline.

    Args:
        fps: Nominal frame rate of the source in Hz.
    """

    def __init__(self, fps: float) -> None:
        self._lag_s = LAG_FRAMES / fps
        self._announced: list[float] = []
        self._keys: list[float] = []
        self._optional: set[float] = set()
        self._times: list[float] = []
        self._plans: dict[float, Plan] = {}
        self._stopped = False

    def announce(self, pts_s: float, key: bool) -> None:
        """See `Source.announce`."""
        insort(self._announced, pts_s)
        del self._announced[:-MAX_TIMES]
        if key:
            self._keys = [*self._keys[-MAX_TIMES:], pts_s]

    def wanted(self, pts_s: float) -> bool:
        """Return whether to decode a frame (see `Source.wanted`)."""
        if self._stopped:
            return True
        self._optional.add(pts_s)
        return self._may_look(self._announced[: bisect_right(self._announced, pts_s)])

    def filtered(self, frame: Frame) -> Frame:
        """Return the next frame, or a `SkippedPicture` in its place if the pipeline must not look at it."""
        pts_s = frame.pts_s
        if self._times and pts_s <= self._times[-1]:  # a jump back in time
            self._times.clear()
        self._times.append(pts_s)
        del self._times[:-MAX_TIMES]
        if pts_s not in self._optional:
            return frame
        self._optional.discard(pts_s)
        if frame.decoded and not self._may_look(self._times):
            return frame.with_picture(SkippedPicture(frame.size))
        return frame

    def publish(self, pts_s: float, plan: Plan) -> None:
        """Record the plan of the pipeline after a frame."""
        self._plans[pts_s] = plan
        if len(self._plans) > MAX_TIMES:
            del self._plans[next(iter(self._plans))]

    def stop(self) -> None:
        """Ask for all frames from now on."""
        self._stopped = True

    def _may_look(self, times: Sequence[float]) -> bool:
        """Predict from the plan after the last frame that is at least the lag earlier."""
        earlier = bisect_left(times, times[-1] - self._lag_s + _GRID_TOLERANCE) - 1
        plan = self._plans.get(times[earlier]) if earlier >= 0 else None
        if plan is None or any(times[earlier] < key_s <= times[-1] for key_s in self._keys):
            return True
        return plan.may_include(times)
