"""Video files, whole and broken."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source import Source, open_source
from edgeharfer.runtime.source.completeness import is_cut_off, missing_frames
from edgeharfer.runtime.source.video import FrameTimes
from edgeharfer.runtime.types import Frame
from films import write_film

FRAMES, FPS, STEP = 20, 20.0, 12


def write_clip(path: Path, codec: str = "mp4v", frames: int = FRAMES) -> Path:
    """A clip of flat frames, each `STEP` brighter than the last, so that a frame tells its number."""
    return write_film(
        path, (np.full((48, 64, 3), STEP * number, np.uint8) for number in range(frames)), FPS, codec
    )


def read_all(source: Source) -> list[Frame]:
    with source:
        return list(iter(source.read, None))


def number_of(frame: Frame) -> int:
    return round(float(frame.bgr.mean()) / STEP)


@pytest.mark.parametrize(
    ("name", "codec"), [("clip.mp4", "mp4v"), ("clip.mkv", "MJPG"), ("clip.avi", "MJPG")]
)
def test_every_frame_comes_once_and_in_time(name: str, codec: str, tmp_path: Path) -> None:
    source = open_source(write_clip(tmp_path / name, codec))
    assert (source.name, source.live, source.size) == (name, False, (64, 48))
    assert source.fps == pytest.approx(FPS)
    assert "64x48 at 20 fps" in source.details
    frames = read_all(source)
    assert [number_of(frame) for frame in frames] == list(range(FRAMES))
    assert [frame.seq for frame in frames] == list(range(FRAMES))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / FPS for n in range(FRAMES)], abs=1.1e-3)
    assert frames[0].pts_s == 0.0
    assert not any(frame.still for frame in frames)


def test_frames_are_stamped_by_the_clock_when_read(tmp_path: Path) -> None:
    clock = ManualClock(100.0)
    with open_source(write_clip(tmp_path / "clip.mp4"), clock=clock) as source:
        clock.sleep(5.0)
        first = source.read()
        clock.sleep(2.0)
        second = source.read()
    assert first is not None and second is not None
    assert (first.captured_s, second.captured_s) == (105.0, 107.0)


def test_frame_count_is_told_where_it_is_known(tmp_path: Path) -> None:
    with open_source(write_clip(tmp_path / "clip.mp4")) as source:
        assert source.frame_count == FRAMES


def test_a_stream_without_a_length_has_no_frame_count(tmp_path: Path) -> None:
    """Bare JPEGs one after the other: no index, no length, no times."""
    path = tmp_path / "clip.mjpeg"
    pictures = (np.full((48, 64, 3), STEP * number, np.uint8) for number in range(FRAMES))
    path.write_bytes(b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures))
    source = open_source(path)
    assert source.frame_count is None
    frames = read_all(source)
    assert [number_of(frame) for frame in frames] == list(range(FRAMES))
    assert all(later.pts_s > earlier.pts_s for earlier, later in itertools.pairwise(frames))


@pytest.mark.parametrize(
    ("name", "data"), [("text.mp4", b"hello\n"), ("empty.mp4", b""), ("zero.mkv", bytes(4096))]
)
def test_what_is_no_video_is_refused(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=name):
        open_source(tmp_path / name)


def test_a_clip_that_is_cut_off_gives_what_still_decodes(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", "MJPG")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    numbers = [number_of(frame) for frame in read_all(open_source(path))]
    assert 2 <= len(numbers) < FRAMES
    assert numbers == list(range(len(numbers)))


def test_an_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match="corrupt or unsupported video"):
        open_source(path)


def test_a_header_without_frames_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", "MJPG")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\xff\xd8\xff") + 8])
    with pytest.raises(SourceError, match=r"no frame|corrupt or unsupported video"):
        open_source(path)


def test_reading_after_close_is_the_end(tmp_path: Path) -> None:
    source = open_source(write_clip(tmp_path / "clip.mp4"))
    source.close()
    source.close()
    assert source.read() is None


def test_times_start_at_zero_and_follow_the_container() -> None:
    times = FrameTimes(fps=10.0)
    assert [times.next(ms) for ms in (500.0, 540.0, 700.0)] == pytest.approx([0.0, 0.04, 0.2])


@pytest.mark.parametrize("useless", [0.0, -40.0, math.nan, math.inf])
def test_times_grow_by_one_frame_where_the_container_is_no_help(useless: float) -> None:
    times = FrameTimes(fps=10.0)
    assert [times.next(ms) for ms in (0.0, 100.0, useless, useless)] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_times_without_any_position_follow_the_rate() -> None:
    times = FrameTimes(fps=25.0)
    assert [times.next(math.nan) for _ in range(3)] == pytest.approx([0.0, 0.04, 0.08])


def box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def test_frames_that_an_edit_list_leaves_out_are_not_missed(tmp_path: Path) -> None:
    """An MP4 whose movie lasts 2 s of the 4 s that its 40 frames would take."""
    duration = (1000).to_bytes(4, "big") + (2000).to_bytes(4, "big")
    path = tmp_path / "trimmed.mp4"
    path.write_bytes(box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", bytes(12) + duration + bytes(80))))
    assert missing_frames(path, 40, 20, 10.0) == 0
    assert missing_frames(path, 20, 15, 10.0) == 5


def test_a_file_that_says_nothing_of_its_length_is_not_cut_off(tmp_path: Path) -> None:
    heads = {
        "short.mp4": b"\0\0\0\x10ftyp",
        "live.webm": b"\x1aE\xdf\xa3\x80\x18S\x80g\x01" + b"\xff" * 7,
        "padded.mp4": box(b"ftyp", b"isom") + bytes(64),
        "other.ts": b"G" * 188,
    }
    for name, data in heads.items():
        (tmp_path / name).write_bytes(data)
    assert [name for name in heads if is_cut_off(tmp_path / name)] == ["short.mp4"]
