"""Format labels, times, shares and counts for the report; charts and the PDF have the glyphs of one font."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from edgeharfer.runtime.overlay.style import label_text, printable

NO_BREAK = "\N{NO-BREAK SPACE}"
_MINUTES_FROM_S = 120.0


def font_file(style: str = "") -> Path:
    """The DejaVu Sans file that matplotlib includes. `style` is "", "-Bold" or "-Oblique"."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{style}.ttf"


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font_file())).get_charmap())


def drawable(text: str) -> str:
    """The text on one line, with a white square for each character that the font does not have."""
    return NO_BREAK.join(
        "".join(char if ord(char) in _glyphs() else "□" for char in part)
        for part in map(printable, text.split(NO_BREAK))
    )


def shortened(text: str, limit: int) -> str:
    """The text, with its middle replaced by an ellipsis if it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    head = (limit - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def label_name(label: str) -> str:
    """The display name of a label."""
    return shortened(label_text(label), 28)


def drawn_label(label: str) -> str:
    """The display name of a label in a chart."""
    return drawable(label_name(label))


def person_name(track: int) -> str:
    """The display name of a track."""
    return f"Person {track}"


def percent(share: float) -> str:
    """A share between 0 and 1 as a percentage with one decimal: "62.5 %"."""
    return f"{100 * share:.1f}{NO_BREAK}%"


def seconds(value_s: float) -> str:
    """A duration: "4.6 s", or "12:05 min" from two minutes on."""
    if value_s < _MINUTES_FROM_S:
        return f"{value_s:.1f}{NO_BREAK}s"
    return f"{clock(value_s)}{NO_BREAK}{'h' if value_s >= 3600 else 'min'}"


def clock(value_s: float) -> str:
    """A duration in clock form: "2:05" or "1:02:05"."""
    minutes, rest = divmod(round(value_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def in_minutes(duration_s: float) -> bool:
    """Whether times of an input of this length are shown in minutes."""
    return duration_s >= _MINUTES_FROM_S


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its noun: "1 person", "3 people"."""
    return f"{count}{NO_BREAK}{one if count == 1 else many or one + 's'}"
