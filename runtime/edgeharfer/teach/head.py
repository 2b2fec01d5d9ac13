"""The taught classifier: ridge regression on standardised window statistics, solved in closed form.

With a handful of clips a class and thousands of features, a linear classifier with a strong penalty (ridge
regression, Hoerl and Kennard 1970) is hard to beat, and its leave-one-out predictions follow from the same
factorisation (Cook 1977), so that they cost no further training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats

MIN_DEVIATION = 1e-2
"""Added to standard deviations, so that nearly constant features are not amplified."""
_CONSTANT = 3.0
"""Value of the constant feature whose weight becomes the bias; the larger, the less the bias is penalised."""


@dataclass(frozen=True)
class LinearHead:
    """Scores of windows: `describe(windows) @ kernel + bias`.

    Attributes:
        kernel: float32, (features, classes).
        bias: float32, (classes,).
    """

    kernel: Floats
    bias: Floats

    def scores(self, described: Floats) -> Floats:
        """Return the scores of described windows, (windows, classes): near 1 for the class, 0 for others."""
        scores: Floats = described @ self.kernel + self.bias
        return scores


@dataclass(frozen=True)
class Fit:
    """A fitted head, and what it would have said of each example without having seen it.

    Attributes:
        head: The head, fitted to all windows.
        held_out: Scores of each window by a head that was fitted without its group, (windows, classes).
        changed: The same heads' scores of the changed windows.
    """

    head: LinearHead
    held_out: Floats
    changed: Floats

    def lowered(self, column: int, offset: float) -> Fit:
        """Return the fit with the scores of one class lowered by an offset."""
        shift = np.zeros(len(self.head.bias), np.float32)
        shift[column] = offset
        head = LinearHead(self.head.kernel, self.head.bias - shift)
        return Fit(head, self.held_out - shift, self.changed - shift)


def fit_head(
    described: Floats,
    changed: Floats,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    weights: NDArray[np.float64],
    classes: int,
    ridge: float,
) -> Fit:
    """Fit a head and predict each group without itself.

    Args:
        described: Statistics of the windows, (windows, features).
        changed: Statistics of the same windows in another form, which are classified and not learned.
        labels: Class of each window.
        groups: Group of each window; windows of one group are held out together.
        weights: Weight of each window, summing to 1.
        classes: Number of classes.
        ridge: Penalty of the weights, relative to features of unit deviation.
    """
    mean = weights @ described
    deviation = np.sqrt(weights @ (described - mean) ** 2) + MIN_DEVIATION
    roots = np.sqrt(weights)[:, None]
    z, other = _standardised(described, mean, deviation), _standardised(changed, mean, deviation)
    learned, targets = z * roots, np.eye(classes)[labels] * roots
    inverse = np.linalg.inv(learned @ learned.T + ridge * np.eye(len(learned)))
    dual = inverse @ targets
    held_out, of_changed = np.zeros((len(z), classes)), np.zeros((len(z), classes))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        # The solution without the rows of the group, whose own entries become 0.
        without = dual - inverse[:, rows] @ np.linalg.solve(inverse[np.ix_(rows, rows)], dual[rows])
        weight = learned.T @ without
        held_out[rows], of_changed[rows] = z[rows] @ weight, other[rows] @ weight
    weight = learned.T @ dual
    kernel = weight[:-1] / deviation[:, None]
    head = LinearHead(kernel.astype(np.float32), (weight[-1] * _CONSTANT - mean @ kernel).astype(np.float32))
    return Fit(head, held_out.astype(np.float32), of_changed.astype(np.float32))


def _standardised(
    described: Floats, mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return features of mean 0 and deviation 1, and the constant one."""
    return np.concatenate([(described - mean) / deviation, np.full((len(described), 1), _CONSTANT)], axis=1)
