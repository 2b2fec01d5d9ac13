"""Image formats: orientation, depth and colour; what is detected, refused or needs an extra."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image as Pillow

from edgeharfer.runtime.errors import MissingExtra, MissingFormat, SourceError
from edgeharfer.runtime.source import image_format as formats
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.decode import decode_image, image_size, size_from_header
from edgeharfer.runtime.source.image_format import image_format
from edgeharfer.runtime.types import Image
from image_files import UPRIGHT, cropped_avif, patches, pillow, saved, tiff, turned

GRADIENT = Pillow.linear_gradient("L").resize((32, 24))
LOSSY: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}, "AVIF": {"quality": 95}}


def heic(picture: Image, **options: Any) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(pillow(picture)).save(file, quality=95, **options)
    return file.getvalue()


def difference(found: Image, expected: Image) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.astype(int) - expected).mean())


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_orientation_is_applied_once(kind: str, orientation: int) -> None:
    data = turned(pillow(patches()), kind, orientation, **LOSSY.get(kind, {}))
    assert difference(decode_image(data, "x"), UPRIGHT[orientation](patches())) < 5


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_turned_heic_is_upright(orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = heic(patches(64, 48), exif=exif.tobytes())
    assert difference(decode_image(data, "x"), UPRIGHT[orientation](patches(64, 48))) < 5


def test_a_heic_of_several_tiles_is_whole() -> None:
    data = heic(patches(160, 96), tile_size=64)
    assert b"grid" in data
    assert difference(decode_image(data, "x"), patches(160, 96)) < 5


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_the_clean_aperture_of_an_avif_is_cut_out_before_it_is_turned(orientation: int) -> None:
    data = turned(pillow(patches()), "AVIF", orientation, quality=95)
    cropped = cropped_avif(data, (48, 32), (10, 4, 30, 21))
    assert difference(decode_image(cropped, "x"), UPRIGHT[orientation](patches()[4:21, 10:30])) < 8


def test_a_clean_aperture_outside_the_picture_is_refused() -> None:
    data = cropped_avif(saved(pillow(patches()), "AVIF"), (48, 32), (10, 4, 60, 20))
    with pytest.raises(SourceError, match=r"photo: .*invalid clean aperture"):
        decode_image(data, "photo")


def test_heic_without_its_decoder_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "IMG_1.jpg"  # the content decides
    path.write_bytes(heic(patches(64, 48)))
    with pytest.raises(MissingExtra, match=r"IMG_1\.jpg: HEIC support is not installed: .*\[heif\]") as found:
        open_source(path)
    assert isinstance(found.value, MissingFormat) and found.value.exit_code == 2
    (tmp_path / "IMG_2.png").write_bytes(saved(pillow(patches()), "PNG"))
    with open_source(tmp_path) as source:
        assert [Path(frame.file).name for frame in iter(source.read, None)] == ["IMG_2.png"]
    assert source.unreadable == 1 and "HEIC support" in source.skipped[0][1]


UNREADABLE = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="Pillow 12, the last for Python 3.10, cannot read what it writes"
)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "LA", "PA", "RGBA", "CMYK", pytest.param("YCbCr", marks=UNREADABLE), "LAB"]
)
def test_every_mode_of_a_tiff_is_read_as_pillow_does(mode: str) -> None:
    picture = pillow(patches())
    if mode == "LAB":
        picture = Pillow.merge(
            "LAB", [GRADIENT, GRADIENT.point(lambda v: 128), GRADIENT.point(lambda v: 128)]
        )
    elif mode != "RGB":
        picture = picture.convert(mode if mode != "PA" else "P").convert(mode)
    data = saved(picture, "TIFF")
    expected = np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))[:, :, ::-1]
    assert np.array_equal(decode_image(data, "x"), expected)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_compressed_tiffs_are_read(compression: str) -> None:
    data = saved(pillow(patches()), "TIFF", compression=compression)
    assert difference(decode_image(data, "x"), patches()) < 10


@pytest.mark.parametrize(
    ("pixels", "bits", "expected"),
    [
        (bytes([0b00011011]), 2, [0, 85, 170, 255]),
        (bytes([0x07, 0xBF]), 4, [0, 119, 187, 255]),
        (bytes([0b01010000]), 1, [0, 255, 0, 255]),
        (bytes([0, 77, 200, 255]), 8, [0, 77, 200, 255]),
        (struct.pack("<4H", 0, 0x4D00, 0xC8FF, 0xFFFF), 16, [0, 0x4D, 0xC8, 0xFF]),
    ],
)
def test_tiffs_of_all_depths(pixels: bytes, bits: int, expected: list[int]) -> None:
    assert decode_image(tiff(pixels, bits, (4, 1)), "x")[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.25, 0.5, 1.0], [0, 63, 127, 255]),
        ([-1.0, 0.0, 100.0, 255.0], [0, 0, 100, 255]),
        ([0.0, 257.0, 257.0 * 77, 65535.0], [0, 1, 77, 255]),
        ([float("nan"), float("inf"), 0.5, 1.0], [0, 0, 127, 255]),
    ],
)
def test_floating_point_pixels_are_scaled_by_their_range(values: list[float], expected: list[int]) -> None:
    data = tiff(struct.pack("<4f", *values), 32, (4, 1), sample_format=3)
    assert decode_image(data, "x")[0, :, 0].tolist() == expected


def test_floating_point_pixels_of_unknown_range_are_refused() -> None:
    data = tiff(struct.pack("<4f", 0, 1, 2, 1e9), 32, (4, 1), sample_format=3)
    with pytest.raises(SourceError, match=r"photo: .*with an unknown range"):
        decode_image(data, "photo")


@pytest.mark.parametrize("tag", [254, 50706])
def test_a_camera_raw_file_is_refused_by_name(tag: int) -> None:
    """Its first image is a small preview."""
    data = tiff(bytes(16), 8, (4, 4), extra=((tag, 1),))
    with pytest.raises(SourceError, match=r"photo\.dng: camera raw files are not supported"):
        decode_image(data, "photo.dng")


def test_a_16_bit_pgm_keeps_its_brightness() -> None:
    data = b"P5 4 1 65535\n" + struct.pack(">4H", 0, 0x4D4D, 200, 0xFFFF)
    assert decode_image(data, "x")[0, :, 0].tolist() == [0, 0x4D, 0, 255]


def test_a_bmp_of_os2_is_read() -> None:
    rows = patches(4, 4)[::-1].tobytes()
    header = struct.pack("<IHHHH", 12, 4, 4, 1, 24)
    data = b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + header + rows
    assert size_from_header(data) == (4, 4)
    assert np.array_equal(decode_image(data, "x"), patches(4, 4))


def test_a_cmyk_jpeg_is_read_as_pillow_does() -> None:
    data = saved(pillow(patches()).convert("CMYK"), "JPEG", quality=95)
    expected = np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))[:, :, ::-1]
    assert np.array_equal(decode_image(data, "x"), expected)


def test_a_palette_with_transparency_keeps_the_colours() -> None:
    picture = pillow(patches()).quantize(8)
    data = saved(picture, "PNG", transparency=bytes([0, 255, 128]))
    with warnings.catch_warnings(record=True) as caught:
        assert difference(decode_image(data, "x"), patches()) < 5
        assert difference(decode_image(saved(picture, "GIF", transparency=0), "x"), patches()) < 5
    assert caught == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "PPM", "JPEG2000"])
def test_a_truncated_image_is_refused(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    data = saved(pillow(noise), kind)
    assert decode_image(data, "photo").shape == (64, 64, 3)
    with pytest.raises(SourceError, match=r"^photo: "):
        decode_image(data[: len(data) // 2], "photo")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "PPM", "JPEG2000", ""])
def test_the_size_is_checked_before_memory_is_allocated(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    large = saved(pillow(patches()), kind) if kind else heic(patches())
    small = saved(pillow(patches(40, 20)), kind) if kind else heic(patches(40, 20))
    monkeypatch.setattr(formats, "MAX_MEGAPIXELS", 0.001)
    monkeypatch.setattr(Pillow.Image, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(SourceError, match="photo: the image size 48x32 is larger"):
        decode_image(large, "photo")
    assert image_size(small, "photo") == (40, 20)


def test_a_frame_larger_than_the_canvas_of_a_gif_is_refused() -> None:
    data = bytearray(saved(pillow(patches()).quantize(4), "GIF"))
    data[6:10] = struct.pack("<HH", 1, 1)
    image = data.index(b"\x2c", 13 + (3 << (data[10] & 7) + 1))
    struct.pack_into("<HH", data, image + 5, 12_000, 12_000)  # Pillow would allow these 144 megapixels
    with pytest.raises(SourceError, match="photo: the image size 12000x12000 is larger"):
        decode_image(bytes(data), "photo")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1heicmiaf", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf....av01", "AVIF"),
        (b"\0\0\0\x20ftypisom\0\0\0\0isomiso2avc1", None),
        (b"%!PS-Adobe-3.0 EPSF-3.0", None),
        (b"P7\n", None),
        (b"", None),
    ],
)
def test_formats_are_known_by_their_content(head: bytes, name: str | None) -> None:
    found = image_format(head)
    assert (None if found is None else found.name) == name


def test_pillow_is_imported_only_when_it_is_needed() -> None:
    code = (
        "import sys, edgeharfer.runtime.source.files; print([m for m in sys.modules if m.startswith('PIL')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
