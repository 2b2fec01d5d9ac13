"""Views of a clip: one change made to all its pictures, so that its looks differ, its motion does not."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edgeharfer.runtime.types import Image


@dataclass(frozen=True)
class ViewRanges:
    """How far a view may be from the clip; `probability` fields are between 0 and 1, the others are ranges.

    smallest_crop: share of the picture's area that a crop keeps at least. rotation: degrees. gamma:
    brightness, and `tint` with it the jitter of colours. Grey, blurred and coarse views keep a head from
    telling classes by the camera (surveillance against home video). noise: highest sigma, as a share of
    white. erase: largest share of the picture that a grey box hides. The last three and rotation are off
    unless they are set.
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
    """One change, to be made to every picture of a clip.

    crop: left, top, width, height as shares of the picture. gamma, contrast: 1 is unchanged. tint: gains
    of blue, green and red. blur: sigma as a share of the width, 0 is off. coarse: the picture is shrunk to
    this share of its size and enlarged again; 1 is off. angle: degrees, counterclockwise. noise: sigma as
    a share of white, the same grain on every picture, so that nothing seems to move. box: left, top, width
    and height of what is hidden, as shares.
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
        """The picture in this view, uint8 (height, width, 3); its size is the crop's."""
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
        lit = np.asarray(cv2.LUT(changed, self._light()), np.uint8)
        if self.noise:
            lit = _add_noise(lit, self.noise)
        if self.box[2] and self.box[3]:
            lit[_box_slices(lit, self.box)] = _ERASE_VALUE
        return lit

    def _cut(self, bgr: Image) -> Image:
        cut = bgr[_box_slices(bgr, self.crop)]
        return np.ascontiguousarray(cut[:, ::-1] if self.mirror else cut)

    def _light(self) -> Image:
        """Exposure, contrast and tint as a table from old to new value, (256, 1, 3)."""
        unit = np.linspace(0, 1, 256, dtype=np.float32) ** np.float32(self.gamma)
        lit = ((unit - 0.5) * self.contrast + 0.5)[:, None] * np.asarray(self.tint, np.float32)
        return np.asarray(np.clip(lit * 255 + 0.5, 0, 255), np.uint8)[:, None, :]


_UNCHANGED = ClipView()
_ERASE_VALUE = 127


def _box_slices(bgr: Image, box: tuple[float, float, float, float]) -> tuple[slice, slice]:
    """Rows and columns of a box (left, top, width, height) in shares of the picture."""
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
    """A random view."""
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
        # Drawn last and only where set, so that the other changes stay what they were without these.
        angle=float(rng.uniform(-ranges.rotation, ranges.rotation)) if ranges.rotation else 0.0,
        noise=float(rng.uniform(0, ranges.noise)) if ranges.noise else 0.0,
        box=_draw_box(ranges.erase, rng) if ranges.erase else (0.0, 0.0, 0.0, 0.0),
    )


def _draw_box(largest: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A box of up to that share of the picture, one to two times as wide as high or the other way round."""
    area, aspect = rng.uniform(0, largest), np.exp(rng.uniform(-np.log(2), np.log(2)))
    width, height = min(1.0, float(np.sqrt(area * aspect))), min(1.0, float(np.sqrt(area / aspect)))
    return float(rng.uniform(0, 1 - width)), float(rng.uniform(0, 1 - height)), width, height


def draw_views(count: int, ranges: ViewRanges, seed: tuple[int, ...]) -> list[ClipView]:
    """`count` views of one clip: its mirror image first, then random ones. The seed decides them."""
    rng = np.random.default_rng(seed)
    return [ClipView(mirror=True), *(draw_view(ranges, rng) for _ in range(count - 1))][:count]
