"""Where faces are looked for: tiles, close looks, second looks; on a detector that sees down to a size."""

from __future__ import annotations

import numpy as np
import pytest

from edgeharfer.runtime.faces.detector import Detector, Region, square_region
from edgeharfer.runtime.faces.search import (
    CLOSE_REGION_SIDES,
    FOLLOW_REGION_SIDES,
    LARGE_TILES,
    MAX_CLOSE_REGIONS,
    MAX_FOLLOWED,
    MIN_TILE_PX,
    SMALL_TILES,
    TILE_INTERVAL,
    WIDE_INTERVAL,
    FaceFinder,
    tiles,
)
from edgeharfer.runtime.faces.tracks import Tracker
from edgeharfer.runtime.types import Box, Face, Frame, Image

SIZES = [(640, 480), (480, 640), (1280, 720), (1920, 1080), (720, 720), (2000, 500)]
WHOLE = None


class Eyesight(Detector):
    """Sees the faces of a scene that fill at least `surely` of what it looks at, hints of smaller ones."""

    provider = "test"

    def __init__(self, *faces: Box, surely: float = 0.07, hardly: float = 0.07) -> None:
        self.faces, self.surely, self.hardly = list(faces), surely, hardly
        self.looks: list[Region | None] = []
        self.close_up: list[bool] = []

    def warm_up(self) -> None: ...

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        self.looks.append(region)
        self.close_up.append(close_up)
        x, y, width, height = region or (0, 0, bgr.shape[1], bgr.shape[0])
        seen = []
        for box in self.faces:
            inside = (
                x <= box.x
                and y <= box.y
                and box.x + box.width <= x + width
                and box.y + box.height <= y + height
            )
            share = box.width / max(width, height)
            if inside and share >= self.hardly:
                score = 0.9 if share >= self.surely else 0.5
                seen.append(Face(box, score, np.zeros((6, 2), np.float32)))
        return sorted(seen, key=lambda face: -face.score)


def frame(seq: int = 0, size: tuple[int, int] = (640, 480), still: bool = False) -> Frame:
    return Frame(seq, seq / 30, 0.0, np.zeros((size[1], size[0], 3), np.uint8), still)


def square(x: float, y: float, side: float) -> Box:
    return Box(x, y, side, side)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [LARGE_TILES, SMALL_TILES])
def test_every_face_as_wide_as_the_overlap_lies_whole_in_a_tile(
    size: tuple[int, int], kind: tuple[float, float]
) -> None:
    width, height = size
    side = kind[1] * max(size) * 0.999
    regions = tiles(width, height, *kind)
    for x in np.linspace(0, width - side, 57):
        for y in np.linspace(0, height - side, 57):
            assert any(
                left <= x and top <= y and x + side <= left + w and y + side <= top + h
                for left, top, w, h in regions
            ), (x, y)


def test_the_number_of_tiles() -> None:
    assert [len(tiles(*size, *LARGE_TILES)) for size in SIZES[:4]] == [6] * 4
    assert [len(tiles(*size, *SMALL_TILES)) for size in SIZES[:4]] == [12] * 4


def test_small_frames_have_no_tiles() -> None:
    assert tiles(320, 240, *LARGE_TILES) == tiles(1, 1, *LARGE_TILES) == []
    edge = round(MIN_TILE_PX / LARGE_TILES[0]) + 1
    assert tiles(edge, edge, *LARGE_TILES) != []


def test_a_small_face_appears_and_keeps_its_track() -> None:
    """4 % of the width: below what the detector sees in the whole frame, above it in a tile."""
    sight, tracker = Eyesight(), Tracker()
    finder = FaceFinder(sight)
    seen = []
    for n in range(80):
        if n == 11:
            sight.faces = [square(500, 300, 26)]
        elif n > 11:
            sight.faces = [square(500 - 3 * (n - 11), 300, 26)]
        found = finder.find(frame(n), tracker.known_boxes)
        seen.append([track.number for track in tracker.update(found, n / 30)])
    first = next(n for n, numbers in enumerate(seen) if numbers)
    assert 11 <= first < 11 + 6 * TILE_INTERVAL
    assert seen[first:] == [[1]] * (80 - first)


def test_a_known_face_is_followed_by_close_looks() -> None:
    """Between them the whole frame and each tile have their turn."""
    box = square(200, 100, 150)
    sight = Eyesight(box)
    finder, near = FaceFinder(sight), square_region(box, FOLLOW_REGION_SIDES)
    for n in range(WIDE_INTERVAL * 12):
        assert len(finder.find(frame(n), [box])) == 1
    wide = [look for look in sight.looks if look != near]
    assert sight.close_up == [look == near for look in sight.looks]
    assert sight.close_up.count(True) == WIDE_INTERVAL * 12
    assert wide[1::2] == [WHOLE] * 6
    assert wide[0::2] == tiles(640, 480, *LARGE_TILES)


def test_a_second_face_is_seen_soon_while_one_is_followed() -> None:
    sight, tracker = Eyesight(square(100, 100, 150)), Tracker()
    finder = FaceFinder(sight)
    for n in range(20):
        if n == 7:
            sight.faces.append(square(400, 200, 120))
        tracker.update(finder.find(frame(n), tracker.known_boxes), n / 10)
        if len(tracker.known_boxes) == 2:
            break
    assert 7 <= n < 7 + 2 * WIDE_INTERVAL


def test_a_followed_face_is_placed_by_the_closer_look() -> None:
    """It sees more of the face, even where its score is lower."""
    box, closer = square(200, 100, 150), square(204, 103, 150)

    class TwoEyes(Eyesight):
        def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
            keypoints = np.zeros((6, 2), np.float32)
            return [Face(closer, 0.7, keypoints)] if close_up else [Face(box, 0.9, keypoints)]

    finder = FaceFinder(TwoEyes())
    for n in range(2 * WIDE_INTERVAL):
        assert [face.box for face in finder.find(frame(n), [box])] == [closer]


def test_many_faces_are_seen_by_one_look_and_a_tile_now_and_then() -> None:
    boxes = [square(50 + 200 * n, 100, 120) for n in range(MAX_FOLLOWED + 1)]
    sight = Eyesight(*boxes)
    finder = FaceFinder(sight)
    for n in range(TILE_INTERVAL * 6):
        assert len(finder.find(frame(n), boxes)) == len(boxes)
    assert sight.looks.count(WHOLE) == TILE_INTERVAL * 6
    assert [look for look in sight.looks if look is not WHOLE] == tiles(640, 480, *LARGE_TILES)


def test_a_finder_that_does_not_follow_looks_at_the_whole_frame() -> None:
    box = square(200, 100, 150)
    sight = Eyesight(box)
    finder = FaceFinder(sight, follow=False)
    for n in range(TILE_INTERVAL - 1):
        assert len(finder.find(frame(n), [box])) == 1
    assert sight.looks == [WHOLE] * (TILE_INTERVAL - 1)


def test_a_lost_face_is_looked_for_where_it_was() -> None:
    box = square(290, 195, 26)
    sight = Eyesight(square(335, 200, 26))
    (found,) = FaceFinder(sight).find(frame(), [box])
    assert found.box == square(335, 200, 26)
    assert sight.looks == [
        square_region(box, FOLLOW_REGION_SIDES),
        WHOLE,
        square_region(box, CLOSE_REGION_SIDES),
    ]


def test_only_so_many_lost_faces_are_looked_for_in_one_frame() -> None:
    sight = Eyesight()
    assert FaceFinder(sight).find(frame(), [square(30 * n, 30 * n, 20) for n in range(9)]) == []
    assert len(sight.looks) == 1 + MAX_CLOSE_REGIONS


def test_a_doubtful_face_gets_a_second_look() -> None:
    sight = Eyesight(square(300, 200, 30), surely=0.1, hardly=0.04)
    (found,) = FaceFinder(sight).find(frame())
    assert found.score == 0.9
    assert sight.looks == [WHOLE, square_region(square(300, 200, 30), CLOSE_REGION_SIDES)]


def test_a_face_that_stays_doubtful_is_not_believed() -> None:
    sight = Eyesight(square(300, 200, 30), surely=0.9, hardly=0.04)
    assert FaceFinder(sight).find(frame()) == []


def test_a_face_that_stood_there_is_believed_with_less() -> None:
    sight = Eyesight(square(300, 200, 30), surely=0.9, hardly=0.04)
    finder = FaceFinder(sight)
    (found,) = finder.find(frame(), [square(302, 203, 30)])
    assert found.score == 0.5
    assert sight.close_up == [True]
    assert finder.find(frame(1), [square(400, 100, 30)]) == []


def test_a_photograph_is_looked_through_at_once() -> None:
    small, tiny = square(500, 300, 26), square(100, 100, 15)
    sight = Eyesight(small, tiny)
    found = FaceFinder(sight).find(frame(still=True))
    assert {face.box for face in found} == {small, tiny}
    assert len(sight.looks) == 1 + 6 + 12


def test_a_face_found_in_several_tiles_is_one_face() -> None:
    sight = Eyesight(square(310, 230, 40))
    assert len(FaceFinder(sight).find(frame(still=True))) == 1


def test_a_new_size_of_frame_brings_new_tiles() -> None:
    sight = Eyesight()
    finder = FaceFinder(sight)
    for n in range(TILE_INTERVAL):
        finder.find(frame(n))
    for n in range(TILE_INTERVAL):
        finder.find(frame(n, (1280, 720)))
    others = [look for look in sight.looks if look is not WHOLE]
    assert others == [tiles(640, 480, *LARGE_TILES)[0], tiles(1280, 720, *LARGE_TILES)[0]]


def test_reset_starts_the_round_of_tiles_anew() -> None:
    sight = Eyesight()
    finder = FaceFinder(sight)
    for _ in range(2):
        finder.reset()
        for n in range(TILE_INTERVAL):
            finder.find(frame(n))
    others = [look for look in sight.looks if look is not WHOLE]
    assert others == [tiles(640, 480, *LARGE_TILES)[0]] * 2


def test_a_close_region_is_a_square_about_the_box() -> None:
    assert square_region(Box(100, 50, 20, 40), 5) == (110 - 100, 70 - 100, 5 * 40, 5 * 40)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (9000, 7000)])
@pytest.mark.parametrize("still", [True, False])
def test_no_frame_is_too_odd(size: tuple[int, int], still: bool) -> None:
    picture = np.broadcast_to(np.uint8(0), (size[1], size[0], 3))
    finder = FaceFinder(Eyesight())
    for n in range(2 * TILE_INTERVAL):
        assert finder.find(Frame(n, 0.0, 0.0, picture, still), [square(0, 0, 1)]) == []
