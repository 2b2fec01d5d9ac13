"""What the taught head is worth: leave-one-out predictions, confidence, and what it goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.metrics import confusion_matrix
from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Floats
from edgeharfer.teach.windows import PARTS

TEMPERATURES = np.geomspace(0.02, 1.0, 60)
"""Temperatures that are tried. Scores lie between 0 and 1, so useful ones are well below 1."""
THRESHOLDS = np.arange(0.30, 0.96, 0.01).round(2)
MAX_NAMED = 0.002
"""Share of held-out background windows that may be named as an action."""
MIN_BACKGROUND = 0.8
"""Share of held-out background windows that stay background. The others are `uncertain`, because no action
reaches the threshold. With a higher share, examples in new places are taken for background."""
_BACKGROUND_SHARE = 0.15
"""Weight of the background while the temperature is fitted."""
FROZEN_RECALL = 0.8
"""A class counts as recognised without motion from this share of its examples on."""

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Windows:
    """All windows of a lesson.

    Attributes:
        described: Statistics of each window, float32, (n, features).
        labels: Class of each window, (n,).
        groups: Group of each window; windows of one group are held out together.
        examples: Number of the example of each window; background clips are numbered, too.
        weights: Weight of each window; they sum to 1.
    """

    described: Floats
    labels: Labels
    groups: Labels
    examples: Labels
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Confidence:
    """How scores become decisions.

    Attributes:
        temperature: Divisor of the scores before the softmax.
        threshold: Probability below which no class is named.
    """

    temperature: float
    threshold: float


def background_offset(held_out: Floats, windows: Windows, background: int) -> float:
    """Return by how much the score of the background can be lowered so that MIN_BACKGROUND of it stays.

    Args:
        held_out: Scores of each window by a head that has not seen its group, (n, classes).
        windows: The windows.
        background: Index of the background class.
    """
    rows = np.flatnonzero(windows.labels == background)
    actions = np.delete(held_out[rows], background, axis=1).max(axis=1)
    leads = held_out[rows, background] - actions
    order = np.argsort(leads)
    shares = np.cumsum(windows.weights[rows][order])
    place = int(np.searchsorted(shares, (1 - MIN_BACKGROUND) * shares[-1]))
    return max(0.0, float(leads[order][min(place, len(order) - 1)]))


def fit_confidence(held_out: Floats, windows: Windows, background: int | None) -> Confidence:
    """Fit the temperature to held-out scores, and choose the lowest threshold that keeps quiet.

    Args:
        held_out: Scores of each window by a head that has not seen its group, (n, classes).
        windows: The windows.
        background: Index of the background class; None if there is none.
    """
    rows = np.arange(len(held_out))
    weights = windows.weights.copy()
    if background is not None:
        scenes = windows.labels == background
        weights[scenes] *= _BACKGROUND_SHARE / weights[scenes].sum()
        weights[~scenes] *= (1 - _BACKGROUND_SHARE) / weights[~scenes].sum()
    losses = [
        -float(weights @ np.log(softmax(held_out, temperature)[rows, windows.labels] + 1e-9))
        for temperature in TEMPERATURES
    ]
    temperature = round(float(TEMPERATURES[int(np.argmin(losses))]), 4)
    probs = softmax(held_out, temperature)
    quiet = [one for one in THRESHOLDS if named_share(probs, windows, background, one) <= MAX_NAMED]
    return Confidence(temperature, float(quiet[0] if quiet else THRESHOLDS[-1]))


def named_share(probs: Floats, windows: Windows, background: int | None, threshold: float) -> float:
    """Return the share of the background windows that are named as an action, weighted; 0 without any."""
    if background is None:
        return 0.0
    weights = windows.weights * (windows.labels == background)
    named = (probs.max(axis=1) >= threshold) & (probs.argmax(axis=1) != background)
    return float(weights @ named / weights.sum())


def example_confusion(probs: Floats, windows: Windows, classes: int) -> NDArray[np.int64]:
    """Count the classes of examples (rows) by prediction (columns), from the mean of an example's windows.

    Args:
        probs: Probabilities of each window, (n, classes).
        windows: The windows.
        classes: Number of classes.
    """
    counts = np.bincount(windows.examples).astype(np.float64)
    means = np.stack([np.bincount(windows.examples, column) for column in probs.T], axis=1) / counts[:, None]
    truth = np.zeros(len(counts), np.int64)
    truth[windows.examples] = windows.labels
    return confusion_matrix(truth, means.argmax(axis=1).astype(np.int64), classes)


def recalls(confusion: NDArray[np.int64]) -> Floats:
    """Return the share of each class's examples that are predicted as that class, (classes,)."""
    shares: Floats = np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)
    return shares


def frozen(described: Floats) -> Floats:
    """Return the statistics of the same windows with all motion taken out, as of a still picture."""
    still = described.copy()
    still[:, described.shape[1] // PARTS :] = 0
    return still


def told_by_look(labels: Sequence[str], frozen_recall: Floats) -> list[str]:
    """Return the classes that are told apart without motion, by place, objects or posture.

    One class alone may be recognised without motion, such as sitting still beside waving.

    Args:
        labels: The classes.
        frozen_recall: Share of the examples of each class that are recognised from `frozen` windows.
    """
    found = [label for label, recall in zip(labels, frozen_recall, strict=False) if recall >= FROZEN_RECALL]
    return found if len(found) > 1 else []
