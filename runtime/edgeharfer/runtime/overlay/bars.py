"""The strips of the overlay: source and figures at the top, a reading of the scene at the bottom."""

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
"""Stands where other sources have their state, and goes with no rate."""
STATE_COLORS: Mapping[str, Color] = {
    "live": MINT, "connecting": YELLOW, "backoff": YELLOW, "ended": GREY, PHOTO: MINT,
}  # fmt: skip
TROUBLE = ORANGE  # any other state of the source

MIN_NAME, MAX_NAME = 5, 16  # width of the source's name, in sizes of its type

SWEEP_S = 2.4  # the time in which the bar that waits goes there and back
SWEEP_SHARE = 0.22


def draw_status(image: Image, status: Status, look: OverlayStyle) -> list[Rect]:
    """The strip at the top: the source on its left, the figures on its right. Returns what they cover."""
    height = look.small + look.pad * 2 - 2
    room = look.area.width - 2 * look.gap
    state = humanise(status.source_state) or "Unknown"
    left = look.small + text_width(state, look.small) + 2 * look.pad
    figures = _figures(status)
    while figures and _figures_width(figures, look) + left + look.gap > room:
        figures.pop()
    right = _figures_width(figures, look)
    name = _fitting_name(status.source_name, room - left - right - look.gap - 2 * look.pad, look)
    if name:
        left += text_width(name, look.small) + 2 * look.pad
    covered = [Rect(look.gap, look.gap, min(left, room), height)]
    _draw_source(image, covered[0], (state, name), STATE_COLORS.get(status.source_state, TROUBLE), look)
    if figures:
        covered.append(Rect(look.area.width - look.gap - right, look.gap, right, height))
        _draw_figures(image, covered[1], figures, look)
    return covered


def _figures(status: Status) -> list[tuple[str, Color]]:
    """The figures on the right, the one that a narrow picture drops first at the end."""
    figures = [] if status.source_state == PHOTO else [(f"{status.fps:.1f} fps", WHITE)]
    figures.append((f"{status.latency_ms:.1f} ms", WHITE))
    if status.frames_dropped > 0:
        figures.append((f"{status.frames_dropped} dropped", ORANGE))
    if status.provider:
        figures.append((printable(status.provider), DIM))
    figures += [(f"{task} {rate:.0f} Hz", DIM) for task, rate in status.rates_hz.items()]
    return figures


def _fitting_name(name: str, room: int, look: OverlayStyle) -> str:
    """The source's name, cut to the room; nothing where hardly a word of it would stand."""
    if room < MIN_NAME * look.small:
        return ""
    shown = printable(name if "://" in name else PurePath(name).name)
    return shorten(shown, min(room, MAX_NAME * look.small), look.small)


def _figures_width(figures: Sequence[tuple[str, Color]], look: OverlayStyle) -> int:
    return sum(_slot(text, look) for text, _ in figures) + 2 * look.pad * len(figures)


def _slot(text: str, look: OverlayStyle) -> int:
    # Every digit is as wide as the widest, so that the strip does not shiver with its figures.
    return text_width(re.sub(r"\d", "0", text), look.small)


def _draw_source(image: Image, rect: Rect, words: tuple[str, str], color: Color, look: OverlayStyle) -> None:
    state, name = words
    panel(image, rect, look.radius)
    middle = rect.y + rect.height // 2
    dot(image, rect.x + look.pad + look.small // 3, middle, max(2, look.small // 3), color)
    x = rect.x + look.pad + look.small
    put_text(image, state, x, middle, look.small, WHITE)
    if name:
        x += text_width(state, look.small) + look.pad
        _divide(image, x, rect, look)
        put_text(image, name, x + look.pad, middle, look.small, DIM)


def _draw_figures(image: Image, rect: Rect, figures: Sequence[tuple[str, Color]], look: OverlayStyle) -> None:
    panel(image, rect, look.radius)
    x, middle = rect.x + look.pad, rect.y + rect.height // 2
    for index, (text, color) in enumerate(figures):
        if index:
            _divide(image, x - look.pad, rect, look)
        slot = _slot(text, look)
        put_text(image, text, x + slot - text_width(text, look.small), middle, look.small, color)
        x += slot + 2 * look.pad


def _divide(image: Image, x: int, rect: Rect, look: OverlayStyle) -> None:
    image[rect.y + look.pad : rect.bottom - look.pad, x : x + 1] = FAINT


def draw_bar(image: Image, reading: Reading, pts_s: float, look: OverlayStyle) -> Rect:
    """The bar at the bottom: the label of the scene and its score. For the background it is a word."""
    label, score = reading.label or UNCERTAIN, reading.score or 0.0
    if reading.ready and label == BACKGROUND:
        return _draw_background(image, look)
    size = round(look.text * 1.2)
    thickness = max(4, look.text // 3)
    height = look.pad * 3 + size + thickness - 2
    width = min(look.area.width - 2 * look.gap, 36 * look.text)
    rect = Rect((look.area.width - width) // 2, look.area.height - look.gap - height, width, height)
    panel(image, rect, look.radius)
    x, inner, middle = rect.x + look.pad, width - 2 * look.pad, rect.y + look.pad + size // 2
    known = reading.ready and label != UNCERTAIN
    share = percent(score) if known else ""
    share_width = text_width(share, size, SEMIBOLD)
    text = label_text(label) if reading.ready else "Gathering motion…"
    color = WHITE if known else DIM
    text = shorten(text, inner - share_width - look.pad, size, SEMIBOLD)
    put_text(image, text, x, middle, size, color, SEMIBOLD)
    put_text(image, share, rect.right - look.pad - share_width, middle, size, color, SEMIBOLD)
    groove = Rect(x, rect.bottom - look.pad - thickness, inner, thickness)
    bar(image, groove, GROOVE)
    if known:
        bar(image, filled(groove, score), MINT)
    elif not reading.ready:
        bar(image, _sweep(groove, pts_s), GREY)
    return rect


def _draw_background(image: Image, look: OverlayStyle) -> Rect:
    """A small panel that says that nothing goes on."""
    text = label_text(BACKGROUND)
    width, height = text_width(text, look.small) + 2 * look.pad, look.small + look.pad
    rect = Rect((look.area.width - width) // 2, look.area.height - look.gap - height, width, height)
    panel(image, rect, look.radius)
    put_text(image, text, rect.x + look.pad, rect.y + height // 2, look.small, GREY)
    return rect


def _sweep(groove: Rect, pts_s: float) -> Rect:
    """A piece that goes to and fro, by the time of the source, so that a picture always looks the same."""
    phase = pts_s / SWEEP_S % 1.0
    place = 2 * phase if phase < 0.5 else 2 - 2 * phase
    width = round(groove.width * SWEEP_SHARE)
    return groove._replace(x=groove.x + round(place * (groove.width - width)), width=width)
