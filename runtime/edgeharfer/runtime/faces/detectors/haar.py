"""OpenCV's Haar cascade, for machines that must not run a neural detector. OpenCV 4 only; OpenCV 5 has none.

Viola and Jones 2001. It detects upright frontal faces from about 6 % of the image's longer side. It reports
no key points, so average positions within the box are used, without rotation: a tilted face is not turned
upright.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.faces.detector import Detector, DetectorOptions, Region, crop_region
from edgeharfer.runtime.installation import pip, quote
from edgeharfer.runtime.types import Box, Face, Floats, Image

CASCADE = "haarcascade_frontalface_default.xml"

LONGER_SIDE, SMALLEST_FACE = 400, 24
SCALE_STEP, MIN_NEIGHBORS = 1.15, 4
"""Parameters of `detectMultiScale3`.

On webcam clips reduced to 400 pixels they find 129 of the 134 faces that BlazeFace finds, and nothing else,
in a quarter of the time of 640 pixels and steps of 1.1.
"""

CERTAIN_WEIGHT = 2.6
"""Weight of the last stage that corresponds to a score of 0.5.

On those clips 95 % of the true faces have weights above 3.0 (a score of 0.6), and half of the false
detections with looser settings have weights below 0.1.
"""

SHIFT_Y = 0.08
"""BlazeFace's boxes are as wide as the cascade's and lower by this share of the height (median)."""
KEYPOINTS: Floats = np.array(
    [(0.29, 0.40), (0.71, 0.40), (0.50, 0.64), (0.50, 0.82), (0.05, 0.51), (0.95, 0.51)], np.float32
)
"""BlazeFace's key points (eyes, nose, mouth, ears) within the cascade's box (medians, made symmetric)."""


def load(options: DetectorOptions) -> HaarDetector:
    """Load the cascade included in OpenCV 4."""
    return HaarDetector(min_score=options.min_score)


class HaarDetector(Detector):
    """Detect faces with cv2.CascadeClassifier; boxes are framed like BlazeFace's.

    Args:
        min_score: Lowest score of a reported face. A score is the logistic function of the last stage's
            weight.

    Raises:
        ConfigError: OpenCV does not include the classifier or its cascade.
    """

    provider = "OpenCV"

    def __init__(self, *, min_score: float = 0.5) -> None:
        self._cascade = _load_cascade()
        self._min_score = min_score

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        """See `Detector.detect`."""
        left, top, image = (0, 0, bgr) if region is None else crop_region(bgr, region)
        if not image.size:
            return []
        scale = min(1.0, LONGER_SIDE / max(image.shape[:2]))
        faces = (_to_face(box, weight, scale, left, top) for box, weight in self._find(image, scale))
        return sorted((face for face in faces if face.score >= self._min_score), key=lambda face: -face.score)

    def warm_up(self) -> None:
        """Run once, so that the first frame is as fast as the others."""
        self.detect(np.zeros((480, 640, 3), np.uint8))

    def _find(self, image: Image, scale: float) -> list[tuple[tuple[float, ...], float]]:
        """Return boxes (x, y, width, height) in the scaled image with the weight of their last stage."""
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        size = max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale))
        boxes, _, weights = self._cascade.detectMultiScale3(
            cv2.resize(gray, size, interpolation=cv2.INTER_AREA),
            scaleFactor=SCALE_STEP,
            minNeighbors=MIN_NEIGHBORS,
            minSize=(SMALLEST_FACE, SMALLEST_FACE),
            outputRejectLevels=True,
        )
        return [
            (tuple(map(float, box)), float(weight))
            for box, weight in zip(boxes, np.ravel(weights), strict=True)
        ]


def _load_cascade() -> Any:
    opencv: Any = cv2  # Its type stubs include neither the classifier nor the folder.
    if not hasattr(opencv, "CascadeClassifier"):
        raise ConfigError(
            f"OpenCV {cv2.__version__} includes no Haar cascades: use --detector blazeface "
            f"or {pip('install')} {quote('opencv-python<5')}"
        )
    path = Path(opencv.data.haarcascades, CASCADE)
    cascade = opencv.CascadeClassifier(str(path)) if path.is_file() else None
    if cascade is None or cascade.empty():
        raise ConfigError(f"{path}: cannot be read: use --detector blazeface, or install opencv-python again")
    return cascade


def _to_face(box: tuple[float, ...], weight: float, scale: float, left: int, top: int) -> Face:
    x, y, width, height = (value / scale for value in box)
    corner, size = np.array([left + x, top + y], np.float32), np.array([width, height], np.float32)
    score = 1 / (1 + math.exp(CERTAIN_WEIGHT - weight))
    return Face(Box(left + x, top + y + SHIFT_Y * height, width, height), score, corner + KEYPOINTS * size)
