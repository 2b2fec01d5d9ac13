"""Chart of the emotions in each picture of a set."""

from __future__ import annotations

from collections import Counter
from typing import Any

from matplotlib.ticker import MaxNLocator

from edgeharfer.report.charts.style import PAGE_WIDTH_IN, draw_empty, new_figure, styled
from edgeharfer.report.palette import label_styles
from edgeharfer.report.report import Report
from edgeharfer.report.words import drawn_label
from edgeharfer.runtime.types import UNCERTAIN

_ROW_IN, _MARGIN_IN = 0.26, 0.62
_LARGEST, _SMALLEST = 150.0, 6.0  # of a dot, in square points


def pictures(report: Report) -> Any:
    """Plot a dot for each emotion in each picture, with the count for several faces."""
    labels = (*report.labels, UNCERTAIN)
    with styled():
        figure = new_figure(PAGE_WIDTH_IN, len(labels) * _ROW_IN + _MARGIN_IN)
        axes = figure.subplots()
        axes.set_title("Faces by picture and emotion")
        if not report.rows or not report.labels:
            draw_empty(axes, "No face was seen." if report.labels else "Emotions were not analysed.")
            return figure
        number = {sample.frame: place for place, sample in enumerate(report.recording.samples, 1)}
        counts = Counter((number[row.sample.frame], row.label) for row in report.rows)
        colours = label_styles(report.labels)
        size = max(_SMALLEST, min(_LARGEST, 40_000 / len(number) ** 1.5))
        for row, label in enumerate(labels):
            places = [place for place, found_label in counts if found_label == label]
            style = colours[label]
            axes.scatter(places, [row] * len(places), s=size, color=style.fill, edgecolor="#5B6674", lw=0.5)
        for (place, label), count in counts.items():
            if count > 1:
                axes.annotate(f"×{count}", (place, labels.index(label)), (7, 0),
                              textcoords="offset points", va="center", fontsize=6.5)  # fmt: skip
        axes.set_yticks(range(len(labels)), [drawn_label(label) for label in labels])
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlim(0.4, len(number) + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
        axes.set_xlabel("picture")
        axes.grid(axis="both")
    return figure
