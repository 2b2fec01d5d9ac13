"""Yaw, pitch and roll: of points turned by known angles, and of a real face and its mirror image."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.tasks.headpose import GENERIC_FACE, HeadPose, Matrix, camera_matrix, head_pose
from edgeharfer.runtime.types import Box, Face, Floats, Frame, Image, TrackedFace

SIZE = (640, 480)
PLACES = [(0.0, 0.0, 700.0), (180.0, -80.0, 900.0), (-150.0, 100.0, 600.0)]


def turned(yaw: float, pitch: float, roll: float) -> Matrix:
    """To the person's left, down, and to the right shoulder, in degrees; x right, y down, z away."""
    a, b, c = np.radians((pitch, -yaw, -roll))
    down = np.array([(1, 0, 0), (0, np.cos(a), -np.sin(a)), (0, np.sin(a), np.cos(a))])
    left = np.array([(np.cos(b), 0, np.sin(b)), (0, 1, 0), (-np.sin(b), 0, np.cos(b))])
    tilt = np.array([(np.cos(c), -np.sin(c), 0), (np.sin(c), np.cos(c), 0), (0, 0, 1)])
    return np.asarray(tilt @ left @ down, np.float64)


def seen(yaw: float, pitch: float, roll: float, place: tuple[float, float, float] = PLACES[0]) -> Floats:
    """Key points of the generic face, turned and put before the camera."""
    points = (GENERIC_FACE @ turned(yaw, pitch, roll).T + place) @ camera_matrix(SIZE).T
    return np.asarray(points[:, :2] / points[:, 2:], np.float32)


def poses() -> Iterator[tuple[tuple[float, float, float], tuple[float, float, float]]]:
    for yaw, pitch, roll in product(range(-60, 61, 30), range(-30, 31, 15), (-45, -20, 0, 20, 45)):
        for place in PLACES:
            yield (yaw, pitch, roll), place


def angles(pose: dict[str, float] | None) -> tuple[float, float, float]:
    assert pose is not None
    return pose["yaw"], pose["pitch"], pose["roll"]


def test_a_turned_face_is_measured_within_a_degree() -> None:
    for pose, place in poses():
        assert angles(head_pose(seen(*pose, place), SIZE)) == pytest.approx(pose, abs=0.1)


def test_noise_of_a_pixel_moves_the_angles_by_few_degrees() -> None:
    """A face of about 110 pixels across."""
    rng = np.random.default_rng(0)
    errors = [
        np.subtract(
            angles(head_pose(seen(*pose, place) + rng.normal(0, 1, (6, 2)).astype(np.float32), SIZE)), pose
        )
        for pose, place in poses()
    ]
    assert np.abs(errors).mean() < 1.5
    assert np.percentile(np.abs(errors), 95) < 4


def test_to_the_left_the_nose_moves_right_in_the_picture() -> None:
    """The meaning of the signs, without the matrices of this test: x grows to the right, y down."""
    straight, left, down, right_shoulder = (
        seen(*pose) for pose in ((0, 0, 0), (20, 0, 0), (0, 20, 0), (0, 0, 20))
    )
    nose = 2
    assert left[nose, 0] > straight[nose, 0] + 5
    assert down[nose, 1] > straight[nose, 1] + 5
    eyes = right_shoulder[1] - right_shoulder[0]
    assert eyes[1] < -5, "the person's left eye, on the right of the picture, is the higher one"


def test_without_the_ears_the_other_points_give_the_pose() -> None:
    for pose, place in poses():
        points = seen(*pose, place)
        points[4:] = np.nan
        assert angles(head_pose(points, SIZE)) == pytest.approx(pose, abs=0.2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("point", range(4))
def test_without_eyes_nose_or_mouth_there_is_no_pose(value: float, point: int) -> None:
    points = seen(10, 5, 0)
    points[point, 1] = value
    assert head_pose(points, SIZE) is None


def test_points_that_are_no_face_have_no_pose() -> None:
    rng = np.random.default_rng(1)
    scattered = [head_pose(rng.uniform(100, 200, (6, 2)).astype(np.float32), SIZE) for _ in range(50)]
    assert scattered.count(None) == 50
    assert head_pose(np.zeros((6, 2), np.float32), SIZE) is None
    assert head_pose(np.linspace((0, 0), (50, 50), 6, dtype=np.float32), SIZE) is None
    assert head_pose(np.zeros((5, 2), np.float32), SIZE) is None


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    """BlazeFace finds the ears as well."""
    with Pipeline(detector="blazeface", action=None, emotion=None, extra_tasks=[HeadPose()]) as pipeline:
        yield pipeline


def test_faces_of_a_photograph_have_a_pose() -> None:
    with Pipeline(action=None, emotion=None, extra_tasks=[HeadPose()]) as pipeline:
        faces = pipeline.process(DemoSource(SystemClock()).picture(0)).faces
    assert len(faces) == 2
    assert all(abs(face.readings["headpose"].values["yaw"]) < 30 for face in faces)  # type: ignore[index]


def rightmost(pipeline: Pipeline, picture: Image) -> tuple[float, float, float]:
    face = max(pipeline.process(picture).faces, key=lambda face: face.box.x)
    return angles(dict(face.readings["headpose"].values or {}))


def leftmost(pipeline: Pipeline, picture: Image) -> tuple[float, float, float]:
    face = min(pipeline.process(picture).faces, key=lambda face: face.box.x)
    return angles(dict(face.readings["headpose"].values or {}))


def test_the_mirror_image_of_a_face_turns_and_tilts_the_other_way(pipeline: Pipeline) -> None:
    """The demo's portrait on the right is tilted to her right shoulder and looks at the middle."""
    picture = DemoSource(SystemClock()).picture(0)
    yaw, pitch, roll = rightmost(pipeline, picture)
    mirrored = leftmost(pipeline, picture[:, ::-1])
    assert yaw < -10 and roll > 3
    assert mirrored[0] > 10 and mirrored[2] < -3
    assert abs(mirrored[1] - pitch) < 10


@pytest.mark.parametrize("degrees", [-20, 20])
def test_a_picture_turned_counterclockwise_adds_to_the_roll(pipeline: Pipeline, degrees: int) -> None:
    picture = DemoSource(SystemClock()).picture(0)
    around = cv2.getRotationMatrix2D(
        (194, 218), degrees, 1
    )  # the face on the left; positive: counterclockwise
    tilted = np.asarray(cv2.warpAffine(picture, around, SIZE), np.uint8)
    change = leftmost(pipeline, tilted)[2] - leftmost(pipeline, picture)[2]
    assert change == pytest.approx(degrees, abs=7)


def test_a_face_is_read_when_the_detector_has_seen_it() -> None:
    task = HeadPose()
    picture = np.zeros((480, 640, 3), np.uint8)

    def step(seen_s: float, points: Floats) -> object:
        face = TrackedFace(1, Box(0, 0, 9, 9), 0.9, {}, Face(Box(0, 0, 9, 9), 0.9, points), seen_s=seen_s)
        return task.step(Frame(0, seen_s, 0.0, picture), [face])

    assert step(0.0, seen(10, 0, 0)) is not None
    assert step(0.0, seen(10, 0, 0)) is None, "nothing is new"
    assert step(0.1, seen(10, 0, 0) * np.nan) is None
    assert step(0.2, seen(10, 0, 0)) is not None
    task.reset()
    assert step(0.2, seen(10, 0, 0)) is not None
    assert task.step(Frame(0, 0.3, 0.0, picture), [TrackedFace(1, Box(0, 0, 9, 9), 0.9)]) is None
