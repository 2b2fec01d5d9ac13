"""YuNet: its input, decoding and framing on scripted outputs, and the same faces as OpenCV's own decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.faces.align import roll
from edgeharfer.runtime.faces.detector import DetectorOptions
from edgeharfer.runtime.faces.detectors.yunet import (
    NMS_IOU,
    PACKAGE,
    PHOTOGRAPH_SIDES,
    SIDE_OF_HEIGHT,
    STRIDES,
    YuNet,
    decode,
    fill_input,
    input_size,
    load,
)
from edgeharfer.runtime.inference.package import load_package, verify_package
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.types import Floats

POINTS = np.array([(-1, -1), (1, -1), (0, 0), (-0.5, 1), (0.5, 1)], np.float32)
"""Offsets of five points from a cell, in strides."""


def outputs(height: int, width: int) -> dict[str, Floats]:
    """What the network gives where it sees nothing in an input of this size."""
    made = {}
    for stride in STRIDES:
        count = (height // stride) * (width // stride)
        for name, length in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            made[f"{name}_{stride}"] = np.zeros((1, count, length), np.float32)
    return made


def put(
    made: dict[str, Floats],
    stride: int,
    cell: int,
    *,
    box: tuple[float, float, float, float] = (0, 0, 0, 0),
    likely: float = 0.9,
    object_like: float = 0.9,
) -> None:
    """box: shift of the centre in strides, and logarithms of width and height in strides."""
    made[f"cls_{stride}"][0, cell] = likely
    made[f"obj_{stride}"][0, cell] = object_like
    made[f"bbox_{stride}"][0, cell] = box
    made[f"kps_{stride}"][0, cell] = POINTS.ravel()


class Scripted:
    """A session that gives the same outputs for every input of their size, and notes the inputs."""

    provider = "CPUExecutionProvider"

    def __init__(self, made: Mapping[str, Floats] | None = None) -> None:
        self.made = made
        self.inputs: list[Floats] = []

    def run(self, feeds: Mapping[str, Floats]) -> Mapping[str, Floats]:
        (array,) = feeds.values()
        self.inputs.append(array)
        return self.made or outputs(*array.shape[2:])


def detector(session: Scripted, min_score: float = 0.5) -> YuNet:
    return YuNet(session, min_score=min_score)  # type: ignore[arg-type]


@pytest.mark.parametrize("stride", STRIDES)
def test_a_cell_is_decoded_in_its_row_and_column(stride: int) -> None:
    height, width = 64, 96
    made = outputs(height, width)
    column, row = width // stride - 1, height // stride - 1
    put(made, stride, row * (width // stride) + column, box=(0.5, 0.25, math.log(2), math.log(3)))
    found = decode(made, (height, width), 0.5)
    center = np.array([column + 0.5, row + 0.25]) * stride
    np.testing.assert_allclose(
        found.boxes, [[center[0] - stride, center[1] - 1.5 * stride, 2 * stride, 3 * stride]], rtol=1e-5
    )
    np.testing.assert_allclose(found.points[0], (POINTS + np.array([column, row])) * stride)
    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-6)


def test_the_score_is_the_geometric_mean_of_both_and_limits_what_is_found() -> None:
    made = outputs(32, 64)
    put(made, 8, 0, likely=0.9, object_like=0.4)  # sqrt(0.36) = 0.6
    put(made, 8, 7, likely=1.5, object_like=0.25)  # cut to 1: sqrt(0.25) = 0.5
    put(made, 8, 16, likely=-1, object_like=1)
    assert decode(made, (32, 64), 0.45).scores.tolist() == pytest.approx([0.6, 0.5])
    assert decode(made, (32, 64), 0.55).scores.tolist() == pytest.approx([0.6])
    assert decode(made, (32, 64), 0.65).scores.tolist() == []


def test_of_overlapping_boxes_the_best_stays_across_strides() -> None:
    made = outputs(64, 64)
    side = math.log(4)
    put(made, 8, 0, box=(2, 2, side, side), likely=0.8, object_like=0.8)
    put(made, 16, 0, box=(1, 1, math.log(2), math.log(2)))  # the same 32 pixels about (16, 16)
    put(made, 32, 3, box=(0.5, 0.5, 0, 0))
    found = decode(made, (64, 64), 0.5)
    assert found.boxes.tolist() == [pytest.approx([0, 0, 32, 32]), pytest.approx([32, 32, 32, 32])]
    assert NMS_IOU < 1


def test_a_face_is_framed_as_blazeface_frames_it_and_has_no_ears() -> None:
    made = outputs(256, 320)
    put(made, 32, 0, box=(2, 2, math.log(2), math.log(3)))  # 64 x 96 about (64, 64)
    (face,) = detector(Scripted(made)).detect(np.zeros((480, 640, 3), np.uint8))  # half as large as the frame
    side = SIDE_OF_HEIGHT * 192
    assert (face.box.width, face.box.height) == pytest.approx((side, side))
    assert face.box.center == pytest.approx((0, 0))
    np.testing.assert_allclose(face.keypoints[:3], POINTS[:3] * 64)
    np.testing.assert_allclose(face.keypoints[3], (0, 64))
    assert np.isnan(face.keypoints[4:]).all()
    assert face.keypoints.dtype == np.float32
    assert roll(face) == 0


def test_a_region_over_the_edge_keeps_its_scale_and_place() -> None:
    session = Scripted()
    bgr = np.full((100, 200, 3), (10, 20, 30), np.uint8)
    made = outputs(160, 160)
    put(made, 8, 0, box=(0, 0, math.log(2), math.log(2)))
    session.made = made
    (face,) = detector(session).detect(bgr, (150, 60, 80, 80), close_up=True)  # 50 x 40 of it in the frame
    (array,) = session.inputs
    assert array.shape == (1, 3, 160, 160)
    assert [array[0, channel, :80, :100].tolist() for channel in range(3)] == [
        np.full((80, 100), value).tolist() for value in (10, 20, 30)
    ]
    assert not array[0, :, 80:].any() and not array[0, :, :, 100:].any()
    np.testing.assert_allclose(face.keypoints[2], (150, 60))


@pytest.mark.parametrize(
    ("size", "expected"), [((320, 240), (256, 320)), ((160, 160), (160, 160)), ((0.1, 320), (320, 32))]
)
def test_sides_of_the_input_are_multiples_of_the_largest_stride(
    size: tuple[float, float], expected: tuple[int, int]
) -> None:
    assert input_size(*size) == expected


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (3000, 4000)])
@pytest.mark.parametrize("close_up", [False, True])
def test_no_picture_is_too_odd(shape: tuple[int, int], close_up: bool) -> None:
    picture = np.broadcast_to(np.uint8(0), (*shape, 3))
    assert detector(Scripted()).detect(picture, close_up=close_up) == []


def test_a_region_outside_the_frame_has_no_faces() -> None:
    session = Scripted()
    assert detector(session).detect(np.zeros((50, 50, 3), np.uint8), (90, 90, 20, 20)) == []
    assert session.inputs == []


def test_a_photograph_is_looked_at_with_few_and_with_many_pixels() -> None:
    session = Scripted()
    detector(session).for_photographs.detect(np.zeros((480, 640, 3), np.uint8))
    assert [max(array.shape[2:]) for array in session.inputs] == list(PHOTOGRAPH_SIDES)


def test_the_shipped_package_is_whole() -> None:
    package = verify_package(PACKAGE)
    assert package.manifest.input.color == "bgr"
    assert package.manifest.training["source_sha256"] == package.spec("model", "fp32").sha256


def test_the_same_faces_as_opencv_finds() -> None:
    """cv2.FaceDetectorYN on the same file, in pictures whose sides need no rounding: boxes within a pixel."""
    file = load_package(PACKAGE, "faces").path / "model.onnx"
    opencv = cv2.FaceDetectorYN.create(str(file), "", (320, 256), 0.5, NMS_IOU)
    ours = load(DetectorOptions(min_score=0.5))
    faces = 0
    with DemoSource(ManualClock()) as demo:
        for seq in range(0, 300, 60):
            picture = np.asarray(cv2.resize(demo.picture(seq), (320, 256)), np.uint8)
            _, expected = opencv.detect(picture)
            array, factors = fill_input(picture, 1.0, (256, 320))
            assert factors.tolist() == [1, 1]
            found = ours.candidates(array)
            assert len(found.scores) == len(expected)
            faces += len(found.scores)
            np.testing.assert_allclose(found.boxes, expected[:, :4], atol=1)
            np.testing.assert_allclose(found.points.reshape(-1, 10), expected[:, 4:14], atol=1)
            np.testing.assert_allclose(found.scores, expected[:, 14], atol=0.01)
    assert faces >= 5
