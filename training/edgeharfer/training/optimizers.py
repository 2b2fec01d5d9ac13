"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeharfer.training.lazy_keras import keras

LEARNING_RATES: Mapping[str, float] = {"sgd": 0.05, "adam": 1e-3, "adagrad": 0.02, "adamw": 2e-3}
"""Supported optimizers and their default learning rates."""

SCHEDULES = ("cosine", "constant", "plateau")
"""Supported schedules. "cosine": warm-up, then cosine decay to 1 % of the peak. "plateau": `loop.fit` halves
the rate when the score stops improving.
"""


def make_optimizer(
    name: str, learning_rate: float | None, weight_decay: float, steps: int, schedule: str = "cosine"
) -> keras.optimizers.Optimizer:
    """Build an optimizer for a training of `steps` batches.

    Args:
        name: A key of LEARNING_RATES.
        learning_rate: Peak learning rate; None uses LEARNING_RATES.
        weight_decay: Decoupled weight decay (Loshchilov & Hutter 2019), used by "adamw" only. Biases and
            normalisation parameters are excluded.
        steps: Total number of training steps.
        schedule: One of SCHEDULES.

    Raises:
        ValueError: Unknown optimizer or schedule.
    """
    if name not in LEARNING_RATES or schedule not in SCHEDULES:
        raise ValueError(f"unknown optimizer {name!r} or schedule {schedule!r}")
    top = learning_rate or LEARNING_RATES[name]
    rate = cosine_schedule(top, steps) if schedule == "cosine" else top
    if name == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
    if name == "adam":
        return keras.optimizers.Adam(rate)
    if name == "adagrad":
        return keras.optimizers.Adagrad(rate)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def cosine_schedule(top: float, steps: int) -> Any:
    """Warm up to `top` over 5 % of the steps, then decay to 1 % of it along a half cosine."""
    warmup = max(1, steps // 20)
    return keras.optimizers.schedules.CosineDecay(
        top / 100, max(1, steps - warmup), alpha=0.01, warmup_target=top, warmup_steps=warmup
    )
