"""Cuts between scenes: found between any two, and not where the light, the camera or a person moves."""

from __future__ import annotations

from itertools import permutations

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.cuts import CutDetector
from edgeharfer.runtime.types import Floats, Image

WIDTH, HEIGHT = 160, 120
COLOURS = (12, 95, 150, 60, 120)


def scene(number: int, *, colour: bool = True) -> Image:
    """A room of its own: walls in some hue, and furniture with straight edges."""
    rng = np.random.default_rng(number)
    hue = COLOURS[number % len(COLOURS)]
    hsv = np.full((HEIGHT, WIDTH, 3), (hue, 110, 170), np.uint8)
    for _ in range(25):
        left, top = int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))
        corner = left + int(rng.integers(8, 50)), top + int(rng.integers(8, 50))
        shade = (
            (hue + int(rng.integers(-12, 12))) % 180,
            int(rng.integers(40, 230)),
            int(rng.integers(20, 250)),
        )
        cv2.rectangle(hsv, (left, top), corner, shade, -1)
    bgr = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if not colour:
        bgr = cv2.cvtColor(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.GaussianBlur(bgr, (0, 0), 0.6), np.uint8)


def noisy(picture: Image | Floats, seed: int) -> Image:
    """As a camera gives it."""
    noise = np.random.default_rng(seed).normal(0, 2, picture.shape)
    return np.asarray(np.clip(picture + noise, 0, 255), np.uint8)


def cuts(*pictures: Image | Floats) -> list[int]:
    """The places of the pictures that begin a scene."""
    finder = CutDetector()
    return [place for place, picture in enumerate(pictures) if finder.step(noisy(picture, place))]


@pytest.mark.parametrize("colour", [True, False])
def test_every_cut_between_two_scenes_is_found(colour: bool) -> None:
    for one, other in permutations([scene(n, colour=colour) for n in range(5)], 2):
        assert cuts(one, one, other, other, one) == [2, 4]


def test_a_cut_to_another_size_of_picture_is_found_and_the_same_scene_in_another_size_is_none() -> None:
    one, other = scene(1), scene(2)
    assert cuts(one, np.asarray(cv2.resize(one, (320, 240)), np.uint8)) == []
    assert cuts(one, np.asarray(cv2.resize(other, (80, 60)), np.uint8)) == [1]


@pytest.mark.parametrize("number", range(5))
def test_lights_are_no_cut(number: int) -> None:
    """Off, on, dimmed from one side, warm, and an exposure that flickers."""
    lit = scene(number).astype(np.float32)
    across = np.linspace(0, 1, WIDTH, dtype=np.float32)[None, :, None]
    lamp = lit * (0.25 + 0.5 * across)
    warm = lit * np.array([0.6, 0.85, 1.2], np.float32)
    assert cuts(lit, lit * 0.3, lit, lamp, lit, warm, lit, lit * 1.5, lit) == []
    flicker = [lit * (1 + 0.25 * (-1) ** n) for n in range(6)]
    assert cuts(*flicker) == []


@pytest.mark.parametrize("number", range(5))
def test_a_camera_that_shakes_is_no_cut(number: int) -> None:
    wide = cv2.resize(scene(number), (WIDTH + 32, HEIGHT + 24))
    moves = [(16, 12), (29, 12), (16, 22), (3, 8), (16, 12), (28, 22)]
    shaken = [np.asarray(wide[y : y + HEIGHT, x : x + WIDTH], np.uint8) for x, y in moves]
    assert cuts(*shaken) == []


@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("number", range(5))
def test_a_person_who_walks_past_close_to_the_camera_is_no_cut(number: int, share: float) -> None:
    """Across the picture in three quarters of a second, at fifteen frames a second."""
    room = scene(number)
    width = int(share * WIDTH)
    person = cv2.resize(scene(number + 1), (width, HEIGHT))
    pictures = []
    for left in np.linspace(-width, WIDTH, 12).astype(int):
        picture = room.copy()
        first, last = max(0, left), min(WIDTH, left + width)
        picture[:, first:last] = person[:, first - left : last - left]
        pictures.append(picture)
    assert cuts(room, *pictures, room) == []


def test_darkness_between_two_pictures_is_no_cut_but_another_scene_after_it_is() -> None:
    dark = np.full((HEIGHT, WIDTH, 3), 3, np.uint8)
    assert cuts(scene(1), dark, dark, scene(1)) == []
    assert cuts(scene(1), dark, dark, scene(2)) == [3]
    assert cuts(dark, scene(1), scene(1)) == []


def test_a_reset_forgets_the_last_picture() -> None:
    finder = CutDetector()
    assert not finder.step(scene(1))
    finder.reset()
    assert not finder.step(scene(2))
    assert finder.step(scene(1))
