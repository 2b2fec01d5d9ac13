"""Averages over time, thresholds, and labels that stand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeharfer.runtime.tasks.smoothing import MIN_CERTAINTY, LabelDecision, Smoother, certainty, softmax
from edgeharfer.runtime.types import Floats

LABELS = ("calm", "happy", "sad")


def probs(*values: float) -> Floats:
    return np.array(values, np.float32)


def rounded(choice: tuple[str, float]) -> tuple[str, float]:
    return choice[0], round(choice[1], 6)


def after_a_change(fps: int, seconds: float, tau: float = 0.5) -> float:
    """Share of a new state that an average has taken over, seen at some rate since time 0."""
    smoother = Smoother(tau)
    smoother.update(probs(1, 0), 0.0)
    mean = probs(1, 0)
    for n in range(1, round(fps * seconds) + 1):
        mean = smoother.update(probs(0, 1), n / fps)
    return float(mean[1])


@pytest.mark.parametrize("fps", [6, 12, 30, 60, 240])
def test_the_memory_is_of_seconds_not_of_frames(fps: int) -> None:
    assert after_a_change(fps, 0.5) == pytest.approx(1 - math.exp(-1), abs=1e-5)
    assert after_a_change(fps, 1.5) == pytest.approx(1 - math.exp(-3), abs=1e-5)


def test_uneven_frames_make_no_difference() -> None:
    smoother = Smoother(0.4)
    smoother.update(probs(1, 0), 0.0)
    for time_s in (0.01, 0.02, 0.35, 0.36, 0.4):
        mean = smoother.update(probs(0, 1), time_s)
    assert mean[1] == pytest.approx(1 - math.exp(-1), abs=1e-5)


def test_an_average_of_probabilities_sums_to_one() -> None:
    smoother, random = Smoother(0.3), np.random.default_rng(0)
    for n in range(500):
        mean = smoother.update(softmax(random.normal(0, 4, 7).astype(np.float32)), n / 30)
    assert mean.sum() == pytest.approx(1, abs=1e-5)
    assert mean.dtype == np.float32


def test_certainty_is_one_minus_the_relative_entropy() -> None:
    assert certainty(probs(1, 0, 0)) == pytest.approx(1)
    assert certainty(probs(0.25, 0.25, 0.25, 0.25)) == pytest.approx(0, abs=1e-6)
    assert certainty(probs(0.5, 0.5, 0, 0)) == pytest.approx(0.5)
    assert certainty(probs(1)) == 1


def test_probabilities_of_equal_certainty_have_equal_weight() -> None:
    smoothers = Smoother(0.3), Smoother(0.3, by_certainty=True)
    for n, row in enumerate([probs(0.7, 0.2, 0.1), probs(0.1, 0.7, 0.2), probs(0.2, 0.7, 0.1)]):
        equal, weighted = (smoother.update(row, n / 7) for smoother in smoothers)
    assert weighted.tolist() == pytest.approx(equal.tolist(), abs=1e-6)


def test_a_certain_first_look_outweighs_uncertain_ones() -> None:
    smoother = Smoother(0.3, by_certainty=True)
    smoother.update(probs(1, 0), 0.0)
    for n in range(1, 4):
        mean = smoother.update(probs(0.5, 0.5), n * 0.3)
    weights = [math.exp(-3), *(MIN_CERTAINTY * (1 - math.exp(-1)) * math.exp(-n) for n in range(3))]
    assert mean[0] == pytest.approx((weights[0] + sum(weights[1:]) / 2) / sum(weights), abs=1e-5)


def test_after_an_uncertain_look_a_certain_one_counts_at_once() -> None:
    smoother = Smoother(0.3, by_certainty=True)
    smoother.update(probs(0.5, 0.5), 0.0)
    assert smoother.update(probs(0, 1), 0.1)[1] > 0.9


def test_the_first_look_counts_in_full() -> None:
    assert Smoother(0.4).update(probs(0.2, 0.8), 5.0).tolist() == pytest.approx([0.2, 0.8])


def test_no_time_constant_passes_everything_through() -> None:
    smoother = Smoother(0.0)
    smoother.update(probs(1, 0), 0.0)
    assert smoother.update(probs(0, 1), 0.01).tolist() == [0, 1]


@pytest.mark.parametrize("start_anew", ["reset", "time runs backwards"])
def test_a_new_start_forgets(start_anew: str) -> None:
    smoother = Smoother(10.0)
    smoother.update(probs(1, 0), 5.0)
    if start_anew == "reset":
        smoother.reset()
    time_s = 5.1 if start_anew == "reset" else 1.0
    assert smoother.update(probs(0, 1), time_s).tolist() == [0, 1]


def test_what_was_handed_in_and_out_is_not_changed() -> None:
    smoother, first = Smoother(0.1), probs(1, 0)
    out = smoother.update(first, 0.0)
    smoother.update(probs(0, 1), 0.2)
    assert first.tolist() == [1, 0] and out.tolist() == [1, 0]


def test_below_the_threshold_it_is_uncertain() -> None:
    decision = LabelDecision(LABELS, 0.5)
    assert rounded(decision.choose(probs(0.4, 0.3, 0.3))) == ("uncertain", 0.4)
    assert rounded(decision.choose(probs(0.2, 0.2, 0.6))) == ("sad", 0.6)


def test_a_label_gives_way_only_to_a_clear_lead() -> None:
    decision = LabelDecision(LABELS, 0.3, hysteresis=0.1)
    assert decision.choose(probs(0.50, 0.45, 0.05))[0] == "calm"
    assert rounded(decision.choose(probs(0.45, 0.54, 0.01))) == ("calm", 0.45)
    assert rounded(decision.choose(probs(0.42, 0.56, 0.02))) == ("happy", 0.56)
    assert decision.choose(probs(0.52, 0.47, 0.01))[0] == "happy"


def test_a_label_does_not_flicker_at_the_threshold() -> None:
    decision = LabelDecision(LABELS, 0.5, hysteresis=0.1)
    shares = (0.48, 0.52, 0.46, 0.51, 0.44, 0.48)
    said = [decision.choose(probs(p, (1 - p) / 2, (1 - p) / 2))[0] for p in shares]
    assert said == ["uncertain", "calm", "calm", "calm", "uncertain", "uncertain"]


def test_a_label_that_faded_gives_way_at_once() -> None:
    """The standing one fell below its floor; the other is above the threshold, though not by a clear lead."""
    decision = LabelDecision(LABELS, 0.40, hysteresis=0.08)
    assert decision.choose(probs(0.5, 0.3, 0.2))[0] == "calm"
    assert rounded(decision.choose(probs(0.35, 0.42, 0.23))) == ("happy", 0.42)


def test_without_hysteresis_the_best_wins() -> None:
    decision = LabelDecision(LABELS, 0.0, hysteresis=0.0)
    assert [decision.choose(probs(p, 1 - p, 0))[0] for p in (0.6, 0.49, 0.51)] == ["calm", "happy", "calm"]


def test_a_decision_that_was_reset_knows_no_standing_label() -> None:
    decision = LabelDecision(LABELS, 0.3, hysteresis=0.2)
    decision.choose(probs(0.6, 0.4, 0))
    decision.reset()
    assert decision.choose(probs(0.48, 0.52, 0))[0] == "happy"


def test_the_background_has_a_threshold_of_its_own() -> None:
    """It stands where no action is sure, and hides none that is."""
    decision = LabelDecision(("clap", "wave", "background"), 0.7, background_threshold=0.2)
    assert rounded(decision.choose(probs(0.6, 0.15, 0.25))) == ("background", 0.25)
    assert rounded(decision.choose(probs(0.72, 0.07, 0.21))) == ("clap", 0.72)
    assert rounded(decision.choose(probs(0.62, 0.19, 0.19))) == ("uncertain", 0.62)
    assert rounded(decision.choose(probs(0.05, 0.05, 0.9))) == ("background", 0.9)


def test_softmax() -> None:
    result = softmax(np.array([[0, math.log(3)], [1000, 1000]], np.float32))
    np.testing.assert_allclose(result, [[0.25, 0.75], [0.5, 0.5]], atol=1e-6)
    np.testing.assert_allclose(softmax(probs(0, 2 * math.log(3)), 2.0), [0.25, 0.75], atol=1e-6)
