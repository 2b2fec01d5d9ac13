"""How sure is sure: a temperature that makes scores mean what they say, and a threshold on them."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Floats
from edgeharfer.training import temperature as temperatures

_TEMPERATURES = (0.2, 5.0, 161)
_THRESHOLDS = np.linspace(0.05, 0.95, 91).round(2)
_BETA = 0.5
BRANCHES = ("temporal", "linear")
"""The layers whose logits a head adds up."""


def apply_temperature(probs: Floats, temperature: float) -> Floats:
    """Probabilities (n, classes) as softmax(logits / temperature) would have given them."""
    return softmax(_logits(probs), temperature)


def fit_temperature(clips: Sequence[Floats], truth: NDArray[np.int64]) -> float:
    """The temperature with the least cross-entropy on windows that training has not seen.

    clips: probabilities (windows, classes) of each clip; every clip weighs the same.
    """
    windows, counts = np.concatenate(clips), [len(probs) for probs in clips]
    true, weights = np.repeat(truth, counts), np.repeat(1 / np.array(counts), counts)
    targets = np.eye(windows.shape[1], dtype=np.float32)[true] * weights[:, None].astype(np.float32)
    return temperatures.fit_temperature(_logits(windows), targets, *_TEMPERATURES)


def _logits(probs: Floats) -> Floats:
    return np.log(np.maximum(probs, 1e-12))


def fold_temperature(head: keras.Model, temperature: float) -> None:
    """Divide every branch by the temperature, so that the head's own softmax gives the softened scores."""
    for name in {layer.name for layer in head.layers}.intersection(BRANCHES):
        scale_branch(head, name, 1 / temperature)


def scale_branch(head: keras.Model, name: str, factor: float) -> None:
    """Multiply the logits of one branch."""
    layer = head.get_layer(name)
    layer.set_weights([weights * np.float32(factor) for weights in layer.get_weights()])


def choose_threshold(
    clips: Sequence[Floats], truth: NDArray[np.int64], background: int | None, slack: float = 0.0
) -> float:
    """The threshold with the best F0.5 of the labels shown: to be right counts twice as much as to speak.

    Shown is a window's best class at or above the threshold, unless it is `background`, the background; a
    label shown over background is wrong. Every clip weighs the same. slack: of the F0.5 that a lower
    threshold may cost, since the best of a flat curve is anywhere on it.
    """
    best = np.concatenate([probs.max(axis=1) for probs in clips])
    called = np.concatenate([probs.argmax(axis=1) for probs in clips])
    weight = np.concatenate([np.full(len(probs), 1 / len(probs)) for probs in clips])
    true = np.repeat(truth, [len(probs) for probs in clips])

    def f_score(threshold: float) -> float:
        shown = (best >= threshold) & (called != background)
        right = float(weight[shown & (called == true)].sum())
        precision = right / max(float(weight[shown].sum()), 1e-9)
        recall = right / max(float(weight[true != background].sum()), 1e-9)
        return (1 + _BETA**2) * precision * recall / max(_BETA**2 * precision + recall, 1e-9)

    scores = np.array([f_score(threshold) for threshold in _THRESHOLDS])
    return float(_THRESHOLDS[np.flatnonzero(scores >= scores.max() - slack)[0]])
