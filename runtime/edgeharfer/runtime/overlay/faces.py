"""The faces in the overlay: box, tag, bars of the likeliest classes."""

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
MIN_LABEL = 3  # width that a label keeps beside its track number, in sizes of its type


def clip_to_image(box: Box, area: Rect) -> Rect | None:
    """The part of a box inside the picture, in whole pixels; None when there is nothing to see."""
    left, top = max(0, round(box.x)), max(0, round(box.y))
    right = min(area.width, round(box.x + box.width))
    bottom = min(area.height, round(box.y + box.height))
    if right - left < 2 or bottom - top < 2:
        return None
    return Rect(left, top, right - left, bottom - top)


def tag_of(face: TrackedFace) -> Reading | None:
    """The reading that stands on the face's tag, None where it has none."""
    return next((reading for reading in face.readings.values() if reading.shown == "tag"), None)


def _face_color(face: TrackedFace) -> Color:
    tag = tag_of(face)
    return GREY if tag is None else label_color(tag.label or UNCERTAIN)


def draw_box(image: Image, face: TrackedFace, box: Rect, look: OverlayStyle) -> None:
    """A faint outline with strong corners."""
    color = _face_color(face)
    outline(image, box, color, 0.45)
    brackets(image, box, max(2, min(box.width, box.height) // 5), look.line, color)


def draw_tag(image: Image, face: TrackedFace, box: Rect, taken: Sequence[Rect], look: OverlayStyle) -> Rect:
    """The line on a face: track number, label, per cent; over the box, else under it, else inside."""
    edge, space = look.line + 1, look.pad
    number, label, score = _tag_words(face, look.safe.width - edge - 4 * space, look)
    gaps = 4 * space if score else 3 * space
    widths = (
        text_width(number, look.small),
        text_width(label, look.text, SEMIBOLD),
        text_width(score, look.text, SEMIBOLD),
    )
    width = min(edge + sum(widths) + gaps, look.safe.width)
    rect = _tag_place(Rect(box.x, box.y, width, look.text + look.pad + 4), box, taken, look)
    panel(image, rect, look.radius)
    middle = rect.y + rect.height // 2
    color = _face_color(face)
    stripe = rect.height - look.pad
    image[middle - stripe // 2 : middle + stripe // 2, rect.x + space - 2 : rect.x + space - 2 + edge] = color
    x = rect.x + space + edge + space // 2
    put_text(image, number, x, middle, look.small, DIM)
    x += widths[0] + space
    put_text(image, label, x, middle, look.text, WHITE, SEMIBOLD)
    x += widths[1] + space
    put_text(image, score, x, middle, look.text, color, SEMIBOLD)
    return rect


def _tag_words(face: TrackedFace, room: int, look: OverlayStyle) -> tuple[str, str, str]:
    """Number, label and per cent within `room` pixels; the number goes first, then the label's end."""
    number = f"#{face.track}"
    label, score = _face_words(face)
    room -= text_width(score, look.text, SEMIBOLD)
    if text_width(number, look.small) + text_width(label, look.text, SEMIBOLD) > room:
        number = shorten(number, room - MIN_LABEL * look.text, look.small)
    return number, shorten(label, room - text_width(number, look.small), look.text, SEMIBOLD), score


def _face_words(face: TrackedFace) -> tuple[str, str]:
    """Label and per cent; without a tag the detector's score, and none where the model is not sure."""
    tag = tag_of(face)
    if tag is None:
        return "Face", percent(face.score)
    label = tag.label or UNCERTAIN
    return label_text(label), "" if label == UNCERTAIN else percent(tag.score or 0.0)


def _tag_place(tag: Rect, box: Rect, taken: Sequence[Rect], look: OverlayStyle) -> Rect:
    gap = look.gap
    places = [
        tag._replace(y=box.y - gap - tag.height),
        tag._replace(y=box.bottom + gap),
        tag._replace(x=box.x + gap, y=box.y + gap),
        tag._replace(x=box.x + gap, y=box.bottom - gap - tag.height),
    ]
    moved = [place._replace(x=place.moved_into(look.safe).x) for place in places]
    return first_free_place(moved, taken, look.safe) or moved[0].moved_into(look.safe)


def draw_top_classes(
    image: Image, face: TrackedFace, box: Rect, taken: Sequence[Rect], look: OverlayStyle
) -> list[Rect]:
    """The likeliest classes of the tag as bars beside the face, where there is room for them."""
    tag = tag_of(face)
    if tag is None:
        return []
    rows = _likeliest(tag)
    names = max((text_width(humanise(label), look.small) for label, _ in rows), default=0)
    step = round(look.small * 1.5)
    length = 4 * look.small
    wanted = Rect(0, 0, names + length + 3 * look.pad, len(rows) * step + look.pad)
    rect = first_free_place(_bar_places(wanted, box, look), taken, look.safe)
    if rect is None or box.height < wanted.height:
        return []
    panel(image, rect, look.radius)
    thickness = max(4, look.small // 3)
    for index, (label, value) in enumerate(rows):
        middle = rect.y + look.pad // 2 + index * step + step // 2
        put_text(image, humanise(label), rect.x + look.pad, middle, look.small, DIM)
        groove = Rect(rect.right - look.pad - length, middle - thickness // 2, length, thickness)
        bar(image, groove, GROOVE)
        bar(image, filled(groove, value), label_color(label))
    return [rect]


def _bar_places(wanted: Rect, box: Rect, look: OverlayStyle) -> list[Rect]:
    right, left = box.right + look.gap, box.x - look.gap - wanted.width
    return [
        wanted._replace(x=right, y=box.y),
        wanted._replace(x=left, y=box.y),
        wanted._replace(x=right, y=box.bottom - wanted.height),
        wanted._replace(x=left, y=box.bottom - wanted.height),
        wanted._replace(x=box.x, y=box.bottom + look.gap),
    ]


def _likeliest(reading: Reading) -> list[tuple[str, float]]:
    return sorted((reading.probs or {}).items(), key=lambda item: -item[1])[:TOP_CLASSES]
