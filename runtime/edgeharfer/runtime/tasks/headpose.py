"""The task "headpose": yaw, pitch and roll of each face from the detector's key points, without a model.

The pose is that of a generic face whose six points, projected by a pinhole camera, are closest to the key
points (Perspective-n-Point; Terzakis and Lourakis 2020, "A Consistently Fast and Globally Optimal Solution to
the Perspective-n-Point Problem", then Levenberg-Marquardt). The focal length is unknown and assumed to be the
width of the frame, which is a field of view of 53 degrees, without lens distortion. Angles are relative to
the axes of the camera.
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
"""Six key points of a face that looks into the camera, (6, 3), in millimetres: x to the right of the picture,
y down, z away from the camera.

From MediaPipe's canonical face model (`face_geometry/data/canonical_face_model.obj`, in centimetres, y up and
z towards the camera): eyes are the mean of the vertices at their corners and lids (33, 133, 145, 159 and
263, 362, 374, 386), the nose is 1, the mouth the mean of 13 and 14, the tragia are 234 and 454."""
POINTS_WITHOUT_EARS = 4
"""Number of key points used if the ears are missing: the eyes, the nose and the mouth."""
MAX_ERROR = 0.08
"""Maximum mean reprojection error, relative to the extent of the key points, for which a pose is returned.

Measured: at most 0.035 for faces in webcam clips, at least 0.10 for random points."""


class HeadPose:
    """Estimates yaw, pitch and roll of each face in degrees, once per detection.

    Do not use it with the detector "haar", which returns the key points of a frontal face for every face.
    YuNet (which "auto" uses for photographs) reports no ears, so the pose comes from the other four points:
    with an error of one pixel in each, the mean error is 1 to 2 degrees instead of 0.5 to 0.7. An open mouth
    moves its key point, and turns the pitch upwards by up to ten degrees.

    The signs, from the view of the person:
        yaw: Positive if they turn to their left, which is the right of a picture that is not mirrored.
        pitch: Positive if they look down.
        roll: Positive if they tilt the head to their right shoulder, counterclockwise in the picture.
    """

    name, scope = "headpose", "face"
    value_names = ("yaw", "pitch", "roll")

    def __init__(self) -> None:
        self._seen_s: dict[int, float] = {}

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Mapping[int, Reading] | None:
        """Return the poses of the faces that were detected since their last reading."""
        detected = [face for face in faces if self._seen_s.get(face.track) != face.seen_s]
        self._seen_s = {face.track: face.seen_s for face in faces}
        points = {face.track: face.keypoints for face in detected}
        poses = {
            track: head_pose(keypoints, frame.size)
            for track, keypoints in points.items()
            if keypoints is not None
        }
        return {track: Reading(values=pose) for track, pose in poses.items() if pose is not None} or None

    def reset(self) -> None:
        """Discard the record of which faces were read."""
        self._seen_s = {}

    def for_another_source(self) -> HeadPose:
        """See `Task`."""
        return HeadPose()

    def close(self) -> None:
        """Do nothing: there are no resources to release."""


def camera_matrix(size: tuple[int, int]) -> Matrix:
    """Return the assumed intrinsic matrix, (3, 3), for pictures of `size` = (width, height)."""
    width, height = size
    return np.array([[width, 0, (width - 1) / 2], [0, width, (height - 1) / 2], [0, 0, 1]], np.float64)


def head_pose(keypoints: Floats, size: tuple[int, int]) -> dict[str, float] | None:
    """Estimate the pose of a face.

    Args:
        keypoints: Float32, (6, 2), pixels, in the order of `KEYPOINTS`. The ears may be missing (not finite).
        size: Width and height of the frame in pixels.

    Returns:
        "yaw", "pitch" and "roll" in degrees; None if other points are missing, or if the points do not fit a
        face.
    """
    points = np.ascontiguousarray(keypoints, np.float64)
    if points.shape != (len(GENERIC_FACE), 2) or not np.isfinite(points[:POINTS_WITHOUT_EARS]).all():
        return None
    count = len(points) if np.isfinite(points).all() else POINTS_WITHOUT_EARS
    points, generic, camera = points[:count], GENERIC_FACE[:count], camera_matrix(size)
    try:
        solved, rotation, translation = cv2.solvePnP(generic, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
        if not solved:
            return None
        rotation, translation = cv2.solvePnPRefineLM(generic, points, camera, None, rotation, translation)
        projected, _ = cv2.projectPoints(generic, rotation, translation, camera, None)
        matrix, _ = cv2.Rodrigues(rotation)
    except cv2.error:  # the points coincide or lie on a line
        return None
    errors = np.hypot(*(projected.reshape(-1, 2) - points).T)
    extent = float(np.hypot(*np.ptp(points, axis=0)))
    if translation[2, 0] <= 0 or not errors.mean() <= MAX_ERROR * extent:
        return None
    return angles(np.asarray(matrix, np.float64))


def angles(rotation: Matrix) -> dict[str, float]:
    """Return yaw, pitch and roll in degrees of a rotation matrix, (3, 3), decomposed as R = Rz Ry Rx."""
    pitch = math.atan2(rotation[2, 1], rotation[2, 2])
    yaw = math.atan2(rotation[2, 0], math.hypot(rotation[2, 1], rotation[2, 2]))
    roll = -math.atan2(rotation[1, 0], rotation[0, 0])
    return {"yaw": math.degrees(yaw), "pitch": math.degrees(pitch), "roll": math.degrees(roll)}
