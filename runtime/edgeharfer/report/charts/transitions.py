"""Chart of the transitions between emotions."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from edgeharfer.report.charts.style import new_figure, styled
from edgeharfer.report.palette import ACCENT, INK
from edgeharfer.report.statistics import Statistics
from edgeharfer.report.words import drawn_label

_MAX_IN = (3.6, 2.2)
_MARGIN_IN, _CELL_IN = (0.95, 0.75), (0.42, 0.26)
_BLUES = LinearSegmentedColormap.from_list("transitions", ["#E8EDF3", ACCENT])


def transitions(measures: Statistics) -> Any:
    """Plot a matrix of transition counts between the emotions that have any; there must be at least one."""
    with styled():
        labels = [label for label in measures.mean_raw if any(label in pair for pair in measures.transitions)]
        figure = new_figure(*_size_in(len(labels)))
        axes = figure.subplots()
        counts = np.array(
            [[measures.transitions.get((before, after), 0) for after in labels] for before in labels]
        )
        fields = np.arange(len(labels) + 1) - 0.5
        shown = np.ma.masked_equal(counts, 0)
        axes.pcolormesh(fields, fields, shown, cmap=_BLUES, vmin=0, vmax=max(4, counts.max()))
        axes.invert_yaxis()
        _numbers(axes, counts)
        names = [drawn_label(label) for label in labels]
        axes.set_xticks(range(len(labels)), names, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), names)
        axes.set_xlabel("to")
        axes.set_ylabel("from")
        axes.set_xticks(np.arange(len(labels) - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(len(labels) - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="#DDE2E8", lw=0.6)
        axes.tick_params(which="minor", length=0)
    return figure


def _size_in(fields: int) -> tuple[float, float]:
    width, height = (
        min(most, around + fields * field)
        for most, around, field in zip(_MAX_IN, _MARGIN_IN, _CELL_IN, strict=True)
    )
    return width, height


def _numbers(axes: Any, counts: Any) -> None:
    dark_from = 0.5 * max(4, counts.max())
    for (row, column), count in np.ndenumerate(counts):
        text = "" if row == column else str(count) if count else "·"
        axes.text(column, row, text, ha="center", va="center", color="white" if count > dark_from else INK)
