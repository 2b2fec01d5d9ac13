"""Drawing of the source menu in a window: choices on the left, the preview on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from edgeharfer.cli.picker.menu import TITLE, MenuItem
from edgeharfer.cli.picker.preview import PreviewFrame, PreviewState
from edgeharfer.runtime.overlay.canvas import (
    SEMIBOLD,
    Color,
    Rect,
    dot,
    fill_rounded,
    has_truetype,
    put_text,
    shorten,
    text_width,
    wrap,
)
from edgeharfer.runtime.overlay.style import BLUE, MINT, ORANGE, YELLOW
from edgeharfer.runtime.types import Image

BACKGROUND: Color = (30, 21, 15)
CARD: Color = (45, 33, 25)
SELECTED: Color = (78, 57, 40)
KEYCAP: Color = (66, 51, 41)
TEXT: Color = (248, 246, 244)
MUTED_TEXT: Color = (196, 184, 174)  # contrast 9:1 on the background
STATE_COLORS = {PreviewState.WAITING: YELLOW, PreviewState.LIVE: MINT, PreviewState.FAILED: ORANGE}
BASE_SIZE = (800, 480)
"""Window size in pixels that the layout below is for; it scales with the window."""
MAX_LINES = 6
START = "Start"
KEYS = (
    ("↑ ↓" if has_truetype() else "Up Down", "choose"),
    ("Enter", "start"),
    ("O", "open a file"),
    ("R", "refresh"),
    ("Esc", "quit"),
    ("F", "full screen"),
)
"""Keys and their actions; the last ones are omitted if there is no room."""


@dataclass(frozen=True, slots=True, eq=False)
class PickerImage:
    """A drawn menu with the areas that react to the pointer.

    Attributes:
        image: uint8 BGR, (height, width, 3).
        choices: Index of a choice -> its area; only those that are visible.
        start: Area of the start button.
        view: Area of the preview.
        unit: Scale of the layout, 1.0 at BASE_SIZE.
    """

    image: Image
    choices: dict[int, Rect]
    start: Rect
    view: Rect
    unit: float


def compose(
    choices: Sequence[MenuItem], index: int, summary: str, preview: PreviewFrame, size: tuple[int, int]
) -> PickerImage:
    """Draw the window, `size` (width, height) in pixels."""
    frame = _draw_static(tuple(choices), index, summary, size)
    page = PickerImage(frame.image.copy(), frame.choices, frame.start, frame.view, frame.unit)
    if preview.image is None:
        _draw_message(page, preview)
    else:
        _draw_image(page, preview.image)
        _draw_status(page, preview)
    return page


@lru_cache(maxsize=4)
def _draw_static(
    choices: tuple[MenuItem, ...], index: int, summary: str, size: tuple[int, int]
) -> PickerImage:
    """Draw everything but the preview; cached, since only the preview changes all the time."""
    width, height = size
    unit = min(width / BASE_SIZE[0], height / BASE_SIZE[1])

    def px(value: float) -> int:
        return max(1, round(value * unit))

    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    start = Rect(width - px(22 + 116), height - px(22 + 40), px(116), px(40))
    view = Rect(px(316), px(22), width - px(316 + 22), height - px(22 + 62 + 52))
    put_text(image, shorten(TITLE, px(280), px(22), SEMIBOLD), px(22), px(36), px(22), TEXT, SEMIBOLD)
    put_text(image, shorten(summary, px(280), px(13)), px(22), px(63), px(13), MUTED_TEXT)
    list_area = Rect(px(22), px(86), px(274), height - px(86 + 76))
    areas = _draw_choices(image, choices, index, list_area, px)
    fill_rounded(image, view, CARD, px(10))
    _draw_keys(image, Rect(px(22), start.y, start.x - px(22 + 16), start.height), px)
    fill_rounded(image, start, BLUE, px(10))
    wide = text_width(START, px(16), SEMIBOLD)
    x, middle = start.x + (start.width - wide) // 2, start.y + start.height // 2
    put_text(image, START, x, middle, px(16), BACKGROUND, SEMIBOLD)
    return PickerImage(image, areas, start, view, unit)


def _draw_choices(
    image: Image, choices: Sequence[MenuItem], index: int, area: Rect, px: Any
) -> dict[int, Rect]:
    """Draw as many choices as fit, including the selected one, and return their areas."""
    height, gap = px(54), px(8)
    room = max(1, (area.height + gap) // (height + gap))
    first = min(max(0, index - room // 2), max(0, len(choices) - room))
    areas = {}
    for row, number in enumerate(range(first, min(first + room, len(choices)))):
        place = Rect(area.x, area.y + row * (height + gap), area.width, height)
        _draw_choice(image, choices[number], place, px, selected=number == index)
        areas[number] = place
    x = area.right - px(14)
    if first:
        put_text(image, "▲", x, area.y - px(14), px(12), MUTED_TEXT)
    if first + room < len(choices):
        put_text(image, "▼", x, area.bottom + px(2), px(12), MUTED_TEXT)
    return areas


def _draw_choice(image: Image, choice: MenuItem, place: Rect, px: Any, *, selected: bool) -> None:
    fill_rounded(image, place, SELECTED if selected else CARD, px(10))
    if selected:
        fill_rounded(
            image, Rect(place.x + px(7), place.y + px(10), px(4), place.height - px(20)), BLUE, px(2)
        )
    x, room = place.x + px(20), place.width - px(32)
    put_text(
        image, shorten(choice.title, room, px(16), SEMIBOLD), x, place.y + px(19), px(16), TEXT, SEMIBOLD
    )
    put_text(image, shorten(choice.detail, room, px(12)), x, place.y + px(38), px(12), MUTED_TEXT)


def _draw_keys(image: Image, area: Rect, px: Any) -> None:
    size, x, middle = px(12), area.x, area.y + area.height // 2
    for key, what in KEYS:
        cap = text_width(key, size, SEMIBOLD) + px(14)
        if x + cap + px(7) + text_width(what, size) > area.right:
            return
        fill_rounded(image, Rect(x, middle - px(12), cap, px(24)), KEYCAP, px(6))
        put_text(image, key, x + px(7), middle, size, TEXT, SEMIBOLD)
        x += cap + px(7)
        put_text(image, what, x, middle, size, MUTED_TEXT)
        x += text_width(what, size) + px(16)


def _draw_image(page: PickerImage, image: Image) -> None:
    """Draw the whole image, as large as the view allows, centred."""
    rows, columns = image.shape[:2]
    scale = min(page.view.width / columns, page.view.height / rows)
    width, height = max(1, round(columns * scale)), max(1, round(rows * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown = np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)
    left = page.view.x + (page.view.width - width) // 2
    top = page.view.y + (page.view.height - height) // 2
    fill_rounded(page.image, Rect(left, top, width, height), shown, round(10 * page.unit))


def _draw_status(page: PickerImage, preview: PreviewFrame) -> None:
    """Draw the state and message in one line below the image."""
    size = max(1, round(13 * page.unit))
    middle = page.view.bottom + round(26 * page.unit)
    dot(page.image, page.view.x + size // 2, middle, max(2, size // 3), STATE_COLORS[preview.state])
    words = shorten(preview.message, page.view.width - 2 * size, size)
    put_text(page.image, words, page.view.x + round(1.6 * size), middle, size, MUTED_TEXT)


def _draw_message(page: PickerImage, preview: PreviewFrame) -> None:
    """Draw the message in the middle of the view, when there is no image."""
    size = max(1, round(15 * page.unit))
    lines = wrap(preview.message, page.view.width - 6 * size, size)[:MAX_LINES]
    x, step = page.view.x + page.view.width // 2, round(1.5 * size)
    middle = page.view.y + page.view.height // 2 - step * (len(lines) - 1) // 2
    dot(page.image, x, middle - 2 * size, max(2, size // 3), STATE_COLORS[preview.state])
    for line in lines:
        line = shorten(line, page.view.width - 2 * size, size)
        put_text(page.image, line, x - text_width(line, size) // 2, middle, size, TEXT)
        middle += step
