"""The joints of a person, and the features of their movement that heads of action packages read.

`joint_features` turns joints into features, in training as in use.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats

JOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""The joints in the order of COCO (Lin et al. 2014). Right and left are the person's own."""
BONES = (
    (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12),
    (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Pairs of joints that a skeleton connects."""
MIN_JOINT_SCORE = 0.2
"""Confidence from which a joint counts as seen (the threshold of MoveNet's published crop algorithm)."""
POINTS = ("nose", *JOINTS[5:])
"""The joints that features describe: the nose for the head, and all joints of the body."""
JOINT_FEATURES = 5 * len(POINTS) + 2
"""Size of the features of one frame."""

_ROWS = [JOINTS.index(name) for name in POINTS]
_SHOULDERS, _HIPS = (1, 2), (7, 8)
_TORSO_IN_SHOULDER_WIDTHS = 1.4
"""Length of the torso in widths of the shoulders, for people whose hips are out of view."""
_MIN_TORSO = 1e-6


def joint_features(joints: Floats) -> Floats:
    """Describe the movement of one person, whatever their size and place in the picture.

    Lengths are divided by the length of the torso, from the middle of the shoulders to the middle of the
    hips (at least 1.4 times the width of the shoulders; median over the frames). A joint that is not seen
    keeps its last place; before it is first seen, the place where it appears.

    Args:
        joints: Float32, (frames, 17, 3): x, y and confidence of JOINTS, at a constant rate. Any unit of
            length, with y down.

    Returns:
        Float32, (frames, JOINT_FEATURES). For each frame: x and y of the 13 POINTS relative to the middle of
        the shoulders, x and y of their displacement since the previous frame (0 in the first frame), whether
        each is seen (0 or 1), and x and y of the middle of the shoulders relative to its mean.
    """
    points = joints[:, _ROWS, :2]
    seen = np.asarray(joints[:, _ROWS, 2] >= MIN_JOINT_SCORE, np.bool_)
    held = _held(points, seen)
    neck = held[:, _SHOULDERS].mean(axis=1)
    scale = _torso(held, seen, neck)
    known = np.asarray(seen.any(axis=0))[:, None]  # points that are never seen stay at 0
    local = np.where(known, (held - neck[:, None]) / scale, 0)
    moved = np.diff(held, axis=0, prepend=held[:1]) / scale
    path = (neck - neck.mean(axis=0)) / scale
    parts = [local, moved, seen[:, :, None], path[:, None]]
    flat = [part.reshape(len(joints), -1) for part in parts]
    return np.concatenate(flat, axis=1).astype(np.float32)


def _held(points: Floats, seen: NDArray[np.bool_]) -> Floats:
    """Return the points, (frames, points, 2), each at the last place where it was seen."""
    index = np.where(seen, np.arange(len(points))[:, None], -1)
    index = np.maximum.accumulate(index, axis=0)
    first = np.where(seen.any(axis=0), seen.argmax(axis=0), 0)
    index = np.where(index < 0, first, index)
    return np.take_along_axis(points, index[:, :, None], axis=0)


def _torso(points: Floats, seen: NDArray[np.bool_], neck: Floats) -> float:
    """Return the length of the torso in the unit of the points."""
    right, left = (points[:, one] for one in _SHOULDERS)
    lengths = _TORSO_IN_SHOULDER_WIDTHS * np.hypot(*(right - left).T)
    if seen[:, _HIPS].any(axis=0).all():
        lengths = np.maximum(lengths, np.hypot(*(points[:, _HIPS].mean(axis=1) - neck).T))
    return max(float(np.median(lengths)), _MIN_TORSO)
