"""The accuracy guard: how much accuracy a quantized model may lose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class AccuracyLimits:
    """Maximum accepted losses, in percentage points.

    Attributes:
        top1: Loss of top-1 accuracy.
        worst_class: Loss of recall of any single class.
    """

    top1: float = 1.0
    worst_class: float = 3.0


@dataclass(frozen=True)
class AccuracyFigures:
    """Accuracy of one model.

    Attributes:
        top1: Share of pictures or clips that are classified correctly.
        window_top1: Share of windows; the same as `top1` for pictures.
        recalls: For each class in the data, its recall over windows and its number of pictures or clips.
    """

    top1: float
    window_top1: float
    recalls: Mapping[str, tuple[float, int]]


@dataclass(frozen=True)
class AccuracyLoss:
    """Accuracy that one model loses against another, in percentage points; a gain is negative.

    Attributes:
        top1: Loss of top-1 accuracy over pictures or clips.
        window_top1: The same over windows.
        per_class: Loss of recall of each class.
        within: Whether all losses are within the limits.
    """

    top1: float
    window_top1: float
    per_class: Mapping[str, float]
    within: bool

    @property
    def worst(self) -> tuple[str, float]:
        """The class with the largest loss, and that loss."""
        return max(self.per_class.items(), key=lambda pair: pair[1])


def accuracy_figures(
    probs: Floats, truth: Rows, labels: tuple[str, ...], owners: Rows | None = None
) -> AccuracyFigures:
    """Compute the accuracy from probabilities.

    Args:
        probs: Probabilities of pictures or windows, float32 (n, classes).
        truth: Class index of each picture or clip.
        labels: Class names.
        owners: For windows, the index of the clip of each, (n,).
    """
    of_window = truth if owners is None else truth[owners]
    right = probs.argmax(axis=1) == of_window
    whole = right if owners is None else _clip_means(probs, owners, len(truth)).argmax(axis=1) == truth
    recalls = {
        label: (float(right[of_window == i].mean()), int((truth == i).sum()))
        for i, label in enumerate(labels)
        if (of_window == i).any()
    }
    return AccuracyFigures(float(whole.mean()), float(right.mean()), recalls)


def accuracy_loss(
    reference: AccuracyFigures, candidate: AccuracyFigures, limits: AccuracyLimits
) -> AccuracyLoss:
    """Compare a candidate with the reference model.

    In a class so small that a single picture or clip exceeds `limits.worst_class`, one may be lost.
    """
    per_class = {
        label: 100 * (before - candidate.recalls[label][0])
        for label, (before, _) in reference.recalls.items()
    }
    top1 = 100 * (reference.top1 - candidate.top1)
    windows = 100 * (reference.window_top1 - candidate.window_top1)
    within = max(top1, windows) <= limits.top1 + _ROUNDING and all(
        lost <= max(limits.worst_class, 100 / reference.recalls[label][1]) + _ROUNDING
        for label, lost in per_class.items()
    )
    return AccuracyLoss(top1, windows, per_class, within)


_ROUNDING = 1e-9


def _clip_means(probs: Floats, owners: Rows, clips: int) -> Floats:
    """Mean of each clip's windows, which `evaluate` uses as the result of the clip."""
    sums = np.zeros((clips, probs.shape[1]))
    np.add.at(sums, owners, probs)
    return np.asarray(sums / np.bincount(owners, minlength=clips)[:, None], np.float32)
