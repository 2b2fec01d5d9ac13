"""Comparison of exported graphs with the original model, in probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeharfer.export import backend
from edgeharfer.runtime.golden import golden_frames
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import ROLLING, InputSpec
from edgeharfer.runtime.inference.preprocess import normalize_images, preprocess_images
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.tasks.rolling import RollingHead
from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Floats

RANDOM_PICTURES = 8
RANDOM_CLIPS = 2
_SEED = 20_26
_MAX_BATCH = 8


def random_pictures(spec: InputSpec, frames: int | None = None) -> Floats:
    """Generate noise and preprocess it for a model: pictures, or clips of that many frames, float32."""
    rng = np.random.default_rng(_SEED)
    window = (RANDOM_PICTURES,) if frames is None else (RANDOM_CLIPS, frames)
    noise = rng.integers(0, 256, (*window, spec.height, spec.width, spec.channels), np.uint8)
    return normalize_images(noise, spec)


def demo_pictures(spec: InputSpec, frames: int | None = None) -> Floats:
    """Preprocess frames of the demo for a model: pictures, or one clip of that many frames, float32."""
    pictures = preprocess_images(golden_frames(), spec)
    if frames is None:
        return pictures
    return pictures[np.arange(frames) * len(pictures) // frames][None]


def random_values(shape: tuple[int, ...], count: int = RANDOM_CLIPS) -> Floats:
    """Generate normally distributed input of a model, float32, (count, *shape)."""
    return np.random.default_rng(_SEED).standard_normal((count, *shape), np.float32)


def keras_scores(call: Callable[[Any], Any], samples: Floats) -> Floats:
    """Compute the scores of the original model, float32 (n, classes)."""
    return tensorflow_scores(call, _batches(samples))


def tensorflow_scores(call: Callable[[Any], Any], batches: Sequence[Any]) -> Floats:
    """Compute a function of TensorFlow for each batch; return the scores, float32 (n, ...).

    On many CPUs, TensorFlow computes convolutions with channels first only with XLA.
    """
    tf = backend.load("tensorflow")
    with backend.quiet():
        try:
            scores = [np.asarray(call(batch), np.float32) for batch in batches]
        except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError):
            compiled = tf.function(call, jit_compile=True, autograph=False)
            scores = [np.asarray(compiled(batch), np.float32) for batch in batches]
        return np.concatenate(scores)


def onnx_scores(graphs: Mapping[str, Graph], samples: Floats) -> Floats:
    """Compute the scores of exported graphs as the runtime does, float32 (n, classes).

    Clips are encoded frame by frame and read by the head, or by the rolling head if there is no other.
    Without an encoder, the samples are windows of features.
    """
    sessions = {role: make_session(graph) for role, graph in graphs.items()}
    if "encoder" not in sessions:
        [session] = sessions.values()
        return np.concatenate([session.run1(batch) for batch in _batches(samples)])
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
