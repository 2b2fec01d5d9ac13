"""Windows of joints for training: cut out of tracks, varied, and disturbed as the pose model errs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.tasks.joints import JOINTS
from edgeharfer.runtime.types import Floats
from edgeharfer.training.joints.tracks import JointTrack

_MIRRORED = [
    JOINTS.index(name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right"))
    for name in JOINTS
]
_LEGS = [JOINTS.index(f"{side}_{part}") for side in ("left", "right") for part in ("knee", "ankle")]
_HIPS = [JOINTS.index(f"{side}_hip") for side in ("left", "right")]
_SHOULDERS = [JOINTS.index(f"{side}_shoulder") for side in ("left", "right")]
_ANKLES = [JOINTS.index(f"{side}_ankle") for side in ("left", "right")]


@dataclass(frozen=True)
class Disturbance:
    """Errors of a pose model.

    Attributes:
        jitter: Standard deviation of each coordinate, in torso lengths, new in each frame.
        drift: The same for an error that lasts through the window.
        lost: Share of joints that are not seen in a frame.
        wrong: Share of joints that are seen in another place, up to half a torso length away.
    """

    jitter: float = 0.03
    drift: float = 0.03
    lost: float = 0.05
    wrong: float = 0.02

    def scaled(self, factor: float) -> Disturbance:
        """Return errors that are `factor` times as large and as frequent."""
        return Disturbance(*(factor * value for value in (self.jitter, self.drift, self.lost, self.wrong)))

    def apply(self, joints: Floats, rng: np.random.Generator) -> Floats:
        """Return disturbed joints, (frames, 17, 3)."""
        found, torso = joints.copy(), torso_length(joints)
        shape = (*joints.shape[:2], 2)
        found[..., :2] += torso * self.jitter * rng.standard_normal(shape)
        found[..., :2] += torso * self.drift * rng.standard_normal((1, *shape[1:]))
        wrong = rng.random(shape[:2]) < self.wrong
        found[wrong, :2] += torso * rng.uniform(-0.5, 0.5, (int(wrong.sum()), 2))
        found[..., 2] *= rng.random(shape[:2]) >= self.lost
        return found


def torso_length(joints: Floats) -> float:
    """Return the median distance from the middle of the shoulders to that of the hips."""
    ends = [joints[:, rows, :2].mean(axis=1) for rows in (_SHOULDERS, _HIPS)]
    return float(np.median(np.hypot(*(ends[1] - ends[0]).T)))


def cut_window(track: JointTrack, end_s: float, window: WindowSpec, speed: float = 1.0) -> Floats:
    """Sample the window that ends at `end_s`; before the first frame and after the last one nothing moves.

    Returns:
        Float32, (frames, 17, 3).
    """
    step = speed * window.seconds / window.frames
    times = end_s - step * np.arange(window.frames - 1, -1, -1)
    rows = np.clip(np.round(times * track.fps).astype(int), 0, len(track.joints) - 1)
    cut: Floats = track.joints[rows]
    return cut


def draw_window(track: JointTrack, window: WindowSpec, rng: np.random.Generator) -> tuple[Floats, int]:
    """Draw a window of a track, at 0.8 to 1.2 times its speed.

    Returns:
        The window, and the frame of the track that it ends with. A clip that is shorter than a window is
        inside as a whole, with up to half a second after it.
    """
    speed = float(rng.uniform(0.8, 1.25))
    if track.seconds < window.seconds:
        end = track.seconds + float(rng.uniform(0, 0.5))
    else:
        end = float(rng.uniform(window.seconds - window.seconds / window.frames, track.seconds))
    return cut_window(track, end, window, speed), min(round(end * track.fps), len(track.joints) - 1)


def vary(joints: Floats, rng: np.random.Generator) -> Floats:
    """Mirror, turn, stretch, and hide parts of a person, at random."""
    varied = joints.copy()
    if rng.random() < 0.5:
        varied = varied[:, _MIRRORED]
        varied[..., 0] *= -1
    center = varied[..., :2].mean(axis=(0, 1))
    angle = rng.normal(0, np.radians(5))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    stretch = np.array([rng.uniform(0.8, 1.1), rng.uniform(0.95, 1.1)], np.float32)
    varied[..., :2] = (varied[..., :2] - center) @ turn * stretch
    hidden = rng.random()
    if hidden < 0.25:
        varied[:, _LEGS, 2] = 0
    if hidden < 0.1:
        varied[:, _HIPS, 2] = 0
    return varied


def make_fall(joints: Floats, rng: np.random.Generator) -> tuple[Floats, bool]:
    """Let a person who stands fall over, sideways or along the line of sight, in half a second to a second.

    Returns:
        The joints, and whether most of the fall is inside the window.
    """
    frames = len(joints)
    start, duration = int(rng.integers(3, frames - 1)), float(rng.uniform(4, 8))
    progress = np.clip((np.arange(frames) - start) / duration, 0, 1) ** 1.7
    angle = progress * np.radians(rng.uniform(70, 100)) * rng.choice([-1, 1])
    feet = joints[:, _ANKLES, :2].mean(axis=1, keepdims=True)
    x, y = np.moveaxis(joints[..., :2] - feet, -1, 0)
    sin, cos = np.sin(angle)[:, None], np.cos(angle)[:, None]
    fallen = joints.copy()
    if rng.random() < 0.6:
        fallen[..., 0], fallen[..., 1] = feet[..., 0] + cos * x - sin * y, feet[..., 1] + sin * x + cos * y
    else:  # away from the camera or towards it
        near = 1 + rng.uniform(-0.3, 0.4) * progress[:, None]
        flat = np.maximum(cos, rng.uniform(0.1, 0.4))
        fallen[..., 0], fallen[..., 1] = feet[..., 0] + near * x, feet[..., 1] + near * flat * y
    unsure = rng.random(fallen.shape[:2]) < 0.4 * progress[:, None]
    fallen[..., 2] *= ~unsure
    return fallen, start + 0.75 * duration <= frames - 1
