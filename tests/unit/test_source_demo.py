"""The demo: the same pictures every time, two photographs in them, one of which comes and goes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.demo import FPS, DemoSource

# Of _FAR's absence: in view until 10 s, away from 11.4 s to 14 s, back at 15.4 s, then again.
PRESENT_S, AWAY_S, BACK_S = (0.0, 5.0, 9.9), (11.5, 13.0, 13.9), (15.5, 19.0, 24.0)


@pytest.fixture(scope="module")
def demo() -> DemoSource:
    return DemoSource(ManualClock())


def busy_columns(demo: DemoSource, time_s: float) -> NDArray[np.bool_]:
    """Columns of the picture with the sharp edges that only a photograph has, not the background."""
    grey = demo.picture(round(time_s * FPS)).astype(np.float32).mean(axis=2)
    return np.asarray(np.abs(np.diff(grey, axis=0)).max(axis=0) > 25)


def test_it_opens_by_name_without_any_file() -> None:
    with open_source("demo", clock=ManualClock(7.0)) as source:
        assert (source.name, source.live, source.size, source.fps) == ("demo", False, (640, 480), 30.0)
        assert source.frame_count is None
        frames = [source.read() for _ in range(4)]
    assert [(frame.seq, frame.captured_s, frame.still) for frame in frames if frame] == [
        (n, 7.0, False) for n in range(4)
    ]
    assert [frame.pts_s for frame in frames if frame] == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30])
    assert all(frame and frame.bgr.shape == (480, 640, 3) and frame.bgr.dtype == np.uint8 for frame in frames)


def test_the_same_number_is_the_same_picture(demo: DemoSource) -> None:
    other = DemoSource(ManualClock())
    other.picture(3)
    for seq in (0, 77, 5000):
        assert np.array_equal(demo.picture(seq), other.picture(seq))


def test_pictures_are_not_shared(demo: DemoSource) -> None:
    before = demo.picture(10)
    kept = before.copy()
    demo.picture(11)[:] = 0
    assert np.array_equal(before, kept)


def test_it_moves_in_every_frame(demo: DemoSource) -> None:
    for seq in range(30):
        moved = np.abs(demo.picture(seq).astype(int) - demo.picture(seq + 1)).mean()
        assert 0.05 < moved < 20


@pytest.mark.parametrize("time_s", [*PRESENT_S, *AWAY_S, *BACK_S])
def test_the_first_photograph_is_always_in_view(demo: DemoSource, time_s: float) -> None:
    assert busy_columns(demo, time_s)[120:300].mean() > 0.9


@pytest.mark.parametrize("time_s", [*PRESENT_S, *BACK_S])
def test_the_second_photograph_is_in_view(demo: DemoSource, time_s: float) -> None:
    assert busy_columns(demo, time_s)[470:570].mean() > 0.9


@pytest.mark.parametrize("time_s", AWAY_S)
def test_the_second_photograph_goes_away(demo: DemoSource, time_s: float) -> None:
    assert not busy_columns(demo, time_s)[450:].any()


def test_the_photographs_stay_inside_the_picture(demo: DemoSource) -> None:
    for seq in range(0, 290, 10):
        edges = busy_columns(demo, seq / FPS)
        assert not edges[:2].any() and not edges[-2:].any()
