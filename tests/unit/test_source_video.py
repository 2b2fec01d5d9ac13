"""Video files, whole and broken."""

from __future__ import annotations

import itertools
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edgeharfer.cli import run_command
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import ConfigError, DecoderError, SourceError
from edgeharfer.runtime.source import Source, decode_devices, open_source
from edgeharfer.runtime.source.completeness import is_cut_off, missing_frames
from edgeharfer.runtime.source.media import open_container
from edgeharfer.runtime.source.media_times import FrameTimes
from edgeharfer.runtime.types import Frame
from films import write_film
from media_clips import encode_clip, quarters

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


def test_a_video_may_be_read_ahead(tmp_path: Path) -> None:
    with open_source(write_clip(tmp_path / "clip.mp4")) as source:
        assert source.ahead


def times_of(fps: float, *stated_ms: int | None) -> list[float]:
    times = FrameTimes(fps, Fraction(1, 1000))
    return [times.next(ms) for ms in stated_ms]


def test_times_start_at_zero_and_follow_the_container() -> None:
    assert times_of(10.0, 500, 540, 700) == [0.0, 0.04, 0.2]


@pytest.mark.parametrize("useless", [0, -40, 100, None])
def test_times_grow_by_one_frame_where_the_container_is_no_help(useless: int | None) -> None:
    assert times_of(10.0, 0, 100, useless, useless, 450) == [0.0, 0.1, 0.2, 0.3, 0.45]


def test_times_without_any_position_follow_the_rate() -> None:
    assert times_of(25.0, None, None, None) == [0.0, 0.04, 0.08]


def test_times_go_on_where_those_of_the_container_start_again() -> None:
    """Files that were joined, or a clock that wrapped around."""
    assert times_of(10.0, 5000, 7000, 5000, 5300) == [0.0, 2.0, 2.1, 2.4]
    assert times_of(10.0, -300, 1900, -300, 0) == [0.0, 2.2, 2.3, 2.6]


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


@pytest.mark.parametrize(("code", "named"), [("evc1", "evc"), ("encv", "'encv'")])
def test_a_codec_that_cannot_be_decoded_is_named(code: str, named: str, tmp_path: Path) -> None:
    path = encode_clip(tmp_path / "clip.mp4", [quarters()] * 3)
    path.write_bytes(path.read_bytes().replace(b"avc1", code.encode()))
    with pytest.raises(SourceError) as caught:
        open_source(path)
    assert str(caught.value) == f"{path}: its codec {named} cannot be decoded: convert it to MP4 (H.264)"


def test_sound_alone_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate = 48_000
        frame.planes[0].update(bytes(4 * 1024))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match="contains no video, only audio or other data"):
        open_source(path)


def test_pictures_of_too_many_pixels_are_refused(tmp_path: Path) -> None:
    path = encode_clip(tmp_path / "clip.mkv", [quarters(300, 300)], "ffv1")
    data, side = path.read_bytes(), (300).to_bytes(2, "big")
    for element in (b"\xb0\x82", b"\xba\x82"):  # PixelWidth and PixelHeight
        assert data.count(element + side) == 1
        data = data.replace(element + side, element + (20_000).to_bytes(2, "big"))
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"no frame can be decoded: .*, or larger than 100 megapixels"):
        open_source(path)


NAMES = ["Größe 100%d.mp4", "#EXTM3U.mp4", "-i.mp4"]
if sys.platform == "linux":  # other systems do not have such names
    NAMES += ["concat:a|b.mp4", "file:c.mp4", "caf\udce9.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_is_read(name: str, tmp_path: Path) -> None:
    encode_clip(tmp_path / "clip.mp4", [quarters()] * 3)
    (tmp_path / "clip.mp4").rename(tmp_path / name)
    assert len(read_all(open_source(tmp_path / name))) == 3


REFERRING = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
    "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{clip}'\n",
    "list.mpd": '<?xml version="1.0"?>\n<MPD><Period><AdaptationSet><Representation><BaseURL>{clip}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("name", REFERRING)
def test_no_other_file_or_address_is_opened(name: str, tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.ts", [quarters()] * 8)
    path = tmp_path / name
    path.write_text(REFERRING[name].format(clip=clip))
    with pytest.raises(SourceError, match="refers to other files or addresses"):
        open_source(path)
    with pytest.raises(av.error.FFmpegError):
        open_container(str(path))


class DeviceDecoders:
    """Stands for av.CodecContext: the decoders of a device."""

    def __init__(self, *codecs: str) -> None:
        self.codecs = codecs

    def create(self, codec: str, mode: str, hwaccel: object) -> object:
        if codec not in self.codecs:
            raise av.error.PermissionError(1, "Operation not permitted")
        return av.CodecContext.create(codec.removesuffix("_v4l2m2m"), "r")


@pytest.mark.parametrize("decode", ["cuda", "vaapi", "v4l2m2m", "videotoolbox"])
def test_a_device_that_cannot_decode_is_named(
    decode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = encode_clip(tmp_path / "clip.mp4", [quarters()] * 3)
    monkeypatch.setattr(decode_devices, "decoders", lambda: DeviceDecoders())
    with pytest.raises(DecoderError, match=r"cannot decode H264 here: .*; use --decode cpu") as caught:
        open_source(path, decode=decode)
    assert run_command(["run", "--source", str(path), "--view", "none", "--decode", decode]) == 3
    assert capsys.readouterr().err == f"edgeharfer: {caught.value}\n"


def test_a_device_decodes_and_the_pictures_are_turned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoders of devices do not get the display matrix of the container."""
    one = 1 << 16
    path = encode_clip(tmp_path / "a.mp4", [quarters()] * 9, matrix=(0, one, 0, -one, 0, 0, 0, 0, 1 << 30))
    monkeypatch.setattr(decode_devices, "decoders", lambda: DeviceDecoders("h264_v4l2m2m"))
    frames = read_all(open_source(path, decode="v4l2m2m"))
    turned = read_all(open_source(path))
    assert [frame.size for frame in frames] == [(48, 64)] * 9
    assert [frame.pts_s for frame in frames] == [frame.pts_s for frame in turned]
    assert all(np.array_equal(a.bgr, b.bgr) for a, b in zip(frames, turned, strict=True))


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown decoder 'gpu': choose from auto, cpu, cuda"):
        open_source(tmp_path / "clip.mp4", decode="gpu")
