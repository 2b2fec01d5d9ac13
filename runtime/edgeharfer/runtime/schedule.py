"""How often faces are looked for: as often as wanted while there is time, more rarely under load.

Actions need their pictures at fixed times; faces and their emotions can wait a little. So where the frames
come as time passes, looks get what the rest of the work leaves of MOST_LOAD: their interval follows from
what a look costs and what all else costs in a second. Neither depends on the interval, so it does not
swing. Faces that keep still are looked at more rarely at any time. The age a result may have is one
deadline for both tasks: a look that would miss it waits for the next frame, for as long as a look can wait.
"""

from __future__ import annotations

import math

MOST_LOAD = 0.8
"""Of the time of one thread; the rest is for the sinks and for what else the machine does."""
CALM = 2
"""Intervals from one look to the next while every known face keeps still."""
LONGEST_S = 1.0
"""However busy it is, faces are looked for once a second."""
MEMORY_S = 2.0
"""Time constant of what the rest costs; of a look's cost it is LOOKS looks."""
LOOKS = 5
STEP = 0.15
"""Changes of the interval that are smaller than this share are left out."""
_EARLY_S = 0.002
"""Frames do not come to the millisecond: one that early still counts as due."""


def face_interval_s(rate_hz: float) -> float:
    """Seconds from one face detection to the next; 0, which is every frame, for a rate of 0."""
    return 1 / rate_hz if rate_hz else 0.0


class Schedule:
    """Tells when a look is due. Times are those of the frames, in seconds.

    wanted_s: from one look to the next while there is time; 0 is every frame.
    paced: whether frames come as time passes.
    """

    def __init__(self, wanted_s: float) -> None:
        self.wanted_s = wanted_s
        self.paced = False
        self._max_age_s = math.inf
        self.reset()

    def keep_pace(self, max_age_s: float | None) -> None:
        """Frames come as time passes from now on. max_age_s: of a frame at its result."""
        self.paced, self._max_age_s = True, math.inf if max_age_s is None else max_age_s

    def reset(self) -> None:
        """Another source: what it costs is not known yet."""
        self.interval_s = self.wanted_s
        self._looked_s: float | None = None
        self._calm = False
        self._last_s: float | None = None
        self._look_cost_s = self._rest = 0.0

    def forget(self) -> None:
        """The next frame is looked at."""
        self._looked_s = None

    def due(self, pts_s: float, age_s: float) -> bool:
        """Whether to look at this frame, which is that old. A jump back in time is a new start."""
        if self._looked_s is None or pts_s < self._looked_s:
            return True
        since_s = pts_s - self._looked_s
        interval_s = max(self.interval_s, CALM * self.wanted_s) if self._calm else self.interval_s
        if since_s < interval_s - _EARLY_S:
            return False
        late = self.paced and age_s + self._look_cost_s > self._max_age_s
        return not late or since_s >= min(2 * interval_s, LONGEST_S)

    def looked(self, pts_s: float, cost_s: float, *, calm: bool = False) -> None:
        """A look was taken, which took so long. calm: there are faces, and all of them keep still."""
        self._looked_s, self._calm = pts_s, calm
        share = 1 / LOOKS if self._look_cost_s else 1.0
        self._look_cost_s += share * (cost_s - self._look_cost_s)

    def worked(self, pts_s: float, cost_s: float) -> None:
        """A frame is done; all but its look took so long."""
        step_s = 0.0 if self._last_s is None else pts_s - self._last_s
        self._last_s = pts_s
        if step_s <= 0:
            return
        self._rest += (1 - math.exp(-step_s / MEMORY_S)) * (cost_s / step_s - self._rest)
        if self.paced:
            self._adapt()

    def _adapt(self) -> None:
        left = MOST_LOAD - self._rest
        needed = self._look_cost_s / left if left > 0 else LONGEST_S
        interval_s = max(self.wanted_s, min(needed, LONGEST_S))
        at_an_end = interval_s in (self.wanted_s, LONGEST_S)
        if at_an_end or abs(interval_s - self.interval_s) > STEP * self.interval_s:
            self.interval_s = interval_s
