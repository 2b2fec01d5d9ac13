"""The time of each frame in a saved video."""

from __future__ import annotations

LIVE_GAP_S = 10.0
"""Longer gaps of a live source are removed from its video."""
FILE_GAP_S = 3600.0
"""Longer gaps of a file are removed, as from damaged timestamps."""
_MAX_STEP_BACK_S = 1.0


class Timeline:
    """Keeps the times of the source, from 0 at the first frame, without long gaps and restarts.

    Args:
        interval_s: Usual time between two frames, which replaces a gap.
        max_gap_s: Longest gap that is kept.
    """

    def __init__(self, interval_s: float, max_gap_s: float = LIVE_GAP_S) -> None:
        self._interval_s, self._max_gap_s = interval_s, max_gap_s
        self._origin_s: float | None = None
        self._next_s = 0.0  # earliest time of a frame after a gap
        self._last_s = 0.0

    def time_s(self, pts_s: float) -> float:
        """Return the time in the video of a frame with this source time.

        A frame that is up to a second older than the one before it gets an earlier time than that.
        """
        if self._origin_s is None:
            self._origin_s = pts_s - self._next_s
        time_s = pts_s - self._origin_s
        if not -_MAX_STEP_BACK_S <= time_s - self._last_s <= self._max_gap_s:
            self._origin_s, time_s = pts_s - self._next_s, self._next_s
        if time_s >= self._last_s:
            self._last_s, self._next_s = time_s, time_s + self._interval_s
        return time_s

    def hold(self, seconds: float) -> float:
        """Return the time in the video of a photograph that is shown for a while."""
        start_s = self._next_s
        self._last_s = self._next_s = start_s + seconds
        self._origin_s = None
        return start_s
