"""The annotated video: playback time, size, and no half-written file."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import pytest

from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks import encoders
from edgeharfer.runtime.sinks.timeline import Timeline
from edgeharfer.runtime.sinks.video import VideoSink, fit
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame, Image


def picture(width: int, height: int, level: int) -> Image:
    return np.full((height, width, 3), level, np.uint8)


def put(sink: VideoSink, image: Image, pts_s: float, *, still: bool = False) -> None:
    frame = Frame(seq=0, pts_s=pts_s, captured_s=pts_s, picture=image, still=still)
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


def times_of(path: Path) -> list[Fraction]:
    """The exact time of each frame in seconds."""
    with av.open(str(path)) as video:
        return [Fraction(frame.pts or 0) * (frame.time_base or 0) for frame in video.decode(video=0)]


def duration_of(path: Path) -> float:
    with av.open(str(path)) as video:
        assert video.duration is not None
        return video.duration / 1e6


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
    assert times_of(tmp_path / "out.avi") == [0, Fraction(1, 2)]
    assert duration_of(tmp_path / "out.avi") == pytest.approx(16 / 30, abs=1e-3)


@pytest.mark.parametrize("kind", ["mp4", "avi", "mkv"])
def test_playback_follows_the_time_of_a_live_source(tmp_path: Path, kind: str) -> None:
    """7 pictures a second with a silence of 1 s: bright from 2 s on, here and in the video."""
    path = tmp_path / f"live.{kind}"
    times = [index / 7 for index in range(7)] + [2.0 + index / 7 for index in range(8)]
    with VideoSink(path, 30.0) as sink:
        for pts_s in times:
            put(sink, picture(96, 96, 220 if pts_s >= 2 else 60), 100.0 + pts_s)
    written = [float(time) for time in times_of(path)]
    levels = [middle_level(image) for image in frames_of(path)]
    assert written == pytest.approx(times, abs=0.51 / 30 if kind == "avi" else 0.0006)
    assert levels.index(next(level for level in levels if level > 140)) == times.index(2.0)


RATES = [Fraction(24_000, 1001), Fraction(25), Fraction(30_000, 1001), Fraction(60_000, 1001), Fraction(600)]


@pytest.mark.parametrize("rate", RATES)
def test_the_times_of_usual_rates_are_exact(tmp_path: Path, rate: Fraction) -> None:
    path = tmp_path / "out.mp4"
    with VideoSink(path, float(rate)) as sink:
        for index in range(40):
            put(sink, picture(64, 48, index), float(index / rate))
    assert times_of(path) == [index / rate for index in range(40)]
    assert duration_of(path) == pytest.approx(40 / rate, abs=1e-3)


def test_a_variable_rate_is_kept(tmp_path: Path) -> None:
    path, times = tmp_path / "out.mp4", [0.0, 0.033, 0.05, 0.75, 0.7511, 4.0, 4.04]
    with VideoSink(path, 30.0) as sink:
        for pts_s in times:
            put(sink, picture(64, 48, 90), pts_s)
    assert [float(time) for time in times_of(path)] == pytest.approx(times, abs=2e-6)


def test_times_increase_strictly(tmp_path: Path) -> None:
    """A frame that is not later than the one before it would never be seen."""
    path = tmp_path / "out.mp4"
    with VideoSink(path, 10.0) as sink:
        for pts_s in (0.0, 0.1, 0.1, 0.05, 0.2, 0.3):
            put(sink, picture(64, 48, 90), pts_s)
    assert times_of(path) == [Fraction(tenth, 10) for tenth in range(4)]


@pytest.mark.parametrize("kind", ["mp4", "avi", "mkv"])
def test_a_photograph_stands_for_a_second(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"out.{kind}"
    with VideoSink(path, None) as sink:
        put(sink, picture(64, 64, 50), 0.0, still=True)
        put(sink, picture(64, 64, 200), 0.0, still=True)
    levels = [middle_level(image) for image in frames_of(path)]
    assert times_of(path) == [0, 1] and levels[0] < 80 < 160 < levels[1]
    assert duration_of(path) == pytest.approx(2.0, abs=0.1)


def test_an_mp4_is_h264_with_its_index_first(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with VideoSink(path, 30.0) as sink:
        for index in range(45):
            put(sink, picture(64, 48, index), index / 30)
    data = path.read_bytes()
    with av.open(str(path)) as video:
        context = video.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert video.streams.video[0].frames == 45
    assert data.index(b"moov") < data.index(b"mdat") and b"moof" not in data


def test_a_run_that_is_stopped_does_not_wait_for_the_index(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class LateClock:
        now_s = 0.0

        def monotonic(self) -> float:
            self.now_s += 2.0
            return self.now_s

        def wall(self) -> float:
            return 0.0

        def sleep(self, seconds: float) -> None:
            pass

    path = tmp_path / "out.mp4"
    with VideoSink(path, 30.0, stopping=lambda: True, clock=LateClock()) as sink:
        for index in range(45):
            put(sink, picture(64, 48, index), index / 30)
    assert len(times_of(path)) == 45 and duration_of(path) == pytest.approx(1.5, abs=1e-3)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: complete, but its index stays at the end: the run was stopped"
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


COLOURS = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (30, 90, 200), (128, 128, 128), (250, 250, 250), (5, 5, 5)]


@pytest.mark.parametrize("kind", ["mp4", "avi", "mkv"])
@pytest.mark.parametrize("height", [96, 720])
def test_colours_are_those_of_the_source(tmp_path: Path, kind: str, height: int) -> None:
    """Read back by the tags of the file, as a player does."""
    path, width = tmp_path / f"out.{kind}", 32 * len(COLOURS)
    image = np.zeros((height, width, 3), np.uint8)
    for index, colour in enumerate(COLOURS):
        image[:, 32 * index : 32 * index + 32] = colour
    with VideoSink(path, 30.0) as sink:
        put(sink, image, 0.0)
    with av.open(str(path)) as video:
        shown = next(video.decode(video=0)).to_ndarray(format="bgr24")
        context = video.streams.video[0].codec_context
        if kind != "avi":  # AVI has no tags; Motion JPEG is BT.601 by definition
            assert context.colorspace in (5, 6), "BT.601, for 625 or 525 lines"
            assert (context.color_primaries, context.color_trc) == (1, 1), "BT.709"
    row = shown[height * 3 // 4, 16::32].astype(int)  # below the strip with the status
    assert np.abs(row - np.array(COLOURS)).max() <= 6


def test_the_encoder_of_another_build_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any H.264 encoder MPEG-4 is written, which is said before the first frame."""
    usable = encoders.Encoder.works
    monkeypatch.setattr(encoders.Encoder, "works", lambda one: "264" not in one.name and usable(one))
    path = tmp_path / "out.mp4"
    with VideoSink(path, 25.0) as sink:
        for index in range(5):
            put(sink, picture(64, 48, 90), index / 25)
    with av.open(str(path)) as video:
        assert video.streams.video[0].codec_context.name == "mpeg4"
    assert times_of(path) == [Fraction(index, 25) for index in range(5)]


def test_what_cannot_be_encoded_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(encoders.Encoder, "works", lambda one: one.name == "mpeg4")
    VideoSink(tmp_path / "out.mp4")
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'out.mp4'}: this PyAV cannot encode H.264; MPEG-4 Part 2 is written, "
        "which browsers do not play"
    ]
    with pytest.raises(ConfigError, match=r"out\.avi: .* Motion JPEG: use the extension \.mp4, \.mkv"):
        VideoSink(tmp_path / "out.avi")


def test_a_size_that_cannot_be_encoded_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(SinkError, match=r"H\.264 video of 16400x2 cannot be written"),
        VideoSink(tmp_path / "out.mp4") as sink,
        contextlib.suppress(SinkError),
    ):
        put(sink, picture(16400, 2, 9), 0.0)
    assert list(tmp_path.iterdir()) == []


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
    assert times_of(tmp_path / "out.avi") == [0, Fraction(2, 30)]


def test_a_video_that_cannot_be_read_back_is_not_published(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with pytest.raises(SinkError, match="could not be finished"), VideoSink(path) as sink:
        put(sink, picture(64, 64, 9), 0.0)
        assert sink._writer is not None
        sink._writer.close()
        sink._file.temporary.write_bytes(b"torn")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Limits the size of files; the limit is taken back at the end."""
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["mp4", "avi", "mkv"])
def test_a_limit_on_files_keeps_what_was_written(
    tmp_path: Path, kind: str, small_files: Callable[[int], None]
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8)
    path = tmp_path / f"out.{kind}"
    with (
        pytest.raises(SinkError, match=rf"out\.{kind}: .*File too large.*quotas"),
        VideoSink(path, 10.0) as sink,
    ):
        small_files(400_000)
        for index in range(60):
            with contextlib.suppress(SinkError):
                put(sink, np.roll(noise, index, 0), index / 10)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    with av.open(str(path)) as video:
        assert sum(packet.size > 0 for packet in video.demux(video=0)) >= 10


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.video import VideoSink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

with VideoSink(Path(sys.argv[1]), 30.0) as sink:
    for index in range(300):
        image = np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)
        sink.write(Frame(index, index / 30, 0.0, image), Result(index, index / 30, 1.0), Status())
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")
@pytest.mark.parametrize("kind", ["mp4", "avi"])
def test_a_killed_run_leaves_a_video_up_to_the_last_seconds(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"out.{kind}"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=60, check=False)
    assert done.returncode == -9 and path.read_bytes() == b"old"
    [part] = tmp_path.glob(f".out.*.part.{kind}")
    with av.open(str(part)) as video:
        last_s = max(float(packet.pts or 0) * packet.time_base for packet in video.demux(video=0))
    assert last_s > 10 - 2.5
    with VideoSink(path, 30.0) as sink:  # the next run removes it
        put(sink, picture(64, 48, 9), 0.0)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def on_timeline(times: list[float], max_gap_s: float = 10.0) -> list[float]:
    timeline = Timeline(0.1, max_gap_s)
    return [round(timeline.time_s(pts_s), 6) for pts_s in times]


def test_the_times_of_a_file_are_taken_one_to_one() -> None:
    millisecond_stamps = [round(index / 29.97, 3) for index in range(500)]
    assert on_timeline(millisecond_stamps) == millisecond_stamps


def test_a_short_gap_is_held_and_a_long_one_cut() -> None:
    assert on_timeline([0.0, 0.1, 2.1, 500.0, 500.1]) == [0.0, 0.1, 2.1, 2.2, 2.3]
    assert on_timeline([0.0, 30.0, 30.1], 3600.0) == [0.0, 30.0, 30.1]


def test_a_source_that_starts_again_goes_on() -> None:
    assert on_timeline([5.0, 6.0, 7.0, 0.0, 0.1]) == [0.0, 1.0, 2.0, 2.1, 2.2]


def test_fit_keeps_proportions() -> None:
    fitted = fit(picture(200, 100, 255), (100, 100))
    assert fitted.shape == (100, 100, 3)
    assert (fitted[:25].max(), fitted[25:75].min(), fitted[75:].max()) == (0, 255, 0)
