"""Reading a source in a thread of its own, with a queue that drops or blocks when full."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.inference.native_calls import NATIVE_CALLS
from edgeharfer.runtime.source.base import STALE_S, Source
from edgeharfer.runtime.source.read_ahead import ReadAhead
from edgeharfer.runtime.source.supervisor import SourceState, Supervisor
from edgeharfer.runtime.types import Frame

if TYPE_CHECKING:
    from typing_extensions import Self

Pace = Literal["realtime", "fast"]

# Enough to decode the next frame while one is processed; more would only add latency.
_QUEUE_FRAMES = 2
# With precomputed frames, so that neither thread waits for the other because some frames take longer. Larger
# pictures than 1280x720 would take much memory.
_PRECOMPUTED_FRAMES, _PRECOMPUTED_PIXELS = 6, 4_000_000
# A live source returns from a read within 1 s, and other waits are at most _WAIT_S long.
_STOP_TIMEOUT_S = 2.0
# Waits are split into pieces of this length, so that a stop takes effect soon.
_WAIT_S = 0.1

_log = logging.getLogger(__name__)


class Capture(Closing):
    """Reads the frames of a source ahead, in a thread of its own.

        with Capture(open_source("clip.mp4"), pace="fast") as capture:
            for frame in capture:
                ...

    Live sources, and files at pace "realtime": only the newest frame is kept, and the dropped ones are
    counted. Files at pace "fast", and photographs: every frame is delivered, and the thread waits while the
    queue is full. A restartable source that stalls, freezes or is lost is reopened (see `Supervisor`), and
    its outdated frames are dropped (see `outdated`).

    From `start` on the capture owns the source: its thread is the only one that reads it, and closes it at
    the end. `close` joins the thread; leaving the `with` block calls it. Take frames from one thread only.
    The properties can be read from any thread.

    Attributes:
        source: The source.
        frames_in: Number of frames read so far.
        dropped: Number of frames dropped so far.

    Args:
        source: An open source.
        pace: Speed at which a file is read; live sources are always read in real time.
        clock: Source of time; the system's by default.
        precompute: Called in the thread that reads if it is at least two frames ahead, with the next frame
            and the source time of the frame before (see `Pipeline.precompute`). Up to six frames are read
            ahead then. Never called in real time.
        changed: Set whenever a frame arrives and when the source ends. Captures of several sources can share
            one, to wait for any of them.
    """

    def __init__(
        self,
        source: Source,
        *,
        pace: Pace = "realtime",
        clock: Clock | None = None,
        precompute: Callable[[Frame, float], None] | None = None,
        changed: threading.Event | None = None,
    ) -> None:
        self.source = source
        self._announced = changed or threading.Event()
        self.frames_in = 0
        self.dropped = 0
        self._clock = clock or SystemClock()
        self._paced = pace == "realtime" and not source.live
        self._latest_only = pace == "realtime" or source.live
        self._precompute = None if self._latest_only else precompute
        self._supervisor = Supervisor(source, self._clock) if source.restartable else None
        self._state = SourceState.CONNECTING
        self._frames: deque[Frame] = deque()
        self._error: Exception | None = None
        self._finished = False
        self._stopping = False
        self._gaps = self._breaks_before = 0
        self._missed = False
        self._delivered_s: float | None = None
        self._processing_s = deque([0.0, 0.0], maxlen=2)  # from one delivery to the next request
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"capture {source.name}", daemon=False)

    @property
    def state(self) -> SourceState:
        """The state of the source: CONNECTING before the first frame, ENDED at the end."""
        if self._supervisor is not None and not self._finished:
            return self._supervisor.state
        return self._state

    @property
    def in_real_time(self) -> bool:
        """Whether frames arrive in real time, and are dropped if they are not taken in time."""
        return self._latest_only

    @property
    def breaks(self) -> int:
        """Number of gaps after which frames continued. State from before a gap is obsolete."""
        return self._gaps + (self._supervisor.breaks if self._supervisor else 0)

    @property
    def reconnects(self) -> int:
        """Number of successful reconnections."""
        return self._supervisor.reconnects if self._supervisor else 0

    @property
    def ended(self) -> bool:
        """Whether no further frame will arrive, because the source has ended or was stopped."""
        with self._changed:
            return self._stopping or (self._finished and not self._frames)

    @property
    def waiting_since_s(self) -> float | None:
        """Monotonic time at which the next frame was captured; None if there is none yet."""
        with self._changed:
            return self._frames[0].captured_s if self._frames else None

    def start(self) -> None:
        """Start reading. Entering the `with` block calls it."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading without waiting for the thread. Remaining frames are discarded."""
        with self._changed:
            self._stopping = True
            self._frames.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Stop reading and join the thread, within about 2 s. Remaining frames are discarded.

        A call of a model in that thread that has not returned by then is cancelled.
        """
        self.stop()
        if self._thread.ident is None:  # never started, so no thread closes the source
            self.source.close()
            return
        self._thread.join(_STOP_TIMEOUT_S)
        if self._thread.is_alive() and NATIVE_CALLS.cancel_in(self._thread.ident):
            self._thread.join(_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            _log.warning("%s: does not stop; it is closed once its current read returns", self.source.name)

    def next_frame(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for the next frame.

        Args:
            timeout_s: Maximum wait in seconds; None waits without limit.

        Returns:
            The frame; None if none arrived in time, or if the source has `ended`.

        Raises:
            SourceError: The source cannot be read any further. Restartable sources are reopened instead.
        """
        self._measure_processing()
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
                    self._record_delivery()
                    return frame
            if self._error is not None:
                raise self._error
            return None

    def outdated(self, frame: Frame) -> bool:
        """Return whether a frame of a restartable source is too old to use, and count it as dropped if so.

        `next_frame` calls this before it returns a frame; call it again once the frame is processed. The
        limit is STALE_S, or three times the processing time of a frame on a machine that is slower than that.
        """
        if self._supervisor is None:
            return False
        # The shorter of the last two, because one pause does not make a machine slow.
        if self._clock.monotonic() - frame.captured_s <= max(STALE_S, 3 * min(self._processing_s)):
            return False
        self.dropped += 1
        self._missed = True
        return True

    def _record_delivery(self) -> None:
        """Record that a frame is delivered; count a gap if frames were dropped and no break was reported."""
        self._delivered_s = self._clock.monotonic()
        breaks = self._supervisor.breaks if self._supervisor else 0
        self._gaps += self._missed and breaks == self._breaks_before
        self._missed, self._breaks_before = False, breaks

    def _measure_processing(self) -> None:
        if self._delivered_s is not None:
            self._processing_s.append(self._clock.monotonic() - self._delivered_s)
            self._delivered_s = None

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.next_frame()) is not None:
            yield frame

    def __enter__(self) -> Self:
        self.start()
        return self

    def _run(self) -> None:
        """The body of the thread. Its exceptions are raised by `next_frame`."""
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
            self._read_supervised(self._supervisor)
            return
        if self._paced:
            self._read_paced()
            return
        previous_s = 0.0
        while not self._stopping and (frame := self.source.read()) is not None:
            if self._precompute and len(self._frames) >= _QUEUE_FRAMES and frame.decoded:
                self._precompute(frame, previous_s)
            previous_s = frame.pts_s
            self._enqueue(frame)
        if self.source.live and not self._stopping:
            raise SourceError(f"{self.source.name}: the live input ended")

    def _read_paced(self) -> None:
        """Read a file at the speed of its recording."""
        ahead = ReadAhead(self.source, self._clock)
        start_s: float | None = None
        while not self._stopping and (frame := ahead.next()) is not None:
            start_s = self._clock.monotonic() - frame.pts_s if start_s is None else start_s
            due_s = start_s + frame.pts_s
            ahead.fill(due_s)
            self._sleep_until(due_s)
            now_s = self._clock.monotonic()
            self._enqueue(Frame(frame.seq, frame.pts_s, now_s, frame.picture, frame.still, frame.file))

    def _read_supervised(self, supervisor: Supervisor) -> None:
        while not (self._stopping or supervisor.ended):
            frame = supervisor.next(_WAIT_S)
            if frame is not None:
                self._enqueue(frame)

    def _sleep_until(self, due_s: float) -> None:
        """Sleep in pieces, because a stop cannot interrupt the sleep of a clock."""
        while not self._stopping and (left_s := due_s - self._clock.monotonic()) > 0:
            self._clock.sleep(min(left_s, _WAIT_S))

    def _enqueue(self, frame: Frame) -> None:
        with self._changed:
            latest_only = self._latest_only and not frame.still
            if not latest_only:
                room = self._room(frame)
                self._changed.wait_for(lambda: len(self._frames) < room or self._stopping)
            if self._stopping:
                return
            # A frame that got too old in the queue is a gap, whichever thread notices it first.
            if latest_only and self._frames and not self.outdated(self._frames.popleft()):
                self.dropped += 1
            self._frames.append(frame)
            self.frames_in += 1
            self._state = SourceState.LIVE
            self._changed.notify_all()
        self._announced.set()

    def _room(self, frame: Frame) -> int:
        """Return the maximum length of the queue for frames of this size."""
        if self._precompute is None:
            return _QUEUE_FRAMES
        width, height = frame.size
        return max(_QUEUE_FRAMES, min(_PRECOMPUTED_FRAMES, _PRECOMPUTED_PIXELS // max(1, width * height)))

    def _finish(self, error: Exception | None) -> None:
        with self._changed:
            self._error = error
            self._finished = True
            lost = error is not None and self.source.live and not self._stopping
            self._state = SourceState.LOST if lost else SourceState.ENDED
            self._changed.notify_all()
        self._announced.set()


def stop_all(captures: Iterable[Capture]) -> None:
    """Stop several captures at the same time, before they are closed one after the other."""
    for capture in captures:
        capture.stop()
