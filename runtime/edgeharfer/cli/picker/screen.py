"""How the picker looks in a window: choices on the left, the selected one's picture on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from edgeharfer.cli.picker.menu import QUESTION, MenuItem
from edgeharfer.cli.picker.preview import PreviewFrame, PreviewState
from edgeharfer.runtime.overlay.canvas import (
    SEMIBOLD,
    Color,
    Rect,
    dot,
    has_truetype,
    put_text,
    shorten,
    text_width,
    wrap,
)
from edgeharfer.runtime.overlay.style import BLUE, MINT, ORANGE, YELLOW
from edgeharfer.runtime.types import Floats, Image

GROUND: Color = (30, 21, 15)
PLATE: Color = (45, 33, 25)
CHOSEN: Color = (78, 57, 40)
KEYCAP: Color = (66, 51, 41)
INK: Color = (248, 246, 244)
SOFT: Color = (196, 184, 174)  # 9:1 on the ground
MOODS = {PreviewState.WAITING: YELLOW, PreviewState.LIVE: MINT, PreviewState.TROUBLE: ORANGE}
BASE = (800, 480)
"""The size that the measures below are for; everything grows with the window."""
MAX_LINES = 6
START = "Start"
KEYS = (
    ("↑ ↓" if has_truetype() else "Up Down", "choose"),
    ("Enter", "start"),
    ("O", "open a file"),
    ("R", "look again"),
    ("Esc", "leave"),
    ("F", "full screen"),
)
"""What the keys do; the last ones are left out where there is no room."""


@dataclass(frozen=True, slots=True, eq=False)
class PickerImage:
    """The picture of the picker, uint8 BGR, and where a pointer finds what. choices: place by number."""

    image: Image
    choices: dict[int, Rect]
    start: Rect
    view: Rect
    unit: float


def compose(
    choices: Sequence[MenuItem], at: int, summary: str, glance: PreviewFrame, size: tuple[int, int]
) -> PickerImage:
    """The whole window, of `size` (width, height) in pixels."""
    frame = _frame(tuple(choices), at, summary, size)
    page = PickerImage(frame.image.copy(), frame.choices, frame.start, frame.view, frame.unit)
    if glance.picture is not None:
        _draw_picture(page, glance.picture)
    if glance.picture is None:
        _draw_words(page, glance)
    else:
        _draw_status(page, glance)
    return page


@lru_cache(maxsize=4)
def _frame(choices: tuple[MenuItem, ...], at: int, summary: str, size: tuple[int, int]) -> PickerImage:
    """All but what the selected source shows, which alone changes from moment to moment."""
    width, height = size
    unit = min(width / BASE[0], height / BASE[1])

    def px(value: float) -> int:
        return max(1, round(value * unit))

    image = np.full((height, width, 3), GROUND, np.uint8)
    start = Rect(width - px(22 + 116), height - px(22 + 40), px(116), px(40))
    view = Rect(px(316), px(22), width - px(316 + 22), height - px(22 + 62 + 52))
    put_text(image, shorten(QUESTION, px(280), px(22), SEMIBOLD), px(22), px(36), px(22), INK, SEMIBOLD)
    put_text(image, shorten(summary, px(280), px(13)), px(22), px(63), px(13), SOFT)
    list_area = Rect(px(22), px(86), px(274), height - px(86 + 76))
    places = _draw_choices(image, choices, at, list_area, px)
    _lay(image, view, PLATE, px(10))
    _draw_keys(image, Rect(px(22), start.y, start.x - px(22 + 16), start.height), px)
    _lay(image, start, BLUE, px(10))
    wide = text_width(START, px(16), SEMIBOLD)
    put_text(image, START, start.x + (start.width - wide) // 2, start.y + start.height // 2, px(16), GROUND,
             SEMIBOLD)  # fmt: skip
    return PickerImage(image, places, start, view, unit)


def _draw_choices(image: Image, choices: Sequence[MenuItem], at: int, area: Rect, px: Any) -> dict[int, Rect]:
    """As many cards as there is room for, the selected one among them."""
    height, gap = px(54), px(8)
    room = max(1, (area.height + gap) // (height + gap))
    first = min(max(0, at - room // 2), max(0, len(choices) - room))
    places = {}
    for row, number in enumerate(range(first, min(first + room, len(choices)))):
        place = Rect(area.x, area.y + row * (height + gap), area.width, height)
        _draw_choice(image, choices[number], place, px, chosen=number == at)
        places[number] = place
    x = area.right - px(14)
    if first:
        put_text(image, "▲", x, area.y - px(14), px(12), SOFT)
    if first + room < len(choices):
        put_text(image, "▼", x, area.bottom + px(2), px(12), SOFT)
    return places


def _draw_choice(image: Image, choice: MenuItem, place: Rect, px: Any, *, chosen: bool) -> None:
    _lay(image, place, CHOSEN if chosen else PLATE, px(10))
    if chosen:
        _lay(image, Rect(place.x + px(7), place.y + px(10), px(4), place.height - px(20)), BLUE, px(2))
    x, room = place.x + px(20), place.width - px(32)
    put_text(image, shorten(choice.title, room, px(16), SEMIBOLD), x, place.y + px(19), px(16), INK, SEMIBOLD)
    put_text(image, shorten(choice.detail, room, px(12)), x, place.y + px(38), px(12), SOFT)


def _draw_keys(image: Image, area: Rect, px: Any) -> None:
    size, x, middle = px(12), area.x, area.y + area.height // 2
    for key, what in KEYS:
        cap = text_width(key, size, SEMIBOLD) + px(14)
        if x + cap + px(7) + text_width(what, size) > area.right:
            return
        _lay(image, Rect(x, middle - px(12), cap, px(24)), KEYCAP, px(6))
        put_text(image, key, x + px(7), middle, size, INK, SEMIBOLD)
        x += cap + px(7)
        put_text(image, what, x, middle, size, SOFT)
        x += text_width(what, size) + px(16)


def _draw_picture(page: PickerImage, picture: Image) -> None:
    """The whole picture, as large as the view allows, in its middle."""
    rows, columns = picture.shape[:2]
    scale = min(page.view.width / columns, page.view.height / rows)
    width, height = max(1, round(columns * scale)), max(1, round(rows * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown = np.asarray(cv2.resize(picture, (width, height), interpolation=way), np.uint8)
    left = page.view.x + (page.view.width - width) // 2
    top = page.view.y + (page.view.height - height) // 2
    _lay(page.image, Rect(left, top, width, height), shown, round(10 * page.unit))


def _draw_status(page: PickerImage, glance: PreviewFrame) -> None:
    """One line below the picture."""
    size = max(1, round(13 * page.unit))
    middle = page.view.bottom + round(26 * page.unit)
    dot(page.image, page.view.x + size // 2, middle, max(2, size // 3), MOODS[glance.mood])
    words = shorten(glance.words, page.view.width - 2 * size, size)
    put_text(page.image, words, page.view.x + round(1.6 * size), middle, size, SOFT)


def _draw_words(page: PickerImage, glance: PreviewFrame) -> None:
    """In the middle of the view, where there is no picture."""
    size = max(1, round(15 * page.unit))
    lines = wrap(glance.words, page.view.width - 6 * size, size)[:MAX_LINES]
    x, step = page.view.x + page.view.width // 2, round(1.5 * size)
    middle = page.view.y + page.view.height // 2 - step * (len(lines) - 1) // 2
    dot(page.image, x, middle - 2 * size, max(2, size // 3), MOODS[glance.mood])
    for line in lines:
        line = shorten(line, page.view.width - 2 * size, size)
        put_text(page.image, line, x - text_width(line, size) // 2, middle, size, INK)
        middle += step


def _lay(image: Image, place: Rect, over: Color | Image, radius: int) -> None:
    """Put a colour or a picture over a place; its rounded corners let the old pixels through."""
    under = image[place.y : place.bottom, place.x : place.right]
    *corners, outside = _corners(place.width, place.height, min(radius, *(side // 2 for side in place[2:])))
    old = under[*corners] * outside
    under[:] = over
    under[*corners] = np.rint(old + under[*corners] * (1 - outside))


@lru_cache(maxsize=32)
def _corners(width: int, height: int, radius: int) -> tuple[Any, Any, Floats]:
    """Rows and columns of the pixels that a rounded rectangle does not fill, and the share it leaves."""
    across = np.abs(np.arange(width, dtype=np.float32) + 0.5 - width / 2) - (width / 2 - radius)
    down = np.abs(np.arange(height, dtype=np.float32) + 0.5 - height / 2) - (height / 2 - radius)
    distance = np.hypot(np.maximum(across, 0)[None], np.maximum(down, 0)[:, None]) - radius
    rows, columns = np.nonzero(distance > -0.5)
    outside: Floats = np.clip(distance[rows, columns] + 0.5, 0, 1)[:, None]
    return rows, columns, outside
