"""Comparison of exported graphs with the Keras model, in probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgeharfer.export import backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import ROLLING
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.tasks.rolling import RollingHead
from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Floats

RANDOM_PICTURES = 8
RANDOM_CLIPS = 2
_SEED = 20_26
_MAX_BATCH = 8

# Value range of a picture after each normalization. The other two have no bounds: normal distribution.
_RANGES = {"none": (0.0, 255.0), "unit": (0.0, 1.0), "symmetric": (-1.0, 1.0)}


def random_samples(shape: tuple[int, ...], normalize: str) -> Floats:
    """Generate noise in the value range of the model's input, float32: pictures, or clips for a 4-D shape."""
    rng = np.random.default_rng(_SEED)
    full = (RANDOM_PICTURES if len(shape) == 3 else RANDOM_CLIPS, *shape)
    if normalize in _RANGES:
        return rng.uniform(*_RANGES[normalize], full).astype(np.float32)
    return rng.standard_normal(full, np.float32)


def keras_scores(call: Callable[[Any], Any], samples: Floats) -> Floats:
    """Compute the scores of the original model, float32 (n, classes)."""
    with backend.quiet():
        return np.concatenate([np.asarray(call(batch), np.float32) for batch in _batches(samples)])


def onnx_scores(graphs: Mapping[str, Graph], samples: Floats) -> Floats:
    """Compute the scores of exported graphs as the runtime does, float32 (n, classes).

    Clips are encoded frame by frame and read by the head, or by the rolling head if there is no other.
    """
    sessions = {role: make_session(graph) for role, graph in graphs.items()}
    if "model" in sessions:
        return np.concatenate([sessions["model"].run1(batch) for batch in _batches(samples)])
    encoder = sessions["encoder"]
    windows = [np.concatenate([encoder.run1(frame[None]) for frame in clip]) for clip in samples]
    if "head" in sessions:
        return np.concatenate([sessions["head"].run1(window[None]) for window in windows])
    rolling = RollingHead(sessions[ROLLING], samples.shape[1])
    return np.concatenate([[rolling.push(features) for features in window][-1] for window in windows])


def difference(one: Floats, other: Floats, output: str) -> float:
    """Return the largest difference of a probability; infinite for NaN.

    Args:
        one: Scores, (n, classes).
        other: Scores, (n, classes).
        output: "probs" or "logits".
    """
    if output == "logits":
        one, other = softmax(one), softmax(other)
    largest = float(np.max(np.abs(one.astype(np.float64) - other)))
    return largest if np.isfinite(largest) else float("inf")


def agreement(one: Floats, other: Floats) -> float:
    """Return the share of inputs with the same top-1 class."""
    return float((one.argmax(axis=-1) == other.argmax(axis=-1)).mean())


def _batches(samples: Floats) -> list[Floats]:
    return [samples[at : at + _MAX_BATCH] for at in range(0, len(samples), _MAX_BATCH)]
