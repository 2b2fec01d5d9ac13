"""Average the probabilities of one track over time and derive its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.tasks.smoothing import FACE_HYSTERESIS, LabelDecision, Smoother
from edgeharfer.runtime.types import Floats

Times = NDArray[np.float64]
Method = Literal["centered", "exponential", "none"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class Smoothing:
    """How the probabilities of a track are averaged.

    Attributes:
        method: "centered" takes the mean over `seconds` around each sample, half before and half after,
            which adds no lag. "exponential" is the filter of a live run, weighted by certainty, with
            `seconds` as its time constant. "none" uses each sample by itself.
        seconds: Width of the window, or time constant.
    """

    method: Method = "centered"
    seconds: float = 1.0

    @property
    def active(self) -> bool:
        """Whether smoothing changes anything."""
        return self.method != "none" and self.seconds > 0

    def apply(self, times_s: Times, raw: Floats) -> Floats:
        """Smooth the probabilities of one track.

        Args:
            times_s: Ascending times in seconds, (n,).
            raw: Probabilities, (n, classes).

        Returns:
            Smoothed probabilities, (n, classes).
        """
        if not self.active or not len(raw):
            return raw
        if self.method == "exponential":
            smoother = Smoother(self.seconds, by_certainty=True)
            return np.stack([smoother.update(row, float(at)) for at, row in zip(times_s, raw, strict=True)])
        return centered_mean(times_s, raw, self.seconds)

    def choose(self, probs: Floats, labels: Sequence[str], threshold: float) -> list[tuple[str, float]]:
        """Label and score of each row of (n, classes); "uncertain" below the threshold.

        Applies the hysteresis of a live run unless smoothing is off.
        """
        decision = LabelDecision(labels, threshold, FACE_HYSTERESIS if self.active else 0.0)
        return [decision.choose(row) for row in probs]


def centered_mean(times_s: Times, values: Floats, width_s: float) -> Floats:
    """Mean (n, classes) of all rows within `width_s` around each time; the window is cut at both ends."""
    half_s = width_s / 2 + 1e-9
    first = np.searchsorted(times_s, times_s - half_s, side="left")
    last = np.searchsorted(times_s, times_s + half_s, side="right")
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
    means: Floats = ((sums[last] - sums[first]) / (last - first)[:, None]).astype(np.float32)
    return means
