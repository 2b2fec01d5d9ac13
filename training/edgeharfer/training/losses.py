"""Losses on logits, whose targets are distributions."""

from __future__ import annotations

from typing import Any

import keras

Tensor = Any


def soft_cross_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of soft targets: twice (n, classes) -> (n,); a row of zeros has no loss and no gradient.

    Written out because the fused operators of the backends take each row of targets to sum to 1: for a
    row of zeros their loss is 0 but their gradient is the softmax, which drives the logits away.
    """
    return -keras.ops.sum(targets * keras.ops.log_softmax(logits, axis=-1), axis=-1)
