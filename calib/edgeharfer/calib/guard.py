"""The accuracy guard: what a quantized model may lose, and whether it loses more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class AccuracyLimits:
    """The largest accepted losses, in points (hundredths): of top-1, and of the recall of any one class."""

    top1: float = 1.0
    worst_class: float = 3.0


@dataclass(frozen=True)
class AccuracyFigures:
    """Accuracy of one model.

    top1: share of pictures or clips. window_top1: of windows; pictures are their own. recalls: of each
    class that the data has, over windows, with its number of pictures or clips.
    """

    top1: float
    window_top1: float
    recalls: Mapping[str, tuple[float, int]]


@dataclass(frozen=True)
class AccuracyLoss:
    """What one model loses against another, in points; a gain is negative."""

    top1: float
    window_top1: float
    per_class: Mapping[str, float]
    within: bool

    @property
    def worst(self) -> tuple[str, float]:
        """The class that loses most, and how much."""
        return max(self.per_class.items(), key=lambda pair: pair[1])


def accuracy_figures(
    probs: Floats, truth: Rows, labels: tuple[str, ...], owners: Rows | None = None
) -> AccuracyFigures:
    """From probabilities of pictures, or of windows whose clips are their `owners`, (n, classes)."""
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
    """What the candidate loses, and whether all of it is within the limits.

    Where one picture or clip of a class weighs more than the limit of a class, as much as one may be lost.
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
    """Mean of each clip's windows: what `evaluate` calls a clip's answer."""
    sums = np.zeros((clips, probs.shape[1]))
    np.add.at(sums, owners, probs)
    return np.asarray(sums / np.bincount(owners, minlength=clips)[:, None], np.float32)
