"""Drawing primitives: text, dark translucent panels, bars and outlines."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from edgeharfer.runtime.types import Floats, Image

Color = tuple[int, int, int]  # blue, green, red

WHITE: Color = (255, 255, 255)
DIM: Color = (205, 205, 205)
FAINT: Color = (120, 120, 120)
GROOVE: Color = (84, 84, 84)
SHADOW: Color = (20, 20, 20)

REGULAR, SEMIBOLD = 400, 600

# Share of the image that shows through a panel. White text keeps a contrast of 10:1 over a white image.
PANEL_SEE_THROUGH = 0.22
PANEL_TINT = 10

CAP_HEIGHT = 0.7  # height of capitals relative to the text size, for Rubik; Hershey Duplex is scaled to it
HERSHEY_CAP_PX = 21.0  # height of capitals in pixels, for Hershey Duplex at scale 1
HERSHEY_FROM = {"…": "...", "·": "-"}  # Hershey fonts have only printable ASCII


class Rect(NamedTuple):
    """A rectangle in whole pixels: top left corner and size."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    def overlaps(self, other: Rect) -> bool:
        return (
            self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom
        )

    def inside(self, other: Rect) -> bool:
        return (
            self.x >= other.x
            and self.y >= other.y
            and self.right <= other.right
            and self.bottom <= other.bottom
        )

    def moved_into(self, other: Rect) -> Rect:
        """Move the rectangle inside `other`, which must be large enough, by as little as possible."""
        x = min(max(self.x, other.x), other.right - self.width)
        y = min(max(self.y, other.y), other.bottom - self.height)
        return self._replace(x=x, y=y)


def has_truetype() -> bool:
    """Return whether OpenCV draws TrueType text (5.x), not only Hershey fonts (4.x)."""
    return hasattr(cv2, "FontFace")


_local = threading.local()


def _typeface() -> Any:
    """Return OpenCV's built-in Rubik, a variable font; one per thread, as drawing changes its state."""
    if not hasattr(_local, "typeface"):
        _local.typeface = cv2.FontFace("sans")
    return _local.typeface


def _hershey(text: str, size: int, weight: int) -> tuple[str, float, int]:
    for character, plain in HERSHEY_FROM.items():
        text = text.replace(character, plain)
    return text, CAP_HEIGHT * size / HERSHEY_CAP_PX, max(1, round(size * weight / 14_000))


@lru_cache(maxsize=1024)
def text_width(text: str, size: int, weight: int = REGULAR) -> int:
    """Return the width of a text in pixels."""
    if not text:
        return 0
    if has_truetype():
        return int(cv2.getTextSize((0, 0), text, (0, 0), _typeface(), size, weight)[2])
    plain, scale, thickness = _hershey(text, size, weight)
    return int(cv2.getTextSize(plain, cv2.FONT_HERSHEY_DUPLEX, scale, thickness)[0][0])


def wrap(text: str, width: int, size: int, weight: int = 400) -> list[str]:
    """Break a text between words into lines of at most `width` pixels; longer words get their own line."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(joined, size, weight) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def put_text(
    image: Image, text: str, x: int, middle: int, size: int, color: Color = WHITE, weight: int = REGULAR
) -> None:
    """Draw a line of text that starts at `x`, with capitals centred on row `middle`."""
    baseline = middle + round(size * CAP_HEIGHT / 2)
    if has_truetype():
        cv2.putText(image, text, (x, baseline), color, _typeface(), size, weight)
        return
    plain, scale, thickness = _hershey(text, size, weight)
    cv2.putText(image, plain, (x, baseline), cv2.FONT_HERSHEY_DUPLEX, scale, color, thickness, cv2.LINE_AA)


def shorten(text: str, width: int, size: int, weight: int = REGULAR) -> str:
    """Shorten a text to `width` pixels, ending in "…"; "" if nothing fits."""
    if text_width(text, size, weight) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + "…", size, weight) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…" if low else ""


@lru_cache(maxsize=32)
def _corner(radius: int) -> Floats:
    """Return the uncovered share of each pixel of a rounded top left corner, (radius, radius, 1)."""
    distance = radius - (np.arange(radius, dtype=np.float32) + 0.5)
    outside = np.hypot(distance[:, None], distance[None, :]) - radius + 0.5
    rounded: Floats = np.clip(outside, 0, 1).astype(np.float32)
    return rounded[:, :, None]


def panel(image: Image, rect: Rect, radius: int) -> None:
    """Darken a rounded rectangle, which must lie inside the image."""
    under = image[rect.y : rect.bottom, rect.x : rect.right]
    _blend_rounded(under, cv2.convertScaleAbs(under, alpha=PANEL_SEE_THROUGH, beta=PANEL_TINT), radius)


def bar(image: Image, rect: Rect, color: Color) -> None:
    """Draw a filled bar with round ends, which must lie inside the image; nothing if its width is 0."""
    if rect.width > 0:
        fill_rounded(image, rect, color, rect.height // 2)


def fill_rounded(image: Image, rect: Rect, fill: Color | Image, radius: int) -> None:
    """Fill a rounded rectangle, which must lie inside the image, with a colour or an image of its size."""
    under = image[rect.y : rect.bottom, rect.x : rect.right]
    over = np.empty_like(under)
    over[:] = fill
    _blend_rounded(under, over, radius)


def _blend_rounded(under: Image, over: Any, radius: int) -> None:
    """Copy `over` to `under` as a rounded rectangle with antialiased corners."""
    radius = min(radius, under.shape[0] // 2, under.shape[1] // 2)
    if radius > 0:
        outside = _corner(radius)
        for vertical in (1, -1):
            for horizontal in (1, -1):
                old = under[::vertical, ::horizontal][:radius, :radius]
                new = over[::vertical, ::horizontal][:radius, :radius]
                new[:] = old * outside + new * (1 - outside)
    under[:] = over


def dot(image: Image, x: int, middle: int, radius: int, color: Color) -> None:
    """Draw a filled disc."""
    cv2.circle(image, (x, middle), radius, color, -1, cv2.LINE_AA)


def outline(image: Image, rect: Rect, color: Color, opacity: float) -> None:
    """Draw a translucent one-pixel rectangle, which must lie inside the image."""
    ink = np.array(color, np.float32) * opacity
    part = image[rect.y : rect.bottom, rect.x : rect.right]
    for edge in (part[0], part[-1], part[:, 0], part[:, -1]):
        edge[:] = edge * (1 - opacity) + ink


def brackets(image: Image, rect: Rect, length: int, thickness: int, color: Color) -> None:
    """Draw the four corners of a rectangle, `length` long, with a dark edge for contrast."""
    for ink, margin in ((SHADOW, 1), (color, 0)):
        for x, right in ((rect.x, 1), (rect.right, -1)):
            for y, down in ((rect.y, 1), (rect.bottom, -1)):
                _fill(image, x, y, right * length, down * thickness, margin, ink)
                _fill(image, x, y, right * thickness, down * length, margin, ink)


def _fill(image: Image, x: int, y: int, width: int, height: int, margin: int, color: Color) -> None:
    left, right = min(x, x + width) - margin, max(x, x + width) + margin
    top, bottom = min(y, y + height) - margin, max(y, y + height) + margin
    image[max(0, top) : bottom, max(0, left) : right] = color
