"""Cut faces out of a frame: upright by the eyes, framed as the training images are.

The same code cuts the training images and the live ones, so that the classifier meets at run time
what it was trained on.
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
"""At most 8 x 8 places of a large face are averaged for a pixel, however large it is."""

FER_CROP = CropSpec(align="eyes", expand=1.11, shift_y=-0.05)
"""Frames a face as FER-2013 does: medians over its training images, in each of which the detector was
asked for the face (side of the image over side of the box 1.11, centre of the image above the
centre of the box by 0.05 sides)."""


def roll(face: Face) -> float:
    """Angle of the eye line in radians; 0 is level, positive turns clockwise in the image.

    A face of which an eye is not known (NaN) is taken as level.
    """
    dx, dy = (face.keypoints[LEFT_EYE] - face.keypoints[RIGHT_EYE]).tolist()
    return math.atan2(dy, dx) if math.isfinite(dx + dy) else 0.0


def crop_matrix(face: Face, crop: CropSpec, size: tuple[int, int]) -> NDArray[np.float64]:
    """The 2x3 affine map from frame pixels to the pixels of a (width, height) crop."""
    side = max(face.box.width, face.box.height)
    angle = roll(face) if crop.align == "eyes" else 0.0
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = face.box.center
    x, y = x - sin * crop.shift_y * side, y + cos * crop.shift_y * side
    width, height = size
    sx, sy = width / (side * crop.expand), height / (side * crop.expand)
    turn = np.array([[cos * sx, sin * sx], [-sin * sy, cos * sy]])
    # pixel centres: the middle of the crop is at (size - 1) / 2, and so is the middle of the box
    move = np.array([(width - 1) / 2, (height - 1) / 2]) - turn @ np.array([x - 0.5, y - 0.5])
    return np.column_stack([turn, move])


def crop_face(image: Image, face: Face, crop: CropSpec, size: tuple[int, int]) -> Image:
    """The face as a (height, width[, 3]) image of `size` = (width, height); edges are repeated.

    A face much larger than the crop is first averaged down, so that no detail turns into noise.
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
