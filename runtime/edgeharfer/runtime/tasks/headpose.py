"""The task headpose: which way each face is turned, from the detector's key points. No model.

The pose is that of a generic face whose six points, seen by a pinhole camera, fall closest to the key points
(Perspective-n-Point; Terzakis and Lourakis 2020, "A Consistently Fast and Globally Optimal Solution to the
Perspective-n-Point Problem", then Levenberg-Marquardt). The focal length is not known: it is taken to be the
width of the frame, which is a field of view of 53 degrees, and the lens to have no distortion. Angles are
relative to the axes of the camera.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats, Frame, Reading, TrackedFace

Matrix = NDArray[np.float64]

GENERIC_FACE: Matrix = np.array([
    (-31.6, -26.3, -36.5),  # right eye
    (31.6, -26.3, -36.5),  # left eye
    (0.0, 11.3, -74.8),  # tip of the nose
    (0.0, 42.7, -53.1),  # middle of the mouth
    (-76.6, -6.7, 24.4),  # right ear tragion
    (76.6, -6.7, 24.4),  # left ear tragion
])  # fmt: skip
"""The six key points of a face that looks into the camera, in millimetres: x to the right of the picture, y
down, z away from the camera.

From MediaPipe's canonical face model (`face_geometry/data/canonical_face_model.obj`, in centimetres, y up and
z towards the camera): eyes are the mean of the vertices at their corners and lids (33, 133, 145, 159 and
263, 362, 374, 386), the nose is 1, the mouth the mean of 13 and 14, the tragia are 234 and 454."""
POINTS_WITHOUT_EARS = 4
"""How many of the points, from the first one on, are enough."""
MAX_ERROR = 0.08
"""Points that miss the generic face by more than this share of their extent, on average, are no face.

Measured: at most 0.035 for faces in webcam clips, at least 0.10 for points drawn at random."""


class HeadPose:
    """Yaw, pitch and roll of each face in degrees, whenever the detector has seen it.

    The detector "haar" finds no key points: it gives those of a straight face for every face. YuNet (which
    "auto" takes for photographs) reports no ears, and the pose is that of the other four points: with an
    error of one pixel in each, angles are off by 1 to 2 degrees on average instead of 0.5 to 0.7. An open
    mouth moves the point of the mouth, and turns the pitch by up to ten degrees upwards.

    The signs, from the view of the person:
        yaw: positive where they turn to their left, which is the right of an unmirrored picture.
        pitch: positive where they look down.
        roll: positive where they tilt the head to their right shoulder, counterclockwise in the picture.
    """

    name, scope = "headpose", "face"
    value_names = ("yaw", "pitch", "roll")

    def __init__(self) -> None:
        self._seen_s: dict[int, float] = {}

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Mapping[int, Reading] | None:
        """The poses of the faces that the detector has seen since they were last read."""
        fresh = [face for face in faces if self._seen_s.get(face.track) != face.seen_s]
        self._seen_s = {face.track: face.seen_s for face in faces}
        height, width = frame.bgr.shape[:2]
        points = {face.track: face.keypoints for face in fresh}
        poses = {
            track: head_pose(keypoints, (width, height))
            for track, keypoints in points.items()
            if keypoints is not None
        }
        return {track: Reading(values=pose) for track, pose in poses.items() if pose is not None} or None

    def reset(self) -> None:
        """Forget which faces were read."""
        self._seen_s = {}

    def close(self) -> None:
        """Nothing is held."""


def camera_matrix(size: tuple[int, int]) -> Matrix:
    """The pinhole camera that is assumed for pictures of `size` = (width, height)."""
    width, height = size
    return np.array([[width, 0, (width - 1) / 2], [0, width, (height - 1) / 2], [0, 0, 1]], np.float64)


def head_pose(keypoints: Floats, size: tuple[int, int]) -> dict[str, float] | None:
    """Yaw, pitch and roll in degrees.

    Args:
        keypoints: (6, 2), pixels, in the order of `Face.keypoints`. The ears may be missing (not finite).
        size: Width and height of the frame.

    Returns:
        The angles; None where other points are missing, or where they do not lie as those of a face.
    """
    points = np.ascontiguousarray(keypoints, np.float64)
    if points.shape != (len(GENERIC_FACE), 2) or not np.isfinite(points[:POINTS_WITHOUT_EARS]).all():
        return None
    count = len(points) if np.isfinite(points).all() else POINTS_WITHOUT_EARS
    points, generic, camera = points[:count], GENERIC_FACE[:count], camera_matrix(size)
    try:
        solved, rotation, move = cv2.solvePnP(generic, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
        if not solved:
            return None
        rotation, move = cv2.solvePnPRefineLM(generic, points, camera, None, rotation, move)
        projected, _ = cv2.projectPoints(generic, rotation, move, camera, None)
        matrix, _ = cv2.Rodrigues(rotation)
    except cv2.error:  # the points coincide or lie on a line
        return None
    misses = np.hypot(*(projected.reshape(-1, 2) - points).T)
    extent = float(np.hypot(*np.ptp(points, axis=0)))
    if move[2, 0] <= 0 or not misses.mean() <= MAX_ERROR * extent:
        return None
    return angles(np.asarray(matrix, np.float64))


def angles(rotation: Matrix) -> dict[str, float]:
    """Yaw, pitch and roll in degrees of a rotation that turns the generic face, R = Rz Ry Rx."""
    pitch = math.atan2(rotation[2, 1], rotation[2, 2])
    yaw = math.atan2(rotation[2, 0], math.hypot(rotation[2, 1], rotation[2, 2]))
    roll = -math.atan2(rotation[1, 0], rotation[0, 0])
    return {"yaw": math.degrees(yaw), "pitch": math.degrees(pitch), "roll": math.degrees(roll)}
