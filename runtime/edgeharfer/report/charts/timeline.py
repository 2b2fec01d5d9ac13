"""Charts over time: emotions of each person, actions, and probabilities of one person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Patch

from edgeharfer.report.charts.style import (
    CURVES_WIDTH_IN,
    PAGE_WIDTH_IN,
    PERSON_HEIGHT_IN,
    draw_empty,
    new_figure,
    set_figure_title,
    styled,
    time_axis,
)
from edgeharfer.report.palette import ACCENT, INK, LABEL_STYLES, MUTED, AreaStyle, label_styles
from edgeharfer.report.report import Report
from edgeharfer.report.segments import Segment, emotion_segments, seconds_by_label
from edgeharfer.report.statistics import PersonStatistics, main_labels
from edgeharfer.report.words import drawn_label, person_name
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN

_STRIP_IN, _BAR_IN, _CURVE_IN = 0.34, 0.27, 0.29
_MARGIN_IN = 0.62  # title and axis of a panel
_LEGEND_IN = 0.42
_MAX_POINTS = 1200  # of a curve; more are not visible and make the file large
_MAX_DOTS = 300
_MAX_BARS = 24


def timeline(report: Report) -> Any:
    """Plot the emotions of each person over time, with the actions below."""
    strips, bars = _strips_height(report), _gantt_height(report)
    with styled():
        figure = new_figure(PAGE_WIDTH_IN, strips + bars + _LEGEND_IN)
        upper, lower = figure.subplots(2, 1, height_ratios=[strips, bars])
        _draw_strips(upper, report)
        _draw_gantt(lower, report)
        _legend(figure, report)
    return figure


def emotion_strips(report: Report) -> Any:
    """Plot the emotions of each person with a page over time."""
    with styled():
        figure = new_figure(PAGE_WIDTH_IN, _strips_height(report) + _LEGEND_IN)
        _draw_strips(figure.subplots(), report)
        _legend(figure, report)
    return figure


def gantt(report: Report) -> Any:
    """Plot the action segments, one row per label."""
    with styled():
        figure = new_figure(PAGE_WIDTH_IN, _gantt_height(report))
        _draw_gantt(figure.subplots(), report)
    return figure


def person_curves(report: Report, person: PersonStatistics) -> Any:
    """Plot one person's label and the probability of each emotion over time."""
    rows = len(main_labels(report.labels, person.measures)) + 1
    title = "Label, and probability of each emotion (0 to 1 in each row; dots: before smoothing)"
    return _draw_curves(report, person, (PAGE_WIDTH_IN, rows * _CURVE_IN + _MARGIN_IN), title, 10)


def narrow_curves(report: Report, person: PersonStatistics) -> Any:
    """The same with the size of a chart next to the bars of a person."""
    title = "Label and probabilities (dots: before smoothing)"
    return _draw_curves(report, person, (CURVES_WIDTH_IN, PERSON_HEIGHT_IN), title, 6)


def _draw_curves(
    report: Report, person: PersonStatistics, size_in: tuple[float, float], title: str, ticks: int
) -> Any:
    labels = main_labels(report.labels, person.measures)
    with styled():
        figure = new_figure(*size_in)
        axes = figure.subplots()
        if not labels:
            draw_empty(axes, "Emotions were not analysed.")
            return figure
        colours = label_styles(report.labels)
        top = len(labels)
        _blocks(axes, top + 0.12, 0.72, _segments(report, person), colours)
        times_s, smooth = _curves(person, report.recording.step_s)
        for row, label in enumerate(reversed(labels)):
            column = report.labels.index(label)
            _curve(axes, row, times_s, smooth[:, column], colours[label])
            if len(person.rows) <= _MAX_DOTS:
                dots = [at.face.raw[column] * 0.86 + row for at in person.rows]
                axes.plot([at.sample.time_s for at in person.rows], dots, ".", color=INK, ms=2.2, mew=0)
        axes.set_yticks([row + 0.4 for row in range(top + 1)], [*map(drawn_label, reversed(labels)), "Label"])
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.set_ylim(-0.08, top + 1)
        set_figure_title(figure, title)
        time_axis(axes, report.recording.duration_s, ticks)
    return figure


def _strips_height(report: Report) -> float:
    return max(1.2, len(report.shown)) * _STRIP_IN + _MARGIN_IN


def _gantt_height(report: Report) -> float:
    return max(1.2, len(_gantt_labels(report))) * _BAR_IN + _MARGIN_IN


def _segments(report: Report, person: PersonStatistics) -> tuple[Segment, ...]:
    recording = report.recording
    return emotion_segments(person.rows, recording.step_s, recording.duration_s)


def _draw_strips(axes: Any, report: Report) -> None:
    axes.set_title("Emotions over time")
    if not report.shown or not report.labels:
        draw_empty(
            axes, "No face was in view long enough." if report.labels else "Emotions were not analysed."
        )
        return
    colours = label_styles(report.labels)
    names = [person_name(person.track) for person in report.shown]
    for place, person in enumerate(report.shown):
        _blocks(axes, place - 0.36, 0.72, _segments(report, person), colours)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    time_axis(axes, report.recording.duration_s)


def _draw_gantt(axes: Any, report: Report) -> None:
    axes.set_title("Actions over time")
    if not report.segments:
        draw_empty(axes, _no_actions(report))
        return
    labels = _gantt_labels(report)
    for place, label in enumerate(labels):
        segments = [segment for segment in report.segments if segment.label == label]
        _blocks(axes, place - 0.32, 0.64, segments, {label: action_style(label)})
    axes.set_yticks(range(len(labels)), [drawn_label(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    time_axis(axes, report.recording.duration_s)


def _gantt_labels(report: Report) -> list[str]:
    """The labels that lasted longest in order of appearance, with "background" and "uncertain" last."""
    longest = list(seconds_by_label(report.segments))[:_MAX_BARS]
    labels = dict.fromkeys(segment.label for segment in report.segments if segment.label in longest)
    return sorted(labels, key=lambda label: (label == UNCERTAIN, label == BACKGROUND))


def action_style(label: str) -> AreaStyle:
    """Style of an action; only "uncertain" and "background" differ, since each row is named."""
    if label == UNCERTAIN:
        return LABEL_STYLES[UNCERTAIN]
    return AreaStyle("#C9D0D9", "", "#9AA3AE") if label == BACKGROUND else AreaStyle(ACCENT)


def _no_actions(report: Report) -> str:
    window = report.method.window
    if window is None or report.only is not None:
        return "Actions were not analysed."
    if report.stills:
        return "Pictures have no actions: a video is required."
    return f"Too short: an action needs {window.seconds:g} s without a gap."


def _blocks(
    axes: Any, bottom: float, height: float, segments: Sequence[Segment], colours: dict[str, AreaStyle]
) -> None:
    for label in dict.fromkeys(segment.label for segment in segments):
        style = colours[label]
        spans = [(part.start_s, part.length_s) for part in segments if part.label == label]
        axes.broken_barh(
            spans, (bottom, height), facecolor=style.fill, hatch=style.hatch, edgecolor=style.line, lw=0.5
        )


def _curves(person: PersonStatistics, step_s: float) -> tuple[Any, Any]:
    """Times (n,) and smoothed probabilities (n, classes), with NaN rows while the face was out of view."""
    times_s = np.array([row.sample.time_s for row in person.rows])
    smooth = np.array([row.probs for row in person.rows])
    bins = -(-len(times_s) // _MAX_POINTS)
    if bins > 1:
        starts = np.arange(0, len(times_s), bins)
        counts = np.diff([*starts, len(times_s)])
        times_s = np.add.reduceat(times_s, starts) / counts
        smooth = np.add.reduceat(smooth, starts) / counts[:, None]
    gaps = np.flatnonzero(np.diff(times_s) > 2.01 * step_s * bins) + 1
    return np.insert(times_s, gaps, np.nan), np.insert(smooth, gaps, np.nan, axis=0)


def _curve(axes: Any, row: int, times_s: Any, values: Any, style: AreaStyle) -> None:
    axes.axhline(row, color="#DDE2E8", lw=0.5, zorder=0.5)
    heights = row + 0.86 * values
    axes.fill_between(
        times_s, row, heights, facecolor=style.fill, edgecolor=style.line, hatch=style.hatch, lw=0
    )
    axes.plot(times_s, heights, color=INK, lw=0.7, marker="." if len(times_s) < 3 else "", ms=2)


def _legend(figure: Any, report: Report) -> None:
    if not report.labels:
        return
    colours = label_styles(report.labels)
    handles = [
        Patch(facecolor=style.fill, hatch=style.hatch, edgecolor=style.line, label=drawn_label(label), lw=0.5)
        for label, style in colours.items()
    ]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=len(handles), labelcolor=MUTED,
        columnspacing=1.1, handlelength=1.5, handletextpad=0.4,
    )  # fmt: skip
