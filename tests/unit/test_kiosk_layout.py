"""The customer-facing screen: what stands on it, how it turns and that it moves."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.desk import Desk, Scene
from edgeharfer.kiosk.layout import Grid, burn_in_offset, compose
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.overlay.canvas import text_width, wrap
from edgeharfer.runtime.types import Image

CAMERA: Image = np.full((48, 64, 3), (0, 0, 255), np.uint8)
RED = (0, 0, 255)


def state(**changes: Any) -> dict[str, Any]:
    desk = Desk(KioskConfig(), ManualClock())
    desk.show(Scene("live", people=1, action="BoxingPunchingBag", emotions=("happy",)))
    return {**desk.state(), "camera": True, **changes}


def red_place(image: Image) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(np.all(image == RED, axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (1024, 768), (640, 480)])
def test_nothing_overlaps_on_any_screen(size: tuple[int, int]) -> None:
    grid = Grid.of(*size, notice=True)
    assert not grid.words.overlaps(grid.camera)
    assert not grid.notice.overlaps(grid.camera) and not grid.notice.overlaps(grid.words)
    for place in (grid.words, grid.camera, grid.notice):
        assert place.x >= 0 and place.y >= 0 and place.right <= size[0] and place.bottom <= size[1]


def test_the_camera_stands_right_and_only_where_it_is_wanted() -> None:
    image = compose(state(), CAMERA, (1280, 720))
    assert image.shape == (720, 1280, 3)
    left, _, right, _ = red_place(image)
    assert left > 640 and right < 1280
    assert not np.all(compose(state(camera=False), CAMERA, (1280, 720)) == RED, axis=2).any()


def test_the_words_change_the_picture() -> None:
    variants: list[dict[str, Any]] = [
        {}, {"action": ""}, {"emotions": []}, {"state": "lost"}, {"notice": "Read this."}, {"title": "A"},
    ]  # fmt: skip
    pictures = [compose(state(**changes), CAMERA, (1280, 720)) for changes in variants]
    for index, one in enumerate(pictures):
        assert not any(np.array_equal(one, other) for other in pictures[index + 1 :])


@pytest.mark.parametrize(("turn", "code"), [(90, cv2.ROTATE_90_CLOCKWISE), (180, cv2.ROTATE_180)])
def test_a_turned_screen_is_the_same_picture_turned(turn: int, code: int) -> None:
    size = (720, 1280) if turn == 90 else (1280, 720)
    turned = compose(state(turn=turn), CAMERA, size)
    assert turned.shape[:2] == size[::-1]
    assert np.array_equal(turned, cv2.rotate(compose(state(), CAMERA, (1280, 720)), code))


def test_everything_moves_slowly_round_a_circle() -> None:
    places = [red_place(compose(state(), CAMERA, (1280, 720), now_s=150.0 * n))[:2] for n in range(4)]
    assert len(set(places)) == 4
    offsets = [burn_in_offset(float(now_s), 10.0) for now_s in range(0, 600, 10)]
    assert max(np.hypot(*offset) for offset in offsets) == pytest.approx(10.0)
    assert np.mean(offsets, axis=0) == pytest.approx([0.0, 0.0], abs=1e-9)


def test_lines_are_broken_between_words() -> None:
    text = "Come closer: this display answers to what you do"
    lines = wrap(text, 200, 24)
    assert " ".join(lines) == text and len(lines) > 1
    assert all(text_width(line, 24) <= 200 for line in lines)
    assert wrap("Donaudampfschifffahrt", 10, 24) == ["Donaudampfschifffahrt"]
    assert wrap("", 10, 24) == []
