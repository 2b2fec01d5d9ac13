"""Augmentation of faces: one warp, some light, some wear, then mixing across the batch."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats, Image


@dataclass(frozen=True)
class FaceAugmentation:
    """How far a face may be changed; `probability` fields are between 0 and 1, the others are ranges.

    rotation_deg: to either side. zoom, contrast, saturation: shares by which they grow or shrink. shift:
    share of the side. brightness: share of 255 added or taken. gamma: of its logarithm. hue: degrees.
    saturation and hue change pictures in colour only. noise: the largest deviation, of 255.
    erase_area, erase_probability: the largest share of the picture that becomes its mean.
    mixup and cutmix: the share of batches; a batch gets at most one of the two.
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
    erase_probability: float = 0.35
    erase_area: float = 0.20
    mixup_probability: float = 0.5
    mixup_alpha: float = 0.4
    cutmix_probability: float = 0.0
    cutmix_alpha: float = 1.0


def augment(face: Image, settings: FaceAugmentation, rng: np.random.Generator) -> Floats:
    """One changed copy: uint8 (height, width, 1 or 3, RGB) -> float32 of that shape, values about 0..255."""
    changed = adjust_exposure(warp(face, settings, rng), settings, rng)
    if rng.random() < settings.blur_probability:
        changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.4, 1.2)), np.float32)
    if rng.random() < settings.noise_probability:
        changed = changed + rng.normal(0, rng.uniform(1, settings.noise), changed.shape).astype(np.float32)
    changed = changed.reshape(face.shape)  # OpenCV drops a single channel.
    if face.shape[2] == 3 and (settings.saturation or settings.hue):
        changed = recolor(changed, settings, rng)
    if rng.random() < settings.erase_probability:
        changed = random_erase(changed, settings.erase_area, rng)
    return changed


def warp(face: Image, settings: FaceAugmentation, rng: np.random.Generator) -> Image:
    """Mirror, turn, zoom and shift in one interpolation."""
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
    """Other exposure (gamma), contrast and brightness."""
    unit = face.astype(np.float32) / 255
    unit = unit ** np.float32(np.exp(rng.uniform(-settings.gamma, settings.gamma)))
    gain = 1 + rng.uniform(-settings.contrast, settings.contrast)
    lift = rng.uniform(-settings.brightness, settings.brightness)
    return np.asarray(np.clip((unit - 0.5) * gain + 0.5 + lift, 0, 1) * 255, np.float32)


def recolor(face: Floats, settings: FaceAugmentation, rng: np.random.Generator) -> Floats:
    """Other saturation and hue of an RGB picture."""
    hsv = cv2.cvtColor(np.clip(face, 0, 255) / np.float32(255), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-settings.hue, settings.hue)) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] * (1 + rng.uniform(-settings.saturation, settings.saturation)), 0, 1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255, np.float32)


def random_erase(face: Floats, largest: float, rng: np.random.Generator) -> Floats:
    """Random erasing (Zhong et al. 2020): one rectangle of up to that share becomes the picture's mean."""
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
    """A rectangle of about that size somewhere in the picture: its rows and columns."""
    h, w = min(height, round(float(high))), min(width, round(float(wide)))
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    return slice(top, top + h), slice(left, left + w)


def mix(x: Floats, targets: dict[str, Floats], settings: FaceAugmentation, rng: np.random.Generator) -> None:
    """Mixup, CutMix or nothing on a batch (n, height, width, channels) and its targets, in place."""
    draw = rng.random()
    if draw < settings.mixup_probability:
        mixup(x, targets, settings.mixup_alpha, rng)
    elif draw < settings.mixup_probability + settings.cutmix_probability:
        cutmix(x, targets, settings.cutmix_alpha, rng)


def mixup(x: Floats, targets: dict[str, Floats], alpha: float, rng: np.random.Generator) -> None:
    """Blend each sample with another of the batch, and their targets alike (Zhang et al. 2018)."""
    order = rng.permutation(len(x))
    share = rng.beta(alpha, alpha, len(x)).astype(np.float32)
    x[:] = share[:, None, None, None] * x + (1 - share[:, None, None, None]) * x[order]
    _blend_targets(targets, order, share)


def cutmix(x: Floats, targets: dict[str, Floats], alpha: float, rng: np.random.Generator) -> None:
    """Replace a rectangle of each sample by another's, targets by the area (Yun et al. 2019)."""
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
