"""Images: depths and channels, broken ones, folders, globs and numbered sequences."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source import Source, open_source
from edgeharfer.runtime.source.decode import decode_image, size_from_header
from edgeharfer.runtime.source.images import ImagesSource
from edgeharfer.runtime.types import Frame, Image

BLUE, GREEN, RED = 200, 100, 50


def flat(height: int = 6, width: int = 8) -> Image:
    return np.full((height, width, 3), (BLUE, GREEN, RED), np.uint8)


def encoded(picture: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def write(path: Path, value: int = 0) -> Path:
    path.write_bytes(encoded(np.full((6, 8, 3), value, np.uint8)))
    return path


def opened(spec: str | Path, fps: float | None = None) -> ImagesSource:
    source = open_source(spec, fps=fps)
    assert isinstance(source, ImagesSource)
    return source


def read_all(source: Source) -> list[Frame]:
    with source:
        return list(iter(source.read, None))


def values(frames: list[Frame]) -> list[int]:
    return [int(frame.bgr[0, 0, 0]) for frame in frames]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff", ".jpg"])
def test_colours_and_size_survive(suffix: str) -> None:
    picture = decode_image(encoded(flat(), suffix), "x")
    assert picture.shape == (6, 8, 3) and picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - (BLUE, GREEN, RED)).max() <= 8


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bits_become_8(suffix: str) -> None:
    picture = decode_image(encoded(flat().astype(np.uint16) * 257, suffix), "x")
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, flat())


def test_grey_becomes_three_equal_channels() -> None:
    for grey in (np.full((6, 8), 77, np.uint8), np.full((6, 8), 77 * 257, np.uint16)):
        assert np.array_equal(decode_image(encoded(grey), "x"), np.full((6, 8, 3), 77, np.uint8))


def test_transparency_is_dropped() -> None:
    rgba = np.dstack([flat(), np.full((6, 8), 128, np.uint8)])
    assert np.array_equal(decode_image(encoded(rgba), "x"), flat())


def test_one_pixel_is_an_image() -> None:
    assert decode_image(encoded(flat(1, 1)), "x").tolist() == [[[BLUE, GREEN, RED]]]


def noisy(suffix: str) -> bytes:
    return encoded(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8), suffix)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello\n",
        noisy(".png")[:-1],
        noisy(".png")[:400],
        noisy(".png")[:200] + bytes(16) + noisy(".png")[216:],
        noisy(".jpg")[:-2],
        noisy(".jpg")[:900],
        noisy(".webp")[:40],
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8",
        b"BM",
        b"II*\0\x08\0\0\0\xff\xff",
    ],
    ids=lambda data: f"{data[:4]!r}-{len(data)}",
)
def test_what_is_no_whole_image_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError, match="photo"):
        decode_image(data, "photo")


@pytest.mark.parametrize("data", [noisy(".jpg")[:-2], noisy(".jpg")[:900], noisy(".png")[:-1]])
def test_an_image_that_is_cut_off_is_told_so(data: bytes) -> None:
    with pytest.raises(SourceError, match="truncated or corrupt"):
        decode_image(data, "photo")


def test_the_end_of_a_thumbnail_is_not_the_end_of_its_image() -> None:
    """Cameras put a small JPEG into the header of the large one; its end marker tells nothing of the rest."""
    data, thumbnail = noisy(".jpg"), encoded(flat(), ".jpg")
    inside = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = data[:2] + inside + data[2:]
    assert decode_image(whole, "photo").shape == (64, 64, 3)
    with pytest.raises(SourceError, match="truncated or corrupt"):
        decode_image(whole[: len(whole) // 2 + len(inside)], "photo")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_giant_image_is_refused_by_its_header() -> None:
    """A real header and checksum, some bytes of data: 40,000 x 40,000 pixels must never be asked for."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    with pytest.raises(SourceError, match="40000x40000 is larger than 100 megapixels"):
        decode_image(bomb, "bomb.png")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff", ".jpg"])
def test_the_header_tells_the_size(suffix: str) -> None:
    assert size_from_header(encoded(flat(31, 47), suffix)) == (47, 31)


def test_a_lossless_webp_tells_its_size_too() -> None:
    data = cv2.imencode(".webp", flat(31, 47), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    assert data[12:16] == b"VP8L"
    assert size_from_header(data) == (47, 31)


def test_one_photograph(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "me.png", 40))
    assert (source.name, source.size, source.frame_count, source.live) == ("me.png", (8, 6), 1, False)
    frames = read_all(source)
    assert values(frames) == [40]
    assert frames[0].still and frames[0].pts_s == 0.0


def test_a_folder_of_photographs_in_the_order_of_a_person(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write(tmp_path / f"img{number}.png", number)
    (tmp_path / ".hidden.png").write_bytes(b"not looked at")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    source = opened(tmp_path)
    frames = read_all(source)
    assert values(frames) == [1, 2, 10]
    assert [frame.pts_s for frame in frames] == [0.0, 1.0, 2.0]
    assert all(frame.still for frame in frames)
    assert [source.paths[frame.seq].name for frame in frames] == ["img1.png", "img2.png", "img10.png"]
    assert source.skipped == []


def test_files_that_do_not_decode_are_left_out_and_listed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    write(tmp_path / "b.png", 7)
    (tmp_path / "c.png").write_bytes(b"hello")
    write(tmp_path / "d.png", 9)
    source = opened(tmp_path)
    frames = read_all(source)
    assert values(frames) == [7, 9]
    assert [source.paths[frame.seq].name for frame in frames] == ["b.png", "d.png"]
    assert [(path.name, "a.png" in why or "c.png" in why) for path, why in source.skipped] == [
        ("a.png", True),
        ("c.png", True),
    ]


def test_a_folder_where_nothing_decodes_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"hello")
    with pytest.raises(SourceError, match=r"none of the 2 images.*a\.png"):
        open_source(tmp_path)


def test_a_photograph_that_does_not_decode_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a\.png: the image is empty"):
        open_source(tmp_path / "a.png")


def test_a_glob(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "cat2.png", 2)
    write(tmp_path / "sub" / "cat1.png", 1)
    write(tmp_path / "sub" / "dog.png", 9)
    assert values(read_all(open_source(str(tmp_path / "sub" / "cat*.png")))) == [1, 2]
    assert values(read_all(open_source(str(tmp_path / "**" / "dog.*")))) == [9]


def test_a_numbered_sequence_is_a_film(tmp_path: Path) -> None:
    for number in (3, 4, 6, 12):
        write(tmp_path / f"img_{number:04d}.png", number)
    write(tmp_path / "img_7.png", 70)
    write(tmp_path / "other_0005.png", 50)
    frames = read_all(open_source(str(tmp_path / "img_%04d.png")))
    assert values(frames) == [3, 4, 6, 12]
    assert [frame.pts_s for frame in frames] == pytest.approx([0.0, 0.04, 0.08, 0.12])
    assert not any(frame.still for frame in frames)


def test_the_rate_of_a_sequence_can_be_told(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", number)
    source = opened(str(tmp_path / "%d.png"), fps=10.0)
    assert source.fps == 10.0
    assert [frame.pts_s for frame in read_all(source)] == pytest.approx([0.0, 0.1, 0.2])
