"""Temperature scaling (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np

from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Floats


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


def cross_entropy(logits: Floats, targets: Floats, temperature: float) -> float:
    """Return the mean cross-entropy in nats over the rows of `targets` that are not zero."""
    known = targets.sum(axis=1) > 0
    probs = softmax(logits[known], temperature)
    return float(-(targets[known] * np.log(probs + 1e-9)).sum(axis=1).mean())
