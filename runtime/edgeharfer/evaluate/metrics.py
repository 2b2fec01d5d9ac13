"""Figures of a classifier: confusion, top-k, precision, recall and F1, in the form of `evaluate --json`.

Averages over classes include only classes that occur in the data. Samples that are wrongly assigned to
another class still lower the recall of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats

Labels = NDArray[np.int64]
Counts = NDArray[np.int64]


def confusion_matrix(truth: Labels, predicted: Labels, classes: int) -> Counts:
    """Count predictions (columns) by true class (rows), int64 (classes, classes)."""
    counts = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def top_k(probs: Floats, truth: Labels, k: int) -> float:
    """Share of the rows of `probs` (n, classes) with the true class among the k most probable.

    Ties are resolved in favour of the lower index.
    """
    best = np.argsort(-probs, axis=1, kind="stable")[:, :k]
    return float((best == truth[:, None]).any(axis=1).mean())


def class_metrics(confusion: Counts) -> dict[str, NDArray[np.float64]]:
    """Precision, recall, F1 and support by class, (classes,) each; 0 where they are undefined."""
    hits = np.diag(confusion).astype(np.float64)
    support, called = confusion.sum(axis=1).astype(np.float64), confusion.sum(axis=0).astype(np.float64)
    return {
        "precision": _ratio(hits, called),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, support + called),
        "support": support,
    }


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def score(task: str, probs: Floats, truth: Labels, labels: Sequence[str]) -> dict[str, object]:
    """Compute the object that `evaluate --json` writes.

    Args:
        task: Name of the task.
        probs: Probabilities, (n, classes).
        truth: Indices into labels, (n,).
        labels: Class names.

    Returns:
        JSON-serialisable figures; fractions are between 0 and 1.

    Raises:
        ValueError: There are no samples.
    """
    if not len(probs):
        raise ValueError("no samples to score")
    confusion = confusion_matrix(truth, probs.argmax(axis=1), len(labels))
    figures = class_metrics(confusion)
    f1, support = figures["f1"], figures["support"]
    return {
        "task": task,
        "n": len(probs),
        "top1": top_k(probs, truth, 1),
        "top3": top_k(probs, truth, 3),
        "macro_f1": float(f1[support > 0].mean()),
        "weighted_f1": float((f1 * support).sum() / support.sum()),
        "labels": list(labels),
        "per_class": {label: _class(figures, i) for i, label in enumerate(labels)},
        "confusion": confusion.tolist(),
    }


def _class(figures: dict[str, NDArray[np.float64]], i: int) -> dict[str, float]:
    row: dict[str, float] = {name: float(values[i]) for name, values in figures.items()}
    row["support"] = int(row["support"])
    return row


def reliability(probs: Floats, truth: Labels, bins: int = 15) -> NDArray[np.float64]:
    """Compute a reliability diagram with bins of equal width between 0 and 1.

    Args:
        probs: Probabilities, (n, classes).
        truth: Class indices, (n,).
        bins: Number of bins.

    Returns:
        (mean confidence, accuracy, share of the samples) of each non-empty bin, float64 (m, 3).
    """
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    rows = [
        (confidence[chosen].mean(), correct[chosen].mean(), chosen.mean())
        for chosen in (bin_of == i for i in range(bins))
        if chosen.any()
    ]
    return np.array(rows, np.float64).reshape(-1, 3)


def calibration_error(probs: Floats, truth: Labels, bins: int = 15) -> float:
    """Expected calibration error (Naeini et al. 2015): mean gap between confidence and accuracy."""
    rows = reliability(probs, truth, bins)
    return float((np.abs(rows[:, 0] - rows[:, 1]) * rows[:, 2]).sum())
