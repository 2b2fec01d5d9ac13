"""Summaries of a window of features over time, which the linear branch of an action head reads.

The functions take Keras tensors or arrays, so the network and the solver of its weights share them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgeharfer.runtime.types import Floats
from edgeharfer.training.lazy_keras import ops
from edgeharfer.training.registry import Tensor


def _mean(window: Tensor) -> Tensor:
    return ops.mean(window, axis=1)


def _change(window: Tensor) -> Tensor:
    return ops.mean(ops.abs(window[:, 1:] - window[:, :-1]), axis=1)


def _deviation(window: Tensor) -> Tensor:
    return ops.std(window, axis=1)


SUMMARIES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": _mean,
    "change": _change,
    "deviation": _deviation,
}
"""Name -> function from windows (n, frames, size) to (n, size): the mean, the mean absolute difference of
successive frames, and the standard deviation.
"""


def squashed_summaries(window: Tensor, names: Sequence[str], gain: float) -> Tensor:
    """Summarise windows for the linear branch.

    Args:
        window: Windows (n, frames, size).
        names: Keys of SUMMARIES.
        gain: Each summary x becomes gain x / (1 + |gain x|), which limits strong features.

    Returns:
        Tensor (n, size * number of names), one summary after another.
    """
    parts = [ops.softsign(gain * SUMMARIES[name](window)) for name in names]
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)


def summarize(windows: Floats, names: Sequence[str], gain: float) -> Floats:
    """Return `squashed_summaries` of an array, float32."""
    return np.asarray(ops.convert_to_numpy(squashed_summaries(windows, names, gain)), np.float32)
