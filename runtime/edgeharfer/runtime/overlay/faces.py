"""Faces in the overlay: box, tag, and bars of the most probable classes."""

from __future__ import annotations

from collections.abc import Sequence

from edgeharfer.runtime.overlay.canvas import (
    DIM,
    GROOVE,
    SEMIBOLD,
    WHITE,
    Color,
    Rect,
    bar,
    brackets,
    outline,
    panel,
    put_text,
    shorten,
    text_width,
)
from edgeharfer.runtime.overlay.style import (
    GREY,
    OverlayStyle,
    filled,
    first_free_place,
    humanise,
    label_color,
    label_text,
    percent,
)
from edgeharfer.runtime.types import UNCERTAIN, Box, Image, Reading, TrackedFace

TOP_CLASSES = 3
MIN_LABEL = 3  # width reserved for the label beside the track number, in multiples of the text size


def clip_to_image(box: Box, area: Rect) -> Rect | None:
    """Clip a box to the image, in whole pixels; None if less than 2 pixels are left."""
    left, top = max(0, round(box.x)), max(0, round(box.y))
    right = min(area.width, round(box.x + box.width))
    bottom = min(area.height, round(box.y + box.height))
    if right - left < 2 or bottom - top < 2:
        return None
    return Rect(left, top, right - left, bottom - top)


def tag_of(face: TrackedFace) -> Reading | None:
    """Return the reading that is shown on the tag of a face, or None."""
    return next((reading for reading in face.readings.values() if reading.shown == "tag"), None)


def _face_color(face: TrackedFace) -> Color:
    tag = tag_of(face)
    return GREY if tag is None else label_color(tag.label or UNCERTAIN)


def draw_box(image: Image, face: TrackedFace, box: Rect, style: OverlayStyle) -> None:
    """Draw a faint outline with strong corners."""
    color = _face_color(face)
    outline(image, box, color, 0.45)
    brackets(image, box, max(2, min(box.width, box.height) // 5), style.line, color)


def draw_tag(image: Image, face: TrackedFace, box: Rect, taken: Sequence[Rect], style: OverlayStyle) -> Rect:
    """Draw track number, label and score above the box, or below or inside it, and return the area."""
    edge, space = style.line + 1, style.pad
    number, label, score = _tag_text(face, style.safe.width - edge - 4 * space, style)
    gaps = 4 * space if score else 3 * space
    widths = (
        text_width(number, style.small),
        text_width(label, style.text, SEMIBOLD),
        text_width(score, style.text, SEMIBOLD),
    )
    width = min(edge + sum(widths) + gaps, style.safe.width)
    rect = _place_tag(Rect(box.x, box.y, width, style.text + style.pad + 4), box, taken, style)
    panel(image, rect, style.radius)
    middle = rect.y + rect.height // 2
    color = _face_color(face)
    stripe = rect.height - style.pad
    image[middle - stripe // 2 : middle + stripe // 2, rect.x + space - 2 : rect.x + space - 2 + edge] = color
    x = rect.x + space + edge + space // 2
    put_text(image, number, x, middle, style.small, DIM)
    x += widths[0] + space
    put_text(image, label, x, middle, style.text, WHITE, SEMIBOLD)
    x += widths[1] + space
    put_text(image, score, x, middle, style.text, color, SEMIBOLD)
    return rect


def _tag_text(face: TrackedFace, room: int, style: OverlayStyle) -> tuple[str, str, str]:
    """Return number, label and score within `room` pixels; shortens the number first, then the label."""
    number = f"#{face.track}"
    label, score = _face_text(face)
    room -= text_width(score, style.text, SEMIBOLD)
    if text_width(number, style.small) + text_width(label, style.text, SEMIBOLD) > room:
        number = shorten(number, room - MIN_LABEL * style.text, style.small)
    return number, shorten(label, room - text_width(number, style.small), style.text, SEMIBOLD), score


def _face_text(face: TrackedFace) -> tuple[str, str]:
    """Return label and score; without a tag the score of the detector, and none for an uncertain label."""
    tag = tag_of(face)
    if tag is None:
        return "Face", percent(face.score)
    label = tag.label or UNCERTAIN
    return label_text(label), "" if label == UNCERTAIN else percent(tag.score or 0.0)


def _place_tag(tag: Rect, box: Rect, taken: Sequence[Rect], style: OverlayStyle) -> Rect:
    gap = style.gap
    places = [
        tag._replace(y=box.y - gap - tag.height),
        tag._replace(y=box.bottom + gap),
        tag._replace(x=box.x + gap, y=box.y + gap),
        tag._replace(x=box.x + gap, y=box.bottom - gap - tag.height),
    ]
    moved = [place._replace(x=place.moved_into(style.safe).x) for place in places]
    return first_free_place(moved, taken, style.safe) or moved[0].moved_into(style.safe)


def draw_top_classes(
    image: Image, face: TrackedFace, box: Rect, taken: Sequence[Rect], style: OverlayStyle
) -> list[Rect]:
    """Draw the most probable classes of the tag as bars beside the face, if there is room."""
    tag = tag_of(face)
    if tag is None:
        return []
    rows = _top_classes(tag)
    names = max((text_width(humanise(label), style.small) for label, _ in rows), default=0)
    step = round(style.small * 1.5)
    length = 4 * style.small
    wanted = Rect(0, 0, names + length + 3 * style.pad, len(rows) * step + style.pad)
    rect = first_free_place(_bar_places(wanted, box, style), taken, style.safe)
    if rect is None or box.height < wanted.height:
        return []
    panel(image, rect, style.radius)
    thickness = max(4, style.small // 3)
    for index, (label, value) in enumerate(rows):
        middle = rect.y + style.pad // 2 + index * step + step // 2
        put_text(image, humanise(label), rect.x + style.pad, middle, style.small, DIM)
        groove = Rect(rect.right - style.pad - length, middle - thickness // 2, length, thickness)
        bar(image, groove, GROOVE)
        bar(image, filled(groove, value), label_color(label))
    return [rect]


def _bar_places(wanted: Rect, box: Rect, style: OverlayStyle) -> list[Rect]:
    right, left = box.right + style.gap, box.x - style.gap - wanted.width
    return [
        wanted._replace(x=right, y=box.y),
        wanted._replace(x=left, y=box.y),
        wanted._replace(x=right, y=box.bottom - wanted.height),
        wanted._replace(x=left, y=box.bottom - wanted.height),
        wanted._replace(x=box.x, y=box.bottom + style.gap),
    ]


def _top_classes(reading: Reading) -> list[tuple[str, float]]:
    return sorted((reading.probs or {}).items(), key=lambda item: -item[1])[:TOP_CLASSES]
