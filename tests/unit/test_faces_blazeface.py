"""BlazeFace: anchors, decoding and suppression, worked out by hand on a scripted session."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.faces.detector import Region, crop_region
from edgeharfer.runtime.faces.detectors.blazeface import (
    ANCHOR_LAYERS,
    FULL_RANGE,
    SHORT_RANGE,
    BlazeFace,
    anchor_centers,
    iou_with,
    load_blazeface,
    weighted_nms,
)
from edgeharfer.runtime.faces.overlap import same_face, suppress_overlaps
from edgeharfer.runtime.inference.package import load_package, verify_package
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.types import Box, Face, Floats

LOGIT_90 = math.log(9)  # The logit of a score of 0.9.
KEYPOINTS = np.array([(-12, -8), (12, -8), (0, 3), (0, 14), (-20, 0), (20, 0)], np.float32)
"""Offsets of six key points from an anchor, in pixels of the input."""


class Scripted:
    """A session that answers what it was given and notes what it was asked."""

    provider = "CPUExecutionProvider"

    def __init__(self, side: int = 192) -> None:
        count = len(anchor_centers(side, ANCHOR_LAYERS[side])) if side in ANCHOR_LAYERS else 1
        self.side = side
        self.input_shape = (1, side, side, 3)
        self.boxes = np.zeros((1, count, 16), np.float32)
        self.scores = np.full((1, count, 1), -50, np.float32)
        self.image: Floats = np.zeros((0,), np.float32)

    def put(
        self, anchor: int, *, shift: tuple[float, float], size: tuple[float, float], logit: float
    ) -> None:
        self.boxes[0, anchor] = [*shift, *size, *KEYPOINTS.ravel()]
        self.scores[0, anchor] = logit

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, Floats]:
        self.image = feeds["image"].copy()
        return {"boxes": self.boxes, "scores": self.scores}


def detector(session: Scripted, min_score: float = 0.5) -> BlazeFace:
    return BlazeFace(session, session.side, min_score=min_score)  # type: ignore[arg-type]


def test_anchors_of_the_full_range_model() -> None:
    """48 x 48 cells of 4 pixels, one anchor in the middle of each, row by row."""
    anchors = anchor_centers(192, ANCHOR_LAYERS[192])
    assert anchors.shape == (2304, 2)
    assert anchors[[0, 1, 47, 48, 2303]].tolist() == [[2, 2], [6, 2], [190, 2], [2, 6], [190, 190]]


def test_anchors_of_the_short_range_model() -> None:
    """16 x 16 cells of 8 pixels with two anchors each, then 8 x 8 cells of 16 pixels with six."""
    anchors = anchor_centers(128, ANCHOR_LAYERS[128])
    assert anchors.shape == (896, 2)
    assert anchors[[0, 1, 2, 31, 32, 511]].tolist() == [
        [4, 4],
        [4, 4],
        [12, 4],
        [124, 4],
        [4, 12],
        [124, 124],
    ]
    assert anchors[[512, 517, 518, 560, 895]].tolist() == [[8, 8], [8, 8], [24, 8], [8, 24], [120, 120]]


@pytest.mark.parametrize(
    ("shape", "region", "scale", "left", "top"),
    [
        # The longer side fills the input's 192 pixels, the shorter one lies between black bars.
        ((480, 640), None, 0.3, 0, -80),
        ((640, 480), None, 0.3, -80, 0),
        ((96, 96), None, 2.0, 0, 0),
        ((480, 640), (320, 240, 240, 180), 0.8, 320, 240 - 30),
        ((480, 640), (-50, 400, 100, 100), 1.92, -50, 400),
    ],
    ids=["landscape", "portrait", "small square", "region", "region over the edge"],
)
def test_a_known_anchor_gives_the_known_box(
    shape: tuple[int, int], region: Region | None, scale: float, left: float, top: float
) -> None:
    session = Scripted()
    anchor = 20 * 48 + 30  # Row 20, column 30: its centre is at (122, 82).
    session.put(anchor, shift=(1.5, -2.5), size=(48, 52), logit=LOGIT_90)
    (face,) = detector(session).detect(np.zeros((*shape, 3), np.uint8), region)
    corner = left + (122 + 1.5 - 24) / scale, top + (82 - 2.5 - 26) / scale
    assert (face.box.x, face.box.y) == pytest.approx(corner, abs=1e-3)
    assert (face.box.width, face.box.height) == pytest.approx((48 / scale, 52 / scale), abs=1e-3)
    assert face.score == pytest.approx(0.9, abs=1e-6)
    expected = (KEYPOINTS + np.array((122, 82))) / scale + np.array((left, top))
    np.testing.assert_allclose(face.keypoints, expected, atol=1e-3)
    assert face.keypoints.dtype == np.float32


def test_the_short_range_model_decodes_from_its_second_layer() -> None:
    session = Scripted(128)
    session.put(512 + 6 * (3 * 8 + 5) + 4, shift=(0, 0), size=(32, 32), logit=LOGIT_90)
    (face,) = detector(session).detect(np.zeros((128, 128, 3), np.uint8))
    assert face.box == Box(5.5 * 16 - 16, 3.5 * 16 - 16, 32, 32)


def test_the_input_is_rgb_between_black_bars() -> None:
    session = Scripted()
    bgr = np.zeros((480, 640, 3), np.uint8)
    bgr[:] = (0, 51, 255)
    detector(session).detect(bgr)
    (image,) = session.image
    np.testing.assert_allclose(image[96, 96], [1, -0.6, -1], atol=1e-6)
    assert (image[:24] == -1).all() and (image[168:] == -1).all()
    assert (image[25:167, 1:-1, 0] == 1).all()


def test_pixels_are_placed_as_mediapipe_places_them() -> None:
    """Without the half-pixel shift: at scale 1/2, input pixel (i, j) shows frame pixel (2i, 2j)."""
    bgr = np.random.default_rng(0).integers(0, 256, (384, 384, 3), np.uint8)
    session = Scripted()
    detector(session).detect(bgr)
    np.testing.assert_allclose((session.image[0] + 1) * 127.5, bgr[::2, ::2, ::-1], atol=0.01)


def test_faces_below_the_least_score_are_not_reported() -> None:
    session = Scripted()
    session.put(100, shift=(0, 0), size=(20, 20), logit=math.log(0.59 / 0.41))
    session.put(1500, shift=(0, 0), size=(20, 20), logit=math.log(0.61 / 0.39))
    picture = np.zeros((192, 192, 3), np.uint8)
    assert [face.score for face in detector(session, 0.6).detect(picture)] == [pytest.approx(0.61)]
    assert [face.score for face in detector(session, 0.5).detect(picture)] == pytest.approx([0.61, 0.59])
    assert detector(session, 0.7).detect(picture) == []


def test_absurd_logits_stay_finite() -> None:
    session = Scripted()
    session.put(100, shift=(0, 0), size=(20, 20), logit=4e38 / 2)
    with np.errstate(over="raise", invalid="raise"):
        (face,) = detector(session).detect(np.zeros((192, 192, 3), np.uint8))
    assert face.score == 1.0


@pytest.mark.parametrize("size", [(-20, 20), (20, -20), (0, 20)])
def test_a_box_without_size_is_no_face(size: tuple[float, float]) -> None:
    session = Scripted()
    session.put(100, shift=(0, 0), size=size, logit=LOGIT_90)
    assert detector(session).detect(np.zeros((192, 192, 3), np.uint8)) == []


def test_an_input_of_another_size_is_refused() -> None:
    with pytest.raises(ModelError, match="256 pixels"):
        detector(Scripted(256))


def candidates(*boxes: tuple[float, float, float, float]) -> Floats:
    """Boxes (left, top, right, bottom) whose six key points all lie on the left top corner."""
    rows = [[(x, y), (right, bottom)] + [(x, y)] * 6 for x, y, right, bottom in boxes]
    return np.array(rows, np.float32)


def test_suppression_joins_by_weight_as_worked_out_by_hand() -> None:
    """IoU of the first two is 90 / 110; the third stands apart.

    Weighted mean with 0.9 and 0.6: left = (0 * 0.9 + 1 * 0.6) / 1.5 = 0.4, right = 10.4.
    """
    points = candidates((1, 0, 11, 10), (0, 0, 10, 10), (50, 50, 60, 60))
    (first, first_score), (second, second_score) = weighted_nms(points, np.array([0.6, 0.9, 0.7], np.float32))
    np.testing.assert_allclose(first[:3], [(0.4, 0), (10.4, 10), (0.4, 0)], atol=1e-6)
    np.testing.assert_allclose(second[:2], [(50, 50), (60, 60)])
    assert (first_score, second_score) == pytest.approx((0.9, 0.7))


def test_suppression_starts_from_the_surest_and_not_from_what_it_joined() -> None:
    """The middle box overlaps both others by a half (IoU 1/3), which do not touch: the surest takes it."""
    points = candidates((0, 0, 10, 10), (5, 0, 15, 10), (10, 0, 20, 10))
    joined = weighted_nms(points, np.array([0.9, 0.8, 0.7], np.float32))
    assert [score for _, score in joined] == pytest.approx([0.9, 0.7])
    np.testing.assert_allclose(joined[0][0][0], [5 * 0.8 / 1.7, 0], atol=1e-5)
    np.testing.assert_allclose(joined[1][0][0], [10, 0])


def test_suppression_leaves_what_overlaps_little() -> None:
    """IoU 0.25, below the limit of 0.3."""
    points = candidates((0, 0, 10, 10), (6, 0, 16, 10))
    assert len(weighted_nms(points, np.array([0.9, 0.8], np.float32))) == 2


def test_iou_of_corners() -> None:
    boxes = candidates((0, 0, 10, 10), (5, 5, 15, 15), (10, 0, 20, 10), (2, 2, 4, 4), (3, 3, 3, 3))[:, :2]
    np.testing.assert_allclose(iou_with(boxes[0], boxes), [1, 25 / 175, 0, 0.04, 0], atol=1e-6)


def face(x: float, y: float, side: float, score: float) -> Face:
    return Face(Box(x, y, side, side), score, np.zeros((6, 2), np.float32))


def test_a_face_found_twice_is_reported_once_by_its_best() -> None:
    twice, other = [face(100, 100, 50, 0.7), face(104, 98, 50, 0.9)], face(300, 100, 50, 0.8)
    assert suppress_overlaps([*twice, other]) == [twice[1], other]
    assert suppress_overlaps([]) == []


def test_a_face_cut_by_a_tile_is_part_of_the_whole_one() -> None:
    whole, part = Box(100, 100, 50, 50), Box(100, 100, 20, 50)
    assert whole.iou(part) == pytest.approx(0.4) and same_face(whole, part)
    assert same_face(Box(0, 0, 100, 100), Box(10, 10, 20, 20))
    assert not same_face(whole, Box(145, 100, 50, 50))
    assert not same_face(whole, Box(120, 100, 0, 0))


def test_a_region_is_cut_at_the_frames_edge() -> None:
    frame = np.arange(20 * 30 * 3, dtype=np.uint16).astype(np.uint8).reshape(20, 30, 3)
    left, top, picture = crop_region(frame, (-5, 4.5, 12, 9))
    assert (left, top) == (0, 4)
    np.testing.assert_array_equal(picture, frame[4:14, :7])
    for outside in ((-9, 0, 5, 5), (40, 0, 5, 5), (0, -9, 5, 5), (0, 25, 5, 5)):
        assert crop_region(frame, outside)[2].size == 0


@pytest.mark.parametrize("package", [FULL_RANGE, SHORT_RANGE])
def test_the_shipped_packages_are_whole(package: str) -> None:
    found = verify_package(package)
    assert found.manifest.task == "faces"
    card = (load_package(package).path / "MODELCARD.md").read_text(encoding="utf-8")
    assert "Apache-2.0" in card and "differ from" in card and "Not for" in card


@pytest.mark.parametrize("package", [FULL_RANGE, SHORT_RANGE])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7000), (7000, 1), (2, 3), (4000, 6000)])
def test_no_picture_is_too_odd(package: str, shape: tuple[int, int]) -> None:
    assert load_blazeface(package).detect(np.full((*shape, 3), 128, np.uint8)) == []


def test_a_close_look_places_a_face_as_a_wide_one_does() -> None:
    """The same network on half as many pixels a side, on a region in which the face is as large."""
    demo = DemoSource(ManualClock())
    picture, finder = demo.picture(0), load_blazeface()
    wide = finder.detect(picture)[0]
    side = 2.5 * wide.box.width
    x, y = wide.box.center
    close = finder.detect(picture, (x - side / 2, y - side / 2, side, side), close_up=True)[0]
    assert close.box.iou(wide.box) > 0.7
    eyes = np.linalg.norm(wide.keypoints[0] - wide.keypoints[1])
    assert np.abs(close.keypoints[:2] - wide.keypoints[:2]).max() < 0.2 * eyes
    assert close.score > 0.5


def test_a_graph_of_one_size_looks_closely_with_all_of_it() -> None:
    session = Scripted(128)
    detector(session).detect(np.zeros((50, 50, 3), np.uint8), close_up=True)
    assert session.image.shape == (1, 128, 128, 3)
