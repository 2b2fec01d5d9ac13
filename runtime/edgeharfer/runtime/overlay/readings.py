"""Readings that are shown as a line of text, for the scene or at a face."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgeharfer.runtime.overlay.canvas import DIM, Rect, panel, put_text, shorten, text_width
from edgeharfer.runtime.overlay.style import OverlayStyle, first_free_place, humanise, label_text, percent
from edgeharfer.runtime.types import Image, Reading, TrackedFace


def reading_words(name: str, reading: Reading) -> str:
    """A reading in one line: "Headpose: yaw 12.0, pitch -3.1", "Width: Wide 70%"."""
    words = [] if reading.label is None else [label_text(reading.label)]
    if words and reading.score is not None:
        words[0] += f" {percent(reading.score)}"
    words += [f"{humanise(key).lower()} {_number(value)}" for key, value in (reading.values or {}).items()]
    return f"{humanise(name)}: {', '.join(words)}"


def draw_scene_readings(
    image: Image, readings: Mapping[str, Reading], top: int, look: OverlayStyle
) -> list[Rect]:
    """A line for each reading of the scene, on the left below `top`. Returns what they cover."""
    covered: list[Rect] = []
    for line in _lines(readings):
        rect = _line_rect(line, look)._replace(x=look.gap, y=top + look.gap)
        if not rect.inside(look.safe):
            break
        _draw_line(image, line, rect, look)
        covered.append(rect)
        top = rect.bottom
    return covered


def draw_face_readings(
    image: Image, face: TrackedFace, box: Rect, taken: Sequence[Rect], look: OverlayStyle
) -> list[Rect]:
    """A line for each reading of a face, under or over its box where there is room."""
    covered: list[Rect] = []
    for line in _lines(face.readings):
        used = [*taken, *covered]
        places = _face_places(_line_rect(line, look), box, used, look)
        moved = [place._replace(x=place.moved_into(look.safe).x) for place in places]
        rect = first_free_place(moved, used, look.safe)
        if rect is not None:
            _draw_line(image, line, rect, look)
            covered.append(rect)
    return covered


def _face_places(size: Rect, box: Rect, used: Sequence[Rect], look: OverlayStyle) -> list[Rect]:
    """Under the box or what stands under it, over the box, inside at its top."""
    gap = look.gap // 2
    panels = sorted(one.bottom for one in used if box.bottom <= one.y < box.bottom + 2 * box.height)
    rows = [*(bottom + gap for bottom in (box.bottom, *panels)), box.y - gap - size.height, box.y + look.gap]
    return [size._replace(x=box.x, y=y) for y in rows]


def _lines(readings: Mapping[str, Reading]) -> list[str]:
    return [reading_words(name, reading) for name, reading in readings.items() if reading.shown == "line"]


def _line_rect(line: str, look: OverlayStyle) -> Rect:
    width = min(text_width(line, look.small) + 2 * look.pad, look.safe.width)
    return Rect(0, 0, width, look.small + look.pad)


def _draw_line(image: Image, line: str, rect: Rect, look: OverlayStyle) -> None:
    panel(image, rect, look.radius)
    text = shorten(line, rect.width - 2 * look.pad, look.small)
    put_text(image, text, rect.x + look.pad, rect.y + rect.height // 2, look.small, DIM)


def _number(value: float) -> str:
    """Three figures or so, as a person reads them."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 1 else f"{value:.2f}"
