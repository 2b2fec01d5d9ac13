"""The Haar cascade's boxes, scores and stand-in key points, and what is said where OpenCV has none."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.faces import make_detector
from edgeharfer.runtime.faces.align import roll
from edgeharfer.runtime.faces.detectors.haar import CASCADE, CERTAIN_WEIGHT, HaarDetector
from edgeharfer.runtime.types import Box


class Cascade:
    """Stands for cv2.CascadeClassifier: two faces, the second one doubtful, on whatever it is shown."""

    shown: list[NDArray[np.uint8]]

    def __init__(self, path: str) -> None:
        self.path, self.shown = path, []

    def empty(self) -> bool:
        return Path(self.path).read_bytes() == b""

    def detectMultiScale3(  # noqa: N802 - OpenCV's name
        self, gray: NDArray[np.uint8], **options: object
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        self.shown.append(gray)
        boxes = np.array([[10, 20, 40, 40], [100, 20, 40, 40]], np.int32)
        return boxes, np.array([25, 25], np.int32), np.array([CERTAIN_WEIGHT + 2, CERTAIN_WEIGHT - 2])


@pytest.fixture
def cascade_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    (tmp_path / CASCADE).write_bytes(b"<xml/>")
    monkeypatch.setattr(cv2, "CascadeClassifier", Cascade, raising=False)
    monkeypatch.setattr("cv2.data.haarcascades", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("cascade_folder")
def test_boxes_scores_and_places_of_the_features() -> None:
    (face,) = HaarDetector(min_score=0.5).detect(np.zeros((400, 400, 3), np.uint8))
    assert face.box == Box(10, 20 + 0.08 * 40, 40, 40)
    assert face.score == pytest.approx(1 / (1 + math.exp(-2)))
    assert roll(face) == 0
    np.testing.assert_allclose(face.keypoints[0], (10 + 0.29 * 40, 20 + 0.4 * 40), atol=1e-4)
    assert face.keypoints[0, 0] < face.keypoints[2, 0] < face.keypoints[1, 0]


@pytest.mark.usefixtures("cascade_folder")
def test_large_pictures_are_made_smaller_and_boxes_scaled_back() -> None:
    detector = HaarDetector(min_score=0.05)
    sure, doubtful = detector.detect(np.zeros((600, 800, 3), np.uint8))
    assert detector._cascade.shown[0].shape == (300, 400)
    assert (sure.box.x, sure.box.width, doubtful.box.x) == (20, 80, 200)
    assert doubtful.score == pytest.approx(1 / (1 + math.exp(2)))


@pytest.mark.usefixtures("cascade_folder")
def test_boxes_in_a_region_are_boxes_of_the_frame() -> None:
    detector = HaarDetector()
    (face,) = detector.detect(np.zeros((400, 400, 3), np.uint8), (150, 120, 200, 100))
    assert detector._cascade.shown[0].shape == (100, 200)
    assert (face.box.x, face.box.y) == pytest.approx((160, 143.2))
    assert detector.detect(np.zeros((400, 400, 3), np.uint8), (500, 500, 50, 50)) == []


@pytest.mark.usefixtures("cascade_folder")
@pytest.mark.parametrize("shape", [(1, 1), (1, 7000), (7000, 1)])
def test_no_picture_is_too_odd_to_be_shown(shape: tuple[int, int]) -> None:
    HaarDetector().detect(np.zeros((*shape, 3), np.uint8))


def test_an_opencv_without_cascades_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    with pytest.raises(ConfigError, match=r"OpenCV .* includes no Haar cascades: use --detector blazeface"):
        make_detector("haar")


@pytest.mark.parametrize("fault", ["missing", "empty"])
def test_a_cascade_that_cannot_be_read_is_named(cascade_folder: Path, fault: str) -> None:
    if fault == "missing":
        (cascade_folder / CASCADE).unlink()
    else:
        (cascade_folder / CASCADE).write_bytes(b"")
    with pytest.raises(ConfigError, match=rf"{CASCADE}: cannot be read"):
        make_detector("haar")


def test_an_unknown_detector_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"unknown detector 'dlib': choose from auto, blazeface, .*haar"):
        make_detector("dlib")
