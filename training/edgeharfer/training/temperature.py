"""The temperature that makes probabilities mean what they say (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np

from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Floats


def fit_temperature(logits: Floats, targets: Floats, low: float, high: float, steps: int) -> float:
    """The temperature between `low` and `high` at which softmax(logits / T) fits held-out targets best.

    logits, targets: (n, classes); a row of targets may have any weight, and rows of zeros do not count.
    """
    grid = np.geomspace(low, high, steps)
    losses = [cross_entropy(logits, targets, temperature) for temperature in grid]
    return round(float(grid[int(np.argmin(losses))]), 4)


def cross_entropy(logits: Floats, targets: Floats, temperature: float) -> float:
    """Mean over the rows of targets that are not zeros, in nats; logits, targets: (n, classes)."""
    known = targets.sum(axis=1) > 0
    probs = softmax(logits[known], temperature)
    return float(-(targets[known] * np.log(probs + 1e-9)).sum(axis=1).mean())
