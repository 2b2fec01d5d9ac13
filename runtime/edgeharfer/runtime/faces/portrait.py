"""Find the face of a portrait: for data set images, in training and evaluation.

Data sets crop faces so tightly that a detector trained on scenes misses them. Each image is therefore
searched twice, as it is and with a black border of its own size, and the face with the highest score is used.
On FER-2013 this finds a face in 99 % of the images. A crop of such a face would often reach beyond the image,
so it is moved into the image and made slightly smaller.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from edgeharfer.runtime.faces.align import crop_angle, crop_face
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.inference.manifest import CropSpec
from edgeharfer.runtime.inference.preprocess import resize
from edgeharfer.runtime.types import Box, Face, Image

MIN_PORTRAIT_SCORE = 0.3
"""A portrait is known to show a face, so a lower score is accepted than in a scene."""
MIN_SCALE = 0.9
"""Least size of a crop that is made smaller to fit, as a fraction of its own.

Chosen on held-out faces of FER-2013 and tighter crops of them (docs/emotions.md).
"""


def find_face(image: Image, detector: Detector) -> Face | None:
    """Find the face with the highest score.

    Args:
        image: uint8, (height, width, 3) BGR or (height, width) grey.
        detector: Reports faces from MIN_PORTRAIT_SCORE up.

    Returns:
        The face, or None.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
    height, width = bgr.shape[:2]
    bordered = cv2.copyMakeBorder(bgr, height, height, width, width, cv2.BORDER_CONSTANT)
    plain = detector.detect(np.asarray(bgr, np.uint8))
    within = [face.moved(-width, -height) for face in detector.detect(np.asarray(bordered, np.uint8))]
    return max(plain + within, key=lambda face: face.score, default=None)


def crop_portrait(image: Image, face: Face | None, crop: CropSpec, size: tuple[int, int]) -> Image:
    """Crop a face as at run time, but within the image where possible.

    Args:
        image: uint8, (height, width[, 3]).
        face: The face; without one, the image is resized.
        crop: How to frame it.
        size: (width, height) of the crop.
    """
    if face is None:
        return resize(image, *size)
    return crop_face(image, fit_face(face, crop, image.shape[1], image.shape[0]), crop, size)


def fit_face(face: Face, crop: CropSpec, width: int, height: int) -> Face:
    """Move and shrink the box of a face so that its crop lies within the image.

    Args:
        face: The face.
        crop: How its crop is framed.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        The face with another box of at least MIN_SCALE its size; a crop that still does not fit is centred.
    """
    side = max(face.box.width, face.box.height)
    angle = crop_angle(face, crop)
    sin, cos = math.sin(angle), math.cos(angle)
    reach = side * crop.expand / 2 * (abs(sin) + abs(cos))  # of the rotated crop from its centre
    scale = float(np.clip(min(width, height) / (2 * reach), MIN_SCALE, 1))
    reach *= scale
    shift = crop.shift_y * side
    x, y = face.box.center
    x = _between(x - sin * shift, reach, width - reach) + sin * shift * scale
    y = _between(y + cos * shift, reach, height - reach) - cos * shift * scale
    box_width, box_height = face.box.width * scale, face.box.height * scale
    return replace(face, box=Box(x - box_width / 2, y - box_height / 2, box_width, box_height))


def _between(value: float, low: float, high: float) -> float:
    """Clip to a range, or return its middle if there is none."""
    return min(max(value, low), high) if low <= high else (low + high) / 2
