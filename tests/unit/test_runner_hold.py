"""How long pictures stay on the screen: photographs one by one, the last picture until a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.channel import RunInput, RunLimits
from edgeharfer.runtime.clock import ManualClock, SystemClock
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.runner import HoldOptions, Runner
from edgeharfer.runtime.sinks import Sink
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

if TYPE_CHECKING:
    from typing_extensions import Self

SLIDES = HoldOptions(photo_s=3.0, last=True)


class Seeing:
    """A pipeline that sees nothing, at once."""

    providers: dict[str, str] = {}  # noqa: RUF012
    models: dict[str, str] = {}  # noqa: RUF012
    precision_reasons: dict[str, str] = {}  # noqa: RUF012

    def process(self, frame: Frame) -> Result:
        return Result(frame.seq, frame.pts_s, 1.0, stages_ms={"total": 1.0})

    def set_real_time(self, max_age_ms: float | None = None) -> None: ...


class Person(Sink):
    """Looks at the window and presses keys at given times; an end of patience fails the test."""

    closed = False

    def __init__(self, clock: ManualClock, keys: Sequence[float]) -> None:
        self.shown: list[tuple[float, int]] = []
        self.finished = False
        self._clock, self._keys = clock, list(keys)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.shown.append((round(self._clock.monotonic()), frame.seq))

    def poll(self) -> bool:
        assert self._clock.monotonic() < 100, "the picture stays for ever"
        if self._keys and self._clock.monotonic() >= self._keys[0]:
            self._keys.pop(0)
            return True
        return False

    def finish(self, summary: dict[str, Any]) -> None:
        self.finished = True


class Watched:
    """A run that a person watches, on a clock that only passes while pictures stay."""

    def __init__(
        self,
        source: Path,
        hold: HoldOptions | None,
        *,
        keys: Sequence[float] = (),
        limits: RunLimits | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.person = Person(self.clock, keys)
        self.stopping: Callable[[], bool] = lambda: False
        self._source, self._hold, self._limits = source, hold, limits

    def run(self) -> float:
        """The seconds until its end."""
        with Capture(open_source(self._source), pace="fast", clock=SystemClock()) as capture:
            Runner(
                [RunInput(cast(Pipeline, Seeing()), capture)], [self.person], self._limits,
                stopping=lambda: self.stopping(), clock=self.clock, hold=self._hold,
            ).run()  # fmt: skip
        assert self.person.finished
        return self.clock.monotonic()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.full((8, 8, 3), 90, np.uint8))
    return path


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((8, 8, 3), 90, np.uint8))
    return folder


def test_a_photograph_stays_until_a_key(photo: Path) -> None:
    assert Watched(photo, SLIDES, keys=[42.0]).run() == pytest.approx(42, abs=0.2)


def test_a_photograph_that_nobody_looks_at_ends_at_once(photo: Path) -> None:
    assert Watched(photo, None).run() == 0.0


def test_a_duration_ends_it(photo: Path) -> None:
    assert Watched(photo, SLIDES, limits=RunLimits(duration_s=7.0)).run() == pytest.approx(7, abs=0.2)


def test_a_stop_ends_it(photo: Path) -> None:
    watched = Watched(photo, SLIDES)
    watched.stopping = lambda: watched.clock.monotonic() >= 5
    assert watched.run() == pytest.approx(5, abs=0.2)


def test_a_window_that_is_closed_ends_it(photo: Path) -> None:
    watched = Watched(photo, SLIDES, keys=[4.0])
    watched.person.poll = lambda: setattr(watched.person, "closed", True) or False  # type: ignore[method-assign,func-returns-value]
    assert watched.run() < 1


def test_each_photograph_of_a_folder_is_shown_for_a_while_and_the_last_one_until_a_key(album: Path) -> None:
    watched = Watched(album, SLIDES, keys=[20.0])
    assert watched.run() == pytest.approx(20, abs=0.2)
    assert watched.person.shown == [(0, 0), (3, 1), (6, 2)]


def test_a_key_shows_the_next_one_at_once(album: Path) -> None:
    watched = Watched(album, SLIDES, keys=[1.0, 2.0, 3.0])
    assert watched.run() == pytest.approx(3, abs=0.2)
    assert watched.person.shown == [(0, 0), (1, 1), (2, 2)]


def test_a_duration_ends_a_folder_while_one_is_shown(album: Path) -> None:
    watched = Watched(album, SLIDES, limits=RunLimits(duration_s=4.0))
    assert watched.run() == pytest.approx(4, abs=0.2)
    assert [seq for _, seq in watched.person.shown] == [0, 1]


def test_a_limit_of_results_is_an_end_without_waiting(album: Path) -> None:
    assert Watched(album, HoldOptions(last=True), limits=RunLimits(max_frames=2)).run() == 0.0


def test_photographs_are_never_dropped(album: Path) -> None:
    clock = ManualClock()
    with Capture(open_source(album), pace="realtime", clock=clock) as capture:
        while capture.frames_in < 2 and not capture.ended:
            pass  # the reader is ahead of the consumer of the frames
        assert [frame.seq for frame in capture] == [0, 1, 2]
    assert capture.dropped == 0
