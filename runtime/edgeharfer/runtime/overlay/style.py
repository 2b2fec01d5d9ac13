"""How the overlay looks: colours, sizes for a size of picture, words."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeharfer.runtime.overlay.canvas import Color, Rect
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN

# Paul Tol's "light" scheme, made for colour-blind eyes (SRON/EPS/TN/09-002, issue 3.2), as BGR.
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

# Inside "noFight" and "HTTPServer", and at separators.
WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\-\s]+")


@dataclass(frozen=True, slots=True)
class OverlayStyle:
    """Sizes in pixels for one picture size."""

    area: Rect
    safe: Rect  # where panels may stand
    text: int
    small: int
    pad: int
    gap: int
    radius: int
    line: int


def style_for_size(width: int, height: int) -> OverlayStyle:
    """The sizes for a picture of `width` by `height` pixels."""
    # Text grows slower than the picture: a small one needs the room, a large one is seen from afar.
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
    """The text on one line, without signs that move or hide it."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def humanise(label: str) -> str:
    """A label as a person writes it: "BoxingPunchingBag" becomes "Boxing punching bag"."""
    parts = WORD_BREAK.sub(" ", printable(label)).split()
    words = [word if len(word) > 1 and word.isupper() else word.lower() for word in parts]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def label_text(label: str) -> str:
    """A label as it is shown: as `humanise` writes it, and in words where it names nothing."""
    return {UNCERTAIN: "Not sure", BACKGROUND: "No action"}.get(label) or humanise(label)


def label_color(label: str) -> Color:
    """The colour of an emotion; other labels always get the same one of the palette."""
    known = EMOTION_COLORS.get(label)
    if known is not None:
        return known
    palette = [color for color in EMOTION_COLORS.values() if color != GREY]
    return palette[zlib.crc32(label.encode()) % len(palette)]


def percent(value: float) -> str:
    """A share of one as whole per cent."""
    return f"{round(100 * share(value))}%"


def share(value: float) -> float:
    """The value, held between 0 and 1."""
    return min(1.0, max(0.0, value))


def filled(groove: Rect, value: float) -> Rect:
    """The part of a groove that a share of one fills; anything above nothing shows as a dot at least."""
    part = share(value)
    return groove._replace(width=max(round(groove.width * part), groove.height if part > 0 else 0))


def first_free_place(places: Sequence[Rect], taken: Sequence[Rect], area: Rect) -> Rect | None:
    """The first of the places that lies in the area and covers nothing taken."""
    for place in places:
        if place.inside(area) and not any(place.overlaps(other) for other in taken):
            return place
    return None
