"""Intensity: the share of votes that are not neutral, under the votes' own class shares."""

from __future__ import annotations

import numpy as np
import pytest

from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.tasks.emotion import prior_weights, reweight
from edgeharfer.runtime.tasks.intensity import IntensityEstimator, for_prior, intensity_word


def test_it_is_what_is_left_beside_neutral() -> None:
    assert IntensityEstimator().estimate({"happy": 0.7, "neutral": 0.2, "sad": 0.1}) == pytest.approx(0.8)
    assert IntensityEstimator().estimate({"happy": 0.0, "neutral": 1.0}) == 0
    assert IntensityEstimator().estimate({"happy": 1.0, "neutral": 0.0}) == 1


def test_without_neutral_there_is_none() -> None:
    assert IntensityEstimator().estimate({"happy": 1.0}) is None
    assert IntensityEstimator().estimate({}) is None


@pytest.mark.parametrize("prior", ["package", "data", "balanced"])
def test_the_prior_of_the_answers_makes_no_difference(prior: str) -> None:
    manifest = load_package("emotion-fer8", "emotion").manifest
    votes = np.array([[0.05, 0.02, 0.03, 0.25, 0.1, 0.05, 0.45, 0.05]], np.float32)
    answer = reweight(votes, prior_weights(manifest, prior))[0].tolist()
    told = for_prior(manifest, prior).estimate(dict(zip(manifest.labels, answer, strict=True)))
    assert told == pytest.approx(0.55, abs=1e-5)


@pytest.mark.parametrize(
    ("value", "word"), [(0.0, "faint"), (0.3, "faint"), (0.5, "clear"), (0.7, "strong"), (1.0, "strong")]
)
def test_thirds_have_names(value: float, word: str) -> None:
    assert intensity_word(value) == word
