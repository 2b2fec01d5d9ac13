"""Which frames faces are looked for and read in.

Live, faces are looked for as often as wanted while there is time, and more rarely under load.

Actions need their pictures at fixed times; faces and their emotions can wait a little. So where the frames
come as time passes, looks get what the rest of the work leaves of MAX_LOAD: their interval follows from
what a look costs and what all else costs in a second. Neither depends on the interval, so it does not
swing. Faces that keep still are looked at more rarely at any time. The age a result may have is one
deadline for both tasks: a look that would miss it waits for the next frame, for as long as a look can wait.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Protocol

MAX_LOAD = 0.8
"""Of the time of one thread; the rest is for the sinks and for what else the machine does."""
STILL_INTERVAL_FACTOR = 2
"""Intervals from one look to the next while every known face keeps still."""
MAX_INTERVAL_S = 1.0
"""However busy it is, faces are looked for once a second."""
LOAD_TIME_CONSTANT_S = 2.0
"""Time constant of what the rest costs; of a look's cost it is LOOKS looks."""
COST_AVERAGE_DETECTIONS = 5
MIN_RELATIVE_CHANGE = 0.15
"""Changes of the interval that are smaller than this share are left out."""
MIN_FACES_PER_FRAME = 1
"""Faces that are read in one frame where time is short; the others have their turn in the next ones."""
TRACKING_FPS = 8.0
"""Where faces are sampled more rarely, they are looked for so often, as tracks cannot span long moves."""
_EARLY_S = 0.002
"""Frames do not come to the millisecond: one that early still counts as due."""
_SLACK_S = 1e-5
"""Times of frames are rounded to microseconds, and one that is short of a point by that is not late."""


def face_interval_s(rate_hz: float) -> float:
    """Seconds from one face detection to the next; 0, which is every frame, for a rate of 0."""
    return 1 / rate_hz if rate_hz else 0.0


class Schedule(Protocol):
    """Decides which frames faces are looked for and read in. Times are those of the frames, in seconds.

    Attributes:
        smooths_faces: Whether what is read of a face is averaged over time.
        sampled: Whether tasks on faces run in the frame that `due` was asked for last.
    """

    smooths_faces: bool = True
    sampled: bool = True

    @abstractmethod
    def due(self, pts_s: float, age_s: float) -> bool:
        """Whether to look for faces in this frame, which is that old. Asked once for each frame of a film."""

    @abstractmethod
    def faces_at_once(self, waiting: int, new: int) -> int:
        """How many of the waiting faces to read in this frame. new: those of them never read before."""

    def set_real_time(self, max_age_s: float | None) -> None:
        """Frames come as time passes from now on. max_age_s: of a frame at its result."""
        return

    def reset(self) -> None:
        """Another source begins."""
        return

    def forget_faces(self) -> None:
        """Nothing is known of the faces any more, for instance after a cut."""
        return

    def record_detection(self, pts_s: float, cost_s: float, *, faces_still: bool = False) -> None:
        """A look was taken, which took so long. calm: there are faces, and all of them keep still."""
        return

    def record_frame(self, pts_s: float, cost_s: float) -> None:
        """A frame is done; all but its look took so long."""
        return


class LiveSchedule(Schedule):
    """Looks for faces at an interval that follows the load, and reads them in turn.

    wanted_s: from one look to the next while there is time; 0 is every frame, with all faces read in it.
    paced: whether frames come as time passes.
    """

    def __init__(self, wanted_s: float) -> None:
        self.wanted_s = wanted_s
        self.paced = False
        self._max_age_s = math.inf
        self.reset()

    def set_real_time(self, max_age_s: float | None) -> None:
        self.paced, self._max_age_s = True, math.inf if max_age_s is None else max_age_s

    def reset(self) -> None:
        self.interval_s = self.wanted_s
        self._detected_s: float | None = None
        self._faces_still = False
        self._last_s: float | None = None
        self._detection_cost_s = self._other_load = 0.0

    def forget_faces(self) -> None:
        self._detected_s = None

    def due(self, pts_s: float, age_s: float) -> bool:
        if self._detected_s is None or pts_s < self._detected_s:  # a jump back in time is a new start
            return True
        since_s = pts_s - self._detected_s
        interval_s = (
            max(self.interval_s, STILL_INTERVAL_FACTOR * self.wanted_s)
            if self._faces_still
            else self.interval_s
        )
        if since_s < interval_s - _EARLY_S:
            return False
        late = self.paced and age_s + self._detection_cost_s > self._max_age_s
        return not late or since_s >= min(2 * interval_s, MAX_INTERVAL_S)

    def faces_at_once(self, waiting: int, new: int) -> int:
        if not self.wanted_s:
            return waiting
        # So that a crowd delays nothing; where there is time for it, all new ones at once.
        return max(MIN_FACES_PER_FRAME, 0 if self.paced else new)

    def record_detection(self, pts_s: float, cost_s: float, *, faces_still: bool = False) -> None:
        self._detected_s, self._faces_still = pts_s, faces_still
        share = 1 / COST_AVERAGE_DETECTIONS if self._detection_cost_s else 1.0
        self._detection_cost_s += share * (cost_s - self._detection_cost_s)

    def record_frame(self, pts_s: float, cost_s: float) -> None:
        step_s = 0.0 if self._last_s is None else pts_s - self._last_s
        self._last_s = pts_s
        if step_s <= 0:
            return
        self._other_load += (1 - math.exp(-step_s / LOAD_TIME_CONSTANT_S)) * (
            cost_s / step_s - self._other_load
        )
        if self.paced:
            self._adapt()

    def _adapt(self) -> None:
        left = MAX_LOAD - self._other_load
        needed = self._detection_cost_s / left if left > 0 else MAX_INTERVAL_S
        interval_s = max(self.wanted_s, min(needed, MAX_INTERVAL_S))
        at_an_end = interval_s in (self.wanted_s, MAX_INTERVAL_S)
        if at_an_end or abs(interval_s - self.interval_s) > MIN_RELATIVE_CHANGE * self.interval_s:
            self.interval_s = interval_s


class SamplingSchedule(Schedule):
    """Reads all faces at `fps` points a second, each by itself, and looks for them at TRACKING_FPS or more.

    A source that is slower gives each of its frames. Actions are not concerned: they run on every frame.
    """

    smooths_faces = False

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self.reset()

    def reset(self) -> None:
        self._samples, self._looks = TimeGrid(self.fps), TimeGrid(max(self.fps, TRACKING_FPS))
        self.sampled = False

    def due(self, pts_s: float, age_s: float) -> bool:
        self.sampled = self._samples.selects(pts_s)
        return self._looks.selects(pts_s) or self.sampled

    def faces_at_once(self, waiting: int, new: int) -> int:
        return waiting


class TimeGrid:
    """Picks the first frame at or after each point of a grid in time, `fps` points a second."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._taken = -1

    def selects(self, time_s: float) -> bool:
        """Whether the frame at this time is one. Times ascend."""
        point = math.floor((time_s + _SLACK_S) * self._fps)
        if point <= self._taken:
            return False
        self._taken = point
        return True
