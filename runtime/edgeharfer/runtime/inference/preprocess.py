"""Preprocess images for a model: size, colour, contrast, normalisation. Shared by training and inference."""

from __future__ import annotations

import math
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

CLAHE_CLIP = 2.0
CLAHE_TILES = (8, 8)


def preprocess_images(images: Sequence[Image], spec: InputSpec, batch: Floats | None = None) -> Floats:
    """Resize, convert and normalise images into one batch.

    Args:
        images: uint8 images of any size, each (height, width, 3) BGR or (height, width) grey.
        spec: Input of the model.
        batch: Array for the result; None makes a new one.

    Returns:
        float32, (n, *spec.shape), channels as `spec.color` orders them.
    """
    if batch is None:
        batch = np.empty((len(images), *spec.shape), np.float32)
    table = _table(spec)
    for i, image in enumerate(images):
        pixels = match_color(fit_image(image, spec), spec)
        if spec.layout == "nhwc":
            cv2.LUT(pixels, table, dst=batch[i])
            continue
        for channel, plane in enumerate(cv2.split(pixels)):
            one = table[..., min(channel, table.shape[-1] - 1)]
            cv2.LUT(plane, np.ascontiguousarray(one), dst=batch[i, channel])
    if spec.normalize == "standardize":
        standardize(batch)
    return batch


@lru_cache(maxsize=64)
def _table(spec: InputSpec) -> Floats:
    """Return what each value of a pixel becomes, float32 (1, 256, channels), or (1, 256, 1) for all channels.

    A look-up is several times faster than arithmetic with a value for each channel, and gives the same.
    """
    divisor, offset = _divisor_and_offset(spec)
    values = np.arange(256, dtype=np.float32)[None, :, None] / divisor - offset
    return np.ascontiguousarray(values)


def preprocess_picture(picture: Picture, spec: InputSpec, batch: Floats | None = None) -> Floats:
    """Like `preprocess_images`, for one picture, of which only the small form is converted.

    Returns:
        float32, (1, *spec.shape).
    """
    return preprocess_images([picture.resized(*_covering(picture.size, spec))], spec, batch)


def normalize_images(images: Image, spec: InputSpec) -> Floats:
    """Normalise images that already have the model's size and colours.

    Args:
        images: uint8, (..., height, width, channels).
        spec: Input of the model.

    Returns:
        float32, (..., *spec.shape).
    """
    batch = normalize(images.astype(np.float32), spec)
    return np.ascontiguousarray(np.moveaxis(batch, -1, -3)) if spec.layout == "nchw" else batch


def fit_image(image: Image, spec: InputSpec) -> Image:
    """Resize an image to the model's size, and cut its centre out if `spec.fit` is "center".

    Args:
        image: uint8, (height, width, 3) or (height, width).
        spec: Input of the model.

    Returns:
        uint8, (spec.height, spec.width, 3) or (spec.height, spec.width).
    """
    width, height = _covering((image.shape[1], image.shape[0]), spec)
    resized = resize(image, width, height)
    left, top = (width - spec.width) // 2, (height - spec.height) // 2
    return resized[top : top + spec.height, left : left + spec.width]


def _covering(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """Return the (width, height) to which an image is resized; the centre of it is the input."""
    if spec.fit == "stretch":
        return spec.width, spec.height
    scale = max(spec.width / size[0], spec.height / size[1])
    return max(spec.width, round(size[0] * scale)), max(spec.height, round(size[1] * scale))


def _divisor_and_offset(spec: InputSpec) -> tuple[Floats, Floats]:
    """Return what values are divided by, and what is then subtracted: float32, (1,) or (channels,)."""
    if spec.normalize == "symmetric":
        return np.array([127.5], np.float32), np.ones(1, np.float32)
    divisor = 1.0 if spec.normalize in ("none", "standardize") else 255.0
    mean, std = np.array(spec.mean or (0.0,)), np.array(spec.std or (1.0,))
    if spec.normalize == "imagenet":
        order = -1 if spec.color == "bgr" else 1
        mean, std = IMAGENET_MEAN[::order].astype(np.float64), IMAGENET_STD[::order].astype(np.float64)
    return (divisor * std).astype(np.float32), (mean / std).astype(np.float32)


def match_color(image: Image, spec: InputSpec) -> Image:
    """Convert a uint8 image to the model's colours, with CLAHE if `spec.clahe` is set.

    Args:
        image: (height, width, 3) BGR or (height, width) grey.
        spec: Input of the model.

    Returns:
        uint8, (height, width, 1 or 3).
    """
    if spec.color in ("gray", "gray3"):
        gray = image if image.ndim == 2 else convert_color(image, cv2.COLOR_BGR2GRAY)
        gray = (apply_clahe(gray) if spec.clahe else gray)[..., None]
        return gray if spec.color == "gray" else np.repeat(gray, 3, axis=2)
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


def normalize(batch: Floats, spec: InputSpec) -> Floats:
    """Normalise values of 0..255 in place, as `spec.normalize` says.

    "none" keeps them, "unit" scales to [0, 1], "symmetric" to [-1, 1], "standardize" each image to mean 0 and
    standard deviation 1, "imagenet" by the mean and standard deviation of each channel in ImageNet. After
    "none" and "unit", `spec.mean` and `spec.std` are applied.

    Args:
        batch: float32, (..., height, width, channels).
        spec: Input of the model.

    Returns:
        The same array.
    """
    divisor, offset = _divisor_and_offset(spec)
    batch /= divisor
    if offset.any():
        batch -= offset
    if spec.normalize == "standardize":
        standardize(batch)
    return batch


def standardize(batch: Floats) -> None:
    """Shift and scale each image in place to mean 0 and standard deviation 1.

    A uniform image becomes 0: the divisor is at least 1 / sqrt(number of values), as in
    `tf.image.per_image_standardization`.

    Args:
        batch: float32, (..., height, width, channels).
    """
    batch -= _image_means(batch)
    deviations = batch - _image_means(batch)
    np.multiply(deviations, deviations, out=deviations)
    floor = 1.0 / math.sqrt(math.prod(batch.shape[-3:]))
    batch /= np.maximum(np.sqrt(_image_means(deviations)), floor)


def _image_means(batch: Floats) -> Floats:
    """Return what `batch.mean` does, float32, (..., 1, 1, 1), without the Python code of NumPy's methods.

    For one small image that code takes longer than the additions.
    """
    sums = np.add.reduce(batch, axis=(-3, -2, -1), keepdims=True)
    count = np.intp(math.prod(batch.shape[-3:]))
    means: Floats = np.true_divide(sums, count, out=sums, casting="unsafe")
    return means
