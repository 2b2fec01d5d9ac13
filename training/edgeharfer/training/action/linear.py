"""The linear branch of an action head: ridge regression on the mean features of windows, solved at once.

With a few clips a class, an LSTM over 1280 features learns its training clips by heart. A linear
classifier of what the scene looks like on the whole, solved in closed form (Hoerl and Kennard 1970),
tells the classes of unseen groups better, and takes a second.
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
"""Of a squashed feature, so that one which hardly ever varies is not blown up."""


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
    """Kernel (features, classes) and bias (classes,) that map squashed mean features to about 0 or 1.

    clip_weights: of each clip, together 1; a clip's windows share its weight. gain: of the squashing.
    ridge: penalty, with features of deviation 1. view_windows: drawn from each changed copy of a clip.
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
    """Mean features (n, size): of all windows of the clip, and of some of each changed copy."""
    drawn = [sampler.draw(clip, view, rng) for view in clip.views for _ in range(view_windows)]
    plain = sampler.evaluation_windows(clip).mean(axis=1)
    means: Floats = np.concatenate([plain, np.stack(drawn).mean(axis=1)]) if drawn else plain
    return means


def squash(x: Floats, gain: float) -> Floats:
    """gain x / (1 + gain x), for x of 0 and more: the few strong features do not outshout the rest."""
    scaled = gain * x
    squashed: Floats = scaled / (1 + np.abs(scaled))
    return squashed


def set_linear_branch(head: keras.Model, kernel: Floats, bias: Floats, scale: float) -> None:
    """Put a fitted branch into a head; `scale` turns its answers between 0 and 1 into logits."""
    head.get_layer("linear").set_weights([kernel * np.float32(scale), bias * np.float32(scale)])
