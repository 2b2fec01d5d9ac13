"""Losses on logits, whose targets are distributions."""

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
    """Cross-entropy of soft targets: twice (n, classes) -> (n,); a row of zeros has no loss and no gradient.

    Written out because the fused operators of the backends take each row of targets to sum to 1: for a
    row of zeros their loss is 0 but their gradient is the softmax, which drives the logits away. Rows may
    therefore also carry a weight: a row times two counts twice.
    """
    return -keras.ops.sum(targets * keras.ops.log_softmax(logits, axis=-1), axis=-1)


def focal(gamma: float) -> Loss:
    """Focal loss (Lin et al. 2017) on soft targets: what is told well already counts less, (1 - p)^gamma."""

    def loss(targets: Tensor, logits: Tensor) -> Tensor:
        log_probs = keras.ops.log_softmax(logits, axis=-1)
        ease = keras.ops.power(1 - keras.ops.exp(log_probs), gamma)
        return -keras.ops.sum(targets * ease * log_probs, axis=-1)

    return loss


def make_loss(focal_gamma: float) -> Loss:
    """Cross-entropy, or focal loss for a gamma above 0."""
    return focal(focal_gamma) if focal_gamma else soft_cross_entropy


def class_weights(targets: Floats, cap: float) -> NDArray[np.float64]:
    """Weights that make the classes count alike, none above `cap`: (classes,), 1 for a class of mean size.

    targets: (n, classes), class shares of each sample. A class without any sample keeps weight 1.
    """
    counts = targets.sum(axis=0, dtype=np.float64)
    seen = counts > 0
    mean = counts.sum() / max(1, seen.sum())
    weights: NDArray[np.float64] = np.divide(mean, counts, out=np.ones_like(counts), where=seen)
    return np.minimum(weights, cap)
