"""Stable labels from noisy probabilities: averaging over time, a threshold and hysteresis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN, Floats

HYSTERESIS = 0.08
"""Difference in probability by which another class must lead before the label changes."""
FACE_HYSTERESIS = 0.12
"""The same for the emotion of a face, whose probabilities vary more from frame to frame."""
MIN_CERTAINTY = 0.05
"""Minimum weight of probabilities in an average that is weighted by certainty."""


class Smoother:
    """An exponential moving average of probabilities with a time constant, independent of the frame rate.

    Args:
        time_constant_s: Time in seconds after which the average has followed a step by 63 %, if the
            probabilities before and after it have the same weight. 0 does not average.
        by_certainty: Weight probabilities by their `certainty`, instead of equally.
    """

    def __init__(self, time_constant_s: float, *, by_certainty: bool = False) -> None:
        self._tau, self._by_certainty = time_constant_s, by_certainty
        self.reset()

    def reset(self) -> None:
        """Discard the average."""
        self._mean: Floats | None = None
        self._weight = self._last_s = 0.0

    def update(self, probs: Floats, now_s: float) -> Floats:
        """Add probabilities, (classes,), at a time in seconds; return the average, float32, (classes,)."""
        weight = max(certainty(probs), MIN_CERTAINTY) if self._by_certainty else 1.0
        if self._mean is None or self._tau <= 0 or now_s < self._last_s:
            self._mean, self._weight = probs.astype(np.float32), weight
        else:
            fade = math.exp(-(now_s - self._last_s) / self._tau)
            added = (1 - fade) * weight
            self._weight = fade * self._weight + added
            self._mean = self._mean + np.float32(added / self._weight) * (probs - self._mean)
        self._last_s = now_s
        return self._mean


class LabelDecision:
    """Chooses a label from probabilities, with thresholds and hysteresis.

    The label is the most probable of the classes that reach their threshold.

    Args:
        labels: The classes.
        threshold: Minimum probability of a label; if no class reaches it, the label is "uncertain".
        hysteresis: Difference in probability by which another class must lead before the label changes.
        background_threshold: Minimum probability of "background"; None uses `threshold`.
    """

    def __init__(
        self,
        labels: Sequence[str],
        threshold: float,
        hysteresis: float = HYSTERESIS,
        background_threshold: float | None = None,
    ) -> None:
        self._labels = tuple(labels)
        calm = threshold if background_threshold is None else background_threshold
        self._thresholds: Floats = np.array(
            [calm if label == BACKGROUND else threshold for label in labels], np.float32
        )
        self._limits: list[float] = self._thresholds.tolist()
        self._hysteresis = hysteresis
        self.reset()

    def reset(self) -> None:
        """Discard the current label."""
        self._current: int | None = None

    def choose(self, probs: Floats) -> tuple[str, float]:
        """Return the label and its probability; for "uncertain", the highest probability."""
        values: list[float] = probs.tolist()
        best, best_value = None, 0.0  # of the classes that reach their threshold
        for label, (value, limit) in enumerate(zip(values, self._limits, strict=True)):
            if value >= limit and (best is None or value > best_value):
                best, best_value = label, value
        if self._current is None or not self._is_stable(self._current, probs, best_value):
            self._current = best
        if self._current is None:
            return UNCERTAIN, max(values)
        return self._labels[self._current], values[self._current]

    def _is_stable(self, label: int, probs: Floats, best_value: float) -> bool:
        """Return whether a label is nearly as probable as the best one, and not far below its threshold."""
        near_best = probs[label] + self._hysteresis >= best_value
        return bool(near_best and probs[label] >= self._thresholds[label] - self._hysteresis / 2)


def certainty(probs: Floats) -> float:
    """Return 1 for the probabilities, (classes,), of a single class and 0 for equal ones.

    This is one minus their entropy, relative to the entropy of equal probabilities (Shannon 1948).
    """
    if len(probs) < 2:
        return 1.0
    entropy = -float(np.sum(probs * np.log(np.maximum(probs, 1e-9))))
    return max(0.0, 1 - entropy / math.log(len(probs)))


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return the softmax along the last axis of logits that are divided by a temperature."""
    scaled = logits / np.float32(temperature)
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    probs: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return probs
