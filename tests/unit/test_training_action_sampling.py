"""The frames that are encoded of a clip, and the windows that are made of them."""

from __future__ import annotations

import numpy as np
import pytest

from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.training.action.clips import ClipFeatures, EncodedClip
from edgeharfer.training.action.sampling import (
    EvenSpread,
    RuntimeGrid,
    TimedWindows,
    UniformWindow,
    jittered,
    make_sampler,
    spread_frames,
)

WINDOW = WindowSpec(frames=4, seconds=1.0, max_gap_s=0.5)
FPS = 8


def made_clip(frames: int, encoded: list[int]) -> EncodedClip:
    """A clip whose features are the numbers of its frames; its one view is 100 higher."""
    numbers = np.array(encoded)
    whole = ClipFeatures(numbers, numbers[:, None].astype(np.float32))
    plain = ClipFeatures(np.arange(frames), np.arange(frames, dtype=np.float32)[:, None])
    view = ClipFeatures(numbers, 100 + numbers[:, None].astype(np.float32))
    times = np.arange(frames) / FPS
    return EncodedClip("a", "x", "data", "0", times, plain, (view,), np.zeros(1024, np.float32), whole)


def test_frames_are_spread_over_the_whole_clip() -> None:
    assert spread_frames(16, 4) == [0, 4, 8, 12]
    assert spread_frames(10, 4) == [0, 2, 5, 7]
    for total in range(17, 400):
        steps = np.diff([*spread_frames(total, 16), total])
        assert set(steps) <= {total // 16, total // 16 + 1}


def test_a_short_clip_gives_all_its_frames_once() -> None:
    assert spread_frames(3, 16) == [0, 1, 2]
    assert [i for i in range(5) if EvenSpread(5, 16).accepts(i, i / FPS)] == [0, 1, 2, 3, 4]


def test_a_grid_ends_after_its_seconds() -> None:
    times = np.arange(0, 4, 1 / 24)
    taken = [
        [float(time) for i, time in enumerate(times) if grid.accepts(i, float(time))]
        for grid in (RuntimeGrid(WINDOW), RuntimeGrid(WINDOW, offset=True, seconds=1.0))
    ]
    assert taken[0] == pytest.approx(np.arange(0, 4, 0.25))
    assert taken[1] == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_uniform_has_one_window_over_the_whole_clip() -> None:
    clip = made_clip(16, [0, 4, 8, 12])
    sampler = UniformWindow(frames=4)
    assert sampler.evaluation_windows(clip).shape == (1, 4, 1)
    assert sampler.evaluation_windows(clip)[0, :, 0].tolist() == [0, 4, 8, 12]
    plain, view = sampler.tracks(clip)
    assert sampler.draw(clip, plain, np.random.default_rng(0))[:, 0].tolist() == [0, 4, 8, 12]
    assert sampler.draw(clip, view, np.random.default_rng(0))[:, 0].tolist() == [100, 104, 108, 112]


def test_a_short_clip_stands_still_on_its_last_picture() -> None:
    short = made_clip(2, [0, 1])
    assert UniformWindow(frames=5).evaluation_windows(short)[0, :, 0].tolist() == [0, 1, 1, 1, 1]
    assert TimedWindows(WINDOW).evaluation_windows(short)[0, -1, 0] == 0.0
    assert TimedWindows(WINDOW).draw(short, short.plain, np.random.default_rng(0)).shape == (4, 1)


def test_time_sampling_takes_any_place_and_speed() -> None:
    clip = made_clip(64, list(range(64)))
    rng = np.random.default_rng(1)
    windows = [TimedWindows(WINDOW, speed=0.5).draw(clip, clip.plain, rng)[:, 0] for _ in range(60)]
    lengths = {int(window[-1] - window[0]) for window in windows}
    assert min(lengths) <= 4 < 8 <= max(lengths)
    assert len({int(window[0]) for window in windows}) > 20
    even = TimedWindows(WINDOW).draw(clip, clip.plain, rng)[:, 0]
    assert set(np.diff(even)) == {2}


def test_jitter_moves_pictures_and_keeps_their_order() -> None:
    rng = np.random.default_rng(2)
    steps = np.arange(16.0)
    moved = [jittered(steps, 0.5, rng) for _ in range(50)]
    assert all((np.diff(one) >= 0).all() for one in moved)
    assert max(np.abs(one - steps).max() for one in moved) == pytest.approx(0.5, abs=0.02)
    assert all(one.min() >= 0 for one in moved)
    np.testing.assert_array_equal(jittered(steps, 0.0, rng), steps)


def test_jitter_changes_what_uniform_sees() -> None:
    clip = made_clip(16, [0, 4, 8, 12])
    rng = np.random.default_rng(3)
    seen = {tuple(UniformWindow(4, jitter=0.5).draw(clip, clip.plain, rng)[:, 0]) for _ in range(30)}
    assert len(seen) > 3


def test_samplers_go_by_name() -> None:
    assert make_sampler("time", WINDOW, 0.2, 0.1) == TimedWindows(WINDOW, 0.2, 0.1)
    assert make_sampler("uniform", WINDOW, 0.2, 0.1) == UniformWindow(4, 0.1)
