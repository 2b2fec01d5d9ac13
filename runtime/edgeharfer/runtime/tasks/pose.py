"""The task "pose": the joints of the main person, about eight times a second."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from edgeharfer.runtime.tasks.generic import GenericTask
from edgeharfer.runtime.tasks.joints import JOINTS
from edgeharfer.runtime.tasks.movenet import PoseModel as PoseModel
from edgeharfer.runtime.types import Floats, Frame, Reading, ReadingStyle, TrackedFace

LOOK_INTERVAL_S = 0.125
"""Time between two looks at a video."""


@dataclass(frozen=True, slots=True, init=False)
class Pose(Reading):
    """The joints of the main person.

    Attributes:
        joints: Float32, (17, 3): x and y in pixels of the frame, and the confidence from 0 to 1, of each of
            JOINTS. Joints with a confidence below MIN_JOINT_SCORE are guesses.
    """

    shown: ClassVar[ReadingStyle] = "skeleton"

    joints: Floats = field(kw_only=True)

    def __init__(self, joints: Floats) -> None:
        Reading.__init__(self, values=joint_values(joints))
        object.__setattr__(self, "joints", joints)

    def scaled(self, factor: float) -> Pose:
        """Return the joints for a picture that is `factor` times as large."""
        return Pose(self.joints * np.array((factor, factor, 1), np.float32))


VALUE_NAMES = tuple(f"{joint}_{part}" for joint in JOINTS for part in ("x", "y", "score"))


def joint_values(joints: Floats) -> Mapping[str, float]:
    """Return joints, (17, 3), as values by name, such as "left_wrist_x"."""
    return dict(zip(VALUE_NAMES, joints.ravel().tolist(), strict=True))


class PoseTask(GenericTask):
    """Reads the joints of the main person every LOOK_INTERVAL_S; in a photograph, looks twice."""

    value_names = VALUE_NAMES

    def __init__(self, model: PoseModel) -> None:
        super().__init__(model, "scene")
        self.value_names = VALUE_NAMES
        self._pose, self._read_s = model, -math.inf

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Reading | None:
        """Return a `Pose` if LOOK_INTERVAL_S has passed since the last one."""
        if frame.still:
            self._pose.reset()
            self._pose.locate(frame.bgr)
        elif 0 <= frame.pts_s - self._read_s < LOOK_INTERVAL_S:
            return None
        self._read_s = frame.pts_s
        return Pose(self._pose.locate(frame.bgr))

    def reset(self) -> None:
        """Forget the person."""
        self._pose.reset()
        self._read_s = -math.inf
