"""The one thread that reads a source, and what it does when the reader is slower."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, Self

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import STALE_S, Source
from edgeharfer.runtime.source.supervisor import SourceState, Supervisor
from edgeharfer.runtime.types import Frame

Pace = Literal["realtime", "fast"]

# Enough to decode the next frame while one is worked on; more would only make frames old.
_QUEUE_FRAMES = 2
# Every wait is cut into pieces, and a live source ends within 1 s whatever it does.
_STOP_WAIT_S = 2.0
# The longest wait in one piece, and so the delay of a stop.
_PIECE_S = 0.1

_log = logging.getLogger(__name__)


class Capture(Closing):
    """Frames of a source, read ahead in a thread of its own.

    Live input, and files at pace "realtime": the newest frame wins, and those that it pushed out
    are counted. Files at pace "fast", and photographs: every frame, through a short queue that
    holds the thread back.
    Live input that stalls, freezes or vanishes is waited for and opened again (see `Supervisor`), and its
    frames that have become too old are dropped (see `outdated`).

    The capture owns the source from `start` on: its thread is the only one to read it, and closes
    it at the end. The thread is joined by `close`, which leaving the `with` block calls.

        with Capture(open_source("clip.mp4"), pace="fast") as capture:
            for frame in capture:
                ...
    """

    def __init__(self, source: Source, *, pace: Pace = "realtime", clock: Clock | None = None) -> None:
        self.source = source
        self.frames_in = 0
        self.dropped = 0
        self._clock = clock or SystemClock()
        self._paced = pace == "realtime" and not source.live
        self._newest_wins = pace == "realtime" or source.live
        self._supervisor = Supervisor(source, self._clock) if source.restartable else None
        self._state = SourceState.CONNECTING
        self._frames: deque[Frame] = deque()
        self._error: Exception | None = None
        self._finished = False
        self._stopping = False
        self._gaps = self._breaks_before = 0
        self._missed = False
        self._taken_s: float | None = None
        self._busy_s = deque([0.0, 0.0], maxlen=2)  # from taking a frame to asking for the next
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"capture {source.name}", daemon=False)

    @property
    def state(self) -> SourceState:
        """What the source is doing; before the first frame CONNECTING, at the end ENDED."""
        if self._supervisor is not None and not self._finished:
            return self._supervisor.state
        return self._state

    @property
    def in_real_time(self) -> bool:
        """Frames come as time passes, and those that nobody took in time are dropped."""
        return self._newest_wins

    @property
    def breaks(self) -> int:
        """How often frames went on after some had been missed: what was seen before is history then."""
        return self._gaps + (self._supervisor.breaks if self._supervisor else 0)

    @property
    def reconnects(self) -> int:
        """How often the source came back by a new connection."""
        return self._supervisor.reconnects if self._supervisor else 0

    @property
    def ended(self) -> bool:
        """No further frame will come: the source is at its end, or was stopped."""
        with self._changed:
            return self._stopping or (self._finished and not self._frames)

    def start(self) -> None:
        """Begin to read. Entering the `with` block does it."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading and join the thread, within about 2 s. Frames not taken are let go."""
        with self._changed:
            self._stopping = True
            self._frames.clear()
            self._changed.notify_all()
        if self._thread.ident is None:  # never started, so nobody else closes the source
            self.source.close()
            return
        self._thread.join(_STOP_WAIT_S)
        if self._thread.is_alive():
            _log.warning("%s: does not stop; let go when its read returns", self.source.name)

    def next_frame(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame, or None where none came within the time or `ended` is true.

        Raises what the source raised; a live source that is looked after raises nothing but defects.
        """
        self._measure_busy()
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._frames or self._finished or self._stopping, timeout_s)
                if self._stopping:
                    return None
                if not self._frames:
                    break
                frame = self._frames.popleft()
                self._changed.notify_all()
                if not self.outdated(frame):
                    self._hand_out()
                    return frame
            if self._error is not None:
                raise self._error
            return None

    def outdated(self, frame: Frame) -> bool:
        """Whether a live frame has become too old to be worked on, or its result to be told; it is counted.

        Asked for each frame before it is handed out, and by the one who worked on it once more afterwards.
        Where a frame takes long on this machine, it may be older than where it takes little.
        """
        if self._supervisor is None:
            return False
        # The shorter of two: one pause does not make a machine a slow one.
        if self._clock.monotonic() - frame.captured_s <= max(STALE_S, 3 * min(self._busy_s)):
            return False
        self.dropped += 1
        self._missed = True
        return True

    def _hand_out(self) -> None:
        """Note that a frame goes out: a break, where some were dropped and the supervisor knows of none."""
        self._taken_s = self._clock.monotonic()
        breaks = self._supervisor.breaks if self._supervisor else 0
        self._gaps += self._missed and breaks == self._breaks_before
        self._missed, self._breaks_before = False, breaks

    def _measure_busy(self) -> None:
        if self._taken_s is not None:
            self._busy_s.append(self._clock.monotonic() - self._taken_s)
            self._taken_s = None

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.next_frame()) is not None:
            yield frame

    def __enter__(self) -> Self:
        self.start()
        return self

    def _run(self) -> None:
        """The thread: whatever goes wrong in it is raised where the frames are taken."""
        error: Exception | None = None
        try:
            self._read_all()
        except Exception as problem:
            error = problem
        try:
            self.source.close()
        except Exception as problem:
            error = error or problem
        self._finish(error)

    def _read_all(self) -> None:
        if self._supervisor is not None:
            self._watch(self._supervisor)
            return
        start_s: float | None = None
        while not self._stopping:
            frame = self.source.read()
            if frame is None:
                break
            if self._paced:
                now_s = self._clock.monotonic()
                start_s = now_s - frame.pts_s if start_s is None else start_s
                self._sleep_until(start_s + frame.pts_s)
                frame = replace(frame, captured_s=self._clock.monotonic())
            self._hand_over(frame)
        if self.source.live and not self._stopping:
            raise SourceError(f"{self.source.name}: the live input ended")

    def _watch(self, supervisor: Supervisor) -> None:
        while not (self._stopping or supervisor.ended):
            frame = supervisor.next(_PIECE_S)
            if frame is not None:
                self._hand_over(frame)

    def _sleep_until(self, due_s: float) -> None:
        """In pieces, since a clock's sleep cannot be cut short by a stop."""
        while not self._stopping and (left_s := due_s - self._clock.monotonic()) > 0:
            self._clock.sleep(min(left_s, _PIECE_S))

    def _hand_over(self, frame: Frame) -> None:
        with self._changed:
            newest_wins = self._newest_wins and not frame.still
            if not newest_wins:
                self._changed.wait_for(lambda: len(self._frames) < _QUEUE_FRAMES or self._stopping)
            if self._stopping:
                return
            if newest_wins and self._frames:
                self._frames.clear()
                self.dropped += 1
            self._frames.append(frame)
            self.frames_in += 1
            self._state = SourceState.LIVE
            self._changed.notify_all()

    def _finish(self, error: Exception | None) -> None:
        with self._changed:
            self._error = error
            self._finished = True
            lost = error is not None and self.source.live and not self._stopping
            self._state = SourceState.LOST if lost else SourceState.ENDED
            self._changed.notify_all()
