"""The common style of all charts and their export to PNG and PDF."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from edgeharfer.report.palette import FAINT, INK, MUTED, RULE
from edgeharfer.report.words import clock, in_minutes

PAGE_WIDTH_IN = 6.85
"""Width of an A4 page between its margins."""
CURVES_WIDTH_IN, SLIM_WIDTH_IN, PERSON_HEIGHT_IN = 4.25, 2.45, 2.15
"""Size of the two charts of a person, which are next to each other."""
PNG_DPI = 200
_CLOCK_STEPS_S = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "text.color": INK,
    "text.parse_math": False,  # labels may hold dollar signs
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 6.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # TrueType, so that text can be searched and copied
}


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style. Needed for drawing and for saving."""
    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width_in: float, height_in: float) -> Any:
    """An empty figure with constrained layout, which fits its labels."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def set_figure_title(figure: Any, text: str) -> None:
    """Set the title of a figure at its left edge, so that titles of adjacent figures align."""
    figure.suptitle(text, x=0.006, ha="left", fontsize=8.5, fontweight="bold")


def png(figure: Any) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    with styled():
        figure.savefig(file, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def pdf_pages(figures: Sequence[Any]) -> bytes:
    """The figures as a PDF with one page each, in the figure's size and with selectable text."""
    pages = io.BytesIO()
    with styled(), PdfPages(pages, metadata={"CreationDate": None}) as pdf:
        for figure in figures:
            pdf.savefig(figure, transparent=True)
    return pages.getvalue()


def time_axis(axes: Any, duration_s: float, most_ticks: int = 10) -> None:
    """Format the horizontal axis as the time of the source."""
    axes.set_xlim(0, duration_s or 1.0)
    axes.grid(axis="x")
    if in_minutes(duration_s):
        axes.xaxis.set_major_locator(MultipleLocator(_step_s(duration_s, most_ticks)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)))
        axes.set_xlabel("time (minutes:seconds)")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(most_ticks))
        axes.set_xlabel("time (s)")


def _step_s(duration_s: float, most_ticks: int) -> float:
    """Distance between ticks in seconds."""
    return next((step for step in _CLOCK_STEPS_S if duration_s / step <= most_ticks), _CLOCK_STEPS_S[-1])


def draw_empty(axes: Any, words: str) -> None:
    """Show a message instead of data."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(0.5, 0.5, words, ha="center", va="center", color=MUTED, transform=axes.transAxes)
