"""The annotated video: playback time, size, and no half-written file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.video import FrameTiming, VideoSink, fit
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame, Image


def picture(width: int, height: int, level: int) -> Image:
    return np.full((height, width, 3), level, np.uint8)


def put(sink: VideoSink, image: Image, pts_s: float, *, still: bool = False) -> None:
    frame = Frame(seq=0, pts_s=pts_s, captured_s=pts_s, bgr=image, still=still)
    sink.write(frame, Result(0, pts_s, 1.0), Status())


def frames_of(path: Path) -> list[Image]:
    reader = cv2.VideoCapture(str(path))
    found: list[Image] = []
    while True:
        more, image = reader.read()
        if not more:
            reader.release()
            return found
        found.append(np.asarray(image, np.uint8))


def middle_level(image: Image) -> int:
    return int(image[image.shape[0] // 2, image.shape[1] // 2].mean())


@pytest.mark.parametrize("kind", ["mp4", "avi", "mkv", "MP4"])
def test_every_kind_is_written_and_read_back(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"out.{kind}"
    with VideoSink(path, 25.0) as sink:
        for index in range(10):
            put(sink, picture(160, 120, 100), index / 25)
        assert not path.exists(), "appears when whole"
    reader = cv2.VideoCapture(str(path))
    assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(25.0)
    reader.release()
    assert len(frames_of(path)) == 10
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_the_frames_carry_the_overlay_and_stay_untouched_themselves(tmp_path: Path) -> None:
    image = picture(320, 240, 255)
    with VideoSink(tmp_path / "out.mp4") as sink:
        put(sink, image, 0.0)
    saved = frames_of(tmp_path / "out.mp4")[0]
    assert saved[:30].min() < 100, "the strip at the top is dark"
    assert image.min() == 255


def test_another_kind_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"out\.webm.*\.mp4"):
        VideoSink(tmp_path / "out.webm")


@pytest.mark.parametrize("fps", [None, 0.0, -5.0, float("nan")])
def test_a_source_without_a_rate_gives_thirty(tmp_path: Path, fps: float | None) -> None:
    with VideoSink(tmp_path / "out.avi", fps) as sink:
        put(sink, picture(64, 64, 9), 0.0)
        put(sink, picture(64, 64, 9), 0.5)
    assert len(frames_of(tmp_path / "out.avi")) == 16


def test_playback_follows_the_time_of_a_live_source(tmp_path: Path) -> None:
    """7 pictures a second with a silence of 1 s: bright from 2 s on, here and in the video."""
    path = tmp_path / "live.avi"
    times = [index / 7 for index in range(7)] + [2.0 + index / 7 for index in range(8)]
    with VideoSink(path, 30.0) as sink:
        for pts_s in times:
            put(sink, picture(96, 96, 220 if pts_s >= 2 else 60), 100.0 + pts_s)
    levels = [middle_level(image) for image in frames_of(path)]
    assert len(levels) == pytest.approx(30 * 3 + 1, abs=1)
    assert next(index for index, level in enumerate(levels) if level > 140) == pytest.approx(60, abs=1)


def test_a_photograph_stands_for_a_second(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.avi", None) as sink:
        put(sink, picture(64, 64, 50), 0.0, still=True)
        put(sink, picture(64, 64, 200), 0.0, still=True)
    levels = [middle_level(image) for image in frames_of(tmp_path / "out.avi")]
    assert len(levels) == 60
    assert levels[0] < 80 < 160 < levels[30]


def test_a_later_size_is_fitted_in(tmp_path: Path) -> None:
    path = tmp_path / "out.avi"
    with VideoSink(path, 30.0) as sink:
        put(sink, picture(160, 120, 128), 0.0)
        put(sink, picture(100, 300, 128), 1 / 30)
    first, second = frames_of(path)
    assert first.shape == second.shape == (120, 160, 3)
    assert second[60, 10].max() < 40
    assert middle_level(second) == pytest.approx(128, abs=12)


def test_odd_and_tiny_sizes_are_kept_whole(tmp_path: Path) -> None:
    for width, height in ((161, 121), (1, 1)):
        path = tmp_path / f"out{width}.mp4"
        with VideoSink(path) as sink:
            put(sink, picture(width, height, 128), 0.0)
        assert frames_of(path)[0].shape == (height + 1, width + 1, 3)


def test_an_error_leaves_nothing_and_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), VideoSink(path) as sink:
        put(sink, picture(64, 64, 1), 0.0)
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


def test_ctrl_c_keeps_the_video(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), VideoSink(tmp_path / "out.mp4") as sink:
        put(sink, picture(64, 64, 1), 0.0)
        raise KeyboardInterrupt
    assert len(frames_of(tmp_path / "out.mp4")) == 1


def test_no_frames_make_no_file(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_fails_on_entering(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="cannot be written"), VideoSink(tmp_path / "no" / "out.mp4"):
        pass


def test_a_full_disk_is_told_and_writing_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    with VideoSink(tmp_path / "out.avi", 30.0) as sink:
        put(sink, picture(64, 64, 9), 0.0)
        with monkeypatch.context() as full:
            full.setattr(shutil, "disk_usage", lambda _: Usage(0))
            with pytest.raises(SinkError, match="disk is full"):
                put(sink, picture(64, 64, 9), 1 / 30)
        put(sink, picture(64, 64, 9), 2 / 30)
    assert len(frames_of(tmp_path / "out.avi")) == 3


def test_a_video_that_cannot_be_read_back_is_not_published(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with pytest.raises(SinkError, match="could not be finished"), VideoSink(path) as sink:
        put(sink, picture(64, 64, 9), 0.0)
        assert sink._video is not None
        sink._video.release()
        sink._file.temporary.write_bytes(b"torn")
    assert list(tmp_path.iterdir()) == []


def copies(fps: float, times: list[float]) -> list[int]:
    timeline = FrameTiming(fps)
    return [timeline.copies(pts_s) for pts_s in times]


def test_a_file_of_the_same_rate_is_taken_one_to_one() -> None:
    millisecond_stamps = [round(index / 29.97, 3) for index in range(500)]
    assert copies(29.97, millisecond_stamps) == [1] * 500


def test_a_faster_source_is_thinned() -> None:
    assert sum(copies(30.0, [index / 60 for index in range(121)])) == 61


def test_a_short_gap_is_held_and_a_long_one_cut() -> None:
    assert copies(10.0, [0.0, 0.1, 2.1, 500.0, 500.1]) == [1, 1, 20, 1, 1]


def test_a_source_that_starts_again_goes_on() -> None:
    assert copies(10.0, [0.0, 1.0, 2.0, 0.0, 0.1]) == [1, 10, 10, 1, 1]


def test_fit_keeps_proportions() -> None:
    fitted = fit(picture(200, 100, 255), (100, 100))
    assert fitted.shape == (100, 100, 3)
    assert (fitted[:25].max(), fitted[25:75].min(), fitted[75:].max()) == (0, 255, 0)
