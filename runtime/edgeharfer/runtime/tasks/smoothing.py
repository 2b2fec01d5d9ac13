"""From probabilities that flicker to a label that stands: averaging over time, a threshold, hysteresis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgeharfer.runtime.types import UNCERTAIN, Floats

HYSTERESIS = 0.08
"""How much more probable another class must be before the label changes."""


class Smoother:
    """An exponential average of probabilities whose memory is given in seconds, not in frames.

    time_constant_s: after this time a lasting change is taken over by 63 %; 0 passes everything through.
    """

    def __init__(self, time_constant_s: float) -> None:
        self._tau = time_constant_s
        self.reset()

    def reset(self) -> None:
        """Forget everything seen."""
        self._mean: Floats | None = None
        self._last_s = 0.0

    def update(self, probs: Floats, now_s: float) -> Floats:
        """Take in probabilities (classes,) seen at a time; returns their average, which sums to 1."""
        if self._mean is None or self._tau <= 0 or now_s < self._last_s:
            self._mean = probs.astype(np.float32)
        else:
            share = np.float32(1 - math.exp(-(now_s - self._last_s) / self._tau))
            self._mean = self._mean + share * (probs - self._mean)
        self._last_s = now_s
        return self._mean


class LabelDecision:
    """Chooses a label: "uncertain" below the threshold, and no change for the sake of a hair's breadth."""

    def __init__(self, labels: Sequence[str], threshold: float, hysteresis: float = HYSTERESIS) -> None:
        self._labels = tuple(labels)
        self._threshold = threshold
        self._hysteresis = hysteresis
        self.reset()

    def reset(self) -> None:
        """Forget the standing label."""
        self._standing: int | None = None

    def choose(self, probs: Floats) -> tuple[str, float]:
        """The label and its probability; the best class's probability where it stays uncertain."""
        best, standing = int(probs.argmax()), self._standing
        if standing is not None and self._stands(standing, probs):
            best = standing
        elif probs[best] < self._threshold:
            self._standing = None
            return UNCERTAIN, float(probs[best])
        self._standing = best
        return self._labels[best], float(probs[best])

    def _stands(self, label: int, probs: Floats) -> bool:
        """Still about as probable as the best, and not far below the threshold."""
        near_best = probs[label] + self._hysteresis >= probs.max()
        return bool(near_best and probs[label] >= self._threshold - self._hysteresis / 2)


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities along the last axis."""
    scaled = logits / np.float32(temperature)
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    probs: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return probs
