"""The one face of a portrait."""

from __future__ import annotations

import numpy as np

from edgeharfer.runtime.faces.detector import Detector, Region
from edgeharfer.runtime.faces.portrait import crop_portrait, find_face
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
