"""The linear branch of an action head: ridge regression on mean window features, solved in closed form.

With few clips per class, an LSTM on 1280 features overfits. A linear classifier of the mean features (ridge
regression, Hoerl and Kennard 1970) generalises better to unseen groups and is fitted in a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.clips import EncodedClip
from edgeharfer.training.action.sampling import Sampler

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

    Returns:
        Kernel (features, classes) and bias (classes,) for squashed mean features.
    """
    rng = np.random.default_rng(seed)
    rows = [squash(window_means(clip, sampler, view_windows, rng), gain) for clip in clips]
    x = np.concatenate(rows).astype(np.float64)
    weights = np.repeat(clip_weights / [len(one) for one in rows], [len(one) for one in rows])[:, None]
    targets = np.eye(classes)[np.repeat(labels, [len(one) for one in rows])]
    mean, share = (weights * x).sum(axis=0), (weights * targets).sum(axis=0)
    deviation = np.sqrt((weights * (x - mean) ** 2).sum(axis=0)) + _MIN_DEVIATION
    z = (x - mean) / deviation
    gram = (z * weights).T @ z + ridge * np.eye(z.shape[1])
    kernel = np.linalg.solve(gram, (z * weights).T @ (targets - share)) / deviation[:, None]
    return kernel.astype(np.float32), (share - mean @ kernel).astype(np.float32)


def window_means(clip: EncodedClip, sampler: Sampler, view_windows: int, rng: np.random.Generator) -> Floats:
    """Return mean features of all windows of a clip and of some windows of each augmented copy, (n, size)."""
    drawn = [sampler.draw(clip, view, rng) for view in clip.views for _ in range(view_windows)]
    plain = sampler.evaluation_windows(clip).mean(axis=1)
    means: Floats = np.concatenate([plain, np.stack(drawn).mean(axis=1)]) if drawn else plain
    return means


def squash(x: Floats, gain: float) -> Floats:
    """Return gain x / (1 + |gain x|), which limits the influence of strong features."""
    scaled = gain * x
    squashed: Floats = scaled / (1 + np.abs(scaled))
    return squashed


def set_linear_branch(head: keras.Model, kernel: Floats, bias: Floats, scale: float) -> None:
    """Set the weights of a head's linear branch, multiplied by `scale` to turn outputs of 0 to 1 into
    logits.
    """
    head.get_layer("linear").set_weights([kernel * np.float32(scale), bias * np.float32(scale)])
