"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeharfer.training.lazy_keras import keras

LEARNING_RATES: Mapping[str, float] = {"sgd": 0.05, "adam": 1e-3, "adagrad": 0.02, "adamw": 2e-3}
"""Optimizers and the rates that each starts from unless the recipe says another."""

SCHEDULES = ("cosine", "constant", "plateau")
"""cosine: warm-up, then a cosine to nearly zero. plateau: the loop lowers it when nothing gets better."""


def make_optimizer(
    name: str, learning_rate: float | None, weight_decay: float, steps: int, schedule: str = "cosine"
) -> keras.optimizers.Optimizer:
    """An optimizer for a training of `steps` batches.

    learning_rate: the highest of the schedule; None takes LEARNING_RATES. weight_decay: decoupled
    (Loshchilov & Hutter 2019), AdamW's own and for none of the others; biases and norms are left out.
    Raises ValueError for an unknown optimizer or schedule.
    """
    if name not in LEARNING_RATES or schedule not in SCHEDULES:
        raise ValueError(f"no optimizer {name} with schedule {schedule}")
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
    """Up to `top` in a twentieth of the steps, down to a hundredth of it in a half cosine."""
    warmup = max(1, steps // 20)
    return keras.optimizers.schedules.CosineDecay(
        top / 100, max(1, steps - warmup), alpha=0.01, warmup_target=top, warmup_steps=warmup
    )
