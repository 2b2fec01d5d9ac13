"""Style of the overlay: colours, sizes for an image size, and label texts."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeharfer.runtime.overlay.canvas import Color, Rect
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN

# Paul Tol's "light" scheme, safe for colour-blind people (SRON/EPS/TN/09-002, issue 3.2), as BGR.
BLUE: Color = (221, 170, 119)
CYAN: Color = (255, 221, 153)
MINT: Color = (153, 187, 68)
PEAR: Color = (51, 204, 187)
OLIVE: Color = (0, 170, 170)
YELLOW: Color = (136, 221, 238)
ORANGE: Color = (102, 136, 238)
PINK: Color = (187, 170, 255)
GREY: Color = (190, 190, 190)

EMOTION_COLORS: Mapping[str, Color] = {
    "angry": ORANGE,
    "contempt": OLIVE,
    "disgust": PEAR,
    "fear": PINK,
    "happy": YELLOW,
    "neutral": CYAN,
    "sad": BLUE,
    "surprise": MINT,
    UNCERTAIN: GREY,
}

# Between words of "noFight" and "HTTPServer", and at separators.
WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\-\s]+")


@dataclass(frozen=True, slots=True)
class OverlayStyle:
    """Sizes in pixels for an image size.

    Attributes:
        area: The whole image.
        safe: Area in which panels are placed.
        text: Text size.
        small: Size of secondary text.
        pad: Padding inside panels.
        gap: Distance between panels.
        radius: Radius of panel corners.
        line: Line width of boxes.
    """

    area: Rect
    safe: Rect
    text: int
    small: int
    pad: int
    gap: int
    radius: int
    line: int


def style_for_size(width: int, height: int) -> OverlayStyle:
    """Return the style for an image of `width` by `height` pixels."""
    # Text grows more slowly than the image: small images need larger text to be readable.
    reference = min(height, 0.75 * width) / 480
    text = max(11, round(15 * reference**0.8))
    edge = max(2, text // 4)
    return OverlayStyle(
        area=Rect(0, 0, width, height),
        safe=Rect(edge, edge, width - 2 * edge, height - 2 * edge),
        text=text,
        small=max(10, round(text * 0.86)),
        pad=max(5, round(text * 0.55)),
        gap=max(4, round(text * 0.5)),
        radius=max(3, round(text * 0.45)),
        line=max(2, round(text / 5.5)),
    )


def printable(text: str) -> str:
    """Replace control and other unprintable characters by spaces."""
    return "".join(char if char.isprintable() else " " for char in text)


def humanise(label: str) -> str:
    """Format a label as words: "BoxingPunchingBag" becomes "Boxing punching bag"."""
    parts = WORD_BREAK.sub(" ", printable(label)).split()
    words = [word if len(word) > 1 and word.isupper() else word.lower() for word in parts]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def label_text(label: str) -> str:
    """Return the displayed text of a label, such as "Not sure" for the uncertain class."""
    return {UNCERTAIN: "Not sure", BACKGROUND: "No action"}.get(label) or humanise(label)


def label_color(label: str) -> Color:
    """Return the colour of an emotion; other labels get a fixed colour of the palette."""
    known = EMOTION_COLORS.get(label)
    if known is not None:
        return known
    palette = [color for color in EMOTION_COLORS.values() if color != GREY]
    return palette[zlib.crc32(label.encode()) % len(palette)]


def percent(value: float) -> str:
    """Format a fraction as whole percent."""
    return f"{round(100 * share(value))}%"


def share(value: float) -> float:
    """Clip a value to 0..1."""
    return min(1.0, max(0.0, value))


def filled(groove: Rect, value: float) -> Rect:
    """Return the filled part of a groove; at least a dot for values above 0."""
    part = share(value)
    return groove._replace(width=max(round(groove.width * part), groove.height if part > 0 else 0))


def first_free_place(places: Sequence[Rect], taken: Sequence[Rect], area: Rect) -> Rect | None:
    """Return the first place inside the area that overlaps nothing taken, or None."""
    for place in places:
        if place.inside(area) and not any(place.overlaps(other) for other in taken):
            return place
    return None
