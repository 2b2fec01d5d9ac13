"""Cutting faces: upright, framed exactly, and true to half a pixel."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeharfer.runtime.faces.align import crop_face, crop_matrix, roll
from edgeharfer.runtime.inference.manifest import CropSpec
from edgeharfer.runtime.types import Box, Face, Image

EXACT = CropSpec("box", 1.0, 0.0)


def face(box: Box, *, tilt_deg: float = 0.0) -> Face:
    """Eyes a third of the box apart, a tenth above its centre, turned about the centre."""
    angle = math.radians(tilt_deg)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    places = np.array([(-1 / 6, -0.1), (1 / 6, -0.1), (0, 0.05), (0, 0.2), (-0.45, 0), (0.45, 0)])
    points = np.array(box.center) + places @ turn.T * box.width
    return Face(box, 0.9, points.astype(np.float32))


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)


def mapped(matrix: NDArray[np.float64], *places: tuple[float, float]) -> NDArray[np.float64]:
    """Places in the frame, measured from its corner -> places in the crop, measured from its corner."""
    indices = np.array([(x - 0.5, y - 0.5, 1) for x, y in places])
    return np.asarray(indices @ matrix.T + 0.5)


def test_roll_is_the_angle_of_the_eyes() -> None:
    box = Box(10, 10, 60, 60)
    assert roll(face(box)) == pytest.approx(0, abs=1e-6)
    assert math.degrees(roll(face(box, tilt_deg=25))) == pytest.approx(25, abs=1e-3)
    assert math.degrees(roll(face(box, tilt_deg=-160))) == pytest.approx(-160, abs=1e-3)
    assert roll(Face(box, 0.9, np.zeros((6, 2), np.float32))) == 0


def test_a_face_whose_eyes_are_not_known_is_cut_level() -> None:
    box = Box(10, 10, 60, 60)
    unknown = Face(box, 0.9, np.full((6, 2), np.nan, np.float32))
    assert roll(unknown) == 0
    upright = CropSpec("eyes", 1.0, 0.0)
    np.testing.assert_allclose(
        crop_matrix(unknown, upright, (48, 48)), crop_matrix(face(box), EXACT, (48, 48))
    )


def test_the_crop_frames_the_box() -> None:
    matrix = crop_matrix(face(Box(20, 30, 40, 40)), EXACT, (48, 48))
    np.testing.assert_allclose(mapped(matrix, (20, 30), (60, 70)), [(0, 0), (48, 48)], atol=1e-9)


def test_expand_widens_about_the_centre() -> None:
    matrix = crop_matrix(face(Box(20, 30, 40, 40)), CropSpec("box", 1.5, 0.0), (48, 48))
    np.testing.assert_allclose(mapped(matrix, (10, 20), (70, 80)), [(0, 0), (48, 48)], atol=1e-9)


def test_shift_moves_the_crop_down_the_face() -> None:
    matrix = crop_matrix(face(Box(20, 30, 40, 40)), CropSpec("box", 1.0, 0.25), (48, 48))
    np.testing.assert_allclose(mapped(matrix, (20, 40), (60, 80)), [(0, 0), (48, 48)], atol=1e-9)


def test_shift_follows_the_tilt() -> None:
    """A head that lies on its right side has its chin to the left."""
    lying = face(Box(20, 30, 40, 40), tilt_deg=90)
    matrix = crop_matrix(lying, CropSpec("eyes", 1.0, 0.25), (48, 48))
    np.testing.assert_allclose(mapped(matrix, (40 - 10, 50)), [(24, 24)], atol=1e-4)


def test_the_longer_side_of_a_box_counts() -> None:
    matrix = crop_matrix(face(Box(20, 30, 40, 20)), EXACT, (80, 80))
    np.testing.assert_allclose(mapped(matrix, (20, 20), (60, 60)), [(0, 0), (80, 80)], atol=1e-9)


@pytest.mark.parametrize("tilt_deg", [-170, -90, -35, 0, 12, 45, 90])
def test_eyes_come_out_level_in_their_place(tilt_deg: float) -> None:
    tilted = face(Box(50, 60, 60, 60), tilt_deg=tilt_deg)
    matrix = crop_matrix(tilted, CropSpec("eyes", 1.2, 0.0), (72, 72))
    right, left = mapped(matrix, *tilted.keypoints[:2].tolist())
    np.testing.assert_allclose(right, (36 - 10, 36 - 6), atol=1e-3)
    np.testing.assert_allclose(left, (36 + 10, 36 - 6), atol=1e-3)


@pytest.mark.parametrize("tilt_deg", [-60, -20, 0, 33, 90, 180])
def test_a_picture_of_a_tilted_face_comes_out_upright(tilt_deg: float) -> None:
    """Two bright eyes are drawn where the key points say; in the crop they stand level within a pixel."""
    tilted = face(Box(60, 50, 90, 90), tilt_deg=tilt_deg)
    picture = np.zeros((200, 200, 3), np.uint8)
    for (x, y), channel in zip(tilted.keypoints[:2].tolist(), (1, 2), strict=True):
        spot = np.zeros((200, 200), np.uint8)
        # In 1/16 pixels; key points are measured from the frame's corner, circles from pixel centres.
        cv2.circle(spot, (round((x - 0.5) * 16), round((y - 0.5) * 16)), 4 * 16, 255, -1, cv2.LINE_AA, 4)
        picture[..., channel] = spot
    crop = crop_face(picture, tilted, CropSpec("eyes", 1.0, 0.0), (90, 90)).astype(float)
    ys, xs = np.mgrid[0:90, 0:90]
    eyes = [
        (
            float((crop[..., c] * xs).sum() / crop[..., c].sum()),
            float((crop[..., c] * ys).sum() / crop[..., c].sum()),
        )
        for c in (1, 2)
    ]
    (right_x, right_y), (left_x, left_y) = eyes
    assert abs(right_y - left_y) < 1 and right_x < left_x
    assert left_x - right_x == pytest.approx(30, abs=0.5)
    assert right_y == pytest.approx(45 - 9 - 0.5, abs=0.5)


def test_a_box_crop_leaves_the_tilt() -> None:
    tilted = face(Box(50, 60, 60, 60), tilt_deg=30)
    matrix = crop_matrix(tilted, EXACT, (60, 60))
    assert matrix[0, 1] == matrix[1, 0] == 0


@pytest.mark.parametrize("align", ["eyes", "box"])
def test_the_crop_of_the_whole_picture_is_the_picture(align: str) -> None:
    picture = noise(48, 48)
    whole = face(Box(0, 0, 48, 48))
    spec = CropSpec(align, 1.0, 0.0)  # type: ignore[arg-type]
    np.testing.assert_array_equal(crop_face(picture, whole, spec, (48, 48)), picture)


def test_a_crop_of_whole_pixels_is_a_piece_of_the_picture() -> None:
    picture = noise(100, 120)
    np.testing.assert_array_equal(
        crop_face(picture, face(Box(31, 22, 40, 40)), EXACT, (40, 40)), picture[22:62, 31:71]
    )


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_a_large_face_is_averaged_down(factor: int) -> None:
    side = 24 * factor
    picture = noise(side, side)
    means = picture.reshape(24, factor, 24, factor, 3).mean(axis=(1, 3))
    crop = crop_face(picture, face(Box(0, 0, side, side)), EXACT, (24, 24))
    np.testing.assert_allclose(crop, means, atol=1)


def test_a_small_face_is_interpolated_about_its_centre() -> None:
    ramp = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None], 24, axis=0)
    crop = crop_face(ramp, face(Box(4, 4, 16, 16)), EXACT, (64, 64))
    # Crop column i shows frame position 4 + (i + 0.5) / 4, and the ramp says 10 * (position - 0.5).
    expected = 10 * (4 + (np.arange(64) + 0.5) / 4 - 0.5)
    np.testing.assert_allclose(crop[30], expected, atol=1)


def test_grey_pictures_stay_grey() -> None:
    assert crop_face(noise(30, 30)[..., 0], face(Box(0, 0, 30, 30)), EXACT, (12, 12)).shape == (12, 12)


def test_beyond_the_frame_its_edge_is_repeated() -> None:
    picture = np.zeros((50, 50, 3), np.uint8)
    picture[:, 0] = 200
    crop = crop_face(picture, face(Box(-20, 5, 40, 40)), EXACT, (40, 40))
    assert (crop[:, :20] == 200).all() and (crop[:, 22:] == 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2000, 3000)])
@pytest.mark.parametrize(
    "box",
    [Box(0, 0, 1, 1), Box(-5000, -5000, 20, 20), Box(-100, -100, 9000, 9000), Box(0.4, 0.4, 1e-3, 1e-3)],
)
def test_no_picture_and_no_box_is_too_odd(shape: tuple[int, int], box: Box) -> None:
    picture = np.full((*shape, 3), 90, np.uint8)
    crop = crop_face(picture, face(box, tilt_deg=17), CropSpec("eyes", 1.3, -0.05), (48, 40))
    assert crop.shape == (40, 48, 3)
    assert (crop == 90).all()
