"""Crop faces from a frame: rotated by the eyes and framed like the training images.

Training and inference use the same code, so that the classifier sees what it was trained on.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.inference.manifest import CropSpec
from edgeharfer.runtime.types import KEYPOINTS, Face, Image

RIGHT_EYE, LEFT_EYE = KEYPOINTS.index("right_eye"), KEYPOINTS.index("left_eye")
MAX_OVERSAMPLING = 8
"""Limit for the samples averaged per pixel of the crop, along each axis."""

FER_CROP = CropSpec(align="eyes", expand=1.11, shift_y=-0.05)
"""Framing of FER-2013, as medians over the faces detected in its training images.

The image is 1.11 sides of the box wide, and its centre is 0.05 sides above that of the box.
"""


def roll(face: Face) -> float:
    """Return the angle of the eye line in radians; 0 is level, positive is clockwise in the image.

    A face with an unknown eye position (NaN) is taken as level.
    """
    dx, dy = (face.keypoints[LEFT_EYE] - face.keypoints[RIGHT_EYE]).tolist()
    return math.atan2(dy, dx) if math.isfinite(dx + dy) else 0.0


def crop_angle(face: Face, crop: CropSpec) -> float:
    """Return the angle of the crop of a face in radians, positive is clockwise in the image."""
    return roll(face) if crop.align == "eyes" else 0.0


def crop_matrix(face: Face, crop: CropSpec, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the 2x3 affine map from frame pixels to the pixels of a (width, height) crop."""
    side = max(face.box.width, face.box.height)
    angle = crop_angle(face, crop)
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = face.box.center
    x, y = x - sin * crop.shift_y * side, y + cos * crop.shift_y * side
    width, height = size
    sx, sy = width / (side * crop.expand), height / (side * crop.expand)
    # Pixel centres: the middle of the crop is at (size - 1) / 2, and so is the middle of the box.
    x, y = x - 0.5, y - 0.5
    return np.array([
        [cos * sx, sin * sx, (width - 1) / 2 - (cos * sx * x + sin * sx * y)],
        [-sin * sy, cos * sy, (height - 1) / 2 - (-sin * sy * x + cos * sy * y)],
    ])  # fmt: skip


def crop_face(image: Image, face: Face, crop: CropSpec, size: tuple[int, int]) -> Image:
    """Crop a face.

    A face much larger than the crop is sampled at a higher resolution and averaged, to avoid aliasing.

    Args:
        image: uint8, (height, width[, 3]).
        face: The face.
        crop: How to frame it.
        size: (width, height) of the crop.

    Returns:
        uint8, (height, width[, 3]); pixels outside the image repeat its edge.
    """
    matrix = crop_matrix(face, crop, size)
    scale = math.hypot(matrix[0, 0], matrix[0, 1])
    if scale >= 0.5:
        return _warp(image, matrix, size)
    factor = min(MAX_OVERSAMPLING, int(1 / scale))
    large = (size[0] * factor, size[1] * factor)
    zoom = crop_matrix(face, crop, large)
    return np.asarray(cv2.resize(_warp(image, zoom, large), size, interpolation=cv2.INTER_AREA), np.uint8)


def _warp(image: Image, matrix: NDArray[np.float64], size: tuple[int, int]) -> Image:
    warped = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)
