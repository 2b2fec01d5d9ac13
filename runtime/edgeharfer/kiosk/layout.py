"""The full-screen picture for people before the kiosk: large words, few of them, faces blurred."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from edgeharfer.runtime.overlay import label_words
from edgeharfer.runtime.overlay.canvas import SEMIBOLD, Color, Rect, panel, put_text, text_width, wrap
from edgeharfer.runtime.types import Image

INK: Color = (234, 241, 244)
SOFT: Color = (204, 192, 185)
GLOW: Color = (113, 185, 245)
GOOD: Color = (154, 195, 89)
TROUBLE: Color = (95, 155, 227)
TOP: Color = (99, 63, 44)
BOTTOM: Color = (32, 20, 13)
SHIFT_SHARE = 0.012
SHIFT_PERIOD_S = 600.0
LINE = 1.35  # of the type size
MOST_LINES = 4
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True, slots=True)
class Grid:
    """Where things stand on a screen, in pixels; an upright one has its parts one above the other."""

    words: Rect
    camera: Rect
    notice: Rect
    state: int  # middle of the line at the bottom
    unit: int  # a hundredth of the shorter side

    @classmethod
    def of(cls, width: int, height: int, *, notice: bool) -> Grid:
        unit = max(2, min(width, height) // 100)
        edge, low = 7 * unit, 22 * unit
        place = Rect(edge, height - edge - low, width - 2 * edge, low)
        bottom = place.y - 4 * unit if notice else height - edge
        if width >= height:
            camera = _fitted(width - edge, int(0.38 * width), edge, bottom - 4 * unit)
            words = Rect(edge, edge, camera.x - 3 * edge, bottom - edge)
        else:
            camera = _fitted(width - edge, width - 2 * edge, int(0.42 * height), bottom - 4 * unit)
            camera = camera._replace(x=(width - camera.width) // 2)
            words = Rect(edge, edge, width - 2 * edge, camera.y - 2 * edge)
        return cls(words, camera, place, height - edge // 2, unit)


def _fitted(right: int, most_width: int, top: int, bottom: int) -> Rect:
    """The largest 4:3 place against `right`, in the middle between `top` and `bottom`."""
    width = min(most_width, (bottom - top) * 4 // 3)
    height = width * 3 // 4
    return Rect(right - width, (top + bottom - height) // 2, width, height)


def compose(state: dict[str, Any], camera: Image | None, size: tuple[int, int], now_s: float = 0.0) -> Image:
    """The whole screen, uint8 BGR of `size` (width, height).

    state: as the page gets it. camera: the small picture, blurred already. now_s: moves everything slowly
    round a small circle, so that no edge burns in.
    """
    turn = int(state["turn"])
    width, height = size if turn % 180 == 0 else size[::-1]
    image = _background(width, height).copy()
    grid = Grid.of(width, height, notice=bool(state["notice"]))
    _draw_words(image, state, grid)
    if camera is not None and state["camera"]:
        _draw_camera(image, camera, grid, "Faces are blurred." if state["blurred"] else "")
    if state["notice"]:
        _draw_notice(image, str(state["notice"]), grid)
    shifted = _shift(image, now_s, SHIFT_SHARE * min(width, height))
    return np.asarray(cv2.rotate(shifted, TURNS[turn]), np.uint8) if turn else shifted


def burn_in_offset(now_s: float, reach: float) -> tuple[float, float]:
    """Pixels to the right and down at a time: once round a circle in ten minutes."""
    angle = math.tau * now_s / SHIFT_PERIOD_S
    return reach * math.cos(angle), reach * math.sin(angle)


def _draw_words(image: Image, state: dict[str, Any], grid: Grid) -> None:
    unit, area = grid.unit, grid.words
    title = str(state["title"])
    headline = label_words(state["action"]) if state["action"] else "Hello!" if state["people"] else title
    y = area.y + max(2 * unit, area.height // 6)
    y = _lines(image, [title], area.x, y, 3 * unit, GLOW, SEMIBOLD)
    large = 9 * unit
    y = (
        _lines(
            image,
            wrap(headline, area.width, large, SEMIBOLD)[:MOST_LINES],
            area.x,
            y + 5 * unit,
            large,
            INK,
            SEMIBOLD,
        )
        - 4 * unit
    )
    small = max(12, 3 * unit)
    y = _lines(
        image, wrap(str(state["message"]), area.width, small)[:MOST_LINES], area.x, y + 2 * unit, small, SOFT
    )
    _draw_moods(image, state["emotions"], area, y + 4 * unit, small)
    _draw_state(image, state["state"] == "live", grid)


def _draw_state(image: Image, live: bool, grid: Grid) -> None:
    words = (
        "Runs on this device. No picture leaves it." if live else "One moment, the camera is being looked for"
    )
    cv2.circle(
        image, (grid.words.x + grid.unit, grid.state), grid.unit, GOOD if live else TROUBLE, -1, cv2.LINE_AA
    )
    put_text(image, words, grid.words.x + 4 * grid.unit, grid.state, max(11, 2 * grid.unit), SOFT)


def _lines(image: Image, lines: list[str], x: int, y: int, size: int, color: Color, weight: int = 400) -> int:
    """Draw lines from the middle of the first one on; the middle of what would come next."""
    for line in lines:
        put_text(image, line, x, y, size, color, weight)
        y += round(LINE * size)
    return y


def _draw_moods(image: Image, labels: list[str], area: Rect, y: int, size: int) -> None:
    x = area.x
    for label in labels:
        word = label_words(label)
        width = text_width(word, size) + 2 * size
        if x + width > area.right:
            return
        panel(image, Rect(x, y - size, width, 2 * size), size)
        put_text(image, word, x + size, y, size, INK)
        x += width + size // 2


def _draw_camera(image: Image, camera: Image, grid: Grid, caption: str) -> None:
    place, unit = grid.camera, grid.unit
    size = place.width, place.height
    image[place.y : place.bottom, place.x : place.right] = cv2.resize(
        camera, size, interpolation=cv2.INTER_LINEAR
    )
    put_text(
        image, f"{caption} No picture is stored.".strip(), place.x, place.bottom + 3 * unit, 2 * unit, SOFT
    )


def _draw_notice(image: Image, text: str, grid: Grid) -> None:
    place, unit = grid.notice, grid.unit
    cv2.rectangle(image, (place.x, place.y), (place.right, place.bottom), INK, -1, cv2.LINE_AA)
    size = max(12, 3 * unit)
    lines = wrap(text, place.width - 8 * unit, size)[:MOST_LINES]
    height = (len(lines) + 1) * round(LINE * size) + unit
    y = place.y + (place.height - height) // 2 + round(LINE * size) // 2
    y = _lines(image, lines, place.x + 4 * unit, y, size, BOTTOM)
    put_text(image, "Touch the screen to agree", place.x + 4 * unit, y + unit, size, TOP, SEMIBOLD)


@lru_cache(maxsize=2)
def _background(width: int, height: int) -> Image:
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    across = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    share = np.clip(0.65 * down + 0.45 * (1 - across), 0, 1)
    mixed = np.array(TOP, np.float32) * (1 - share) + np.array(BOTTOM, np.float32) * share
    return np.asarray(np.rint(mixed), np.uint8)


def _shift(image: Image, now_s: float, reach: float) -> Image:
    right, down = burn_in_offset(now_s, reach)
    matrix = np.array([[1, 0, round(right)], [0, 1, round(down)]], np.float32)
    size = image.shape[1], image.shape[0]
    return np.asarray(
        cv2.warpAffine(image, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )
