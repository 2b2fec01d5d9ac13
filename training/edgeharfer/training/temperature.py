"""Temperature scaling (Guo et al. 2017), also bias-corrected (Alexandari et al. 2020)."""

from __future__ import annotations

import numpy as np

from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Floats

BIAS_STEPS = 100
"""Steps of the fit of biases, each towards the shares by their ratio to the mean probabilities."""


def fit_temperature(logits: Floats, targets: Floats, low: float, high: float, steps: int) -> float:
    """Fit the temperature that minimises the cross-entropy of held-out samples.

    Args:
        logits: (n, classes).
        targets: (n, classes). Rows may carry a sample weight; rows of zeros are ignored.
        low: Lowest temperature to try.
        high: Highest temperature to try.
        steps: Number of temperatures, geometrically spaced.

    Returns:
        The best temperature, rounded to four decimals.
    """
    grid = np.geomspace(low, high, steps)
    losses = [cross_entropy(logits, targets, temperature) for temperature in grid]
    return round(float(grid[int(np.argmin(losses))]), 4)


def fit_biases(logits: Floats, targets: Floats, temperature: float) -> Floats:
    """Fit biases that minimise the cross-entropy of held-out samples, by bias-corrected temperature scaling.

    With them the mean probabilities equal the shares of the targets. A class without a share keeps its bias.

    Args:
        logits: (n, classes).
        targets: (n, classes). Rows may carry a sample weight; rows of zeros are ignored.
        temperature: Temperature of the logits.

    Returns:
        What to add to the logits, float32 (classes,).
    """
    known = targets.sum(axis=1) > 0
    weights = targets[known].sum(axis=1, keepdims=True)
    shares = targets[known].sum(axis=0, dtype=np.float64)
    found = shares > 0
    biases = np.zeros(logits.shape[1])
    for _ in range(BIAS_STEPS):
        probs = softmax(np.asarray(logits[known] + biases, np.float32), temperature) * weights
        means = probs.sum(axis=0, dtype=np.float64)[found]
        biases[found] += temperature * np.log(shares[found] / shares.sum() * means.sum() / means)
    return np.asarray(biases, np.float32)


def cross_entropy(logits: Floats, targets: Floats, temperature: float) -> float:
    """Return the mean cross-entropy in nats over the rows of `targets` that are not zero."""
    known = targets.sum(axis=1) > 0
    probs = softmax(logits[known], temperature)
    return float(-(targets[known] * np.log(probs + 1e-9)).sum(axis=1).mean())
