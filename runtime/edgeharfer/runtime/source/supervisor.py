"""Watches over a live source: what state it is in, and when it is opened anew.

    CONNECTING ──frame──> LIVE ──no frame──> STALLED ──still none, or an error──> LOST
         ^                 │ ^ <────frame──────┘                                   │
         │                 v │                                                     v
         │              FROZEN (frames, but always the same picture)             pause
         └───────────────────────────────────────────────────────────────────────┘
    A connection that fails is BACKOFF, a pause twice as long as the last.

All times are monotonic. Frames of a frozen source are not handed on: they tell of nothing that happens.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.types import Frame, Image


class SourceState(StrEnum):
    """What a source is doing, by the names that results and pictures carry."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    FROZEN = "frozen"
    LOST = "lost"
    BACKOFF = "backoff"
    ENDED = "ended"


@dataclass(frozen=True)
class SourceTimeouts:
    """Seconds.

    stalled: without a frame until STALLED, and three times the usual interval of a slower source; lost: until
    LOST, where the source itself has not said so.
    frozen: of one and the same picture until FROZEN. connect: for a connection.
    first_pause, longest_pause: before the source is asked for again; each is twice the one before.
    """

    stalled: float = 1.5
    lost: float = 5.5
    frozen: float = 4.0
    connect: float = 12.0
    first_pause: float = 0.25
    longest_pause: float = 5.0


_TROUBLE = frozenset({SourceState.STALLED, SourceState.FROZEN, SourceState.LOST})

_log = logging.getLogger(__name__)


class Supervisor:
    """The frames of a source that may stall, freeze, vanish and return.

    Frames are numbered and timed from the first one on, through all connections.
    breaks: how often frames went on after some had been missed; reconnects: how many of these needed a new
    connection.
    """

    def __init__(self, source: Source, clock: Clock, patience: SourceTimeouts | None = None) -> None:
        """Take over a restartable source that is open."""
        self.state = SourceState.CONNECTING
        self.breaks = self.reconnects = 0
        self._source, self._clock, self._patience = source, clock, patience or SourceTimeouts()
        self._sameness = FreezeDetector()
        self._trouble_s: float | None = None  # since when
        self._since_s = clock.monotonic()  # of the last frame, or of the state where none came in it
        self._interval_s = 0.0  # from frame to frame, of late
        self._start_s: float | None = None
        self._pause_s = 0.0
        self._next_seq = self._first_seq = 0

    @property
    def ended(self) -> bool:
        """No further frame will come: the source says so."""
        return self._source.ended

    def next(self, timeout_s: float) -> Frame | None:
        """The next frame worth looking at, or None where none came in time. Raises what is no SourceError."""
        if self.state in (SourceState.LOST, SourceState.BACKOFF):
            self._wait(timeout_s)
            return None
        try:
            frame = self._source.read_within(timeout_s)
        except SourceError as error:
            self._fail(str(error))
            return None
        if frame is None:
            self._silence()
            return None
        return self._arrival(frame)

    def _arrival(self, frame: Frame) -> Frame | None:
        now_s = self._clock.monotonic()
        if self.state is not SourceState.CONNECTING:
            self._interval_s += (now_s - self._since_s - self._interval_s) / 2
        self._since_s = now_s
        same_s = self._sameness.seconds(frame)
        if same_s >= self._patience.frozen:
            self._enter(SourceState.FROZEN, f"the same picture for {same_s:.1f} s")
            return None
        self._resume()
        return self._renumbered(frame)

    def _silence(self) -> None:
        silent_s = self._clock.monotonic() - self._since_s
        if self.state is SourceState.CONNECTING:
            if silent_s > self._patience.connect:
                self._fail(f"{self._source.name}: does not answer within {self._patience.connect:g} s")
        elif silent_s > self._patience.lost:
            self._fail(f"{self._source.name}: no frame for {silent_s:.1f} s")
        elif silent_s > max(self._patience.stalled, 3 * self._interval_s):
            self._enter(SourceState.STALLED, f"no frame for {silent_s:.1f} s")

    def _fail(self, why: str) -> None:
        first = self.state is not SourceState.CONNECTING or self._pause_s == 0.0
        self._pause_s = min(2 * self._pause_s or self._patience.first_pause, self._patience.longest_pause)
        self._enter(SourceState.LOST if first else SourceState.BACKOFF, why)
        self._since_s = self._clock.monotonic()

    def _wait(self, timeout_s: float) -> None:
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

    def _resume(self) -> None:
        self.reconnects += self._pause_s > 0
        self.breaks += self._trouble_s is not None
        self._pause_s = 0.0
        self._enter(SourceState.LIVE, "")

    def _renumbered(self, frame: Frame) -> Frame:
        if self._start_s is None:
            self._start_s = frame.captured_s
        seq = self._first_seq + frame.seq
        self._next_seq = seq + 1
        return replace(frame, seq=seq, pts_s=frame.captured_s - self._start_s)

    def _enter(self, state: SourceState, why: str) -> None:
        """One line in the log for each state that a person should know of; the attempts are for debugging."""
        if state is self.state:
            return
        self.state = state
        name, now_s = self._source.name, self._clock.monotonic()
        if state in _TROUBLE:
            _log.warning("%s: %s: %s", name, state, why.removeprefix(f"{name}: "))
            self._trouble_s = now_s if self._trouble_s is None else self._trouble_s
        elif state is SourceState.LIVE and self._trouble_s is not None:
            _log.warning("%s: live again after %.1f s", name, now_s - self._trouble_s)
            self._trouble_s = None
        else:
            _log.debug("%s: %s %s", name, state, why)


class FreezeDetector:
    """How long a picture has been the same, to the last byte: no sensor gives that, a hung one does."""

    def __init__(self) -> None:
        self._picture: Image | None = None
        self._since_s = 0.0

    def seconds(self, frame: Frame) -> float:
        """Since when the picture of this frame has been coming; 0 where it is a new one."""
        if self._picture is None or not _equal(self._picture, frame.bgr):
            self._since_s = frame.captured_s
        self._picture = frame.bgr
        return frame.captured_s - self._since_s


def _equal(one: Image, other: Image) -> bool:
    # Few rows tell most pictures apart, at a fraction of the cost.
    return np.array_equal(one[::16], other[::16]) and np.array_equal(one, other)
