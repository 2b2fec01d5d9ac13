"""Stable labels from noisy probabilities: averaging over time, a threshold and hysteresis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgeharfer.runtime.types import UNCERTAIN, Floats

HYSTERESIS = 0.08
"""Difference in probability by which another class must lead before the label changes."""


class Smoother:
    """An exponential moving average of probabilities with a time constant, independent of the frame rate.

    Args:
        time_constant_s: Time in seconds after which the average has followed a step by 63 %. 0 does not
            average.
    """

    def __init__(self, time_constant_s: float) -> None:
        self._tau = time_constant_s
        self.reset()

    def reset(self) -> None:
        """Discard the average."""
        self._mean: Floats | None = None
        self._last_s = 0.0

    def update(self, probs: Floats, now_s: float) -> Floats:
        """Add probabilities, (classes,), at a time in seconds; return the average, float32, (classes,)."""
        if self._mean is None or self._tau <= 0 or now_s < self._last_s:
            self._mean = probs.astype(np.float32)
        else:
            share = np.float32(1 - math.exp(-(now_s - self._last_s) / self._tau))
            self._mean = self._mean + share * (probs - self._mean)
        self._last_s = now_s
        return self._mean


class LabelDecision:
    """Chooses a label from probabilities, with a threshold and hysteresis.

    Args:
        labels: The classes.
        threshold: Minimum probability of a label; below it the label is "uncertain".
        hysteresis: Difference in probability by which another class must lead before the label changes.
    """

    def __init__(self, labels: Sequence[str], threshold: float, hysteresis: float = HYSTERESIS) -> None:
        self._labels = tuple(labels)
        self._threshold = threshold
        self._hysteresis = hysteresis
        self.reset()

    def reset(self) -> None:
        """Discard the current label."""
        self._current: int | None = None

    def choose(self, probs: Floats) -> tuple[str, float]:
        """Return the label and its probability; for "uncertain", the highest probability."""
        best, current = int(probs.argmax()), self._current
        if current is not None and self._is_stable(current, probs):
            best = current
        elif probs[best] < self._threshold:
            self._current = None
            return UNCERTAIN, float(probs[best])
        self._current = best
        return self._labels[best], float(probs[best])

    def _is_stable(self, label: int, probs: Floats) -> bool:
        """Return whether a label is nearly as probable as the best one, and not far below the threshold."""
        near_best = probs[label] + self._hysteresis >= probs.max()
        return bool(near_best and probs[label] >= self._threshold - self._hysteresis / 2)


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return the softmax along the last axis of logits that are divided by a temperature."""
    scaled = logits / np.float32(temperature)
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    probs: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return probs
