"""Confidence calibration: temperature scaling and the threshold for reporting an action."""

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
"""Layers of a head whose logits are added."""


def apply_temperature(probs: Floats, temperature: float) -> Floats:
    """Rescale probabilities (n, classes) to softmax(logits / temperature)."""
    return softmax(_logits(probs), temperature)


def fit_temperature(clips: Sequence[Floats], truth: NDArray[np.int64]) -> float:
    """Fit the temperature that minimises the cross-entropy of held-out windows.

    Args:
        clips: Probabilities (windows, classes) of each clip; every clip has the same weight.
        truth: Class of each clip, (clips,).
    """
    windows, counts = np.concatenate(clips), [len(probs) for probs in clips]
    window_labels, weights = np.repeat(truth, counts), np.repeat(1 / np.array(counts), counts)
    targets = np.eye(windows.shape[1], dtype=np.float32)[window_labels] * weights[:, None].astype(np.float32)
    return temperatures.fit_temperature(_logits(windows), targets, *_TEMPERATURES)


def _logits(probs: Floats) -> Floats:
    return np.log(np.maximum(probs, 1e-12))


def fold_temperature(head: keras.Model, temperature: float) -> None:
    """Divide every branch by the temperature, so that the head's softmax returns calibrated scores."""
    for name in {layer.name for layer in head.layers}.intersection(BRANCHES):
        scale_branch(head, name, 1 / temperature)


def scale_branch(head: keras.Model, name: str, factor: float) -> None:
    """Multiply the logits of one branch by `factor`."""
    layer = head.get_layer(name)
    layer.set_weights([weights * np.float32(factor) for weights in layer.get_weights()])


def choose_threshold(
    clips: Sequence[Floats], truth: NDArray[np.int64], background: int | None, slack: float = 0.0
) -> float:
    """Choose the lowest threshold whose F0.5 is within `slack` of the best.

    A window's best class is reported if its score reaches the threshold and it is not the background;
    reporting an action on background is an error. F0.5 weighs precision twice as much as recall.

    Args:
        clips: Probabilities (windows, classes) of each clip; every clip has the same weight.
        truth: Class of each clip, (clips,).
        background: Index of the background class, if there is one.
        slack: F0.5 that a lower threshold may lose.
    """
    best = np.concatenate([probs.max(axis=1) for probs in clips])
    predicted = np.concatenate([probs.argmax(axis=1) for probs in clips])
    weight = np.concatenate([np.full(len(probs), 1 / len(probs)) for probs in clips])
    window_labels = np.repeat(truth, [len(probs) for probs in clips])

    def f_score(threshold: float) -> float:
        reported = (best >= threshold) & (predicted != background)
        correct = float(weight[reported & (predicted == window_labels)].sum())
        precision = correct / max(float(weight[reported].sum()), 1e-9)
        recall = correct / max(float(weight[window_labels != background].sum()), 1e-9)
        return (1 + _BETA**2) * precision * recall / max(_BETA**2 * precision + recall, 1e-9)

    scores = np.array([f_score(threshold) for threshold in _THRESHOLDS])
    return float(_THRESHOLDS[np.flatnonzero(scores >= scores.max() - slack)[0]])
