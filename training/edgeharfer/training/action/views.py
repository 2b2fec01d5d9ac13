"""Views of a clip: one augmentation applied to all its frames, which changes its appearance but not its
motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edgeharfer.runtime.types import Image


@dataclass(frozen=True)
class ViewRanges:
    """Strength of the augmentation. Fields named `..._probability` are probabilities from 0 to 1.

    Grey, blurred and coarse views keep a head from recognising classes by the camera (surveillance or home
    video).

    Attributes:
        smallest_crop: Smallest share of the frame's area that a crop keeps.
        stretch: Largest absolute logarithm of the change of aspect ratio.
        gamma: Largest absolute logarithm of the gamma exponent.
        contrast: Largest change of contrast, as a fraction.
        tint: Largest change of a colour channel's gain, as a fraction.
        gray_probability: Conversion to grey.
        blur_probability: Gaussian blur.
        coarse_probability: Reduction of the resolution.
        coarsest: Smallest scale of the reduced resolution.
        rotation: Largest rotation in degrees; 0 disables it.
        noise: Largest standard deviation of noise, as a share of white; 0 disables it.
        erase: Largest share of the frame covered by a grey box; 0 disables it.
    """

    smallest_crop: float = 0.45
    stretch: float = 0.2
    gamma: float = 0.45
    contrast: float = 0.3
    tint: float = 0.12
    gray_probability: float = 0.2
    blur_probability: float = 0.2
    coarse_probability: float = 0.25
    coarsest: float = 0.35
    rotation: float = 0.0
    noise: float = 0.0
    erase: float = 0.0


@dataclass(frozen=True)
class ClipView:
    """One augmentation, applied to every frame of a clip.

    Attributes:
        mirror: Flip horizontally.
        crop: Left, top, width, height as shares of the frame.
        gamma: Gamma exponent.
        contrast: Contrast factor.
        tint: Gains of blue, green and red.
        gray: Convert to grey.
        blur: Sigma as a share of the width; 0 disables it.
        coarse: Scale of the reduced resolution; 1 disables it.
        angle: Rotation in degrees, counterclockwise.
        noise: Standard deviation of noise as a share of white, with the same pattern on every frame so that
            it does not look like motion.
        box: Left, top, width and height of the covered box, as shares of the frame.
    """

    mirror: bool = False
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    gamma: float = 1.0
    contrast: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gray: bool = False
    blur: float = 0.0
    coarse: float = 1.0
    angle: float = 0.0
    noise: float = 0.0
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def apply(self, bgr: Image) -> Image:
        """Return the frame in this view, uint8 (height, width, 3), of the crop's size."""
        if self == _UNCHANGED:
            return bgr
        changed = _rotate(self._cut(bgr), self.angle) if self.angle else self._cut(bgr)
        if self.coarse < 1:
            changed = _reduce_detail(changed, self.coarse)
        if self.blur:
            changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), self.blur * changed.shape[1]), np.uint8)
        if self.gray:
            changed = np.repeat(
                np.asarray(cv2.cvtColor(changed, cv2.COLOR_BGR2GRAY), np.uint8)[..., None], 3, axis=2
            )
        adjusted = np.asarray(cv2.LUT(changed, self._tone_table()), np.uint8)
        if self.noise:
            adjusted = _add_noise(adjusted, self.noise)
        if self.box[2] and self.box[3]:
            adjusted[_box_slices(adjusted, self.box)] = _ERASE_VALUE
        return adjusted

    def _cut(self, bgr: Image) -> Image:
        cut = bgr[_box_slices(bgr, self.crop)]
        return np.ascontiguousarray(cut[:, ::-1] if self.mirror else cut)

    def _tone_table(self) -> Image:
        """Return exposure, contrast and tint as a lookup table, uint8 (256, 1, 3)."""
        unit = np.linspace(0, 1, 256, dtype=np.float32) ** np.float32(self.gamma)
        adjusted = ((unit - 0.5) * self.contrast + 0.5)[:, None] * np.asarray(self.tint, np.float32)
        return np.asarray(np.clip(adjusted * 255 + 0.5, 0, 255), np.uint8)[:, None, :]


_UNCHANGED = ClipView()
_ERASE_VALUE = 127


def _box_slices(bgr: Image, box: tuple[float, float, float, float]) -> tuple[slice, slice]:
    """Return rows and columns of a box (left, top, width, height) given in shares of the frame."""
    height, width = bgr.shape[:2]
    left, top = int(box[0] * width), int(box[1] * height)
    right = min(width, left + max(1, round(box[2] * width)))
    bottom = min(height, top + max(1, round(box[3] * height)))
    return slice(top, bottom), slice(left, right)


def _rotate(bgr: Image, angle: float) -> Image:
    height, width = bgr.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return np.asarray(cv2.warpAffine(bgr, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _add_noise(bgr: Image, sigma: float) -> Image:
    grain = np.random.default_rng(0).normal(0, 255 * sigma, bgr.shape)
    return np.asarray(np.clip(bgr + grain, 0, 255), np.uint8)


def _reduce_detail(bgr: Image, share: float) -> Image:
    height, width = bgr.shape[:2]
    small = (max(1, round(width * share)), max(1, round(height * share)))
    shrunk = cv2.resize(bgr, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def draw_view(ranges: ViewRanges, rng: np.random.Generator) -> ClipView:
    """Draw a random view."""
    area, stretch = (
        rng.uniform(ranges.smallest_crop, 1.0),
        np.exp(rng.uniform(-ranges.stretch, ranges.stretch)),
    )
    width, height = min(1.0, float(np.sqrt(area * stretch))), min(1.0, float(np.sqrt(area / stretch)))
    left, top = float(rng.uniform(0, 1 - width)), float(rng.uniform(0, 1 - height))
    gains = rng.uniform(1 - ranges.tint, 1 + ranges.tint, 3)
    return ClipView(
        mirror=bool(rng.random() < 0.5),
        crop=(left, top, width, height),
        gamma=float(np.exp(rng.uniform(-ranges.gamma, ranges.gamma))),
        contrast=float(1 + rng.uniform(-ranges.contrast, ranges.contrast)),
        tint=(float(gains[0]), float(gains[1]), float(gains[2])),
        gray=bool(rng.random() < ranges.gray_probability),
        blur=float(rng.uniform(0.002, 0.006)) if rng.random() < ranges.blur_probability else 0.0,
        coarse=float(rng.uniform(ranges.coarsest, 0.8)) if rng.random() < ranges.coarse_probability else 1.0,
        # Drawn last and only if set, so that the other values do not depend on them.
        angle=float(rng.uniform(-ranges.rotation, ranges.rotation)) if ranges.rotation else 0.0,
        noise=float(rng.uniform(0, ranges.noise)) if ranges.noise else 0.0,
        box=_draw_box(ranges.erase, rng) if ranges.erase else (0.0, 0.0, 0.0, 0.0),
    )


def _draw_box(largest: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Draw a box of up to `largest` of the frame's area, with an aspect ratio from 1:2 to 2:1."""
    area, aspect = rng.uniform(0, largest), np.exp(rng.uniform(-np.log(2), np.log(2)))
    width, height = min(1.0, float(np.sqrt(area * aspect))), min(1.0, float(np.sqrt(area / aspect)))
    return float(rng.uniform(0, 1 - width)), float(rng.uniform(0, 1 - height)), width, height


def draw_views(count: int, ranges: ViewRanges, seed: tuple[int, ...]) -> list[ClipView]:
    """Return `count` views of a clip, determined by `seed`: the mirror image, then random ones."""
    rng = np.random.default_rng(seed)
    return [ClipView(mirror=True), *(draw_view(ranges, rng) for _ in range(count - 1))][:count]
