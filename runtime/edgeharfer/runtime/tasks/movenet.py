"""MoveNet: the joints of the main person, who is followed from look to look.

MoveNet reads a square of 192 pixels. The first look is at the whole frame; each further look is at the square
around the person that follows from the joints of the last one, so that a person who is small in the frame
is seen as large as one who fills it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.picture import Picture
from edgeharfer.runtime.tasks.joints import JOINTS, MIN_JOINT_SCORE
from edgeharfer.runtime.tasks.packaged import Inference
from edgeharfer.runtime.tasks.pictures import PictureModel
from edgeharfer.runtime.types import Box, Face, Floats, Image

if TYPE_CHECKING:
    from typing_extensions import Self

# The crop algorithm of Google's MoveNet tutorial (tensorflow.org/hub/tutorials/movenet): a square around the
# middle of the hips, half as wide as the larger of 1.9 times the distance of the farthest shoulder or hip and
# 1.2 times that of the farthest joint that is seen.
_TORSO_MARGIN = 1.9
_BODY_MARGIN = 1.2
_LEFT_SHOULDER, _RIGHT_SHOULDER, _LEFT_HIP, _RIGHT_HIP = (
    JOINTS.index(name) for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
)
_TORSO = (_LEFT_SHOULDER, _RIGHT_SHOULDER, _LEFT_HIP, _RIGHT_HIP)


class PoseModel(PictureModel):
    """MoveNet, following one person from look to look.

    Args:
        package: A package for the task "pose".
        backend: Where and how the graph runs.

    Raises:
        ModelError: See `TaskModel`.
        ProviderError: See `TaskModel`.
    """

    batches = (1,)

    def __init__(self, package: Package, backend: Backend = CPU) -> None:
        super().__init__(package, backend)
        if self.manifest.outputs != 3 * len(JOINTS):
            raise ModelError(
                f"{package.path}: has {self.manifest.outputs} values, but a package for the task pose has "
                f"{3 * len(JOINTS)}: y, x and score of {len(JOINTS)} joints"
            )
        self._region: Box | None = None

    def for_another_source(self) -> Self:
        other = super().for_another_source()
        other.reset()
        return other

    def reset(self) -> None:
        """Look at the whole frame next time."""
        self._region = None

    def locate(self, bgr: Image) -> Floats:
        """Find the joints of the main person.

        Args:
            bgr: The picture, uint8, (height, width, 3); the next one of the same video, or after `reset`.

        Returns:
            Float32, (17, 3): x and y in pixels of the picture, and confidence, of each of JOINTS.
        """
        height, width = bgr.shape[:2]
        region = self._region or whole_square(width, height)
        found = self.classify([cut_square(bgr, region, self.size[0])])[0].reshape(-1, 3)
        joints: Floats = np.empty_like(found)
        joints[:, 0] = region.x + found[:, 1] * region.width
        joints[:, 1] = region.y + found[:, 0] * region.height
        joints[:, 2] = found[:, 2]
        self._region = following_square(joints, width, height)
        return joints

    def infer(self, picture: Picture, faces: Sequence[Face]) -> Inference:
        """Return the joints, (51,): x, y and confidence of each."""
        return Inference(self.locate(picture.bgr).ravel())


def whole_square(width: int, height: int) -> Box:
    """Return the smallest square that contains a frame, with the same centre."""
    side = float(max(width, height))
    return Box((width - side) / 2, (height - side) / 2, side, side)


def following_square(joints: Floats, width: int, height: int) -> Box:
    """Return where to look next, from joints, (17, 3), in a frame of the given size.

    The whole frame, unless a shoulder and a hip were seen.
    """
    seen = joints[:, 2] > MIN_JOINT_SCORE
    torso_seen = (seen[_LEFT_HIP] or seen[_RIGHT_HIP]) and (seen[_LEFT_SHOULDER] or seen[_RIGHT_SHOULDER])
    if not torso_seen:
        return whole_square(width, height)
    center = joints[[_LEFT_HIP, _RIGHT_HIP], :2].mean(axis=0)
    away = np.abs(joints[:, :2] - center).max(axis=1)
    half = max(_TORSO_MARGIN * away[list(_TORSO)].max(), _BODY_MARGIN * away[seen].max())
    x, y = center.tolist()
    half = min(half, max(x, width - x, y, height - y))
    if half > max(width, height) / 2:
        return whole_square(width, height)
    side = max(2.0, 2 * float(half))
    return Box(x - side / 2, y - side / 2, side, side)


def cut_square(bgr: Image, region: Box, side: int) -> Image:
    """Cut a square region out of a picture, padded with black, uint8 (side, side, 3)."""
    left, top, size = round(region.x), round(region.y), max(1, round(region.width))
    height, width = bgr.shape[:2]
    inside = bgr[max(0, top) : max(0, top + size), max(0, left) : max(0, left + size)]
    if inside.size == 0:
        return np.zeros((side, side, 3), np.uint8)
    borders = max(0, -top), max(0, top + size - height), max(0, -left), max(0, left + size - width)
    scale = side / size
    above, below, before, after = (round(border * scale) for border in borders)
    wide, high = max(1, side - before - after), max(1, side - above - below)
    small = _shrink(inside, wide, high)
    padded = cv2.copyMakeBorder(
        small, above, side - high - above, before, side - wide - before, cv2.BORDER_CONSTANT
    )
    return np.asarray(padded, np.uint8)


def _shrink(image: Image, width: int, height: int) -> Image:
    """Halve an image while it is at least twice as large, then scale it bilinearly: fast for every size."""
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        high, wide = image.shape[0] // 2, image.shape[1] // 2
        half = cv2.resize(image[: 2 * high, : 2 * wide], (wide, high), interpolation=cv2.INTER_AREA)
        image = np.asarray(half, np.uint8)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def pad_to_square(bgr: Image, side: int) -> Image:
    """Return a whole picture as a square with black bars, uint8 (side, side, 3)."""
    height, width = bgr.shape[:2]
    return cut_square(bgr, whole_square(width, height), side)
