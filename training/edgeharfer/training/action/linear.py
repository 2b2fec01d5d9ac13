"""The linear branch of an action head: ridge regression on summaries of a window, solved in closed form.

With few clips per class, an LSTM on 1280 features overfits. A linear classifier of the features' mean and
spread over the window (ridge regression, Hoerl and Kennard 1970) generalises better to unseen groups and is
fitted in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.clips import EncodedClip
from edgeharfer.training.action.sampling import Sampler
from edgeharfer.training.action.summaries import summarize

_MIN_DEVIATION = 1e-2
"""Added to the standard deviation of squashed features, so that nearly constant ones are not amplified."""


def fit_linear(
    clips: Sequence[EncodedClip],
    labels: NDArray[np.int64],
    clip_weights: NDArray[np.float64],
    classes: int,
    sampler: Sampler,
    *,
    gain: float,
    ridge: float,
    view_windows: int,
    seed: int,
    summaries: Sequence[str] = ("mean",),
    clip_windows: int = 0,
) -> tuple[Floats, Floats]:
    """Fit the branch to one-hot targets.

    Args:
        clips: Training clips.
        labels: Class of each clip, (clips,).
        clip_weights: Weight of each clip, summing to 1 and shared by its windows.
        classes: Number of classes.
        sampler: Makes windows of clips.
        gain: Gain of the squashing.
        ridge: Penalty for features of unit deviation.
        view_windows: Windows drawn from each augmented copy.
        seed: Seed of the drawn windows.
        summaries: What the branch reads, keys of SUMMARIES.
        clip_windows: Most windows of a clip itself, spread evenly; 0 takes all.

    Returns:
        Kernel (features, classes) and bias (classes,) for squashed summaries.
    """
    rng = np.random.default_rng(seed)
    rows = [
        summarize(training_windows(clip, sampler, view_windows, rng, clip_windows), summaries, gain)
        for clip in clips
    ]
    x = np.concatenate(rows).astype(np.float64)
    weights = np.repeat(clip_weights / [len(one) for one in rows], [len(one) for one in rows])[:, None]
    targets = np.eye(classes)[np.repeat(labels, [len(one) for one in rows])]
    mean, share = (weights * x).sum(axis=0), (weights * targets).sum(axis=0)
    deviation = np.sqrt((weights * (x - mean) ** 2).sum(axis=0)) + _MIN_DEVIATION
    root = np.sqrt(weights)
    kernel = _solve_ridge(root * (x - mean) / deviation, root * (targets - share), ridge) / deviation[:, None]
    return kernel.astype(np.float32), (share - mean @ kernel).astype(np.float32)


def _solve_ridge(z: NDArray[np.float64], targets: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Return the weights (size, classes) of a ridge regression, in its primal or dual form."""
    rows, size = z.shape
    if rows >= size:
        return np.asarray(np.linalg.solve(z.T @ z + ridge * np.eye(size), z.T @ targets), np.float64)
    return np.asarray(z.T @ np.linalg.solve(z @ z.T + ridge * np.eye(rows), targets), np.float64)


def training_windows(
    clip: EncodedClip, sampler: Sampler, view_windows: int, rng: np.random.Generator, clip_windows: int = 0
) -> Floats:
    """Return windows of a clip and of each augmented copy, (n, frames, size); see `fit_linear`."""
    drawn = [sampler.draw(clip, view, rng) for view in clip.views for _ in range(view_windows)]
    plain = sampler.evaluation_windows(clip)
    if clip_windows and len(plain) > clip_windows:
        plain = plain[np.linspace(0, len(plain) - 1, clip_windows).round().astype(int)]
    windows: Floats = np.concatenate([plain, np.stack(drawn)]) if drawn else plain
    return windows


def set_linear_branch(head: keras.Model, kernel: Floats, bias: Floats, scale: float) -> None:
    """Set the weights of a head's linear branch, multiplied by `scale` to turn outputs of 0 to 1 into
    logits.
    """
    head.get_layer("linear").set_weights([kernel * np.float32(scale), bias * np.float32(scale)])
