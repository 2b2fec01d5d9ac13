"""Augmentation of grey faces: one warp, some light, some wear, then mixing across the batch."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edgeharfer.runtime.types import Floats, Image


@dataclass(frozen=True)
class FaceAugmentation:
    """How far a face may be changed; `probability` fields are between 0 and 1, the others are ranges."""

    rotation_deg: float = 12.0
    zoom: float = 0.10
    shift: float = 4 / 48
    gamma: float = 0.4
    contrast: float = 0.25
    blur_probability: float = 0.15
    noise_probability: float = 0.15
    noise: float = 8.0
    erase_probability: float = 0.35
    mixup_probability: float = 0.5
    mixup_alpha: float = 0.4


def augment(face: Image, how: FaceAugmentation, rng: np.random.Generator) -> Floats:
    """One changed copy: uint8 (height, width) -> float32, values about 0..255."""
    changed = lighten(warp(face, how, rng), how, rng)
    if rng.random() < how.blur_probability:
        changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.4, 1.2)), np.float32)
    if rng.random() < how.noise_probability:
        changed = changed + rng.normal(0, rng.uniform(1, how.noise), changed.shape).astype(np.float32)
    if rng.random() < how.erase_probability:
        changed = erase(changed, rng)
    return changed


def warp(face: Image, how: FaceAugmentation, rng: np.random.Generator) -> Image:
    """Mirror, turn, zoom and shift in one interpolation."""
    height, width = face.shape[:2]
    if rng.random() < 0.5:
        face = np.ascontiguousarray(face[:, ::-1])
    angle = rng.uniform(-how.rotation_deg, how.rotation_deg)
    matrix = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2), angle, 1 + rng.uniform(-how.zoom, how.zoom)
    )
    move = rng.uniform(-how.shift, how.shift, 2) * (width, height)
    matrix = matrix + np.column_stack([np.zeros((2, 2)), move])
    return np.asarray(
        cv2.warpAffine(face, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def lighten(face: Image, how: FaceAugmentation, rng: np.random.Generator) -> Floats:
    """Other exposure (gamma) and contrast."""
    unit = face.astype(np.float32) / 255
    unit = unit ** np.float32(np.exp(rng.uniform(-how.gamma, how.gamma)))
    gain = 1 + rng.uniform(-how.contrast, how.contrast)
    return np.asarray(np.clip((unit - 0.5) * gain + 0.5, 0, 1) * 255, np.float32)


def erase(face: Floats, rng: np.random.Generator) -> Floats:
    """Random erasing (Zhong et al. 2020): one rectangle of 3 to 20 % of the picture becomes its mean."""
    height, width = face.shape[:2]
    area, ratio = rng.uniform(0.03, 0.20) * height * width, np.exp(rng.uniform(-0.7, 0.7))
    h, w = min(height, round(float(np.sqrt(area * ratio)))), min(width, round(float(np.sqrt(area / ratio))))
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    face = face.copy()
    face[top : top + h, left : left + w] = face.mean()
    return face


def mixup(x: Floats, targets: dict[str, Floats], alpha: float, rng: np.random.Generator) -> None:
    """Blend each sample with another of the batch, and their targets alike, in place (Zhang et al. 2018)."""
    order = rng.permutation(len(x))
    share = rng.beta(alpha, alpha, len(x)).astype(np.float32)
    x[:] = share[:, None, None, None] * x + (1 - share[:, None, None, None]) * x[order]
    for y in targets.values():
        y[:] = share[:, None] * y + (1 - share[:, None]) * y[order]
