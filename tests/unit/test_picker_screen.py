"""The page of the picker's window: all of it within, in proportion, readable."""

from __future__ import annotations

import numpy as np
import pytest

from edgeharfer.cli.picker import screen
from edgeharfer.cli.picker.menu import MenuItem
from edgeharfer.cli.picker.preview import PreviewFrame, PreviewState
from edgeharfer.cli.picker.screen import PickerImage, compose
from edgeharfer.runtime.overlay.style import BLUE

CHOICES = [MenuItem(str(number), f"Camera {number}", f"/dev/video{number}") for number in range(12)]
PICTURE = np.full((480, 640, 3), (40, 160, 90), np.uint8)


def page(size: tuple[int, int], at: int = 0, preview: PreviewFrame | None = None) -> PickerImage:
    return compose(
        CHOICES, at, "12 cameras found", preview or PreviewFrame(PreviewState.LIVE, "MJPG", PICTURE), size
    )


@pytest.mark.parametrize("size", [(480, 300), (800, 480), (1920, 1080), (600, 1024)])
@pytest.mark.parametrize("at", [0, 6, 11])
def test_all_of_a_page_is_within_the_window(size: tuple[int, int], at: int) -> None:
    found = page(size, at)
    assert found.image.shape == (size[1], size[0], 3)
    places = [*found.choices.values(), found.start, found.view]
    assert all(0 <= one.x < one.right <= size[0] and 0 <= one.y < one.bottom <= size[1] for one in places)
    assert not any(one.overlaps(other) for one in places for other in places if one is not other)
    assert at in found.choices


def test_the_picture_keeps_its_proportions() -> None:
    image = page((800, 480)).image
    rows, columns = np.nonzero((image == PICTURE[0, 0]).all(axis=2))
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    assert width / height == pytest.approx(4 / 3, abs=0.02)


def test_words_stand_where_there_is_no_picture() -> None:
    long = PreviewFrame(PreviewState.FAILED, "it cannot be opened: " * 30)
    view = page((800, 480)).view
    inner = page((800, 480), preview=long).image[view.y + 5 : view.bottom - 5, view.x + 5 : view.right - 5]
    assert inner.max() > 200
    edges = inner[:, :10], inner[:, -10:]
    assert all(edge.max() < 60 for edge in edges), "and within it"


def test_text_is_readable_on_what_lies_below() -> None:
    def light(color: tuple[int, int, int]) -> float:
        """Relative luminance (WCAG 2.2)."""
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(color) / 255]
        return float(np.dot(parts, (0.0722, 0.7152, 0.2126)))

    pairs = [
        *(
            (ink, below)
            for ink in (screen.TEXT, screen.MUTED_TEXT)
            for below in (screen.BACKGROUND, screen.CARD)
        ),
        *((ink, screen.SELECTED) for ink in (screen.TEXT, screen.MUTED_TEXT)),
        *((screen.TEXT, screen.KEYCAP), (BLUE, screen.BACKGROUND)),
    ]
    contrast = [(light(ink) + 0.05) / (light(below) + 0.05) for ink, below in pairs]
    assert min(contrast) >= 4.5
