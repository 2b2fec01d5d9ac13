"""Readings shown as a line of text, for the scene or a face."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgeharfer.runtime.overlay.canvas import DIM, Rect, panel, put_text, shorten, text_width
from edgeharfer.runtime.overlay.style import OverlayStyle, first_free_place, humanise, label_text, percent
from edgeharfer.runtime.types import Image, Reading, TrackedFace


def reading_text(name: str, reading: Reading) -> str:
    """Format a reading in one line, such as "Headpose: yaw 12.0, pitch -3.1" or "Width: Wide 70%"."""
    words = [] if reading.label is None else [label_text(reading.label)]
    if words and reading.score is not None:
        words[0] += f" {percent(reading.score)}"
    words += [f"{humanise(key).lower()} {_number(value)}" for key, value in (reading.values or {}).items()]
    return f"{humanise(name)}: {', '.join(words)}"


def draw_scene_readings(
    image: Image, readings: Mapping[str, Reading], top: int, style: OverlayStyle
) -> list[Rect]:
    """Draw a line for each reading of the scene, on the left below `top`; return their areas."""
    covered: list[Rect] = []
    for line in _lines(readings):
        rect = _line_rect(line, style)._replace(x=style.gap, y=top + style.gap)
        if not rect.inside(style.safe):
            break
        _draw_line(image, line, rect, style)
        covered.append(rect)
        top = rect.bottom
    return covered


def draw_face_readings(
    image: Image, face: TrackedFace, box: Rect, taken: Sequence[Rect], style: OverlayStyle
) -> list[Rect]:
    """Draw a line for each reading of a face, below or above its box, if there is room; return the areas."""
    covered: list[Rect] = []
    for line in _lines(face.readings):
        used = [*taken, *covered]
        places = _face_places(_line_rect(line, style), box, used, style)
        moved = [place._replace(x=place.moved_into(style.safe).x) for place in places]
        rect = first_free_place(moved, used, style.safe)
        if rect is not None:
            _draw_line(image, line, rect, style)
            covered.append(rect)
    return covered


def _face_places(size: Rect, box: Rect, used: Sequence[Rect], style: OverlayStyle) -> list[Rect]:
    """Return candidate positions: below the box or the panels under it, above the box, and inside its top."""
    gap = style.gap // 2
    panels = sorted(one.bottom for one in used if box.bottom <= one.y < box.bottom + 2 * box.height)
    rows = [*(bottom + gap for bottom in (box.bottom, *panels)), box.y - gap - size.height, box.y + style.gap]
    return [size._replace(x=box.x, y=y) for y in rows]


def _lines(readings: Mapping[str, Reading]) -> list[str]:
    return [reading_text(name, reading) for name, reading in readings.items() if reading.shown == "line"]


def _line_rect(line: str, style: OverlayStyle) -> Rect:
    width = min(text_width(line, style.small) + 2 * style.pad, style.safe.width)
    return Rect(0, 0, width, style.small + style.pad)


def _draw_line(image: Image, line: str, rect: Rect, style: OverlayStyle) -> None:
    panel(image, rect, style.radius)
    text = shorten(line, rect.width - 2 * style.pad, style.small)
    put_text(image, text, rect.x + style.pad, rect.y + rect.height // 2, style.small, DIM)


def _number(value: float) -> str:
    """Format a number with about three significant digits."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 1 else f"{value:.2f}"
