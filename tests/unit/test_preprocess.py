"""Pictures to model input: each normalisation against its formula, colours, contrast, sizes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.inference.preprocess import (
    normalize,
    normalize_images,
    preprocess_images,
    preprocess_picture,
    resize,
)
from edgeharfer.runtime.picture import BgrPicture
from edgeharfer.runtime.types import Floats, Image


def noise(height: int, width: int, *channels: int) -> Image:
    shape = (height, width, *channels)
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def formula(pixels: Floats, how: str) -> Floats:
    """The definitions, in double precision."""
    x = pixels.astype(np.float64)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    scaled = {
        "none": x,
        "unit": x / 255,
        "symmetric": 2 * x / 255 - 1,
        "standardize": (x - x.mean()) / x.std(),
        "imagenet": (x / 255 - mean) / deviation,
    }
    return np.asarray(scaled[how], np.float32)


@pytest.mark.parametrize("how", ["none", "unit", "symmetric", "standardize", "imagenet"])
def test_normalisations_follow_their_formulas(how: str) -> None:
    bgr = noise(12, 10, 3)
    batch = preprocess_images([bgr], InputSpec(10, 12, "rgb", how))  # type: ignore[arg-type]
    assert batch.shape == (1, 12, 10, 3) and batch.dtype == np.float32
    np.testing.assert_allclose(batch[0], formula(bgr[..., ::-1].astype(np.float32), how), atol=1e-5)


@pytest.mark.parametrize(("how", "scale"), [("none", 1.0), ("unit", 255.0)])
def test_mean_and_std_apply_to_each_channel_in_its_order(how: str, scale: float) -> None:
    bgr = noise(12, 10, 3)
    mean, std = (0.3, 0.2, 0.1), (0.5, 0.25, 0.125)
    for color, pixels in (("rgb", bgr[..., ::-1]), ("bgr", bgr)):
        spec = InputSpec(10, 12, color, how, mean=mean, std=std)  # type: ignore[arg-type]
        expected = (pixels / scale - np.array(mean)) / np.array(std)
        np.testing.assert_allclose(preprocess_images([bgr], spec)[0], expected, rtol=1e-5, atol=1e-4)


def test_imagenet_in_bgr_is_the_same_in_another_order() -> None:
    bgr = noise(6, 5, 3)
    rgb = preprocess_images([bgr], InputSpec(5, 6, "rgb", "imagenet"))
    swapped = preprocess_images([bgr], InputSpec(5, 6, "bgr", "imagenet"))
    np.testing.assert_array_equal(swapped[..., ::-1], rgb)


@pytest.mark.parametrize("how", ["none", "unit", "symmetric", "standardize", "imagenet"])
def test_channels_first_holds_the_same_numbers(how: str) -> None:
    pictures = [noise(12, 10, 3), noise(9, 9)]
    last = InputSpec(10, 12, "rgb", how)  # type: ignore[arg-type]
    first = replace(last, layout="nchw")
    assert (last.shape, first.shape) == ((12, 10, 3), (3, 12, 10))
    batch = preprocess_images(pictures, first)
    assert batch.shape == (2, 3, 12, 10) and batch.flags.c_contiguous
    np.testing.assert_allclose(batch.transpose(0, 2, 3, 1), preprocess_images(pictures, last), atol=1e-5)


def test_gray3_has_the_grey_level_in_each_channel() -> None:
    gray = noise(8, 8)
    batch = preprocess_images([gray], InputSpec(8, 8, "gray3", "none"))
    np.testing.assert_array_equal(batch[0], np.dstack([gray] * 3))


@pytest.mark.parametrize("shape", [(20, 40), (40, 20)])
def test_the_centre_is_cut_at_the_aspect_ratio_of_the_input(shape: tuple[int, int]) -> None:
    """The ends of the longer side, which are bright, are left out."""
    picture = np.full((*shape, 3), 50, np.uint8)
    if shape[0] > shape[1]:
        picture[: shape[0] // 5], picture[-(shape[0] // 5) :] = 250, 250
    if shape[1] > shape[0]:
        picture[:, : shape[1] // 5], picture[:, -(shape[1] // 5) :] = 250, 250
    spec = InputSpec(10, 10, "rgb", "none", fit="center")
    np.testing.assert_array_equal(preprocess_images([picture], spec), 50)
    np.testing.assert_array_equal(preprocess_picture(BgrPicture(picture), spec), 50)
    stretched = preprocess_images([picture], replace(spec, fit="stretch"))
    assert stretched.max() > 200


def test_images_that_have_the_form_of_the_model_are_normalised_alike() -> None:
    pictures = np.stack([noise(12, 10, 3), noise(12, 10, 3) // 3])
    for how in ("unit", "standardize", "imagenet"):
        for layout in ("nhwc", "nchw"):
            spec = InputSpec(10, 12, "bgr", how, layout=layout)
            expected = preprocess_images(list(pictures), spec)
            np.testing.assert_array_equal(normalize_images(pictures, spec), expected)
            clips = normalize_images(pictures[None], spec)
            np.testing.assert_array_equal(clips[0], expected, err_msg="each frame by itself")


def test_each_picture_is_standardised_by_itself() -> None:
    dark, bright = noise(9, 9) // 4, noise(9, 9) // 4 + 180
    batch = preprocess_images([dark, bright], InputSpec(9, 9, "gray", "standardize"))
    np.testing.assert_allclose(batch[0], batch[1], atol=1e-5)
    np.testing.assert_allclose(batch.mean(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(batch.std(axis=(1, 2, 3)), 1, atol=1e-6)


def test_a_flat_picture_standardises_to_zero() -> None:
    batch = preprocess_images([np.full((5, 5), 77, np.uint8)], InputSpec(5, 5, "gray", "standardize"))
    assert np.abs(batch).max() == 0


def test_grey_weighs_the_colours_as_bt_601() -> None:
    bgr = np.array([[[200, 100, 50]]], np.uint8)
    (pixel,) = preprocess_images([bgr], InputSpec(1, 1, "gray", "none")).ravel()
    assert pixel == round(0.114 * 200 + 0.587 * 100 + 0.299 * 50)


def test_grey_and_colour_pictures_can_stand_in_one_batch() -> None:
    gray = noise(8, 8)
    colour = np.dstack([gray] * 3)
    for wanted in ("gray", "rgb"):
        batch = preprocess_images([gray, colour], InputSpec(8, 8, wanted, "unit"))
        np.testing.assert_allclose(batch[0], batch[1], atol=1 / 255)


def test_colours_come_out_as_rgb() -> None:
    blue = np.zeros((4, 4, 3), np.uint8)
    blue[..., 0] = 255
    assert preprocess_images([blue], InputSpec(4, 4, "rgb", "unit"))[0, 0, 0].tolist() == [0, 0, 1]


def test_colours_stay_bgr_where_the_model_wants_them_so() -> None:
    picture = np.full((4, 4, 3), (10, 20, 30), np.uint8)
    spec = InputSpec(4, 4, "bgr", "none")
    assert spec.channels == 3
    assert preprocess_images([picture], spec)[0, 0, 0].tolist() == [10, 20, 30]


def test_shrinking_averages() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 200
    assert np.unique(resize(stripes, 16, 16)).tolist() == [100]


def test_growing_interpolates() -> None:
    edge = np.array([[0, 200]], np.uint8)
    row = resize(edge, 8, 4)[2].astype(int)
    assert (np.diff(row) >= 0).all() and len(np.unique(row)) > 3


def test_the_right_size_is_left_alone() -> None:
    picture = noise(7, 5)
    assert resize(picture, 5, 7) is picture


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 900, 3), (900, 1), (3000, 2000, 3)])
def test_any_size_is_taken(shape: tuple[int, ...]) -> None:
    batch = preprocess_images([np.full(shape, 255, np.uint8)], InputSpec(48, 40, "gray", "unit"))
    assert batch.shape == (1, 40, 48, 1)
    np.testing.assert_allclose(batch, 1)


def test_no_pictures_make_an_empty_batch() -> None:
    assert preprocess_images([], InputSpec(48, 48, "gray", "symmetric")).shape == (0, 48, 48, 1)


@pytest.mark.parametrize("colour", ["gray", "rgb"])
def test_clahe_evens_the_light(colour: str) -> None:
    """A picture that lies in shadow on its left half has less of a step afterwards."""
    texture = noise(64, 64) // 4
    shadow = np.dstack([texture + np.where(np.arange(64) < 32, 20, 160).astype(np.uint8)] * 3)
    plain, evened = (
        preprocess_images([shadow], InputSpec(64, 64, colour, "unit", clahe=clahe))[0]  # type: ignore[arg-type]
        for clahe in (False, True)
    )

    def step(picture: Floats) -> float:
        return float(picture[:, 36:].mean() - picture[:, :28].mean())

    assert step(plain) > 0.5
    assert step(evened) < 0.6 * step(plain)
    assert evened[:, :28].std() > 1.2 * plain[:, :28].std()


def test_clahe_is_opencvs_with_clip_2_and_8_by_8_tiles() -> None:
    gray = noise(64, 64) // 2
    expected = cv2.createCLAHE(2.0, (8, 8)).apply(gray)
    batch = preprocess_images([gray], InputSpec(64, 64, "gray", "none", clahe=True))
    np.testing.assert_array_equal(batch[0, ..., 0], expected)


def test_the_pictures_themselves_stay_as_they_are() -> None:
    picture = noise(6, 6, 3)
    before = picture.copy()
    preprocess_images([picture], InputSpec(6, 6, "rgb", "imagenet", clahe=True))
    np.testing.assert_array_equal(picture, before)


def test_normalize_works_in_place() -> None:
    batch = np.full((1, 2, 2, 1), 255, np.float32)
    assert normalize(batch, InputSpec(2, 2, "gray", "unit")) is batch


@pytest.mark.parametrize("width", [100, 128, 240, 256, 320])
def test_shrinking_averages_however_it_is_done(width: int) -> None:
    """In steps or at once, all pixels count alike: a smooth picture comes out the same."""
    y, x = np.mgrid[0:480, 0:640]
    smooth = (127 + 60 * np.sin(x / 50) + 60 * np.cos(y / 40)).astype(np.uint8)
    height = width * 3 // 4
    small = resize(smooth, width, height)
    at_once = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_AREA)
    assert small.shape == (height, width)
    apart = np.abs(small.astype(int) - at_once)
    assert apart.max() <= 2 and apart.mean() < 0.5, "more than what rounding each step does"
    rough = resize(noise(480, 640), width, height)
    assert abs(float(rough.mean()) - 127.5) < 1
    assert rough.std() < 74 * width / 640 * 1.3, "pixels were left out, not averaged"
