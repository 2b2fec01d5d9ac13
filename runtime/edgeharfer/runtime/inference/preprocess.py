"""Pictures -> model input: size, colour, contrast, normalisation. One code for training and run time."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.types import Floats, Image

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
"""Per-channel RGB mean of ImageNet in [0, 1] (torchvision's documented values)."""
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)

CLAHE_CLIP = 2.0
CLAHE_TILES = (8, 8)


def preprocess_images(pictures: Sequence[Image], spec: InputSpec) -> Floats:
    """A batch of pictures as a model wants it.

    pictures: uint8, each (height, width, 3) BGR or (height, width) grey, of any size.
    Returns float32, (n, spec.height, spec.width, 3) RGB or BGR, or (..., 1) grey.
    """
    channels = 1 if spec.color == "gray" else 3
    batch = np.empty((len(pictures), spec.height, spec.width, channels), np.float32)
    for i, picture in enumerate(pictures):
        batch[i] = match_color(resize(picture, spec.width, spec.height), spec)
    return normalize(batch, spec.normalize)


def resize(picture: Image, width: int, height: int) -> Image:
    """Stretch to the size: averaged when it shrinks, interpolated when it grows.

    Where it can be halved, that is done first: OpenCV averages four pixels ten times as fast as any other
    number. The result differs by half a grey value on average.
    """
    while _halves(picture.shape[0], height) and _halves(picture.shape[1], width):
        half = picture.shape[1] // 2, picture.shape[0] // 2
        picture = np.asarray(cv2.resize(picture, half, interpolation=cv2.INTER_AREA), np.uint8)
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = picture.shape[0] * picture.shape[1] > width * height
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)


def _halves(length: int, wanted: int) -> bool:
    return length % 2 == 0 and length >= 2 * wanted


def match_color(picture: Image, spec: InputSpec) -> Image:
    """uint8 in the model's colours, (height, width, 1 or 3), its local contrast evened when asked for."""
    if spec.color == "gray":
        gray = picture if picture.ndim == 2 else convert_color(picture, cv2.COLOR_BGR2GRAY)
        return (apply_clahe(gray) if spec.clahe else gray)[..., None]
    bgr = convert_color(picture, cv2.COLOR_GRAY2BGR) if picture.ndim == 2 else picture
    if spec.clahe:
        lab = convert_color(bgr, cv2.COLOR_BGR2LAB)
        lab[..., 0] = apply_clahe(lab[..., 0])
        bgr = convert_color(lab, cv2.COLOR_LAB2BGR)
    return bgr if spec.color == "bgr" else convert_color(bgr, cv2.COLOR_BGR2RGB)


def convert_color(picture: Image, code: int) -> Image:
    """Between colour spaces, as OpenCV numbers them."""
    return np.asarray(cv2.cvtColor(picture, code), np.uint8)


def apply_clahe(gray: Image) -> Image:
    """CLAHE, contrast-limited adaptive histogram equalisation (Zuiderveld 1994)."""
    return np.asarray(cv2.createCLAHE(CLAHE_CLIP, CLAHE_TILES).apply(gray), np.uint8)


def normalize(batch: Floats, how: str) -> Floats:
    """Scale values of 0..255 in place: none, unit [0, 1], symmetric [-1, 1], standardize, imagenet."""
    if how == "unit":
        batch /= 255.0
    elif how == "symmetric":
        batch /= 127.5
        batch -= 1.0
    elif how == "standardize":
        standardize(batch)
    elif how == "imagenet":
        batch /= 255.0
        batch -= IMAGENET_MEAN
        batch /= IMAGENET_STD
    return batch


def standardize(batch: Floats) -> None:
    """Each picture to mean 0 and deviation 1, in place; a flat one becomes 0 (as tf.image does)."""
    flat = batch.reshape(len(batch), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    floor = 1.0 / np.sqrt(flat.shape[1])
    flat /= np.maximum(flat.std(axis=1, keepdims=True), floor)
