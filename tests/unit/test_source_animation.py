"""Animated images are videos: all frames with their times, damaged ones as far as they go."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image as Pillow

from edgeharfer.cli import run_command
from edgeharfer.report.inputs import find_inputs
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.sinks.base import SinkOptions
from edgeharfer.runtime.sinks.save import make_sink
from edgeharfer.runtime.source import Source, open_source
from edgeharfer.runtime.source.animation import AnimationSource
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.source.images import ImagesSource
from edgeharfer.runtime.types import Frame, Image
from fuzz_mutate import mutate_bytes
from image_files import UPRIGHT, animated, patches, pillow, saved

KINDS = {"GIF": ".gif", "PNG": ".png", "WEBP": ".webp", "AVIF": ".avif"}
QUALITY: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "AVIF": {"quality": 95}}
DELAYS_MS = (40, 200, 120, 500)
TIMES_S = [0.0, 0.04, 0.24, 0.36]


def frames(count: int = 4) -> list[Image]:
    """Frames that differ: the colours, and the brightness of one corner."""
    pictures = [patches() for _ in range(count)]
    for index, picture in enumerate(pictures):
        picture[:16, :24] = 60 * index
    return pictures


def film(folder: Path, kind: str, pictures: Sequence[Image] = (), **options: Any) -> Path:
    path = folder / f"film{KINDS[kind]}"
    path.write_bytes(
        animated(pictures or frames(), kind, DELAYS_MS[:4], **{**QUALITY.get(kind, {}), **options})
    )
    return path


def read_all(source: Source) -> list[Frame]:
    with source:
        return list(iter(source.read, None))


def error(found: Image, expected: Image) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.astype(int) - expected).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_with_its_time(tmp_path: Path, kind: str) -> None:
    source = open_source(film(tmp_path, kind))
    assert isinstance(source, AnimationSource)
    assert (source.frame_count, source.size, source.photographs, source.fps) == (4, (48, 32), False, None)
    found = read_all(source)
    assert [frame.pts_s for frame in found] == pytest.approx(TIMES_S)
    assert [frame.still for frame in found] == [False] * 4
    assert max(error(frame.bgr, want) for frame, want in zip(found, frames(), strict=True)) < 6
    assert (source.unreadable, source.skipped) == (0, [])


@pytest.mark.parametrize("kind", KINDS)
def test_one_frame_is_a_photograph(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"photo{KINDS[kind]}"
    path.write_bytes(saved(pillow(patches()), kind))
    source = open_source(path)
    assert isinstance(source, ImagesSource) and source.photographs
    assert [frame.still for frame in read_all(source)] == [True]


@pytest.mark.parametrize("name", ["film.mp4", "film", "film.jpg"])
def test_the_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    path = film(tmp_path, "WEBP").rename(tmp_path / name)
    assert len(read_all(open_source(path))) == 4


@pytest.mark.parametrize(("delay_ms", "expected_s"), [(0, 0.1), (10, 0.1), (20, 0.02), (30, 0.03)])
def test_short_delays_are_those_of_browsers(tmp_path: Path, delay_ms: int, expected_s: float) -> None:
    path = tmp_path / "film.gif"
    path.write_bytes(animated(frames(3), "GIF", [delay_ms] * 3))
    assert [frame.pts_s for frame in read_all(open_source(path))] == pytest.approx(
        [0.0, expected_s, 2 * expected_s]
    )


def test_the_substitute_picture_of_a_png_is_no_frame(tmp_path: Path) -> None:
    substitute = np.zeros_like(patches())
    path = tmp_path / "film.png"
    path.write_bytes(animated([substitute, *frames(3)], "PNG", [50] * 3, default_image=True))
    source = open_source(path)
    found = read_all(source)
    assert source.frame_count == 3
    assert all(np.array_equal(frame.bgr, want) for frame, want in zip(found, frames(3), strict=True))


WHITE, DOT, CLEAR = (255, 255, 255), (0, 0, 255), (2, 4, 6)
"""Colours of the palette of `moving_dots`, in BGR order; the last one is transparent."""


def moving_dots(disposal: int) -> bytes:
    """A GIF of a white frame, and three frames that each draw a dot (GIF89a specification)."""
    palette = bytes(value for colour in (WHITE, DOT, CLEAR, CLEAR) for value in reversed(colour))
    data = b"GIF89a" + struct.pack("<HHBBB", 40, 20, 0xF1, 0, 0) + palette
    data += gif_frame(np.zeros((20, 40), np.uint8), 0, 0, disposal=1)
    for index in range(3):
        dot = np.full((10, 8), 1, np.uint8)
        dot[0, 0] = 2  # transparent
        data += gif_frame(dot, 10 * index, 5, disposal)
    return data + b";"


def gif_frame(pixels: np.ndarray, left: int, top: int, disposal: int) -> bytes:
    """A frame without compression: a clear code (256) before every 200 pixels keeps the codes at 9 bits."""
    flat = pixels.ravel().tolist()
    codes = [code for at in range(0, len(flat), 200) for code in (256, *flat[at : at + 200])] + [257]
    bits = sum(code << 9 * at for at, code in enumerate(codes)).to_bytes((9 * len(codes) + 7) // 8, "little")
    parts = [bits[at : at + 255] for at in range(0, len(bits), 255)]
    blocks = b"".join(bytes([len(part)]) + part for part in parts)
    control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2 | 1, 10, 2, 0)
    height, width = pixels.shape
    return control + struct.pack("<BHHHHBB", 0x2C, left, top, width, height, 0, 8) + blocks + bytes(1)


@pytest.mark.parametrize("disposal", [1, 2, 3])
def test_the_frames_of_a_gif_are_put_together(tmp_path: Path, disposal: int) -> None:
    """1 keeps a frame, 2 makes its area transparent, 3 restores what was there before."""
    path = tmp_path / "dots.gif"
    path.write_bytes(moving_dots(disposal))
    found = read_all(open_source(path))
    canvas = np.full((20, 40, 3), 255, np.uint8)
    assert np.array_equal(found[0].bgr, canvas) and len(found) == 4
    for index in range(3):
        area = slice(5, 15), slice(10 * index, 10 * index + 8)
        shown = canvas.copy()
        shown[area] = DOT
        shown[5, 10 * index] = WHITE
        assert np.array_equal(found[index + 1].bgr, shown)
        if disposal == 1:
            canvas = shown
        elif disposal == 2:
            canvas[area] = CLEAR


def test_an_animated_webp_is_upright(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    found = read_all(open_source(film(tmp_path, "WEBP", exif=exif.tobytes())))
    assert all(np.array_equal(one.bgr, UPRIGHT[6](want)) for one, want in zip(found, frames(), strict=True))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_a_truncated_animation_gives_the_frames_before_the_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (4, 32, 48, 3), np.uint8)
    path = film(tmp_path, kind, [np.ascontiguousarray(picture) for picture in noise])
    whole = read_all(open_source(path))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 5 // 8])
    source = open_source(path)
    found = read_all(source)
    assert 1 <= len(found) < 4
    assert all(np.array_equal(one.bgr, want.bgr) for one, want in zip(found, whole, strict=False))
    assert source.unreadable >= 1 and f"{path}: the file is truncated" in source.skipped[0][1]
    off = ["--action", "off", "--emotion", "off"]
    assert run_command(["run", "--view", "none", "--source", str(path), "--pace", "fast", *off]) == 2
    assert "the file is truncated" in capsys.readouterr().err


def test_one_frame_of_a_truncated_webp_is_left(tmp_path: Path) -> None:
    path = film(tmp_path, "WEBP")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"ANMF", data.index(b"ANMF") + 1) + 30])
    source = open_source(path)
    assert len(read_all(source)) == 1
    assert "the file is truncated, 1 of 2 frames" in source.skipped[0][1]


def test_a_damaged_frame_of_a_png_ends_the_animation(tmp_path: Path) -> None:
    path = film(tmp_path, "PNG")
    data = bytearray(path.read_bytes())
    second = data.index(b"fdAT", data.index(b"fdAT") + 1)
    data[second + 12] ^= 0xFF
    path.write_bytes(data)
    source = open_source(path)
    assert len(read_all(source)) == 2
    assert source.unreadable == 2


def test_a_gif_without_its_end_is_truncated(tmp_path: Path) -> None:
    path = film(tmp_path, "GIF")
    path.write_bytes(path.read_bytes()[:-1])
    source = open_source(path)
    assert len(read_all(source)) == 4
    assert "the file is truncated" in source.skipped[0][1]


def test_an_animation_in_an_album_gives_its_first_frame_and_a_report_of_its_own(tmp_path: Path) -> None:
    moving = film(tmp_path, "WEBP")
    (tmp_path / "photo.png").write_bytes(saved(pillow(patches()), "PNG"))
    assert [frame.still for frame in read_all(open_source(tmp_path))] == [True, True]
    assert [item.spec for item in find_inputs([str(tmp_path)])] == [str(moving), str(tmp_path)]
    (tmp_path / "photo.png").unlink()
    assert [item.spec for item in find_inputs([str(tmp_path)])] == [str(moving)]


def test_an_animation_is_saved_as_a_video(tmp_path: Path) -> None:
    path, target = film(tmp_path, "GIF"), tmp_path / "out.mp4"
    off = ["--action", "off", "--emotion", "off"]
    events = tmp_path / "events.jsonl"
    command = ["run", "--view", "none", "--source", str(path), "--pace", "fast", *off]
    assert run_command([*command, "--save", str(target), "--events", str(events)]) == 0
    rows = [json.loads(line) for line in events.read_text("utf-8").splitlines()]
    assert [row["pts_s"] for row in rows if row["kind"] == "result"] == pytest.approx(TIMES_S)
    with open_source(target) as saved_film:
        assert len(list(iter(saved_film.read, None))) > 1
    with open_source(path) as source, pytest.raises(ConfigError, match="only photographs can be saved as"):
        make_sink(str(tmp_path / "out.jpg"), SinkOptions(source=source))


def seeds() -> dict[str, bytes]:
    kinds = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "PPM", "JPEG2000")
    found = {kind: saved(pillow(patches()), kind) for kind in kinds}
    found |= {f"animated {kind}": animated(frames(), kind, DELAYS_MS) for kind in KINDS}
    file = io.BytesIO()
    pillow_heif.from_pillow(pillow(patches(64, 48))).save(file)
    return found | {"HEIC": file.getvalue()}


@pytest.mark.parametrize("name", seeds())
@pytest.mark.parametrize("cases", [15, pytest.param(1000, marks=pytest.mark.soak)])
def test_any_damage_is_read_or_refused(tmp_path: Path, name: str, cases: int) -> None:
    data = seeds()[name]
    for number in range(cases):
        damaged = mutate_bytes(data, random.Random(number))
        try:
            assert decode_image(damaged, "photo").ndim == 3
        except SourceError as refused:
            assert str(refused).startswith("photo: ")
        path = tmp_path / "photo.webp"
        path.write_bytes(damaged)
        try:
            assert read_all(open_source(path))
        except SourceError as refused:
            assert "photo.webp: " in str(refused)
