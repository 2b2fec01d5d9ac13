"""The skeleton of a person: lines between the joints that are seen."""

from __future__ import annotations

import cv2

from edgeharfer.runtime.overlay.canvas import SHADOW, dot
from edgeharfer.runtime.overlay.style import CYAN, OverlayStyle
from edgeharfer.runtime.tasks.joints import BONES, MIN_JOINT_SCORE
from edgeharfer.runtime.tasks.pose import Pose
from edgeharfer.runtime.types import Image

_FIRST_BODY_JOINT = 5  # the joints before it are in the face, which has its own box
_FARTHEST = 1 << 14  # OpenCV's fixed-point lines fail far outside the image


def draw_skeleton(image: Image, pose: Pose, style: OverlayStyle) -> None:
    """Draw the joints below the head that were seen (see MIN_JOINT_SCORE), and the bones between them."""
    places = {
        number: (int(x), int(y))
        for number, (x, y, score) in enumerate(pose.joints.round(3).tolist())
        if number >= _FIRST_BODY_JOINT and score >= MIN_JOINT_SCORE and max(abs(x), abs(y)) < _FARTHEST
    }
    bones = [(places[a], places[b]) for a, b in BONES if a in places and b in places]
    for color, width in ((SHADOW, style.line + 2), (CYAN, style.line)):
        for start, end in bones:
            cv2.line(image, start, end, color, width, cv2.LINE_AA)
    for x, y in places.values():
        dot(image, x, y, style.line + 1, CYAN)
