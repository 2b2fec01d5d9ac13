"""Reading several frames of a file in one go."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.source.read_ahead import MAX_FRAMES_AHEAD, ReadAhead
from edgeharfer.runtime.types import Frame

FAR_S = 1e6


class CountedSource(Source):
    """Gives frames and raises an error at the end, if there is one.

    Attributes:
        given: Number of frames read so far.
    """

    def __init__(
        self,
        count: int,
        clock: ManualClock,
        *,
        size: tuple[int, int] = (640, 480),
        ahead: bool = True,
        cost_s: float = 0.0,
        error: SourceError | None = None,
    ) -> None:
        self.name, self.ahead, self.given = "counted", ahead, 0
        self._count, self._clock, self._cost_s, self._error = count, clock, cost_s, error
        self._picture = np.zeros((*size[::-1], 3), np.uint8)

    def read(self) -> Frame | None:
        self._clock.sleep(self._cost_s)
        if self.given < self._count:
            self.given += 1
            return Frame(self.given - 1, 0.0, 0.0, self._picture)
        if self._error is not None:
            raise self._error
        return None


def numbers(frames: Iterable[Frame | None]) -> list[int]:
    return [frame.seq for frame in frames if frame is not None]


def test_frames_are_read_again_once_none_is_left() -> None:
    source = CountedSource(20, clock := ManualClock())
    ahead, given = ReadAhead(source, clock), []
    for _ in range(1 + 2 * MAX_FRAMES_AHEAD):
        frame = ahead.next()
        ahead.fill(FAR_S)
        assert frame is not None
        given.append((frame.seq, source.given))
    burst = 1 + MAX_FRAMES_AHEAD
    assert given == [(seq, burst * (1 + seq // burst)) for seq in range(len(given))]


def test_all_frames_come_in_order() -> None:
    ahead = ReadAhead(CountedSource(20, clock := ManualClock()), clock)
    taken = []
    while (frame := ahead.next()) is not None:
        taken.append(frame)
        ahead.fill(FAR_S)
    assert numbers(taken) == list(range(20))
    assert ahead.next() is None


def test_reading_ends_before_the_next_frame_is_due() -> None:
    """Each read takes 10 ms, so only two more fit into the 33 ms of a frame; the rest is read later."""
    source = CountedSource(20, clock := ManualClock(), cost_s=0.01)
    ahead = ReadAhead(source, clock)
    ahead.next()
    ahead.fill(clock.monotonic() + 0.033)
    assert source.given == 4
    ahead.next()
    ahead.fill(clock.monotonic() + 0.005)
    assert source.given == 4
    ahead.fill(FAR_S)
    assert source.given == 2 + MAX_FRAMES_AHEAD


@pytest.mark.parametrize(("size", "given"), [((1920, 1080), 1), ((1280, 720), 3)])
def test_large_frames_are_hardly_read_ahead(size: tuple[int, int], given: int) -> None:
    source = CountedSource(20, clock := ManualClock(), size=size)
    ahead = ReadAhead(source, clock)
    ahead.next()
    ahead.fill(FAR_S)
    assert source.given == given


def test_other_sources_are_read_one_frame_at_a_time() -> None:
    source = CountedSource(20, clock := ManualClock(), ahead=False)
    ahead = ReadAhead(source, clock)
    ahead.next()
    ahead.fill(FAR_S)
    assert source.given == 1


def test_an_error_follows_the_frames_before_it() -> None:
    source = CountedSource(3, clock := ManualClock(), error=SourceError("damaged"))
    ahead = ReadAhead(source, clock)
    first = ahead.next()
    ahead.fill(FAR_S)
    assert numbers([first, ahead.next(), ahead.next()]) == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(SourceError, match="damaged"):
            ahead.next()
