"""The detectors on real faces: ours against the mediapipe library, small faces, faces over the edge."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.faces import DEFAULT_DETECTOR, make_detector
from edgeharfer.runtime.faces.align import FER_CROP, crop_face, roll
from edgeharfer.runtime.faces.detector import Detector, Region
from edgeharfer.runtime.faces.detectors.blazeface import SHORT_RANGE, load_blazeface
from edgeharfer.runtime.faces.portrait import find_face
from edgeharfer.runtime.faces.search import TILE_INTERVAL, FaceFinder
from edgeharfer.runtime.faces.tracks import Tracker
from edgeharfer.runtime.source import demo as demo_module
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.types import Box, Face, Frame, Image

CLIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"
MIN_IOU = 0.9


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoSource]:
    with DemoSource(ManualClock()) as source:
        yield source


@pytest.fixture(scope="module")
def ours() -> Detector:
    """The short-range model in ONNX Runtime."""
    return load_blazeface(SHORT_RANGE, min_score=0.5)


@pytest.fixture(scope="module")
def theirs() -> Detector:
    """The short-range model in the mediapipe library; it has no wheels for some machines."""
    if not has_mediapipe_wheel():
        pytest.skip("mediapipe 0.10.31 has no wheel for this machine")
    return make_detector("mediapipe", min_score=0.5)


def has_mediapipe_wheel() -> bool:
    """As in pyproject.toml."""
    return (sys.platform, platform.machine()) in {
        ("linux", "x86_64"),
        ("darwin", "arm64"),
        ("win32", "AMD64"),
    }


def assert_same(found: list[Face], expected: list[Face]) -> None:
    """As many faces, in the same places, equally sure. mediapipe cuts boxes to whole pixels."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.box.iou(other.box) >= MIN_IOU
        assert one.score == pytest.approx(other.score, abs=0.01)
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1)


def test_both_find_the_same_faces_in_the_demo(demo: DemoSource, ours: Detector, theirs: Detector) -> None:
    faces = 0
    for seq in range(0, 600, 40):
        picture = demo.picture(seq)
        expected = ours.detect(picture)
        faces += len(expected)
        assert_same(theirs.detect(picture), expected)
    assert faces >= 20


@pytest.mark.parametrize("shape", [(960, 1280), (240, 320), (640, 480), (480, 480)], ids=str)
def test_both_agree_on_pictures_of_any_shape(
    demo: DemoSource, ours: Detector, theirs: Detector, shape: tuple[int, int]
) -> None:
    height, width = shape
    part = demo.picture(0)[:, : 480 * width // height]
    picture = np.asarray(cv2.resize(part, (width, 480 * width // part.shape[1])), np.uint8)
    expected = ours.detect(picture)
    assert expected
    assert_same(theirs.detect(picture), expected)


@pytest.mark.parametrize("region", [(0, 40, 400, 400), (60, 90, 280, 280)])
def test_both_agree_on_a_region(demo: DemoSource, ours: Detector, theirs: Detector, region: Region) -> None:
    picture = demo.picture(0)
    expected = ours.detect(picture, region)
    assert len(expected) == 1
    assert_same(theirs.detect(picture, region), expected)


@pytest.mark.data
@pytest.mark.parametrize(
    "clip", ["again.mkv", "eat.mkv", "face-frontal.mp4", "help.mkv", "no.mkv", "sorry.mkv"]
)
def test_both_find_the_same_faces_in_real_clips(clip: str, ours: Detector, theirs: Detector) -> None:
    if not (CLIPS / clip).is_file():
        pytest.skip(f"no {CLIPS / clip}: the clips are not part of the repository")
    faces = 0
    with open_source(CLIPS / clip) as source:
        for seq in range(160):
            frame = source.read()
            if frame is None:
                break
            if seq % 40 == 0:
                expected = ours.detect(frame.bgr)
                faces += len(expected)
                assert_same(theirs.detect(frame.bgr), expected)
    assert faces >= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (3000, 4000)])
def test_mediapipe_takes_odd_pictures(theirs: Detector, shape: tuple[int, int]) -> None:
    assert theirs.detect(np.full((*shape, 3), 128, np.uint8)) == []


def test_mediapipe_is_spared_what_would_end_the_process(theirs: Detector) -> None:
    with pytest.raises(SourceError, match="40000x2"):
        theirs.detect(np.zeros((2, 40_000, 3), np.uint8))
    assert theirs.detect(np.zeros((50, 50, 3), np.uint8), (90, 90, 20, 20)) == []
    assert theirs.provider == "MediaPipe"


@pytest.mark.skipif(not has_mediapipe_wheel(), reason="mediapipe 0.10.31 has no wheel for this machine")
@pytest.mark.parametrize("ending", ["detector.close(); detector.close()", "del detector", "pass"])
def test_mediapipe_says_nothing_and_ends_cleanly(ending: str) -> None:
    """Not even where nobody closed it: neither its greeting nor a complaint at the end."""
    script = (
        "import numpy as np\n"
        "from edgeharfer.runtime.faces import make_detector\n"
        "detector = make_detector('mediapipe')\n"
        "detector.warm_up()\n"
        f"{ending}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(cv2, "CascadeClassifier"), reason="OpenCV 5 has no Haar cascades")
def test_haar_frames_faces_as_blazeface_does(demo: DemoSource) -> None:
    haar, full = make_detector("haar"), load_blazeface()
    for seq in (0, 150, 300):
        picture = demo.picture(seq)
        expected = full.detect(picture)
        found = haar.detect(picture)
        assert found
        for face in found:
            assert max(face.box.iou(other.box) for other in expected) > 0.6


def portrait(demo: DemoSource) -> tuple[Image, float]:
    """The head of the near card, and the width of its face."""
    picture = demo.picture(0)
    face = max(load_blazeface().detect(picture), key=lambda face: face.box.area)
    (x, y), side = face.box.center, face.box.width
    head = picture[
        round(y - 1.1 * side) : round(y + 0.8 * side), round(x - 0.8 * side) : round(x + 0.8 * side)
    ]
    return head, side


def pasted(head: Image, face_width: float, target: float, x: int, y: int, seed: int) -> Image:
    """The head in a noisy grey scene of 640x480, its face `target` pixels wide, its corner at (x, y)."""
    scale = target / face_width
    small = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(seed).normal(0, 3, (480, 640, 3))
    scene = np.repeat(np.linspace(90, 140, 640)[None, :, None], 480, axis=0) + np.zeros((480, 640, 3))
    scene[y : y + small.shape[0], x : x + small.shape[1]] = small
    return np.asarray(np.clip(scene + noise, 0, 255), np.uint8)


def test_a_face_of_4_percent_is_found_within_40_frames_and_keeps_its_track(demo: DemoSource) -> None:
    head, width = portrait(demo)
    finder, tracker = FaceFinder(make_detector("blazeface")), Tracker()
    seen: list[list[int]] = []
    for n in range(60):
        picture = pasted(head, width, 0.04 * 640, 470 + n // 4, 330, seed=n)
        found = finder.find(Frame(n, n / 30, 0.0, picture), tracker.known_boxes)
        seen.append([track.number for track in tracker.update(found, n / 30)])
    first = next(n for n, numbers in enumerate(seen) if numbers)
    assert first < 6 * TILE_INTERVAL
    assert seen[first:] == [[1]] * (60 - first)


def test_small_faces_are_found_in_a_photograph(demo: DemoSource) -> None:
    head, width = portrait(demo)
    finder = FaceFinder(make_detector("blazeface"))
    for x, y in ((30, 40), (300, 200), (560, 400)):
        picture = pasted(head, width, 0.04 * 640, x, y, seed=x)
        (face,) = finder.find(Frame(0, 0.0, 0.0, picture, still=True))
        assert face.box.iou(Box(x + 0.3 * 25.6, y + 0.6 * 25.6, 25.6, 25.6)) > 0.4


@pytest.mark.parametrize("tilt_deg", [-25, 25])
def test_a_tilted_face_is_cut_upright(demo: DemoSource, tilt_deg: float) -> None:
    """The detector finds the eyes of the tilted face; in its crop they stand level within a pixel."""
    turn = cv2.getRotationMatrix2D((190, 240), tilt_deg, 1.0)
    picture = np.asarray(cv2.warpAffine(demo.picture(0), turn, (640, 480)), np.uint8)
    detector = load_blazeface()
    face = max(detector.detect(picture), key=lambda face: face.box.area)
    assert np.degrees(roll(face)) == pytest.approx(-tilt_deg, abs=8)
    crop = crop_face(picture, face, FER_CROP, (96, 96))
    again = find_face(crop, detector)
    assert again is not None
    assert abs(np.degrees(roll(again))) < 5


def test_a_face_over_the_edge_is_found_and_cut(demo: DemoSource) -> None:
    detector = load_blazeface()
    whole = max(detector.detect(demo.picture(0)), key=lambda face: face.box.area)
    picture = demo.picture(0)[:, round(whole.box.x + 0.12 * whole.box.width) :]
    face = max(detector.detect(picture), key=lambda face: face.box.area)
    assert face.box.x < 0
    assert crop_face(picture, face, FER_CROP, (48, 48)).shape == (48, 48, 3)


def own_portrait() -> Image:
    """The photograph in the demo, a head and shoulders."""
    return np.asarray(cv2.imread(str(Path(demo_module.__file__).with_name("demo_portrait.jpg"))), np.uint8)


@pytest.mark.parametrize("still", [True, False])
@pytest.mark.parametrize("name", ["yunet", "auto"])
def test_the_face_of_the_portrait_is_where_blazeface_sees_it(name: str, still: bool) -> None:
    picture = own_portrait()
    (expected,) = load_blazeface().detect(picture)
    (found,) = FaceFinder(make_detector(name)).find(Frame(0, 0.0, 0.0, picture, still))
    assert found.box.iou(expected.box) > 0.7
    side = expected.box.width
    assert np.abs(found.keypoints[:4] - expected.keypoints[:4]).max() < 0.15 * side
    assert np.isnan(found.keypoints[4:]).all() == (name == "yunet")


def test_a_face_that_fills_the_photograph_is_found_by_default() -> None:
    picture = own_portrait()
    (face,) = load_blazeface().detect(picture)
    (x, y), side = face.box.center, face.box.width
    tight = picture[
        round(y - 0.6 * side) : round(y + 0.5 * side), round(x - 0.5 * side) : round(x + 0.5 * side)
    ]
    photograph = Frame(0, 0.0, 0.0, np.asarray(cv2.resize(tight, (600, 660)), np.uint8), still=True)
    (found,) = FaceFinder(make_detector(DEFAULT_DETECTOR)).find(photograph)
    assert found.box.width > 350


def test_small_faces_of_a_photograph_are_found_by_default(demo: DemoSource) -> None:
    head, width = portrait(demo)
    finder = FaceFinder(make_detector(DEFAULT_DETECTOR))
    for x, y in ((30, 40), (300, 200), (560, 400)):
        picture = pasted(head, width, 0.04 * 640, x, y, seed=x)
        (face,) = finder.find(Frame(0, 0.0, 0.0, picture, still=True))
        assert face.box.iou(Box(x + 0.3 * 25.6, y + 0.6 * 25.6, 25.6, 25.6)) > 0.4


def test_a_second_opinion_loses_no_face_of_the_demo(demo: DemoSource) -> None:
    finders = [FaceFinder(make_detector(name)) for name in ("blazeface", "auto")]
    trackers = [Tracker(), Tracker()]
    for seq in range(0, 90, 3):
        numbers = []
        for finder, tracker in zip(finders, trackers, strict=True):
            found = finder.find(Frame(seq, seq / 30, 0.0, demo.picture(seq)), tracker.known_boxes)
            numbers.append([track.number for track in tracker.update(found, seq / 30)])
        assert numbers[0] == numbers[1]
        assert numbers[0]


@pytest.mark.data
@pytest.mark.parametrize(
    "clip", ["again.mkv", "eat.mkv", "face-frontal.mp4", "help.mkv", "no.mkv", "sorry.mkv"]
)
def test_the_default_finds_a_face_in_every_look_at_a_webcam_clip(clip: str) -> None:
    if not (CLIPS / clip).is_file():
        pytest.skip(f"no {CLIPS / clip}: the clips are not part of the repository")
    finder, tracker = FaceFinder(make_detector(DEFAULT_DETECTOR)), Tracker()
    with open_source(CLIPS / clip) as source:
        for frame in iter(source.read, None):
            if frame.seq % 3 == 0:
                found = finder.find(frame, tracker.known_boxes)
                assert tracker.update(found, frame.pts_s), frame.seq
