"""Smoothing of a track: nothing lags, nothing leaks between tracks, and raw stays raw."""

from __future__ import annotations

import numpy as np
import pytest

from edgeharfer.report.rows import label_rows
from edgeharfer.report.smoothing import METHODS, Smoothing, centered_mean
from edgeharfer.runtime.tasks.smoothing import Smoother
from tiny_reports import LABELS, recording

TIMES_S = np.arange(12) / 4


def flicker() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    random = np.random.default_rng(1).random((12, 3)).astype(np.float32)
    return np.asarray(random / random.sum(axis=1, keepdims=True), np.float32)


def test_the_centered_mean_is_that_of_the_window() -> None:
    values = flicker()
    found = centered_mean(TIMES_S, values, 1.0)
    for place, at in enumerate(TIMES_S):
        inside = np.abs(TIMES_S - at) <= 0.5
        np.testing.assert_allclose(found[place], values[inside].mean(axis=0), atol=1e-6)


def test_a_step_is_centered_where_it_happens() -> None:
    step = np.where(TIMES_S[:, None] < 1.5, [1.0, 0.0], [0.0, 1.0]).astype(np.float32)
    best = Smoothing("centered", 1.0).apply(TIMES_S, step).argmax(axis=1)
    assert TIMES_S[best.argmax()] == 1.5


def test_exponential_is_what_a_live_run_does() -> None:
    values = flicker()
    live = Smoother(0.35, by_certainty=True)
    expected = [live.update(row, float(at)) for at, row in zip(TIMES_S, values, strict=True)]
    np.testing.assert_array_equal(Smoothing("exponential", 0.35).apply(TIMES_S, values), expected)


@pytest.mark.parametrize("method", METHODS)
def test_averages_are_still_probabilities(method: str) -> None:
    found = Smoothing(method, 1.0).apply(TIMES_S, flicker())  # type: ignore[arg-type]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert found.shape == (12, 3)


@pytest.mark.parametrize(
    "smoothing", [Smoothing("none"), Smoothing("centered", 0), Smoothing("exponential", 0)]
)
def test_none_leaves_everything_as_it_is(smoothing: Smoothing) -> None:
    values = flicker()
    assert smoothing.apply(TIMES_S, values) is values
    assert not smoothing.active


def test_a_single_flicker_does_not_change_the_label() -> None:
    seen = recording({1: "hhhhnhhhh"})
    smoothed = [row.label for row in label_rows(seen, LABELS, 0.4, Smoothing())]
    raw = [row.label for row in label_rows(seen, LABELS, 0.4, Smoothing("none"))]
    assert smoothed == ["happy"] * 9
    assert raw == [*["happy"] * 4, "neutral", *["happy"] * 4]


def test_tracks_are_smoothed_apart_and_come_in_order_of_time() -> None:
    seen = recording({1: "hhhh", 2: "ssss"})
    rows = label_rows(seen, LABELS, 0.4, Smoothing("centered", 2.0))
    assert [(row.sample.time_s, row.face.track, row.label) for row in rows[:3]] == [
        (0.0, 1, "happy"),
        (0.0, 2, "sad"),
        (0.25, 1, "happy"),
    ]
    assert all(row.label == {1: "happy", 2: "sad"}[row.face.track] for row in rows)


def test_below_the_threshold_a_label_is_uncertain() -> None:
    seen = recording({1: "h?"})
    assert [row.label for row in label_rows(seen, LABELS, 0.4, Smoothing("none"))] == ["happy", "uncertain"]
