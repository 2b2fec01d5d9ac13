"""Decoding of motion JPEG: whole, cut, turned and odd images, and where one ends in a stream."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.jpeg import JpegDecoder, image_length
from edgeharfer.runtime.source.yuv import YuvPicture
from media_clips import quarters


def saved(orientation: int = 1, mode: str = "RGB", **options: object) -> bytes:
    picture, file = PillowImage.fromarray(quarters()[:, :, ::-1]).convert(mode), io.BytesIO()
    exif = PillowImage.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    picture.save(file, "jpeg", quality=95, exif=exif, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:2:0"}, {"subsampling": "4:2:2"}, {"subsampling": "4:4:4"}, {"progressive": True},
        {"mode": "L"}, {"mode": "CMYK"}, {"keep_rgb": True}, {"orientation": 3}, {"orientation": 6},
        {"orientation": 5},
    ],
)  # fmt: skip
def test_images_are_those_of_opencv(options: dict[str, object]) -> None:
    data = saved(**options)  # type: ignore[arg-type]
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    picture = JpegDecoder().decode(data, "x")
    assert expected is not None and picture.bgr.shape == expected.shape
    assert np.abs(picture.bgr.astype(int) - expected).mean() < 2.5


def test_camera_images_stay_planes() -> None:
    decoder = JpegDecoder()
    for size in ((64, 48), (128, 96), (64, 48)):
        data = cv2.imencode(".jpg", np.full((size[1], size[0], 3), 90, np.uint8))[1].tobytes()
        picture = decoder.decode(data, "x")
        assert isinstance(picture, YuvPicture) and picture.size == size


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("end", [0, 20, 300, -2])
def test_a_cut_image_is_refused(end: int, orientation: int) -> None:
    with pytest.raises(SourceError):
        JpegDecoder().decode(saved(orientation)[:end], "x")


def test_a_damaged_image_does_not_spoil_the_next() -> None:
    decoder, data = JpegDecoder(), saved()
    with pytest.raises(SourceError):
        decoder.decode(data[:200] + b"\xff\xd9", "x")
    assert decoder.decode(data, "x").size == (64, 48)


def test_an_image_ends_at_its_end_marker_or_where_the_next_one_starts() -> None:
    thumbnail = saved(orientation=6)
    data = saved(comment=thumbnail)
    assert image_length(data + b"rest") == len(data)
    assert image_length(data + data) == len(data)
    assert image_length(data[:-2] + data) == len(data) - 2
    assert image_length(data[:-2]) is image_length(data[:100]) is None
    assert image_length(b"\xff\xd8" + bytes(2_000_000)) is None
