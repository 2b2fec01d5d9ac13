"""OpenCV's Haar cascade, for machines that shall run no neural detector. OpenCV 4 only: 5 has none.

Viola and Jones 2001. It finds upright faces that look at the camera, from about 6 % of the image's
longer side on. It reports no key points, so that the usual places within a face stand for them, on a
level line: a tilted face is not turned upright.
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
"""On webcam clips shrunk to 400 pixels these find 129 of the 134 faces that BlazeFace finds, and nothing
else, in a quarter of the time that 640 pixels and steps of 1.1 take."""

CERTAIN_WEIGHT = 2.6
"""Weight of the last stage that counts as a score of 0.5. On those clips 95 % of the true faces weigh more
than 3.0 (a score of 0.6), and half of what else was found with milder settings less than 0.1."""

SHIFT_Y = 0.08
"""BlazeFace's boxes are as wide as the cascade's and lie this share of them lower (median over the same)."""
KEYPOINTS: Floats = np.array(
    [(0.29, 0.40), (0.71, 0.40), (0.50, 0.64), (0.50, 0.82), (0.05, 0.51), (0.95, 0.51)], np.float32
)
"""Where BlazeFace sees eyes, nose, mouth and ears within the cascade's box (medians, made symmetric)."""


def load(options: DetectorOptions) -> HaarDetector:
    """The cascade that OpenCV 4 carries."""
    return HaarDetector(min_score=options.min_score)


class HaarDetector(Detector):
    """Finds faces with cv2.CascadeClassifier; boxes are framed as BlazeFace frames them.

    min_score: of a reported face; a score is the logistic of the last stage's weight.
    Raises ConfigError where OpenCV lacks the classifier or its cascade.
    """

    provider = "OpenCV"

    def __init__(self, *, min_score: float = 0.5) -> None:
        self._cascade = _load_cascade()
        self._min_score = min_score

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        """Faces of the frame, or of one region of it, best first; boxes in pixels of the frame."""
        left, top, image = (0, 0, bgr) if region is None else crop_region(bgr, region)
        if not image.size:
            return []
        scale = min(1.0, LONGER_SIDE / max(image.shape[:2]))
        faces = (_to_face(box, weight, scale, left, top) for box, weight in self._find(image, scale))
        return sorted((face for face in faces if face.score >= self._min_score), key=lambda face: -face.score)

    def warm_up(self) -> None:
        """Run once, so that the first frame is not slower than the rest."""
        self.detect(np.zeros((480, 640, 3), np.uint8))

    def _find(self, image: Image, scale: float) -> list[tuple[tuple[float, ...], float]]:
        """Boxes (x, y, width, height) in the image made smaller, each with its last stage's weight."""
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
    opencv: Any = cv2  # Its type stubs know neither the classifier nor the folder.
    if not hasattr(opencv, "CascadeClassifier"):
        raise ConfigError(
            f"OpenCV {cv2.__version__} has no Haar cascades: use --detector blazeface, "
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
