"""Times of the frames of a container, made strictly increasing."""

from __future__ import annotations

from fractions import Fraction

import av


class BestTime:
    """Chooses between the presentation and decoding times of frames in order, as FFmpeg's own tools do.

    Some containers have no presentation times, and some writers store wrong ones. Whichever went back less
    often so far is used.
    """

    def __init__(self) -> None:
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._faulty_pts = self._faulty_dts = 0

    def of(self, frame: av.VideoFrame) -> int | None:
        """Return the time of the next frame in units of the stream, None if it has none."""
        pts, dts = frame.pts, frame.dts
        if pts is not None:
            self._faulty_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        if dts is not None:
            self._faulty_dts += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        if pts is None or (dts is not None and self._faulty_pts > self._faulty_dts):
            return dts
        return pts


class FrameTimes:
    """Strictly increasing frame times in seconds since the first frame, whatever the container states.

    Args:
        fps: Frame rate in Hz.
        time_base: Seconds of one unit of the container's times.
    """

    # Times that go back by more than this start again, as in files that were joined.
    _RESTART_S = 1.0

    def __init__(self, fps: float, time_base: Fraction) -> None:
        self._interval_s = 1.0 / fps
        self._numerator, self._denominator = time_base.numerator, time_base.denominator
        self._origin: int | None = None
        self._origin_s = 0.0
        self._last_s: float | None = None

    def of(self, pts: int) -> float | None:
        """Return the time that a presentation time stands for, None before the first frame."""
        if self._origin is None:
            return None
        return round((pts - self._origin) * self._numerator / self._denominator + self._origin_s, 6)

    def next(self, pts: int | None) -> float:
        """Return the time of the next frame.

        Args:
            pts: Presentation time from the container. If it is None or does not increase, one frame duration
                is added to the last time instead. After a large step back, the times that follow are relative
                to that frame.
        """
        if self._last_s is None:
            self._origin = pts
            self._last_s = 0.0
            return 0.0
        stated_s = None if pts is None else self.of(pts)
        if stated_s is not None and stated_s > self._last_s:
            self._last_s = stated_s
            return stated_s
        following_s = round(self._last_s + self._interval_s, 6)
        if pts is not None and (stated_s is None or stated_s < self._last_s - self._RESTART_S):
            self._origin, self._origin_s = pts, following_s
        self._last_s = following_s
        return following_s
