"""Optimizers by name, with a schedule."""

from __future__ import annotations

import keras

NAMES = ("sgd", "adam", "adagrad", "adamw")


def make_optimizer(
    name: str, learning_rate: float, weight_decay: float, steps: int
) -> keras.optimizers.Optimizer:
    """An optimizer whose rate warms up in a twentieth of `steps` and falls to nearly zero in a cosine."""
    warmup = max(1, steps // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        learning_rate / 100,
        max(1, steps - warmup),
        alpha=0.01,
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )
    if name == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
    if name == "adam":
        return keras.optimizers.Adam(rate)
    if name == "adagrad":
        return keras.optimizers.Adagrad(rate)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
