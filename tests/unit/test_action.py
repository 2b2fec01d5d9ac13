"""The ring keyed by time: what it samples, when it is ready, and that it never mixes before and after."""

from __future__ import annotations

import numpy as np
import pytest

from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.tasks.action import FeatureRing

WINDOW = WindowSpec(frames=16, seconds=2.0, max_gap_s=0.5)


def feed(ring: FeatureRing, times: list[float]) -> list[float]:
    """Show the ring frames at these times; returns those that it wanted."""
    taken = []
    for pts_s in times:
        if ring.wants(pts_s):
            ring.push(pts_s, np.array([pts_s], np.float32))
            taken.append(pts_s)
    return taken


def at(fps: float, seconds: float, start: float = 0.0) -> list[float]:
    return [start + i / fps for i in range(round(seconds * fps))]


@pytest.mark.parametrize("fps", [8, 12, 15, 24, 25, 29.97, 30, 50, 60, 120])
def test_a_window_spans_the_same_time_at_any_rate(fps: float) -> None:
    ring = FeatureRing(WINDOW)
    taken = feed(ring, at(fps, 10))
    assert len(taken) == pytest.approx(80, abs=1)
    window = ring.window()[0, :, 0]
    assert window.shape == (16,)
    assert window[-1] - window[0] == pytest.approx(15 * 0.125, abs=1 / fps + 1e-6)


@pytest.mark.parametrize("fps", [3, 5, 7.5])
def test_a_slow_source_fills_several_points_with_one_frame(fps: float) -> None:
    ring = FeatureRing(WINDOW)
    feed(ring, at(fps, 10))
    window = ring.window()[0, :, 0]
    assert len(np.unique(window)) < 16
    assert window[-1] - window[0] == pytest.approx(2.0, abs=0.125 + 1 / fps)


def test_it_is_ready_when_sixteen_points_are_filled() -> None:
    ring = FeatureRing(WINDOW)
    feed(ring, at(8, 15 / 8))
    assert not ring.ready
    feed(ring, [15 / 8])
    assert ring.ready


def test_a_gap_empties_it_and_the_window_is_all_from_after() -> None:
    ring = FeatureRing(WINDOW)
    feed(ring, at(30, 3))
    assert ring.ready
    feed(ring, [2.9667 + 0.51])
    assert not ring.ready
    feed(ring, at(30, 3, start=3.6))
    assert ring.ready
    assert ring.window().min() > 3.4


def test_the_longest_allowed_gap_does_not_empty_it() -> None:
    ring = FeatureRing(WINDOW)
    feed(ring, at(8, 3))
    feed(ring, [2.875 + 0.5])
    assert ring.ready


def test_time_that_runs_backwards_empties_it() -> None:
    ring = FeatureRing(WINDOW)
    feed(ring, at(30, 3))
    feed(ring, [0.0])
    assert not ring.ready


def test_frames_between_the_points_change_nothing() -> None:
    many, few = FeatureRing(WINDOW), FeatureRing(WINDOW)
    times = at(30, 4)
    taken = feed(many, times)
    assert feed(few, taken) == taken
    np.testing.assert_array_equal(many.window(), few.window())
