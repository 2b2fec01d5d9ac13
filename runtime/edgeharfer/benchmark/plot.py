"""Plot the medians as bars with a mark at the 95th percentile. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeharfer.benchmark.rows import OURS
from edgeharfer.runtime.errors import MissingExtra, SinkError

_OURS_COLOR, _PEER_COLOR = "#1f77b4", "#b0b7c0"
_ROW_INCHES, _WIDTH_INCHES = 0.28, 10.0


def check_plot() -> None:
    """Check that a plot can be drawn, before anything is measured.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtra("matplotlib", "train") from error


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the rows to an image file.

    Raises:
        SinkError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_INCHES, 1.2 + _ROW_INCHES * len(rows)), layout="constrained")
    axes = figure.subplots()
    names = [
        f"{row['name']}  {row['backend']} {row['precision']}  {row['threads']} thr  batch {row['batch']}"
        for row in rows
    ]
    places = range(len(rows))
    colors = [_OURS_COLOR if row["backend"] == OURS else _PEER_COLOR for row in rows]
    axes.barh(places, [row["median_ms"] for row in rows], color=colors)
    axes.plot([row["p95_ms"] for row in rows], places, "|", color="black", markersize=9)
    for place, row in zip(places, rows, strict=True):
        axes.annotate(
            f"{row['median_ms']:.2f}", (row["p95_ms"], place), (6, 0), textcoords="offset points",
            va="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds, median; the mark is the 95th percentile")
    axes.margins(x=0.15)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise SinkError(f"{path}: cannot write the plot: {error}") from error
