"""Bar chart and pie chart of the share of each emotion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.ticker import PercentFormatter

from edgeharfer.report.charts.style import (
    PERSON_HEIGHT_IN,
    SLIM_WIDTH_IN,
    draw_empty,
    new_figure,
    set_figure_title,
    styled,
)
from edgeharfer.report.palette import INK, MUTED, RULE, label_styles
from edgeharfer.report.report import Report
from edgeharfer.report.statistics import Statistics
from edgeharfer.report.words import drawn_label, percent

_WIDTH_IN, _HEIGHT_IN = 3.4, 2.35
_MAX_BARS, _BAR_IN, _MARGIN_IN = 30, 0.2, 0.55
"""Maximum number of labels shown, the most frequent ones; summary.json holds all."""
_PIE_AT = (0.145, 0.08, 0.44, 0.78)  # left, bottom, width, height, as shares of the figure
_NAMED_FROM = 0.06
"""Minimum share of a slice that is labelled directly; smaller ones appear in the legend only."""


def shown_shares(report: Report, measures: Statistics) -> tuple[str, str, Mapping[str, float]]:
    """Titles of the bar chart and the pie chart, and their values.

    A single face in a picture has no shares, so its probabilities are shown.
    """
    if report.stills and measures.sightings == 1:
        return "Probability of each emotion", "Stacked probabilities", measures.mean_raw
    whole = "Share of all faces" if report.stills else "Share of the time in view"
    return "Share of each emotion", whole, measures.shares


def slim_bar(report: Report, measures: Statistics) -> Any:
    """The bars with the size of a chart next to the curves of a person."""
    return bar(report, measures, (SLIM_WIDTH_IN, PERSON_HEIGHT_IN))


def bar(report: Report, measures: Statistics, least_in: tuple[float, float] = (_WIDTH_IN, _HEIGHT_IN)) -> Any:
    """Plot the share of every emotion as bars, in the order of the model.

    Args:
        report: The report.
        measures: The statistics.
        least_in: Width and least height in inches.
    """
    title, _, shares = shown_shares(report, measures)
    with styled():
        shares = _largest(shares)
        figure = new_figure(least_in[0], max(least_in[1], len(shares) * _BAR_IN + _MARGIN_IN))
        set_figure_title(figure, title)
        axes = figure.subplots()
        if not measures.sightings or not shares:
            draw_empty(axes, empty_reason(report))
            return figure
        colours = label_styles(report.labels)
        for place, (label, share) in enumerate(shares.items()):
            style = colours[label]
            edge = RULE if style.line == "#FFFFFF" else style.line
            axes.barh(place, share, 0.72, color=style.fill, hatch=style.hatch, edgecolor=style.line, lw=0)
            axes.barh(place, share, 0.72, color="none", edgecolor=edge, lw=0.5)
            axes.annotate(percent(share), (share, place), (3, 0), textcoords="offset points", va="center",
                          color=INK if share else MUTED)  # fmt: skip
        axes.set_yticks(range(len(shares)), [drawn_label(label) for label in shares])
        axes.set_ylim(len(shares) - 0.5, -0.5)
        axes.set_xlim(0, min(1.0, max(shares.values()) * 1.02) * 1.18)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axes.xaxis.set_major_locator(_percent_steps(max(shares.values()) * _WIDTH_IN / least_in[0]))
        axes.grid(axis="x")
    return figure


def pie(report: Report, measures: Statistics) -> Any:
    """Plot the shares as a pie with all values in the legend."""
    _, title, shares = shown_shares(report, measures)
    with styled():
        figure = new_figure(_WIDTH_IN, _HEIGHT_IN)
        figure.set_layout_engine("none")  # keeps the legend next to the pie, whatever its length
        set_figure_title(figure, title)
        axes = figure.add_axes(_PIE_AT)
        present = {label: share for label, share in _largest(shares).items() if share > 0}
        if not measures.sightings or not present:
            draw_empty(axes, empty_reason(report))
            return figure
        if len(present) == 1:  # not a full circle
            (label,) = present
            draw_empty(axes, f"{drawn_label(label)}  {percent(1.0)}")
            return figure
        colours = label_styles(report.labels)
        wedges, _ = axes.pie(
            list(present.values()), startangle=90, counterclock=False, radius=1.2,
            labels=[
                drawn_label(label) if share >= _NAMED_FROM else "" for label, share in present.items()
            ],
            labeldistance=1.08, textprops={"fontsize": 6.5, "color": MUTED},
        )  # fmt: skip
        for wedge, label in zip(wedges, present, strict=True):
            style = colours[label]
            wedge.set(facecolor=style.fill, hatch=style.hatch, edgecolor=style.line, linewidth=0.8)
        names = [f"{drawn_label(label)}  {percent(share)}" for label, share in present.items()]
        figure.legend(wedges, names, loc="center left", bbox_to_anchor=(0.7, 0.46), fontsize=6.5,
                      handlelength=1.3, handletextpad=0.5, labelspacing=0.55, borderpad=0)  # fmt: skip
    return figure


def _largest(shares: Mapping[str, float]) -> dict[str, float]:
    """The largest shares, in their old order."""
    chosen = sorted(shares, key=lambda label: -shares[label])[:_MAX_BARS]
    return {label: share for label, share in shares.items() if label in chosen}


def empty_reason(report: Report) -> str:
    """The reason why there are no shares."""
    return "No face was seen." if report.labels else "Emotions were not analysed."


def _percent_steps(most: float) -> Any:
    from matplotlib.ticker import MultipleLocator

    return MultipleLocator(0.5 if most > 1 else 0.25 if most > 0.6 else 0.1 if most > 0.25 else 0.05)
