"""Describe windows of encoder features by how they look and how they change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.tasks.action import FeatureRing
from edgeharfer.runtime.types import Floats

Times = NDArray[np.float64]
Rows = NDArray[np.int64]

PARTS = 3
"""Statistics of each feature: mean, mean absolute difference of successive frames, standard deviation."""


def describe(windows: Floats) -> Floats:
    """Return the statistics of each window.

    The mean holds what the scene looks like; the other two hold how much it changes, in small steps and over
    the whole window.

    Args:
        windows: float32, (windows, frames, size).

    Returns:
        float32, (windows, PARTS * size).
    """
    steps = np.abs(np.diff(windows, axis=1)).mean(axis=1)
    described: Floats = np.concatenate([windows.mean(axis=1), steps, windows.std(axis=1)], axis=1)
    return described.astype(np.float32)


def window_rows(times: Times, window: WindowSpec) -> Rows:
    """Return the windows that `run` would read, as rows of the encoded frames.

    Args:
        times: Source time of each encoded frame in seconds, in ascending order.
        window: Window of the package.

    Returns:
        int64, (windows, window.frames); no rows if the clip is shorter than a window.
    """
    ring = FeatureRing(window)
    rows = []
    for row, time_s in enumerate(times):
        if ring.wants(float(time_s)):
            ring.push(float(time_s), np.array([row], np.float32))
            if ring.ready:
                rows.append(ring.window()[0, :, 0])
    return np.asarray(rows, np.int64).reshape(-1, window.frames)
