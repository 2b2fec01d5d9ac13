"""Pictures kept as planes: the same colours as FFmpeg's own conversion, and nothing converted unasked."""

from __future__ import annotations

import weakref

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from edgeharfer.runtime.cuts import CutDetector
from edgeharfer.runtime.picture import BgrPicture, Image
from edgeharfer.runtime.source.media_picture import (
    UPRIGHT,
    AvPicture,
    Display,
    FrameConverter,
    Orientation,
    frame_planes,
    to_planes,
)
from edgeharfer.runtime.source.supervisor import FreezeDetector
from edgeharfer.runtime.source.yuv import YuvPicture
from edgeharfer.runtime.types import Frame

WHOLE = ColorRange.JPEG, ColorRange.MPEG


def gradient(width: int = 320, height: int = 240) -> Image:
    """Colours that change slowly, so that the place of the colour samples does not matter."""
    corners = np.array([[[20, 40, 230], [240, 90, 30]], [[60, 220, 50], [200, 200, 190]]], np.uint8)
    return np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def encoded(
    picture: Image, pixel_format: str, colorspace: Colorspace, color_range: ColorRange
) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(picture, "bgr24").reformat(
        format=pixel_format, dst_colorspace=colorspace, dst_color_range=color_range, threads=1
    )
    frame.colorspace, frame.color_range = int(colorspace), int(color_range)
    return frame


def planes_of(picture: Image, pixel_format: str = "yuv420p") -> YuvPicture:
    found = frame_planes(encoded(picture, pixel_format, Colorspace.ITU601, ColorRange.MPEG))
    assert found is not None
    return found


@pytest.mark.parametrize("color_range", WHOLE)
@pytest.mark.parametrize("colorspace", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv440p", "yuv444p"])
def test_the_colours_are_those_of_the_picture(
    pixel_format: str, colorspace: Colorspace, color_range: ColorRange
) -> None:
    picture = gradient()
    planes = frame_planes(encoded(picture, pixel_format, colorspace, color_range))
    assert planes is not None and planes.size == (320, 240)
    for made, expected in (
        (planes.bgr, picture),
        (planes.resized(80, 60), cv2.resize(picture, (80, 60), interpolation=cv2.INTER_AREA)),
        (planes.resized(200, 150), cv2.resize(picture, (200, 150), interpolation=cv2.INTER_AREA)),
        (planes.sampled(80, 60), cv2.resize(picture, (80, 60), interpolation=cv2.INTER_NEAREST)),
    ):
        assert made.shape == expected.shape and made.dtype == np.uint8
        assert np.abs(made.astype(int) - expected).max() <= 6
        assert np.abs(made.astype(int) - expected).mean() < 1.6
    grey = cv2.cvtColor(planes.sampled(80, 60), cv2.COLOR_BGR2GRAY)
    assert np.abs(planes.sampled_grey(80, 60).astype(int) - grey).mean() < 12


def test_odd_sizes_and_greyscale() -> None:
    odd = gradient(37, 25)
    assert np.abs(planes_of(odd).bgr.astype(int) - odd).mean() < 3
    grey = np.asarray(cv2.cvtColor(gradient(), cv2.COLOR_BGR2GRAY), np.uint8)
    planes = frame_planes(av.VideoFrame.from_ndarray(grey, "gray"))
    assert planes is not None
    assert np.array_equal(planes.bgr, np.dstack([grey] * 3))
    assert planes.resized(80, 60).shape == planes.sampled(80, 60).shape == (60, 80, 3)


def test_a_scaled_picture_is_made_without_the_whole_one() -> None:
    planes = planes_of(gradient())
    planes.resized(80, 60)
    planes.sampled(80, 60)
    assert planes.equals(planes_of(gradient()))
    assert planes._bgr is None
    assert planes.bgr is planes.bgr


def test_equality_is_that_of_the_planes() -> None:
    picture, other = gradient(), gradient()
    other[30, 31] ^= 128
    assert planes_of(picture).equals(planes_of(picture))
    assert not planes_of(picture).equals(planes_of(other))
    assert not planes_of(picture).equals(planes_of(picture, "yuv444p"))
    assert not planes_of(gradient(64, 48)).equals(planes_of(gradient(48, 64)))
    assert planes_of(picture).equals(BgrPicture(planes_of(picture).bgr.copy()))


class Unread(YuvPicture):
    @property
    def bgr(self) -> Image:
        raise AssertionError("converted, although nobody needs the colours")


def test_a_frozen_stream_is_found_without_a_conversion() -> None:
    detector = FreezeDetector()
    still, moved = planes_of(gradient()), planes_of(gradient()[::-1].copy())
    shown = [still, still, still, moved, moved]
    seconds = [
        detector.seconds(Frame(number, 0.0, float(number), Unread(picture.layout, picture.data.copy())))
        for number, picture in enumerate(shown)
    ]
    assert seconds == [0.0, 1.0, 2.0, 0.0, 1.0]


def test_a_picture_that_is_kept_for_comparisons_keeps_no_conversion() -> None:
    picture = planes_of(gradient())
    converted = weakref.ref(picture.bgr)
    freezes, cuts = FreezeDetector(), CutDetector()
    freezes.seconds(Frame(0, 0.0, 0.0, picture))
    cuts.step(picture)
    del picture
    assert converted() is None


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "rgb24", "nv12", "gbrp", "gray16le", "yuv411p"])
def test_other_forms_have_no_planes(pixel_format: str) -> None:
    assert frame_planes(encoded(gradient(), pixel_format, Colorspace.ITU601, ColorRange.MPEG)) is None


def test_a_turned_or_stretched_picture_has_no_planes() -> None:
    frame = encoded(gradient(), "yuv420p", Colorspace.ITU601, ColorRange.MPEG)

    def planes(width: int, orientation: Orientation) -> YuvPicture | None:
        return to_planes(AvPicture(frame, Display((width, 240), orientation), FrameConverter()))

    assert planes(320, UPRIGHT) is not None
    assert planes(640, UPRIGHT) is None
    assert planes(320, Orientation(upside_down=True)) is None
