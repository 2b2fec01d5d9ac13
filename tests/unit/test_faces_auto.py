"""The default detector: which of the two looks when, and how new faces get a second opinion."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest

from edgeharfer.cli.run import run
from edgeharfer.kiosk.config import default_config, load_config
from edgeharfer.runtime.faces.detector import Detector, Region, square_region
from edgeharfer.runtime.faces.detectors import DEFAULT_DETECTOR, DETECTORS, detector_title
from edgeharfer.runtime.faces.detectors.auto import REFINE_REGION_SIDES, AutoDetector
from edgeharfer.runtime.faces.search import (
    MAX_SECOND_OPINIONS,
    SECOND_OPINION_REGION_SIDES,
    FaceFinder,
    new_faces,
)
from edgeharfer.runtime.faces.tracks import Tracker
from edgeharfer.runtime.types import Box, Face, Frame, Image

POINTS = np.zeros((6, 2), np.float32)
SMALL = (640, 160)  # Too low for tiles.


class Known(Detector):
    """Finds the faces of a list that lie in the region, and notes where it looked."""

    def __init__(self, *boxes: Box, name: str = "test", needs_tiles: bool = False) -> None:
        self.boxes, self.name, self.tiles = list(boxes), name, needs_tiles
        self.looks: list[Region | None] = []
        self.closed = self.warm = False

    provider = property(lambda self: self.name)
    needs_tiles = property(lambda self: self.tiles)

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        self.looks.append(region)
        x, y, width, height = region or (0, 0, bgr.shape[1], bgr.shape[0])
        return [
            Face(box, 0.9 - n / 100, POINTS)
            for n, box in enumerate(self.boxes)
            if x <= box.center[0] <= x + width and y <= box.center[1] <= y + height
        ]

    def warm_up(self) -> None:
        self.warm = True

    def close(self) -> None:
        self.closed = True


def frame(seq: int = 0, *, still: bool = False) -> Frame:
    return Frame(seq, seq / 10, 0.0, np.zeros((SMALL[1], SMALL[0], 3), np.uint8), still)


def square(x: float, side: float = 40) -> Box:
    return Box(x, 40, side, side)


FACE, WRIST = square(100), square(300)


def boxes(faces: list[Face]) -> list[Box]:
    return [face.box for face in faces]


def test_a_new_face_counts_where_the_second_opinion_finds_it_as_well() -> None:
    video, other = Known(FACE, WRIST), Known(square(104))
    assert boxes(FaceFinder(AutoDetector(video, other)).find(frame())) == [FACE]
    assert other.looks == [square_region(box, SECOND_OPINION_REGION_SIDES) for box in (FACE, WRIST)]


def test_a_known_face_is_asked_about_no_more() -> None:
    video, other = Known(FACE), Known(FACE)
    finder, tracker = FaceFinder(AutoDetector(video, other)), Tracker()
    for seq in range(6):
        other.boxes = other.boxes if seq == 0 else []  # From then on it would say no.
        tracks = tracker.update(finder.find(frame(seq), tracker.known_boxes), seq / 10)
        assert [track.number for track in tracks] == [1]
    assert len(other.looks) == 1


def test_a_known_face_that_moved_on_is_no_new_one_and_excuses_no_second() -> None:
    moved, beside = square(130), square(165)
    faces = [Face(beside, 0.9, POINTS), Face(moved, 0.8, POINTS)]
    assert new_faces(faces, [FACE]) == faces[:1]
    assert new_faces(faces, []) == faces
    assert new_faces(faces, [FACE, square(160)]) == []


def test_a_refused_face_is_asked_about_again_with_the_next_look() -> None:
    video, other = Known(FACE), Known()
    finder = FaceFinder(AutoDetector(video, other))
    assert finder.find(frame(0)) == []
    other.boxes = [FACE]
    assert boxes(finder.find(frame(1))) == [FACE]


def test_opinions_are_bounded_and_the_refused_keep_nobody_waiting() -> None:
    """Four wrists are the surest of six; the two faces after them wait for one look."""
    wrists = [square(60 * n) for n in range(MAX_SECOND_OPINIONS)]
    people = [square(60 * n) for n in range(MAX_SECOND_OPINIONS, MAX_SECOND_OPINIONS + 2)]
    video, other = Known(*wrists, *people), Known(*people)
    finder, known, seen = FaceFinder(AutoDetector(video, other)), list[Box](), []
    for seq in range(3):
        before = len(other.looks)
        seen.append(boxes(finder.find(frame(seq), known)))
        assert len(other.looks) - before <= MAX_SECOND_OPINIONS
        known = seen[-1]
    assert seen == [[], people, people]


def test_without_a_second_opinion_every_face_counts_at_once() -> None:
    crowd = [square(60 * n) for n in range(MAX_SECOND_OPINIONS + 3)]
    assert boxes(FaceFinder(Known(*crowd)).find(frame())) == crowd


def test_a_photograph_is_left_to_the_other_detector() -> None:
    video, other = Known(WRIST), Known(FACE)
    assert boxes(FaceFinder(AutoDetector(video, other)).find(frame(still=True))) == [FACE]
    assert (video.looks, other.looks) == ([square_region(FACE, REFINE_REGION_SIDES)], [None])


def test_a_face_of_a_photograph_is_placed_as_in_video() -> None:
    closer = square(104)
    video, other = Known(WRIST, closer), Known(FACE)
    (found,) = FaceFinder(AutoDetector(video, other)).find(frame(still=True))
    assert (found.box, found.score) == (closer, 0.9), "the score is that of the detector for photographs"


@pytest.mark.parametrize(("needs_tiles", "looks"), [(True, 1 + 6 + 12), (False, 1)])
def test_tiles_of_a_photograph_are_for_detectors_that_need_them(needs_tiles: bool, looks: int) -> None:
    detector = Known(needs_tiles=needs_tiles)
    picture = np.zeros((960, 1280, 3), np.uint8)
    FaceFinder(detector).find(Frame(0, 0.0, 0.0, picture, still=True))
    assert len(detector.looks) == looks


def test_both_are_warmed_up_and_closed_and_the_one_for_video_says_where_it_runs() -> None:
    video, other = Known(name="video"), Known(name="other")
    auto = AutoDetector(video, other)
    auto.warm_up()
    auto.close()
    assert [(one.warm, one.closed) for one in (video, other)] == [(True, True)] * 2
    assert auto.provider == "video"


def test_the_registry_knows_its_default_and_names_each_detector() -> None:
    assert DEFAULT_DETECTOR in DETECTORS
    assert detector_title("yunet") == "YuNet"
    assert detector_title("one of a user") == "one of a user"


def test_command_line_and_kiosk_offer_what_the_registry_holds(tmp_path: Path) -> None:
    (option,) = (one for one in run.params if one.name == "detector")
    assert isinstance(option.type, click.Choice)
    assert (list(option.type.choices), option.default) == (list(DETECTORS), DEFAULT_DETECTOR)
    assert default_config().models.detector == "blazeface", "which blurs more faces than the default of `run`"
    for name in DETECTORS:
        (file := tmp_path / f"{name}.toml").write_text(f'[models]\ndetector = "{name}"\n')
        assert load_config(file).models.detector == name


def test_the_docs_list_what_the_registry_holds() -> None:
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    section = page.partition("## Which face detector")[2].partition("\n\nWith")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `") and "--" not in line]
    assert rows == [f"| `{name}` | {entry.title} |" for name, entry in DETECTORS.items()]


@pytest.mark.parametrize("name", DETECTORS)
def test_every_name_of_the_registry_is_a_module_that_loads_a_detector(name: str) -> None:
    module = import_module(f"edgeharfer.runtime.faces.detectors.{name}")
    assert callable(module.load)
