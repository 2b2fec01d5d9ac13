"""What a video file may contain: codecs, pixel formats, colours, orientations, fields, times and sizes."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from edgeharfer.runtime.picture import Picture
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.deinterlace import Deinterlacer
from edgeharfer.runtime.source.media import MediaDecoder
from edgeharfer.runtime.types import Frame, Image
from media_clips import encode_clip, quarters, with_fields

ONE = 1 << 16
"""1.0 in a display matrix."""
TURNS = {
    (ONE, 0, 0, ONE): lambda image: image,
    (0, ONE, -ONE, 0): lambda image: np.rot90(image, -1),
    (-ONE, 0, 0, -ONE): lambda image: np.rot90(image, 2),
    (0, -ONE, ONE, 0): lambda image: np.rot90(image, 1),
    (-ONE, 0, 0, ONE): np.fliplr,
    (ONE, 0, 0, -ONE): np.flipud,
    (0, ONE, ONE, 0): lambda image: np.swapaxes(image, 0, 1),
    (0, -ONE, -ONE, 0): lambda image: np.rot90(np.swapaxes(image, 0, 1), 2),
}
"""a, b, c and d of a display matrix, which shows (x, y) at (ax + cy, bx + dy), and the turn they mean."""


def frames_of(path: Path) -> list[Frame]:
    with open_source(path) as source:
        return list(iter(source.read, None))


def deviation(image: Image, wanted: Image) -> float:
    """The largest difference of the centres of the quarters."""
    assert image.ndim == 3
    height, width = image.shape[:2]
    rows, columns = np.ix_((height // 4, 3 * height // 4), (width // 4, 3 * width // 4))
    size = wanted.shape[:2]
    same = np.ix_((size[0] // 4, 3 * size[0] // 4), (size[1] // 4, 3 * size[1] // 4))
    return float(np.abs(image[rows, columns].astype(int) - wanted[same]).max())


def check_forms(picture: Picture, wanted: Image) -> None:
    """All forms of a picture show the quarters of the wanted one, in the sizes that were asked for."""
    assert picture.size == (wanted.shape[1], wanted.shape[0])
    forms = {
        picture.size: picture.bgr,
        (40, 24): picture.resized(40, 24),
        (200, 180): picture.resized(200, 180),
        (16, 12): picture.sampled(16, 12),
    }
    for (width, height), image in forms.items():
        assert image.shape == (height, width, 3)
        assert image.dtype == np.uint8
        assert deviation(image, wanted) <= 9


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "shown"),
    [
        ("a.mp4", "libx264", "yuv420p", "H264"),
        ("a.mkv", "libx264", "yuv422p", "H264"),
        ("b.mkv", "libx264", "yuv444p", "H264"),
        ("a.mov", "libx264", "yuv422p10le", "H264"),
        ("c.mkv", "libx264rgb", "bgr24", "H264"),
        ("b.mp4", "libx265", "yuv420p10le", "HEVC"),
        ("c.mp4", "libsvtav1", "yuv420p", "AV1"),
        ("d.mkv", "libsvtav1", "yuv420p10le", "AV1"),
        ("a.webm", "libvpx-vp9", "yuva420p", "VP9"),
        ("b.mov", "prores_ks", "yuv422p10le", "PRORES"),
        ("c.mov", "prores_ks", "yuva444p10le", "PRORES"),
        ("e.mkv", "ffv1", "gbrp10le", "FFV1"),
        ("a.mpg", "mpeg2video", "yuv420p", "MPEG2VIDEO"),
        ("a.mts", "mpeg2video", "yuv422p", "MPEG2VIDEO"),
        ("a.m2ts", "libx264", "yuv420p", "H264"),
        ("a.avi", "mjpeg", "yuvj420p", "MJPEG"),
        ("d.mov", "png", "rgba", "PNG"),
        ("b.avi", "rawvideo", "bgr24", "RAWVIDEO"),
        ("f.mkv", "rawvideo", "nv12", "RAWVIDEO"),
    ],
)
def test_every_codec_and_pixel_format_has_right_colours(
    name: str, codec: str, pixel_format: str, shown: str, tmp_path: Path
) -> None:
    wanted = quarters()
    path = encode_clip(
        tmp_path / name, [wanted] * 8, codec, pixel_format, full_range=pixel_format.startswith("yuvj"),
        container_format="mpegts" if name.endswith("mts") else None,
    )  # fmt: skip
    with open_source(path) as source:
        assert source.details == f"{shown} 64x48 at 25 fps"
        frames = list(iter(source.read, None))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 25 for n in range(8)])
    check_forms(frames[-1].picture, wanted)


@pytest.mark.parametrize("pixel_format", ["gray", "gray16le"])
def test_grey_keeps_black_and_white(pixel_format: str, tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    picture: Image = cv2.merge([ramp] * 3).astype(np.uint8)
    path = encode_clip(tmp_path / "a.mkv", [picture], "ffv1", pixel_format)
    (frame,) = frames_of(path)
    assert np.abs(frame.bgr[..., 1].astype(int) - ramp).max() <= 1


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("colorspace", [Colorspace.ITU601, Colorspace.ITU709])
def test_colour_matrix_and_range_of_the_file_are_used(
    colorspace: int, full_range: bool, tmp_path: Path
) -> None:
    path = encode_clip(
        tmp_path / "a.mkv", [quarters()], "ffv1", "yuv444p", colorspace=colorspace, full_range=full_range
    )
    (frame,) = frames_of(path)
    check_forms(frame.picture, quarters())


@pytest.mark.parametrize("turn", TURNS)
def test_pictures_are_turned_upright(turn: tuple[int, int, int, int], tmp_path: Path) -> None:
    a, b, c, d = turn
    path = encode_clip(tmp_path / "a.mp4", [quarters()], matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    (frame,) = frames_of(path)
    check_forms(frame.picture, TURNS[turn](quarters()))


def test_pixels_become_square(tmp_path: Path) -> None:
    """One side grows and none shrinks, so that no detail is lost."""
    for aspect, size in ((Fraction(2), (128, 48)), (Fraction(1, 2), (64, 96)), (Fraction(16, 15), (68, 48))):
        path = encode_clip(tmp_path / f"{size[0]}.mp4", [quarters()], aspect=aspect)
        with open_source(path) as source:
            assert source.size == size
            frame = source.read()
        assert frame is not None
        check_forms(frame.picture, quarters(*size))


def test_an_anamorphic_picture_is_turned_after_it_was_widened(tmp_path: Path) -> None:
    matrix = (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30)
    path = encode_clip(tmp_path / "a.mp4", [quarters()], aspect=Fraction(2), matrix=matrix)
    (frame,) = frames_of(path)
    check_forms(frame.picture, np.rot90(quarters(128, 48), -1))


@pytest.mark.parametrize(
    ("name", "codec", "fields", "options"),
    [
        ("a.mp4", "libx264", "tff", {"x264-params": "interlaced=1"}),
        ("b.mp4", "libx264", "bff", {"x264-params": "interlaced=1"}),
        ("a.mpg", "mpeg2video", "tff", {}),
        ("a.dv", "dvvideo", "bff", {}),
    ],
)
def test_interlaced_video_is_deinterlaced(
    name: str, codec: str, fields: Literal["tff", "bff"], options: dict[str, str], tmp_path: Path
) -> None:
    """A bar that moves from field to field: each frame shows it in one place, that of its first field."""
    size = (720, 576) if codec == "dvvideo" else (96, 64)

    def bar(moment: int) -> Image:
        picture = np.full((size[1], size[0], 3), 40, np.uint8)
        left = size[0] * (6 + moment) // 48
        picture[:, left : left + size[0] // 4] = 220
        return picture

    def woven(number: int) -> Image:
        picture, second = bar(2 * number), bar(2 * number + 1)
        picture[fields == "tff" :: 2] = second[fields == "tff" :: 2]
        return picture

    options = {"b": "8000000", **options}
    path = encode_clip(tmp_path / name, map(woven, range(8)), codec, fields=fields, options=options)
    frames = frames_of(path)
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 25 for n in range(8)], abs=1e-6)
    for frame in frames[1:-1]:
        shown = frame.picture.resized(*size).astype(int)
        assert np.abs(shown - bar(2 * frame.seq)).mean() < 3


def test_progressive_frames_within_interlaced_video_are_kept_in_order(tmp_path: Path) -> None:
    """Two transport streams in one file, the second progressive and of another size."""
    one = [np.full((64, 96, 3), 10 * n, np.uint8) for n in range(5)]
    two = [np.full((48, 64, 3), 10 * n, np.uint8) for n in range(5, 10)]
    first = encode_clip(tmp_path / "1.ts", one, fields="tff", options={"x264-params": "interlaced=1"})
    second = encode_clip(tmp_path / "2.ts", two)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    frames = frames_of(joined)
    assert [round(float(frame.bgr.mean()) / 10) for frame in frames] == list(range(10))
    assert [frame.size for frame in frames] == [(96, 64)] * 5 + [(64, 48)] * 5
    assert all(frame.picture.size == (frame.bgr.shape[1], frame.bgr.shape[0]) for frame in frames)
    assert all(later.pts_s > earlier.pts_s for earlier, later in itertools.pairwise(frames))
    assert frames[-1].pts_s == pytest.approx(9 / 25, abs=0.05)


def test_interlaced_and_progressive_frames_may_alternate() -> None:
    """Films on DVD: some frames of each second are marked as interlaced."""
    deinterlacer, shown = Deinterlacer(), []
    for number in range(12):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), "bgr24")
        frame = frame.reformat(format="yuv420p")
        frame.pts, frame.time_base = 7 * number, Fraction(1, 25)
        shown += deinterlacer.push(with_fields(frame, "tff") if number % 5 in (2, 3) else frame)
    shown += deinterlacer.flush()
    assert [frame.pts for frame in shown] == [7 * number for number in range(12)]
    pictures = [frame.to_ndarray(format="bgr24") for frame in shown]
    assert [round(float(picture.mean()) / 20) for picture in pictures] == list(range(12))
    assert not any(frame.interlaced_frame for frame in shown)


def test_a_stream_may_change_its_size(tmp_path: Path) -> None:
    parts = [
        encode_clip(tmp_path / f"{n}.h264", [quarters(*size)] * 3)
        for n, size in enumerate(((64, 48), (96, 64)))
    ]
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = frames_of(path)
    assert [frame.size for frame in frames] == [(64, 48)] * 3 + [(96, 64)] * 3
    for frame in frames:
        check_forms(frame.picture, quarters(*frame.size))


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov", "a.webm"])
def test_variable_rates_keep_their_times(name: str, tmp_path: Path) -> None:
    times = [0, 40, 50, 60, 500, 1700, 1733, 1766]
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    pictures = [np.full((48, 64, 3), 20 * n, np.uint8) for n in range(len(times))]
    path = encode_clip(tmp_path / name, pictures, codec, times=times, time_base=Fraction(1, 1000))
    frames = frames_of(path)
    assert [frame.pts_s for frame in frames] == pytest.approx([ms / 1000 for ms in times], abs=1e-6)
    assert [round(float(frame.bgr.mean()) / 20) for frame in frames] == list(range(len(times)))


def test_high_rates_keep_every_frame(tmp_path: Path) -> None:
    pictures = [quarters()] * 30
    with open_source(encode_clip(tmp_path / "a.mp4", pictures, rate=600)) as source:
        assert source.fps == 600
        assert source.frame_count == 30
        frames = list(iter(source.read, None))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 600 for n in range(30)], abs=1e-6)


def test_times_start_at_the_first_frame(tmp_path: Path) -> None:
    """Some files start before zero, or hours after it."""
    for start in (-700, 3_600_000):
        times = [start, start + 40, start + 100]
        path = encode_clip(
            tmp_path / f"{start}.nut", [quarters()] * 3, "ffv1", times=times, time_base=Fraction(1, 1000)
        )
        assert [frame.pts_s for frame in frames_of(path)] == pytest.approx([0.0, 0.04, 0.1])


@pytest.mark.parametrize("left_out", [1, 5])
def test_frames_that_an_edit_list_leaves_out_are_neither_shown_nor_missed(
    left_out: int, tmp_path: Path
) -> None:
    """Phones cut a film without encoding it again: the first frames are only there for the others."""
    pictures = [np.full((48, 64, 3), 10 * n, np.uint8) for n in range(20)]
    times = [n - left_out for n in range(20)]
    with open_source(encode_clip(tmp_path / "a.mp4", pictures, times=times)) as source:
        assert source.frame_count == 20 - left_out
        frames = list(iter(source.read, None))
        assert (source.unreadable, list(source.skipped)) == (0, [])
    assert [round(float(frame.bgr.mean()) / 10) for frame in frames] == list(range(left_out, 20))
    assert frames[0].pts_s == 0.0


def test_bframes_come_in_order_where_a_container_has_no_presentation_times(tmp_path: Path) -> None:
    pictures = [np.full((48, 64, 3), 8 * n, np.uint8) for n in range(24)]
    path = encode_clip(tmp_path / "a.avi", pictures, options={"bf": "3", "b_strategy": "0", "g": "12"})
    frames = frames_of(path)
    assert [round(float(frame.bgr.mean()) / 8) for frame in frames] == list(range(24))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 25 for n in range(24)])


def test_damaged_packets_do_not_end_a_file(tmp_path: Path) -> None:
    pictures = [np.full((48, 64, 3), 8 * n, np.uint8) for n in range(20)]
    path = encode_clip(tmp_path / "a.mkv", pictures, "mjpeg", "yuvj420p", full_range=True)
    with av.open(str(path)) as container:
        packets = [(packet.pos or 0, packet.size) for packet in container.demux(video=0)]
    data = bytearray(path.read_bytes())
    place, size = packets[8]
    at = data.index(b"\xff\xd8", place)
    data[at : at + size] = bytes(size)
    path.write_bytes(data)
    with open_source(path) as source:
        numbers = [round(float(frame.bgr.mean()) / 8) for frame in iter(source.read, None)]
        assert source.unreadable == 1
        assert "19 of 20 frames could be read" in source.skipped[0][1]
    assert numbers == [number for number in range(20) if number != 8]


def test_a_recording_may_begin_between_two_key_frames(tmp_path: Path) -> None:
    pictures = [np.full((48, 64, 3), 8 * n, np.uint8) for n in range(30)]
    path = encode_clip(tmp_path / "a.ts", pictures, options={"g": "10", "bf": "0"})
    data = path.read_bytes()
    path.write_bytes(data[188 * (len(data) // 188 // 4) :])
    with open_source(path) as source:
        frames = list(iter(source.read, None))
        assert (source.unreadable, list(source.skipped)) == (0, [])
    assert 10 <= len(frames) <= 20
    assert round(float(frames[-1].bgr.mean()) / 8) == 29


def test_pictures_are_equal_if_their_pixels_are(tmp_path: Path) -> None:
    bright = quarters()
    bright[20, 30] = 0
    path = encode_clip(tmp_path / "a.mkv", [quarters(), quarters(), bright], "ffv1", "yuv444p")
    first, same, other = (frame.picture for frame in frames_of(path))
    assert first.equals(same)
    assert not first.equals(other)


def test_sampled_pixels_are_those_of_the_whole_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (72, 100, 3), np.uint8)
    path = encode_clip(tmp_path / "a.mkv", [noise], "ffv1")
    (frame,) = frames_of(path)
    sampled = frame.picture.sampled(64, 48)
    assert np.array_equal(sampled, cv2.resize(frame.bgr, (64, 48), interpolation=cv2.INTER_NEAREST))


NON_REFERENCE = [
    ("a.mp4", "libx264", {"bf": "3", "b_strategy": "0"}),
    ("b.mp4", "libx264", {"bf": "5", "x264-params": "b-adapt=0:b-pyramid=normal:open-gop=1:keyint=10"}),
    ("a.ts", "libx264", {"bf": "2", "b_strategy": "0"}),
    ("a.mkv", "libx265", {"x265-params": "log-level=none:bframes=4:b-adapt=0:keyint=12"}),
    ("b.ts", "libx265", {"x265-params": "log-level=none:bframes=3:temporal-layers=3"}),
    ("c.ts", "mpeg2video", {"bf": "2", "g": "9"}),
    ("d.mp4", "mpeg4", {"bf": "2"}),
    ("a.avi", "mjpeg", {}),
    ("b.mkv", "mjpeg", {}),
]


@pytest.mark.parametrize(("name", "codec", "options"), NON_REFERENCE)
def test_frames_that_nobody_wants_are_not_decoded(
    name: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    """All frames still come, in order and with their times; those that are decoded are the same."""
    y, x = np.mgrid[0:48, 0:64]
    moving = [np.dstack([(x + 3 * n) * 4 % 256, y * 5, (x + y + n) * 2]).astype(np.uint8) for n in range(40)]
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode_clip(tmp_path / name, moving, codec, pixel_format, options=options)

    def read(wanted: Callable[[float], bool] | None) -> list[Frame]:
        with open_source(path) as source:
            source.wanted = wanted
            return list(iter(source.read, None))

    every = read(None)
    assert [frame.pts_s for frame in every] == pytest.approx([n / 25 for n in range(40)], abs=1e-6)
    chosen = {frame.pts_s for frame in every[::5]}
    for wanted in (lambda pts_s: True, lambda pts_s: False, chosen.__contains__):
        frames = read(wanted)
        assert [(frame.seq, frame.pts_s, frame.size) for frame in frames] == [
            (frame.seq, frame.pts_s, frame.size) for frame in every
        ]
        for frame, whole in zip(frames, every, strict=True):
            assert not frame.decoded or np.array_equal(frame.bgr, whole.bgr)
            assert frame.decoded or not wanted(frame.pts_s)
    skipped = [not frame.decoded for frame in read(lambda pts_s: False)]
    assert sum(skipped) >= 8
    assert not skipped[0]
    assert all(frame.decoded for frame in read(lambda pts_s: True))


def test_regular_key_frames_are_no_sign_of_a_new_scene(tmp_path: Path) -> None:
    """Every 10th frame is a key frame, and frame 34, with which a scene begins."""
    options = {"bf": "2", "x264-params": "keyint=10:min-keyint=1:scenecut=40"}
    shades = np.random.default_rng(1).integers(0, 256, (2, 12, 16, 3)).astype(np.uint8)
    textures = [cv2.resize(one, (64, 48)) for one in shades]
    pictures = [np.roll(textures[n >= 34], n, axis=1) for n in range(60)]
    path = encode_clip(tmp_path / "a.mkv", pictures, options=options)
    announced: dict[int, bool] = {}
    with open_source(path) as source:
        source.wanted, source.announce = (
            lambda pts_s: True,
            lambda pts_s, key: announced.update({round(25 * pts_s): key}),
        )
        assert len(list(iter(source.read, None))) == 60
    with av.open(str(path)) as container:
        keys = [
            round(25 * float((one.pts or 0) * (one.time_base or 0)))
            for one in container.demux()
            if one.is_keyframe
        ]
    assert keys == [0, 10, 20, 30, 34, 44, 54]
    assert [number for number, key in announced.items() if key] == [10, 34, 44]


def test_interlaced_frames_are_all_decoded(tmp_path: Path) -> None:
    options = {"bf": "3", "x264-params": "interlaced=1"}
    path = encode_clip(tmp_path / "a.mp4", [quarters()] * 20, fields="tff", options=options)
    with open_source(path) as source:
        source.wanted = lambda pts_s: False
        frames = list(iter(source.read, None))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 25 for n in range(20)], abs=1e-6)
    assert all(frame.decoded for frame in frames[-10:])


def test_frames_and_decoders_are_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    """They take megabytes, so none may be part of a reference cycle."""
    path = encode_clip(tmp_path / "a.mp4", [quarters()] * 12, matrix=(0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30))
    gc.collect()
    gc.disable()
    try:
        with open_source(path) as source:
            frames = [weakref.ref(frame.picture) for frame in iter(source.read, None) if frame.bgr.any()]
        with open_source(path) as source:
            source.read()
        del source
        alive = [one for one in gc.get_objects() if isinstance(one, av.VideoFrame) and one.width > 16]
        decoders = [one for one in gc.get_objects() if isinstance(one, MediaDecoder)]
    finally:
        gc.enable()
    assert len(frames) == 12
    assert not any(picture() for picture in frames)
    assert len(alive) <= 1
    assert not decoders
