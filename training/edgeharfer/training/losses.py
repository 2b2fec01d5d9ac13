"""Loss functions on logits with soft targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats

Tensor = Any
Loss = Callable[[Tensor, Tensor], Tensor]


def soft_cross_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    """Compute the cross-entropy of soft targets.

    The fused cross-entropy operators of the backends assume that each row of targets sums to 1: for a row of
    zeros their loss is 0, but their gradient is the softmax. This version gives such a row no loss and no
    gradient, so targets can also carry sample weights: a row multiplied by two counts twice.

    Args:
        targets: Class probabilities, (n, classes), optionally multiplied by a sample weight.
        logits: (n, classes).

    Returns:
        The loss of each sample, (n,).
    """
    return -keras.ops.sum(targets * keras.ops.log_softmax(logits, axis=-1), axis=-1)


def focal(gamma: float) -> Loss:
    """Return a focal loss (Lin et al. 2017) for soft targets; classes are weighted by (1 - p)^gamma."""

    def loss(targets: Tensor, logits: Tensor) -> Tensor:
        log_probs = keras.ops.log_softmax(logits, axis=-1)
        ease = keras.ops.power(1 - keras.ops.exp(log_probs), gamma)
        return -keras.ops.sum(targets * ease * log_probs, axis=-1)

    return loss


def make_loss(focal_gamma: float) -> Loss:
    """Return focal loss for a gamma above 0, otherwise cross-entropy."""
    return focal(focal_gamma) if focal_gamma else soft_cross_entropy


def class_weights(targets: Floats, cap: float) -> NDArray[np.float64]:
    """Compute weights inversely proportional to class frequency.

    Args:
        targets: Class shares of each sample, (n, classes).
        cap: Largest weight.

    Returns:
        float64 (classes,): 1 for a class of mean size or without samples.
    """
    counts = targets.sum(axis=0, dtype=np.float64)
    seen = counts > 0
    mean = counts.sum() / max(1, seen.sum())
    weights: NDArray[np.float64] = np.divide(mean, counts, out=np.ones_like(counts), where=seen)
    return np.minimum(weights, cap)
