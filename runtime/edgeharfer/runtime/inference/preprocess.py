"""Preprocess images for a model: size, colour, contrast, normalisation. Shared by training and inference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.picture import Picture
from edgeharfer.runtime.picture import resize as resize
from edgeharfer.runtime.types import Floats, Image

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
"""Per-channel RGB mean of ImageNet in [0, 1] (torchvision's documented values)."""
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)

_SCALES = {"unit": (255.0, 0.0), "symmetric": (127.5, 1.0)}
"""Divisor and subtrahend of the normalisations that treat all values alike."""

CLAHE_CLIP = 2.0
CLAHE_TILES = (8, 8)


def preprocess_images(images: Sequence[Image], spec: InputSpec) -> Floats:
    """Resize, convert and normalise images into one batch.

    Args:
        images: uint8 images of any size, each (height, width, 3) BGR or (height, width) grey.
        spec: Input of the model.

    Returns:
        float32, (n, spec.height, spec.width, channels), channels as `spec.color` orders them.
    """
    channels = 1 if spec.color == "gray" else 3
    batch = np.empty((len(images), spec.height, spec.width, channels), np.float32)
    known = spec.normalize in _SCALES
    values = byte_values(spec.normalize if known else "none")
    for i, image in enumerate(images):
        # Converts to float32 and normalises in one pass.
        cv2.LUT(match_color(resize(image, spec.width, spec.height), spec), values, batch[i])
    return batch if known else normalize(batch, spec.normalize)


@lru_cache
def byte_values(how: str) -> Floats:
    """Return the normalised value of each byte, float32, (256,); `how` is "none", "unit" or "symmetric"."""
    return normalize(np.arange(256, dtype=np.float32), how)


def preprocess_picture(picture: Picture, spec: InputSpec) -> Floats:
    """Like `preprocess_images`, for one picture, of which only the small form is converted.

    Returns:
        float32, (1, spec.height, spec.width, channels).
    """
    return preprocess_images([picture.resized(spec.width, spec.height)], spec)


def match_color(image: Image, spec: InputSpec) -> Image:
    """Convert a uint8 image to the model's colours, with CLAHE if `spec.clahe` is set.

    Args:
        image: (height, width, 3) BGR or (height, width) grey.
        spec: Input of the model.

    Returns:
        uint8, (height, width, 1 or 3).
    """
    if spec.color == "gray":
        gray = image if image.ndim == 2 else convert_color(image, cv2.COLOR_BGR2GRAY)
        return (apply_clahe(gray) if spec.clahe else gray)[..., None]
    bgr = convert_color(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
    if spec.clahe:
        lab = convert_color(bgr, cv2.COLOR_BGR2LAB)
        lab[..., 0] = apply_clahe(lab[..., 0])
        bgr = convert_color(lab, cv2.COLOR_LAB2BGR)
    return bgr if spec.color == "bgr" else convert_color(bgr, cv2.COLOR_BGR2RGB)


def convert_color(image: Image, code: int) -> Image:
    """Convert between colour spaces. `code` is one of OpenCV's COLOR_ constants."""
    return np.asarray(cv2.cvtColor(image, code), np.uint8)


def apply_clahe(gray: Image) -> Image:
    """Apply contrast-limited adaptive histogram equalisation (CLAHE, Zuiderveld 1994) to a grey image."""
    return np.asarray(cv2.createCLAHE(CLAHE_CLIP, CLAHE_TILES).apply(gray), np.uint8)


def normalize(batch: Floats, how: str) -> Floats:
    """Normalise values of 0..255 in place.

    Args:
        batch: float32, (n, height, width, channels); for the first three also any other shape.
        how: "none", "unit" for [0, 1], "symmetric" for [-1, 1], "standardize" or "imagenet".

    Returns:
        The same array.
    """
    if how in _SCALES:
        divisor, offset = _SCALES[how]
        batch /= divisor
        batch -= offset
    elif how == "standardize":
        standardize(batch)
    elif how == "imagenet":
        batch /= 255.0
        batch -= IMAGENET_MEAN
        batch /= IMAGENET_STD
    return batch


def standardize(batch: Floats) -> None:
    """Shift and scale each image in place to mean 0 and standard deviation 1.

    A uniform image becomes 0: the divisor is at least 1 / sqrt(number of values), as in
    `tf.image.per_image_standardization`.
    """
    flat = batch.reshape(len(batch), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    floor = 1.0 / np.sqrt(flat.shape[1])
    flat /= np.maximum(flat.std(axis=1, keepdims=True), floor)
