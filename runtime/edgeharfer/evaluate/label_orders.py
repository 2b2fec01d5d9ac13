"""Orders of class names, and how well each one explains what a model predicts on labelled data.

Model files rarely record the order of their classes, and programs that use them list it wrongly. In the
confusion matrix a wrong order shows as classes that are never right but always called by the same other name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.dataset import canonical

KNOWN_ORDERS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    # The column `emotion` of fer2013.csv (Goodfellow et al. 2013).
    "FER-2013": ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    # The columns of fer2013new.csv (Barsoum et al. 2016).
    "FER+": ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"),
    # Expression numbers of AffectNet (Mollahosseini et al. 2017).
    "AffectNet": ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"),
    # Label numbers of RAF-DB (Li et al. 2017).
    "RAF-DB": ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"),
})  # fmt: skip
"""Orders of common data sets of expressions; classes that a model lacks are left out."""

FITTED = "fitted"
"""Name of the order that is fitted to the data."""
PERMUTED, MAX_PERMUTED = "permuted", 3
"""Name of the orders that are all tried, and the largest number of classes for which they are."""
MIN_GAIN = 0.05
"""Gain in accuracy by which another order fits better, twice as much for the fitted one; less is chance."""
FAILED_RECALL = 0.05
MIN_SUPPORT = 10
"""A class with so many samples, of which at most this share is right, has almost no recall."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class LabelOrder:
    """An order of class names.

    Attributes:
        name: Where it comes from, such as "alphabetical" or FITTED.
        labels: One name for each output of the model.
    """

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class OrderScore:
    """Accuracy of a model with an order of labels.

    Attributes:
        order: The order.
        right: Samples whose class is predicted.
        n: Samples of the classes in the order.
    """

    order: LabelOrder
    right: int
    n: int

    @property
    def top1(self) -> float:
        """Share of the samples of its classes whose class is predicted."""
        return self.right / self.n if self.n else 0.0


def plausible_orders(
    classes: Sequence[str], outputs: int, recorded: Mapping[str, Sequence[str]] | None = None
) -> list[LabelOrder]:
    """Return orders that a model of so many outputs may have.

    Args:
        classes: Classes of the data.
        outputs: Number of outputs of the model.
        recorded: Orders that are recorded in the file or next to it, by where they do.
    """
    names = {canonical(name): name for name in classes}
    found = [
        LabelOrder(where, tuple(names.get(canonical(one), one) for one in order))
        for where, order in (recorded or {}).items()
        if len(order) == outputs
    ]
    found += [LabelOrder(name, order) for name, order in _usual_orders(names, outputs)]
    by_labels: dict[tuple[str, ...], LabelOrder] = {}
    for order in found:
        by_labels.setdefault(order.labels, order)
    return list(by_labels.values())


def _usual_orders(names: Mapping[str, str], outputs: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    if len(names) == outputs:
        yield "alphabetical", tuple(sorted(names.values(), key=str.lower))
    if outputs <= MAX_PERMUTED and len(names) == outputs:
        for order in permutations(sorted(names.values(), key=str.lower)):
            yield PERMUTED, order
    for where, known in KNOWN_ORDERS.items():
        for kept in (known, tuple(one for one in known if one in names)):
            if len(kept) == outputs and set(names) & set(kept):
                yield where, tuple(names.get(one, one) for one in kept)
    every = KNOWN_ORDERS["FER+"]
    if len(names) != outputs and len(every) == outputs and set(names) <= set(every):
        yield "alphabetical", tuple(names.get(one, one) for one in sorted(every))


def score_order(order: LabelOrder, classes: Sequence[str], confusion: Counts) -> OrderScore:
    """Compute the accuracy with an order.

    Args:
        order: The order.
        classes: Classes of the data.
        confusion: Samples by class of the data (rows) and output of the model (columns).
    """
    column = {canonical(label): i for i, label in enumerate(order.labels)}
    rows = [(i, column[canonical(name)]) for i, name in enumerate(classes) if canonical(name) in column]
    n = int(sum(confusion[i].sum() for i, _ in rows))
    return OrderScore(order, sum(int(confusion[i, output]) for i, output in rows), n)


def fitted_order(classes: Sequence[str], confusion: Counts) -> LabelOrder | None:
    """Return the order with the most right predictions; outputs that no class is left for have a number.

    Returns:
        None if SciPy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        return None
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    labels = [f"output-{number}" for number in range(confusion.shape[1])]
    for row, column in zip(rows, columns, strict=True):
        labels[column] = classes[row]
    return LabelOrder(FITTED, tuple(labels))


def score_orders(orders: Sequence[LabelOrder], classes: Sequence[str], confusion: Counts) -> list[OrderScore]:
    """Compute the accuracy with each order and with the fitted one, most right predictions first.

    Among equally good ones an earlier order stands first, and the fitted one last.
    """
    fitted = fitted_order(classes, confusion)
    tried = [*orders, *([fitted] if fitted is not None else [])]
    scores = [score_order(order, classes, confusion) for order in tried]
    unique: dict[tuple[str, ...], OrderScore] = {}
    for score in scores:
        unique.setdefault(score.order.labels, score)
    return sorted(unique.values(), key=lambda score: -score.right)


def better_order(labels: Sequence[str], confusion: Counts) -> OrderScore | None:
    """Return the order that fits better, if a class has almost no recall and there is such an order.

    Args:
        labels: Class names in the order of the outputs.
        confusion: Samples by true class (rows) and predicted class (columns), int64 (classes, classes).
    """
    support = confusion.sum(axis=1)
    failed = (support >= MIN_SUPPORT) & (np.diag(confusion) <= FAILED_RECALL * support)
    if not failed.any() or not support.sum():
        return None
    present = [label for label, count in zip(labels, support, strict=True) if count]
    counts = confusion[support > 0]
    current = score_order(LabelOrder("current", tuple(labels)), present, counts)
    best = score_orders(plausible_orders(labels, len(labels)), present, counts)[0]
    if best.order.name == FITTED:
        known = {canonical(name) for name in present}
        rest = iter(label for label in labels if canonical(label) not in known)
        filled = tuple(next(rest) if one.startswith("output-") else one for one in best.order.labels)
        best = OrderScore(LabelOrder(FITTED, filled), best.right, best.n)
    gain = 2 * MIN_GAIN if best.order.name == FITTED else MIN_GAIN
    return best if best.top1 >= current.top1 + gain else None
