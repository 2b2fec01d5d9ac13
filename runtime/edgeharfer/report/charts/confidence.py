"""Chart of the faces in view and the confidence of their labels over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeharfer.report.charts.style import PAGE_WIDTH_IN, draw_empty, new_figure, styled, time_axis
from edgeharfer.report.palette import ACCENT, INK, MUTED
from edgeharfer.report.report import Report

_HEIGHT_IN = 2.3
_MAX_POINTS = 1200


def confidence(report: Report) -> Any:
    """Plot the number of faces in view and the mean probability of their labels over time."""
    with styled():
        figure = new_figure(PAGE_WIDTH_IN, _HEIGHT_IN)
        if report.stills or not report.recording.samples:
            draw_empty(figure.subplots(), "Pictures are independent of each other.")
            return figure
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.5])
        times_s, faces, scores = _series(report)
        ends_s = np.append(times_s, report.recording.duration_s)
        upper.stairs(faces, ends_s, fill=True, facecolor="#B9C6D6", edgecolor=ACCENT, lw=0.8)
        upper.set_title("Faces in view")
        upper.set_ylim(0, max(1.0, float(faces.max())) * 1.15)
        upper.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        lower.set_title("Confidence: probability of the label, mean of the faces in view")
        _threshold(lower, report)
        lower.plot(times_s, scores, color=INK, lw=1.0, marker=".", ms=3 if len(times_s) < 100 else 0)
        lower.set_ylim(0, 1.02)
        time_axis(lower, report.recording.duration_s)
        upper.grid(axis="x")
    return figure


def _threshold(axes: Any, report: Report) -> None:
    threshold = report.method.emotion.threshold if report.method.emotion else 0.0
    if threshold > 0:
        axes.axhspan(0, threshold, facecolor="#F0F0F0", hatch="///", edgecolor="#D5DAE1", lw=0)
        axes.axhline(threshold, color=MUTED, lw=0.8, ls=(0, (4, 3)))
        axes.annotate(
            f"below {threshold:g} not sure", (1, 0), (-4, 4), color=MUTED,
            xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip


def _series(report: Report) -> tuple[Any, Any, Any]:
    """Times, faces in view and mean scores of the samples, (n,) each with n at most _MAX_POINTS."""
    samples = report.recording.samples
    scores: dict[int, list[float]] = {}
    for row in report.rows:
        scores.setdefault(row.sample.frame, []).append(row.score)
    times_s = np.array([sample.time_s for sample in samples])
    by_sample = [scores.get(sample.frame, []) for sample in samples]
    faces = np.array([len(found) for found in by_sample], float)
    means = np.array([np.mean(found) if found else np.nan for found in by_sample])
    bins = -(-len(times_s) // _MAX_POINTS)
    if bins > 1:
        return _binned(times_s, faces, means, bins)
    return times_s, faces, means


def _binned(times_s: Any, faces: Any, means: Any, bins: int) -> tuple[Any, Any, Any]:
    starts = np.arange(0, len(times_s), bins)
    counts = np.diff([*starts, len(times_s)])
    known = np.isfinite(means)
    sums = np.add.reduceat(np.where(known, means, 0), starts)
    seen = np.add.reduceat(known.astype(float), starts)
    averages = np.divide(sums, seen, out=np.full(len(starts), np.nan), where=seen > 0)
    return times_s[starts], np.add.reduceat(faces, starts) / counts, averages
