"""Expression intensity: the estimated share of people who would not call a face neutral.

The emotion packages are trained on the votes of FER+, ten annotators per picture (Barsoum et al. 2016,
arXiv:1608.01041), so a probability estimates the share of votes of a label, and the intensity is one minus
the share of neutral. It measures how visible an expression is, not how strongly an emotion is felt.

`--prior` reweighs the classes, which makes neutral rarer than in the votes. The weights are undone first:
p'(class) is proportional to p(class) / weight(class).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.tasks.emotion import prior_weights

NEUTRAL = "neutral"
CLEAR, STRONG = 1 / 3, 2 / 3
"""Thirds of the votes: below the first an expression is "faint", above the second "strong"."""


@dataclass(frozen=True)
class IntensityEstimator:
    """Estimates the intensity of an expression from the class probabilities.

    Attributes:
        weights: Factor that the prior applied to each class; empty if the prior was not changed.
    """

    weights: Mapping[str, float] = field(default_factory=dict)

    def estimate(self, probs: Mapping[str, float]) -> float | None:
        """The intensity, 0 (neutral) to 1; None for a package without the label "neutral"."""
        if NEUTRAL not in probs:
            return None
        votes = {label: p / self.weights.get(label, 1.0) for label, p in probs.items()}
        total = sum(votes.values())
        return 1 - votes[NEUTRAL] / total if total > 0 else None


def for_prior(manifest: Manifest, prior: str) -> IntensityEstimator:
    """Create the estimator for a package that runs with a prior.

    Raises:
        ConfigError: The package does not support this prior.
    """
    weights = prior_weights(manifest, prior)
    if weights is None:
        return IntensityEstimator()
    return IntensityEstimator(dict(zip(manifest.labels, weights.tolist(), strict=True)))


def intensity_word(intensity: float) -> str:
    """The intensity in words: "faint", "clear" or "strong"."""
    if intensity < CLEAR:
        return "faint"
    return "clear" if intensity < STRONG else "strong"
