"""The strips of the overlay: source and statistics at the top, the scene's reading at the bottom."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from edgeharfer.runtime.overlay.canvas import (
    DIM,
    FAINT,
    GROOVE,
    SEMIBOLD,
    WHITE,
    Color,
    Rect,
    bar,
    dot,
    panel,
    put_text,
    shorten,
    text_width,
)
from edgeharfer.runtime.overlay.style import (
    GREY,
    MINT,
    ORANGE,
    YELLOW,
    OverlayStyle,
    filled,
    humanise,
    label_text,
    percent,
    printable,
)
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN, Image, Reading

PHOTO = "photo"
"""Shown instead of the source state for photographs, which have no frame rate."""
STATE_COLORS: Mapping[str, Color] = {
    "live": MINT, "connecting": YELLOW, "backoff": YELLOW, "ended": GREY, PHOTO: MINT,
}  # fmt: skip
OTHER_STATE_COLOR = ORANGE

MIN_NAME, MAX_NAME = 5, 16  # width of the source name, in multiples of the text size

SWEEP_S = 2.4  # period of the waiting animation
SWEEP_SHARE = 0.22


def draw_status(image: Image, status: Status, style: OverlayStyle) -> list[Rect]:
    """Draw the source at the top left and the statistics at the top right; return their areas."""
    height = style.small + style.pad * 2 - 2
    room = style.area.width - 2 * style.gap
    state = humanise(status.source_state) or "Unknown"
    left = style.small + text_width(state, style.small) + 2 * style.pad
    statistics = _statistics(status)
    while statistics and _statistics_width(statistics, style) + left + style.gap > room:
        statistics.pop()
    right = _statistics_width(statistics, style)
    name = _fitting_name(status.source_name, room - left - right - style.gap - 2 * style.pad, style)
    if name:
        left += text_width(name, style.small) + 2 * style.pad
    covered = [Rect(style.gap, style.gap, min(left, room), height)]
    _draw_source(
        image, covered[0], (state, name), STATE_COLORS.get(status.source_state, OTHER_STATE_COLOR), style
    )
    if statistics:
        covered.append(Rect(style.area.width - style.gap - right, style.gap, right, height))
        _draw_statistics(image, covered[1], statistics, style)
    return covered


def _statistics(status: Status) -> list[tuple[str, Color]]:
    """Return the statistics as (text, colour); a narrow image drops them from the end."""
    statistics = [] if status.source_state == PHOTO else [(f"{status.fps:.1f} fps", WHITE)]
    statistics.append((f"{status.latency_ms:.1f} ms", WHITE))
    if status.frames_dropped > 0:
        statistics.append((f"{status.frames_dropped} dropped", ORANGE))
    if status.provider:
        statistics.append((printable(status.provider), DIM))
    statistics += [(f"{task} {rate:.0f} Hz", DIM) for task, rate in status.rates_hz.items()]
    return statistics


def _fitting_name(name: str, room: int, style: OverlayStyle) -> str:
    """Shorten the source name to the available width; "" if there is too little."""
    if room < MIN_NAME * style.small:
        return ""
    shown = printable(name if "://" in name else PurePath(name).name)
    return shorten(shown, min(room, MAX_NAME * style.small), style.small)


def _statistics_width(statistics: Sequence[tuple[str, Color]], style: OverlayStyle) -> int:
    return sum(_fixed_width(text, style) for text, _ in statistics) + 2 * style.pad * len(statistics)


def _fixed_width(text: str, style: OverlayStyle) -> int:
    # Measure all digits as "0", so that the strip does not move when they change.
    return text_width(re.sub(r"\d", "0", text), style.small)


def _draw_source(image: Image, rect: Rect, words: tuple[str, str], color: Color, style: OverlayStyle) -> None:
    state, name = words
    panel(image, rect, style.radius)
    middle = rect.y + rect.height // 2
    dot(image, rect.x + style.pad + style.small // 3, middle, max(2, style.small // 3), color)
    x = rect.x + style.pad + style.small
    put_text(image, state, x, middle, style.small, WHITE)
    if name:
        x += text_width(state, style.small) + style.pad
        _draw_divider(image, x, rect, style)
        put_text(image, name, x + style.pad, middle, style.small, DIM)


def _draw_statistics(
    image: Image, rect: Rect, statistics: Sequence[tuple[str, Color]], style: OverlayStyle
) -> None:
    panel(image, rect, style.radius)
    x, middle = rect.x + style.pad, rect.y + rect.height // 2
    for index, (text, color) in enumerate(statistics):
        if index:
            _draw_divider(image, x - style.pad, rect, style)
        cell = _fixed_width(text, style)
        put_text(image, text, x + cell - text_width(text, style.small), middle, style.small, color)
        x += cell + 2 * style.pad


def _draw_divider(image: Image, x: int, rect: Rect, style: OverlayStyle) -> None:
    image[rect.y + style.pad : rect.bottom - style.pad, x : x + 1] = FAINT


def draw_bar(image: Image, reading: Reading, pts_s: float, style: OverlayStyle) -> Rect:
    """Draw the label and score of the scene at the bottom and return the area."""
    label, score = reading.label or UNCERTAIN, reading.score or 0.0
    if reading.ready and label == BACKGROUND:
        return _draw_background(image, style)
    size = round(style.text * 1.2)
    thickness = max(4, style.text // 3)
    height = style.pad * 3 + size + thickness - 2
    width = min(style.area.width - 2 * style.gap, 36 * style.text)
    rect = Rect((style.area.width - width) // 2, style.area.height - style.gap - height, width, height)
    panel(image, rect, style.radius)
    x, inner, middle = rect.x + style.pad, width - 2 * style.pad, rect.y + style.pad + size // 2
    known = reading.ready and label != UNCERTAIN
    share = percent(score) if known else ""
    share_width = text_width(share, size, SEMIBOLD)
    text = label_text(label) if reading.ready else "Warming up…"
    color = WHITE if known else DIM
    text = shorten(text, inner - share_width - style.pad, size, SEMIBOLD)
    put_text(image, text, x, middle, size, color, SEMIBOLD)
    put_text(image, share, rect.right - style.pad - share_width, middle, size, color, SEMIBOLD)
    groove = Rect(x, rect.bottom - style.pad - thickness, inner, thickness)
    bar(image, groove, GROOVE)
    if known:
        bar(image, filled(groove, score), MINT)
    elif not reading.ready:
        bar(image, _sweep(groove, pts_s), GREY)
    return rect


def _draw_background(image: Image, style: OverlayStyle) -> Rect:
    """Draw a small panel with the label of the background class."""
    text = label_text(BACKGROUND)
    width, height = text_width(text, style.small) + 2 * style.pad, style.small + style.pad
    rect = Rect((style.area.width - width) // 2, style.area.height - style.gap - height, width, height)
    panel(image, rect, style.radius)
    put_text(image, text, rect.x + style.pad, rect.y + height // 2, style.small, GREY)
    return rect


def _sweep(groove: Rect, pts_s: float) -> Rect:
    """Return the moving part of the waiting animation, which depends only on the time of the source."""
    phase = pts_s / SWEEP_S % 1.0
    place = 2 * phase if phase < 0.5 else 2 - 2 * phase
    width = round(groove.width * SWEEP_SHARE)
    return groove._replace(x=groove.x + round(place * (groove.width - width)), width=width)
