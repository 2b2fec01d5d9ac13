"""Decides in which frames faces are detected and read.

Faces are detected at the requested rate as long as there is time, and less often under load.

Actions need frames at fixed times, whereas faces and their emotions can wait a little. In real time, face
detection therefore gets the share of MAX_LOAD that the other work leaves: its interval follows from the cost
of one detection and from the cost of the other work per second. Neither depends on the interval, so the
interval does not oscillate. Several sources that one thread processes get the same interval: that which
follows from the sums of their costs. If that is longer than DENSE_INTERVAL_S, actions are read less often
too, as those of a source with a low frame rate. Faces that are still are always detected less often. The
maximum age of a result is one deadline for all tasks: a detection that would exceed it is postponed to the
next frame, up to a limit.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from typing import Protocol

from edgeharfer.runtime.lookahead import DetectionPlan

MAX_LOAD = 0.8
"""Target load of the processing thread; the rest is for the sinks and for other processes."""
SHARED_MAX_LOAD = 0.6
"""Target load with several sources, whose frames wait for each other: of eight sources with 30 frames a
second, 99 % of the results are younger than two frame intervals."""
STILL_INTERVAL_FACTOR = 2
"""Factor by which the detection interval grows while all faces are still."""
SHARED_STILL_INTERVAL_FACTOR = 1.8
"""The same with several sources, some of whose frames are dropped while others have their turn."""
MAX_INTERVAL_S = 1.0
"""Maximum detection interval under load."""
DENSE_INTERVAL_S = 0.18
"""With several sources, a longer detection interval under load lowers the rate of the clip models."""
LOAD_TIME_CONSTANT_S = 2.0
"""Time constant of the average load of the other work."""
COST_AVERAGE_DETECTIONS = 5
"""Number of detections over which the cost of a detection is averaged."""
MIN_RELATIVE_CHANGE = 0.15
"""Smaller relative changes of the interval are ignored."""
MIN_FACES_PER_FRAME = 1
"""Number of faces that are read in one frame under load; the others follow in the next frames."""
TRACKING_FPS = 8.0
"""Minimum detection rate of `SamplingSchedule`, because tracks cannot bridge large movements."""
_EARLY_S = 0.002
"""A frame counts as due if it is early by this much, because frame intervals vary."""
_ROUNDING_S = 1e-5
"""Tolerance for frame times, which are rounded to microseconds."""


def face_interval_s(rate_hz: float) -> float:
    """Return the face detection interval for a rate; 0 means every frame for both."""
    return 1 / rate_hz if rate_hz else 0.0


class Schedule(Protocol):
    """Decides in which frames faces are detected and read. Times are in seconds.

    Called from the thread that processes frames.

    Attributes:
        smooths_faces: Whether readings of faces are averaged over time.
        sampled: Whether tasks on faces run in the frame of the last call of `due`.
        sparse: Whether clip models encode fewer frames, at `tasks.action.SPARSE_POINTS`.
    """

    smooths_faces: bool = True
    sampled: bool = True

    @property
    def sparse(self) -> bool:
        return False

    @abstractmethod
    def due(self, pts_s: float, age_s: float) -> bool:
        """Return whether to detect faces in this frame. Called once for each frame of a video, in order.

        Args:
            pts_s: Source time of the frame.
            age_s: Age of the frame.
        """

    @property
    def plan(self) -> DetectionPlan | None:
        """When faces are detected next; None if that is not known."""
        return None

    @abstractmethod
    def faces_at_once(self, waiting: int, new: int) -> int:
        """Return how many faces to read in this frame.

        Args:
            waiting: Number of detected faces that have not been read since their detection.
            new: Number of these that have never been read.
        """

    def set_real_time(self, max_age_s: float | None) -> None:
        """Adapt to the load from now on, because frames arrive in real time.

        Args:
            max_age_s: Maximum age of a frame at its result; None for no limit.
        """
        return

    def reset(self) -> None:
        """Discard all state before another source."""
        return

    def forget_faces(self) -> None:
        """Discard the last detection, for instance after a cut."""
        return

    def for_another_source(self) -> Schedule:
        """Return a schedule with the same settings for another source, processed in the same thread."""
        other = copy.copy(self)
        other.reset()
        return other

    def record_detection(self, pts_s: float, cost_s: float, *, faces_still: bool = False) -> None:
        """Record a face detection.

        Args:
            pts_s: Source time of the frame.
            cost_s: Duration of the detection and of the tasks on faces.
            faces_still: Whether there are faces and all of them are still.
        """
        return

    def record_frame(self, pts_s: float, cost_s: float) -> None:
        """Record a processed frame.

        Args:
            pts_s: Source time of the frame.
            cost_s: Duration of the work on it, except for `record_detection`.
        """
        return


class ThreadLoad:
    """The load of a processing thread, which the schedules of its sources share.

    Attributes:
        schedules: The schedules.
        sparse: See `Schedule.sparse`.
    """

    def __init__(self) -> None:
        self.schedules: list[LiveSchedule] = []
        self.sparse = False

    def needed_interval_s(self) -> float:
        """Return the detection interval at which the load is right, at most MAX_INTERVAL_S.

        With several sources the load is SHARED_MAX_LOAD as long as the interval is at most DENSE_INTERVAL_S.
        To that end clip models encode fewer frames. Only then does the load rise to MAX_LOAD.
        """
        least_s = self._interval_s(MAX_LOAD)
        if len(self.schedules) == 1:
            return least_s
        interval_s = self._interval_s(SHARED_MAX_LOAD)
        if interval_s > DENSE_INTERVAL_S:
            self.sparse = True
        elif interval_s < 0.8 * DENSE_INTERVAL_S:  # lower, because being sparse shortens the interval
            self.sparse = False
        return max(least_s, min(interval_s, DENSE_INTERVAL_S))

    def _interval_s(self, load: float) -> float:
        spare = load - sum(one.other_load for one in self.schedules)
        cost_s = sum(one.detection_cost_s for one in self.schedules)
        return min(cost_s / spare, MAX_INTERVAL_S) if spare > 0 else MAX_INTERVAL_S


class LiveSchedule(Schedule):
    """Detects faces at an interval that adapts to the load, and reads them in turn.

    Attributes:
        wanted_s: Interval in seconds while there is time; 0 detects and reads all faces in every frame.
        interval_s: Current interval in seconds.
        paced: Whether frames arrive in real time.
        other_load: Time that all other work on the source takes per second, in seconds.
        detection_cost_s: Mean time of a detection and of the tasks on faces.
    """

    def __init__(self, wanted_s: float) -> None:
        self.wanted_s = wanted_s
        self.paced = False
        self._max_age_s = math.inf
        self._thread = ThreadLoad()
        self._thread.schedules.append(self)
        self.reset()

    def set_real_time(self, max_age_s: float | None) -> None:
        self.paced, self._max_age_s = True, math.inf if max_age_s is None else max_age_s

    def reset(self) -> None:
        self.interval_s = self.wanted_s
        self._detected_s: float | None = None
        self._faces_still = False
        self._last_s: float | None = None
        self.detection_cost_s = self.other_load = 0.0

    def forget_faces(self) -> None:
        self._detected_s = None

    def for_another_source(self) -> LiveSchedule:
        other = copy.copy(self)
        other.reset()
        self._thread.schedules.append(other)
        return other

    def due(self, pts_s: float, age_s: float) -> bool:
        if self._detected_s is None or pts_s < self._detected_s:  # a jump back in time is a new start
            return True
        since_s = pts_s - self._detected_s
        interval_s = self._still_interval_s if self._faces_still else self.interval_s
        if since_s < interval_s - _EARLY_S:
            return False
        late = self.paced and age_s + self.detection_cost_s > self._max_age_s
        return not late or since_s >= min(2 * interval_s, MAX_INTERVAL_S)

    @property
    def sparse(self) -> bool:
        return self._thread.sparse

    @property
    def plan(self) -> DetectionPlan | None:
        if self._detected_s is None:
            return None
        usual_s, still_s = self.interval_s - _EARLY_S, self._still_interval_s - _EARLY_S
        return DetectionPlan(self._detected_s, still_s if self._faces_still else usual_s, (usual_s, still_s))

    @property
    def _still_interval_s(self) -> float:
        several = len(self._thread.schedules) > 1
        factor = SHARED_STILL_INTERVAL_FACTOR if several else STILL_INTERVAL_FACTOR
        return max(self.interval_s, factor * self.wanted_s)

    def faces_at_once(self, waiting: int, new: int) -> int:
        if not self.wanted_s:
            return waiting
        # A crowd must not delay live frames. Files have time for all new faces at once.
        return max(MIN_FACES_PER_FRAME, 0 if self.paced else new)

    def record_detection(self, pts_s: float, cost_s: float, *, faces_still: bool = False) -> None:
        self._detected_s, self._faces_still = pts_s - self._late_s(pts_s), faces_still
        share = 1 / COST_AVERAGE_DETECTIONS if self.detection_cost_s else 1.0
        self.detection_cost_s += share * (cost_s - self.detection_cost_s)

    def _late_s(self, pts_s: float) -> float:
        """Return by how much a detection is late because other sources had their turn, in seconds.

        The next interval begins when this one should have ended, so that the mean rate is kept.
        """
        if not self.paced or self._detected_s is None or len(self._thread.schedules) == 1:
            return 0.0
        interval_s = self._still_interval_s if self._faces_still else self.interval_s
        late_s = pts_s - self._detected_s - interval_s
        return late_s if 0 < late_s < interval_s / 2 else 0.0

    def record_frame(self, pts_s: float, cost_s: float) -> None:
        step_s = 0.0 if self._last_s is None else pts_s - self._last_s
        self._last_s = pts_s
        if step_s <= 0:
            return
        self.other_load += (1 - math.exp(-step_s / LOAD_TIME_CONSTANT_S)) * (
            cost_s / step_s - self.other_load
        )
        if self.paced:
            self._adapt()

    def _adapt(self) -> None:
        interval_s = max(self.wanted_s, self._thread.needed_interval_s())
        at_a_bound = interval_s in (self.wanted_s, MAX_INTERVAL_S)
        if at_a_bound or abs(interval_s - self.interval_s) > MIN_RELATIVE_CHANGE * self.interval_s:
            self.interval_s = interval_s


class SamplingSchedule(Schedule):
    """Reads all faces at a fixed rate without smoothing, and detects them at TRACKING_FPS or more.

    Every frame is sampled if the source has a lower rate. Tasks on the scene are not affected.

    Attributes:
        fps: Samples per second.
    """

    smooths_faces = False

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self.reset()

    def reset(self) -> None:
        self._samples, self._detections = TimeGrid(self.fps), TimeGrid(max(self.fps, TRACKING_FPS))
        self.sampled = False

    def due(self, pts_s: float, age_s: float) -> bool:
        self.sampled = self._samples.selects(pts_s)
        return self._detections.selects(pts_s) or self.sampled

    def faces_at_once(self, waiting: int, new: int) -> int:
        return waiting


class TimeGrid:
    """Selects the first frame at or after each point of a regular grid with `fps` points per second."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._last_point = -1

    def selects(self, time_s: float) -> bool:
        """Return whether the frame at this time is selected. Call it in ascending order of time."""
        point = math.floor((time_s + _ROUNDING_S) * self._fps)
        if point <= self._last_point:
            return False
        self._last_point = point
        return True
