"""Augmentation of face images: geometry, exposure, noise and blur per image, then mixing across the batch."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats, Image


@dataclass(frozen=True)
class FaceAugmentation:
    """Strength of the augmentation. Fields named `..._probability` are probabilities from 0 to 1.

    Attributes:
        flip_probability: Horizontal flip.
        rotation_deg: Largest rotation in degrees, to either side.
        zoom: Largest change of scale, as a fraction.
        shift: Largest shift, as a fraction of the side.
        gamma: Largest absolute logarithm of the gamma exponent.
        brightness: Largest change of brightness, as a fraction of 255.
        contrast: Largest change of contrast, as a fraction.
        saturation: Largest change of saturation, as a fraction; colour images only.
        hue: Largest change of hue in degrees; colour images only.
        blur_probability: Gaussian blur with sigma 0.4 to 1.2 pixels.
        noise_probability: Gaussian noise.
        noise: Largest standard deviation of the noise, of 255.
        low_resolution_probability: Reduced to a smaller side and enlarged again, as a distant face.
        low_resolution_side: Smallest side that it is reduced to, in pixels.
        jpeg_probability: Compressed as JPEG.
        jpeg_quality: Lowest quality of that JPEG, of 100; the highest is 90.
        shading_probability: Light from one side.
        shading: Largest change of brightness from the middle to the edge, as a fraction.
        erase_probability: Random erasing.
        erase_area: Largest share of the image that is replaced by its mean.
        mixup_probability: Share of batches with mixup. A batch gets mixup or CutMix, never both.
        mixup_alpha: Parameter of mixup's beta distribution.
        cutmix_probability: Share of batches with CutMix.
        cutmix_alpha: Parameter of CutMix's beta distribution.
    """

    flip_probability: float = 0.5
    rotation_deg: float = 12.0
    zoom: float = 0.10
    shift: float = 4 / 48
    gamma: float = 0.4
    brightness: float = 0.0
    contrast: float = 0.25
    saturation: float = 0.0
    hue: float = 0.0
    blur_probability: float = 0.15
    noise_probability: float = 0.15
    noise: float = 8.0
    low_resolution_probability: float = 0.0
    low_resolution_side: int = 16
    jpeg_probability: float = 0.0
    jpeg_quality: int = 20
    shading_probability: float = 0.0
    shading: float = 0.5
    erase_probability: float = 0.35
    erase_area: float = 0.20
    mixup_probability: float = 0.5
    mixup_alpha: float = 0.4
    cutmix_probability: float = 0.0
    cutmix_alpha: float = 1.0


def augment(face: Image, settings: FaceAugmentation, rng: np.random.Generator) -> Floats:
    """Augment one face.

    Args:
        face: uint8 (height, width, 1 or 3), grey or RGB.
        settings: Strength of the augmentation.
        rng: Random generator.

    Returns:
        float32 of the same shape, values of about 0 to 255.
    """
    changed = adjust_exposure(warp(face, settings, rng), settings, rng)
    if settings.shading_probability and rng.random() < settings.shading_probability:
        changed = shade(changed, settings.shading, rng)
    if settings.low_resolution_probability and rng.random() < settings.low_resolution_probability:
        changed = reduce_resolution(changed, settings.low_resolution_side, rng)
    if rng.random() < settings.blur_probability:
        changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.4, 1.2)), np.float32)
    if rng.random() < settings.noise_probability:
        changed = changed + rng.normal(0, rng.uniform(1, settings.noise), changed.shape).astype(np.float32)
    if settings.jpeg_probability and rng.random() < settings.jpeg_probability:
        changed = compress(changed, settings.jpeg_quality, rng)
    changed = changed.reshape(face.shape)  # OpenCV drops a single channel.
    if face.shape[2] == 3 and (settings.saturation or settings.hue):
        changed = recolor(changed, settings, rng)
    if rng.random() < settings.erase_probability:
        changed = random_erase(changed, settings.erase_area, rng)
    return changed


def warp(face: Image, settings: FaceAugmentation, rng: np.random.Generator) -> Image:
    """Flip, rotate, scale and shift the image with a single interpolation."""
    height, width = face.shape[:2]
    if rng.random() < settings.flip_probability:
        face = np.ascontiguousarray(face[:, ::-1])
    angle = rng.uniform(-settings.rotation_deg, settings.rotation_deg)
    matrix = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2), angle, 1 + rng.uniform(-settings.zoom, settings.zoom)
    )
    move = rng.uniform(-settings.shift, settings.shift, 2) * (width, height)
    matrix = matrix + np.column_stack([np.zeros((2, 2)), move])
    return np.asarray(
        cv2.warpAffine(face, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def adjust_exposure(face: Image, settings: FaceAugmentation, rng: np.random.Generator) -> Floats:
    """Change gamma, contrast and brightness."""
    unit = face.astype(np.float32) / 255
    unit = unit ** np.float32(np.exp(rng.uniform(-settings.gamma, settings.gamma)))
    gain = 1 + rng.uniform(-settings.contrast, settings.contrast)
    lift = rng.uniform(-settings.brightness, settings.brightness)
    return np.asarray(np.clip((unit - 0.5) * gain + 0.5 + lift, 0, 1) * 255, np.float32)


def shade(face: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Darken one side of the face and brighten the opposite one, by up to `strength` at the edges."""
    height, width = face.shape[:2]
    angle, amount = rng.uniform(0, 2 * np.pi), rng.uniform(0, strength)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.float32(np.cos(angle))
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    light = 1 + np.float32(amount) * (across + down)
    return np.asarray(
        np.clip(face * light.reshape(height, width, *[1] * (face.ndim - 2)), 0, 255), np.float32
    )


def reduce_resolution(face: Floats, smallest: int, rng: np.random.Generator) -> Floats:
    """Reduce the image to a random size between `smallest` and its own, and enlarge it again."""
    height, width = face.shape[:2]
    factor = rng.uniform(min(1.0, smallest / min(height, width)), 1)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(face, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def compress(face: Floats, lowest: int, rng: np.random.Generator) -> Floats:
    """Compress the image as JPEG of a random quality and decode it."""
    quality = int(rng.integers(lowest, 91))
    _, data = cv2.imencode(
        ".jpg", np.clip(face, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.float32)


def recolor(face: Floats, settings: FaceAugmentation, rng: np.random.Generator) -> Floats:
    """Change saturation and hue of an RGB image."""
    hsv = cv2.cvtColor(np.clip(face, 0, 255) / np.float32(255), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-settings.hue, settings.hue)) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] * (1 + rng.uniform(-settings.saturation, settings.saturation)), 0, 1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255, np.float32)


def random_erase(face: Floats, largest: float, rng: np.random.Generator) -> Floats:
    """Replace one rectangle of up to `largest` of the area by the mean (random erasing, Zhong et al.
    2020).
    """
    height, width = face.shape[:2]
    area = rng.uniform(min(0.03, largest), largest) * height * width
    ratio = np.exp(rng.uniform(-0.7, 0.7))
    rows, columns = random_rectangle(height, width, np.sqrt(area * ratio), np.sqrt(area / ratio), rng)
    face = face.copy()
    face[rows, columns] = face.mean()
    return face


def random_rectangle(
    height: int, width: int, high: float, wide: float, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Return rows and columns of a rectangle of about the given size at a random position."""
    h, w = min(height, round(float(high))), min(width, round(float(wide)))
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    return slice(top, top + h), slice(left, left + w)


def mix(x: Floats, targets: dict[str, Floats], settings: FaceAugmentation, rng: np.random.Generator) -> None:
    """Apply mixup, CutMix or neither to a batch and its targets, in place.

    Args:
        x: Images, (n, height, width, channels).
        targets: Head -> targets, (n, classes).
        settings: Probabilities and parameters of both methods.
        rng: Random generator.
    """
    draw = rng.random()
    if draw < settings.mixup_probability:
        mixup(x, targets, settings.mixup_alpha, rng)
    elif draw < settings.mixup_probability + settings.cutmix_probability:
        cutmix(x, targets, settings.cutmix_alpha, rng)


def mixup(x: Floats, targets: dict[str, Floats], alpha: float, rng: np.random.Generator) -> None:
    """Blend each sample and its targets with another sample of the batch (Zhang et al. 2018), in place."""
    order = rng.permutation(len(x))
    share = rng.beta(alpha, alpha, len(x)).astype(np.float32)
    x[:] = share[:, None, None, None] * x + (1 - share[:, None, None, None]) * x[order]
    _blend_targets(targets, order, share)


def cutmix(x: Floats, targets: dict[str, Floats], alpha: float, rng: np.random.Generator) -> None:
    """Replace a rectangle of each sample by another's and mix the targets by area (Yun et al. 2019), in
    place.
    """
    order = rng.permutation(len(x))
    height, width = x.shape[1:3]
    share = np.empty(len(x), np.float32)
    mixed = x.copy()
    for i, other in enumerate(order):
        side = np.sqrt(1 - rng.beta(alpha, alpha))
        rows, columns = random_rectangle(height, width, side * height, side * width, rng)
        mixed[i, rows, columns] = x[other, rows, columns]
        share[i] = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    x[:] = mixed
    _blend_targets(targets, order, share)


def _blend_targets(targets: dict[str, Floats], order: NDArray[np.int64], share: Floats) -> None:
    for y in targets.values():
        y[:] = share[:, None] * y + (1 - share[:, None]) * y[order]
