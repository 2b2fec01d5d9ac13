"""Numbers of faces: kept while a face stays in view, given up when it is gone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeharfer.runtime.faces.tracks import (
    MAX_EXTRAPOLATION_S,
    MAX_TRACK_GAP_S,
    MAX_UNSEEN_S,
    NEW_TRACK_S,
    Tracker,
    distance,
    smooth_box,
)
from edgeharfer.runtime.types import Box, Face


def face(x: float, y: float = 100, side: float = 50) -> Face:
    """A face whose box has its centre at (x, y)."""
    return Face(Box(x - side / 2, y - side / 2, side, side), 0.9, np.zeros((6, 2), np.float32))


def numbers(tracker: Tracker, now_s: float, *faces: Face) -> list[int]:
    return [track.number for track in tracker.update(faces, now_s)]


def test_a_face_keeps_its_number_while_it_moves() -> None:
    tracker = Tracker()
    seen = [numbers(tracker, n / 30, face(100 + 9 * n)) for n in range(40)]
    assert seen == [[1]] * 40


def test_a_face_keeps_its_number_through_a_miss_of_half_a_second() -> None:
    tracker = Tracker()
    assert numbers(tracker, 0.0, face(100)) == [1]
    for n in range(1, 15):
        assert numbers(tracker, n / 30) == []
        assert tracker.numbers == [1] and tracker.known_boxes == [face(100).box]
    assert numbers(tracker, 0.5, face(110)) == [1]


def test_after_a_second_in_which_looks_missed_it_is_a_new_face() -> None:
    tracker = Tracker()
    assert numbers(tracker, 0.0, face(100)) == [1]
    for n in range(1, 10):
        assert numbers(tracker, n / 10) == []
    assert numbers(tracker, 1.0, face(100)) == [2]
    assert tracker.numbers == [2]


@pytest.mark.parametrize("interval_s", [1.0, 2.0, 4.0])
def test_between_rare_looks_a_face_keeps_its_number_through_one_miss(interval_s: float) -> None:
    tracker = Tracker()
    for n in range(4):
        assert numbers(tracker, n * interval_s, face(100)) == [1]
    assert numbers(tracker, 4 * interval_s) == []
    assert numbers(tracker, 5 * interval_s, face(100)) == [1]
    for n in (6, 7):
        assert numbers(tracker, n * interval_s) == []
    assert tracker.numbers == []
    assert numbers(tracker, 8 * interval_s, face(100)) == [2]


def test_after_a_long_silence_nobody_can_tell_who_it_is() -> None:
    tracker = Tracker()
    assert numbers(tracker, 0.0, face(100)) == [1]
    assert numbers(tracker, MAX_TRACK_GAP_S + 0.1, face(100)) == [2]


@pytest.mark.parametrize(
    ("elapsed_s", "sides", "number"),
    [(0.1, 0.9, 1), (0.1, 1.1, 2), (1.0, 1.9, 1), (1.0, 2.1, 2), (2.0, 3.9, 1), (5.0, 4.1, 2)],
)
def test_the_longer_the_interval_the_farther_a_face_may_move(
    elapsed_s: float, sides: float, number: int
) -> None:
    tracker = Tracker()
    tracker.update([face(100, side=50)], 0.0)
    assert numbers(tracker, elapsed_s, face(100 + 50 * sides, side=50)) == [number]


def test_a_face_that_comes_closer_may_grow_in_the_meantime() -> None:
    tracker = Tracker()
    tracker.update([face(100, side=40)], 0.0)
    assert numbers(tracker, 2.0, face(100, side=110)) == [1]
    assert numbers(tracker, 2.1, face(100, side=40)) == [2]


def test_a_face_that_left_is_no_longer_known() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 0.0)
    for n in range(1, 9):
        tracker.update([], n * MAX_UNSEEN_S / 8 + 0.01)
    assert tracker.known_boxes == [] and tracker.numbers == []


def test_two_faces_that_cross_keep_their_numbers() -> None:
    """They pass at a distance of 40 pixels, less than a face is wide."""
    tracker = Tracker()
    for n in range(31):
        left, right = face(100 + 10 * n, 100), face(400 - 10 * n, 140)
        faces = [left, right] if n % 2 else [right, left]
        expected = [1, 2] if n % 2 else [2, 1]
        if n == 0:
            faces, expected = [left, right], [1, 2]
        assert numbers(tracker, n / 30, *faces) == expected


def test_tracks_come_in_the_order_of_the_faces() -> None:
    tracker = Tracker()
    tracker.update([face(100), face(300), face(500)], 0.0)
    tracks = tracker.update([face(502), face(101), face(900), face(299)], 0.1)
    assert [track.number for track in tracks] == [3, 1, 4, 2]
    assert [track.face.box.center[0] for track in tracks] == [502, 101, 900, 299]


def test_the_nearest_face_gets_the_number() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 0.0)
    assert numbers(tracker, 0.03, face(130), face(102)) == [2, 1]


def test_a_jump_by_more_than_a_side_is_another_face() -> None:
    tracker = Tracker()
    tracker.update([face(100, side=50)], 0.0)
    assert numbers(tracker, 0.03, face(149, side=50)) == [1]
    assert numbers(tracker, 0.06, face(201, side=50)) == [2]


def test_a_face_of_another_size_is_another_face() -> None:
    tracker = Tracker()
    tracker.update([face(100, side=40)], 0.0)
    assert numbers(tracker, 0.03, face(100, side=100)) == [2]


def test_a_reset_forgets_faces_but_never_gives_a_number_twice() -> None:
    tracker = Tracker()
    tracker.update([face(100), face(300)], 0.0)
    tracker.reset()
    assert tracker.numbers == []
    assert numbers(tracker, 0.03, face(100)) == [3]


def test_time_that_runs_backwards_starts_anew() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 9.0)
    assert numbers(tracker, 0.0, face(100)) == [2]


def test_the_shown_box_is_steadied_and_the_detected_one_kept() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 0.0)
    (track,) = tracker.update([face(110)], 0.06)
    assert track.face.box.center[0] == 110
    assert track.box.center[0] == pytest.approx(100 + 10 * (1 - math.exp(-1)))


def test_between_looks_a_face_moves_on_for_a_moment_and_no_farther() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 0.0)
    (track,) = tracker.update([face(140)], 1.0)  # 40 pixels a second, of which half is believed
    offsets = [track.offset_at(1.0 + later_s)[0] for later_s in (0.0, 0.1, MAX_EXTRAPOLATION_S, 0.9)]
    places = [track.face.box.center[0] + offset for offset in offsets]
    assert places == pytest.approx([140, 142, 144, 144])


@pytest.mark.parametrize("fps", [10, 30, 120])
def test_the_shown_box_follows_as_fast_at_any_rate(fps: int) -> None:
    box = face(0).box
    for _ in range(round(0.3 * fps)):
        box = smooth_box(box, face(10).box, 1 / fps)
    assert box.center[0] == pytest.approx(10 * (1 - math.exp(-5)))


@pytest.mark.parametrize(("sides_a_second", "calm"), [(0.0, True), (0.4, True), (0.8, False)])
def test_a_face_is_calm_once_it_is_known_and_hardly_moves(sides_a_second: float, calm: bool) -> None:
    tracker = Tracker()
    for n in range(11):
        (track,) = tracker.update([face(100 + 50 * sides_a_second * n / 10)], n / 10)
        assert track.is_still == (calm and n / 10 >= NEW_TRACK_S)


def test_distance_is_in_sides_of_the_larger_box() -> None:
    assert distance(face(0, side=50).box, face(60, 180, side=80).box) == pytest.approx(
        math.hypot(60, 80) / 80
    )
    assert distance(face(0, side=50).box, face(0, side=0).box) == math.inf
    assert distance(face(0, side=30).box, face(0, side=61).box) == math.inf
