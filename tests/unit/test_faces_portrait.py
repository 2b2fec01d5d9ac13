"""The one face of a portrait."""

from __future__ import annotations

import numpy as np
import pytest

from edgeharfer.runtime.faces.align import crop_face
from edgeharfer.runtime.faces.detector import Detector, Region
from edgeharfer.runtime.faces.portrait import crop_portrait, find_face, fit_face
from edgeharfer.runtime.inference.manifest import CropSpec
from edgeharfer.runtime.types import Box, Face, Image

CROP = CropSpec("box", 1.0, 0.0)


class OnlyWithMargin(Detector):
    """Sees the picture's middle as a face, more surely where there is a border around it."""

    provider = "test"

    def __init__(self, plain: float | None, bordered: float | None) -> None:
        self.scores = plain, bordered
        self.shapes: list[tuple[int, ...]] = []

    def warm_up(self) -> None: ...

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        self.shapes.append(bgr.shape)
        score = self.scores[len(self.shapes) - 1]
        height, width = bgr.shape[:2]
        box = Box(width / 2 - 5, height / 2 - 5, 10, 10)
        points = np.full((6, 2), (width / 2, height / 2), np.float32)
        return [] if score is None else [Face(box, score, points)]


def test_both_looks_speak_of_the_same_place() -> None:
    for scores in ((0.9, 0.5), (0.5, 0.9)):
        detector = OnlyWithMargin(*scores)
        face = find_face(np.zeros((40, 60), np.uint8), detector)
        assert face is not None
        assert (face.score, face.box) == (0.9, Box(25, 15, 10, 10))
        assert face.keypoints.tolist() == [[30, 20]] * 6
        assert detector.shapes == [(40, 60, 3), (120, 180, 3)]


def test_no_face_is_none() -> None:
    assert find_face(np.zeros((40, 60, 3), np.uint8), OnlyWithMargin(None, None)) is None


def test_without_a_face_the_whole_picture_counts() -> None:
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert crop_portrait(picture, None, CROP, (8, 8)) is picture
    face = Face(Box(2, 2, 4, 4), 0.9, np.zeros((6, 2), np.float32))
    np.testing.assert_array_equal(crop_portrait(picture, face, CROP, (4, 4)), picture[2:6, 2:6])


def test_a_crop_beyond_the_image_is_moved_into_it() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (40, 60), np.uint8)
    face = Face(Box(45, -6, 20, 20), 0.9, np.zeros((6, 2), np.float32))
    np.testing.assert_array_equal(crop_portrait(picture, face, CROP, (20, 20)), picture[:20, 40:])
    low = CropSpec("box", 1.0, 0.25)
    np.testing.assert_array_equal(crop_portrait(picture, face, low, (20, 20)), picture[:20, 40:])


def test_a_crop_larger_than_the_image_shrinks_a_little() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (38, 38), np.uint8)
    around = Face(Box(-1, 0, 40, 40), 0.9, np.zeros((6, 2), np.float32))
    np.testing.assert_array_equal(crop_portrait(picture, around, CROP, (38, 38)), picture)
    wide = Face(Box(-11, -9, 60, 60), 0.9, np.zeros((6, 2), np.float32))
    crop = crop_portrait(picture, wide, CROP, (54, 54))
    np.testing.assert_array_equal(crop, np.pad(picture, 8, mode="edge"))


def test_the_crop_of_a_tilted_face_stays_within_the_image() -> None:
    picture = np.full((100, 100), 200, np.uint8)
    framed = np.pad(picture, 50)
    eyes = np.array([[40, 40], [60, 60], *[[50, 50]] * 4], np.float32)
    for x, y in ((-20, -20), (60, -10), (70, 70), (5, 5)):
        face = Face(Box(x, y, 60, 60), 0.9, eyes)
        fitted = fit_face(face, CropSpec("eyes", 1.11, -0.05), 100, 100)
        assert fitted.box.width == pytest.approx(60)
        crop = crop_face(framed, fitted.moved(50, 50), CropSpec("eyes", 1.11, -0.05), (48, 48))
        assert crop.min() == 200
