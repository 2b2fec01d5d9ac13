"""How strongly an emotion shows: the share of people who would see something other than a neutral face.

The emotion packages learn the votes of FER+, ten people a picture (Barsoum et al. 2016, arXiv:1608.01041),
so a probability estimates the share of votes that a label would get, and intensity is one minus the share
of neutral. It tells how visible an expression is, not how much is felt.

A pipeline answers under a prior of its own choice (`--prior`), which makes neutral rarer than in the votes.
That is undone first, class by class: p'(class) is proportional to p(class) / weight(class).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.tasks.emotion import prior_weights

NEUTRAL = "neutral"
CLEAR, STRONG = 1 / 3, 2 / 3
"""Thirds of the votes: under the first few would see anything, over the second most would."""


@dataclass(frozen=True)
class IntensityEstimator:
    """Reads the strength of an emotion off its probabilities.

    weights: what each class's probability was multiplied with; none where the prior was left alone.
    """

    weights: Mapping[str, float] = field(default_factory=dict)

    def estimate(self, probs: Mapping[str, float]) -> float | None:
        """0, nobody would see an emotion, to 1, everybody would; None for a package without "neutral"."""
        if NEUTRAL not in probs:
            return None
        votes = {label: p / self.weights.get(label, 1.0) for label, p in probs.items()}
        total = sum(votes.values())
        return 1 - votes[NEUTRAL] / total if total > 0 else None


def for_prior(manifest: Manifest, prior: str) -> IntensityEstimator:
    """The reading for a package that answers under a prior. Raises ConfigError as the pipeline does."""
    weights = prior_weights(manifest, prior)
    if weights is None:
        return IntensityEstimator()
    return IntensityEstimator(dict(zip(manifest.labels, weights.tolist(), strict=True)))


def intensity_word(intensity: float) -> str:
    """ "faint", "clear" or "strong"."""
    if intensity < CLEAR:
        return "faint"
    return "clear" if intensity < STRONG else "strong"
