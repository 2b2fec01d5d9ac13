"""Supervision of a live source: its state, and reconnection with exponential backoff.

    CONNECTING ──frame──> LIVE ──no frame──> STALLED ──still none, or an error──> LOST
         ^                 │ ^ <────frame──────┘                                   │
         │                 v │                                                     v
         │              FROZEN (frames, but always the same image)               pause
         └───────────────────────────────────────────────────────────────────────┘
    A failed connection is BACKOFF; each pause is twice as long as the last.

All times are monotonic. Frames of a frozen source are discarded because they do not show the current scene.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from enum import Enum

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.picture import Picture
from edgeharfer.runtime.source.base import LiveTime, Source
from edgeharfer.runtime.types import Frame


class SourceState(str, Enum):
    """State of a source, with the values used in results and displays."""

    __str__ = str.__str__

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    FROZEN = "frozen"
    LOST = "lost"
    BACKOFF = "backoff"
    ENDED = "ended"


@dataclass(frozen=True)
class SourceTimeouts:
    """Timeouts of a live source, in seconds.

    Attributes:
        stalled: Time without a frame until STALLED, or three times the frame interval of a slow source.
        lost: Time without a frame until LOST, unless the source reports an error earlier.
        frozen: Time with identical frames until FROZEN.
        connect: Time for a connection attempt.
        first_pause: Pause before the first attempt to reconnect; it doubles with each attempt.
        longest_pause: Maximum pause between attempts.
    """

    stalled: float = 1.5
    lost: float = 5.5
    frozen: float = 4.0
    connect: float = 12.0
    first_pause: float = 0.25
    longest_pause: float = 5.0


_INTERRUPTED = frozenset({SourceState.STALLED, SourceState.FROZEN, SourceState.LOST})

_log = logging.getLogger(__name__)


class Supervisor:
    """The frames of a source that may stall, freeze, disconnect and reconnect.

    Frame numbers and times count from the first frame, across all connections.

    Attributes:
        state: Current state.
        breaks: Number of interruptions after which frames resumed.
        reconnects: Number of those that needed a new connection.
    """

    def __init__(self, source: Source, clock: Clock, timeouts: SourceTimeouts | None = None) -> None:
        """Supervise an open restartable source."""
        self.state = SourceState.CONNECTING
        self.breaks = self.reconnects = 0
        self._source, self._clock, self._timeouts = source, clock, timeouts or SourceTimeouts()
        self._freeze_detector = FreezeDetector()
        self._interrupted_since_s: float | None = None
        self._since_s = clock.monotonic()  # time of the last frame or change of state
        self._interval_s = 0.0  # recent mean frame interval
        self._live_time = LiveTime()
        self._pause_s = 0.0
        self._next_seq = self._first_seq = 0

    @property
    def ended(self) -> bool:
        """Whether the source has ended, so that no more frames will arrive."""
        return self._source.ended

    def next(self, timeout_s: float) -> Frame | None:
        """Return the next frame that shows the current scene, or None after a timeout.

        Errors of the source change the state; exceptions other than SourceError are passed on.

        Args:
            timeout_s: Maximum time to wait, in seconds.
        """
        if self.state in (SourceState.LOST, SourceState.BACKOFF):
            self._back_off(timeout_s)
            return None
        try:
            frame = self._source.read_within(timeout_s)
        except SourceError as error:
            self._fail(str(error))
            return None
        if frame is None:
            self._on_timeout()
            return None
        return self._on_frame(frame)

    def _on_frame(self, frame: Frame) -> Frame | None:
        now_s = self._clock.monotonic()
        if self.state is not SourceState.CONNECTING:
            self._interval_s += (now_s - self._since_s - self._interval_s) / 2
        self._since_s = now_s
        same_s = self._freeze_detector.seconds(frame)
        if same_s >= self._timeouts.frozen:
            self._enter(SourceState.FROZEN, f"identical frames for {same_s:.1f} s")
            return None
        self._mark_live()
        return self._renumbered(frame)

    def _on_timeout(self) -> None:
        silent_s = self._clock.monotonic() - self._since_s
        if self.state is SourceState.CONNECTING:
            if silent_s > self._timeouts.connect:
                self._fail(f"{self._source.name}: no response within {self._timeouts.connect:g} s")
        elif silent_s > self._timeouts.lost:
            self._fail(f"{self._source.name}: no frame for {silent_s:.1f} s")
        elif silent_s > max(self._timeouts.stalled, 3 * self._interval_s):
            self._enter(SourceState.STALLED, f"no frame for {silent_s:.1f} s")

    def _fail(self, reason: str) -> None:
        first = self.state is not SourceState.CONNECTING or self._pause_s == 0.0
        self._pause_s = min(2 * self._pause_s or self._timeouts.first_pause, self._timeouts.longest_pause)
        self._enter(SourceState.LOST if first else SourceState.BACKOFF, reason)
        self._since_s = self._clock.monotonic()

    def _back_off(self, timeout_s: float) -> None:
        left_s = self._since_s + self._pause_s - self._clock.monotonic()
        if left_s > 0:
            self._clock.sleep(min(left_s, timeout_s))
            return
        self._enter(SourceState.CONNECTING, "")
        self._since_s, self._interval_s = self._clock.monotonic(), 0.0
        self._first_seq = self._next_seq
        try:
            self._source.reconnect()
        except SourceError as error:
            self._fail(str(error))

    def _mark_live(self) -> None:
        self.reconnects += self._pause_s > 0
        self.breaks += self._interrupted_since_s is not None
        self._pause_s = 0.0
        self._enter(SourceState.LIVE, "")

    def _renumbered(self, frame: Frame) -> Frame:
        seq = self._first_seq + frame.seq
        self._next_seq = seq + 1
        return replace(frame, seq=seq, pts_s=self._live_time.pts_s(frame.captured_s))

    def _enter(self, state: SourceState, reason: str) -> None:
        """Change the state. Interruptions and recovery are logged as warnings, attempts as debug messages."""
        if state is self.state:
            return
        self.state = state
        name, now_s = self._source.name, self._clock.monotonic()
        if state in _INTERRUPTED:
            _log.warning("%s: %s: %s", name, state, reason.removeprefix(f"{name}: "))
            if self._interrupted_since_s is None:
                self._interrupted_since_s = now_s
        elif state is SourceState.LIVE and self._interrupted_since_s is not None:
            _log.warning("%s: live again after %.1f s", name, now_s - self._interrupted_since_s)
            self._interrupted_since_s = None
        else:
            _log.debug("%s: %s %s", name, state, reason)


class FreezeDetector:
    """Measures how long frames have been identical in every byte, as from a hung camera.

    The noise of a working sensor makes every frame different.
    """

    def __init__(self) -> None:
        self._picture: Picture | None = None
        self._since_s = 0.0

    def seconds(self, frame: Frame) -> float:
        """Return for how many seconds frames have been identical to this one; 0 for a new picture."""
        if self._picture is None or not self._picture.equals(frame.picture):
            self._since_s = frame.captured_s
        self._picture = frame.picture.unconverted()
        return frame.captured_s - self._since_s
