"""Action networks: a head over a window of frame features, built only of standard Keras layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeharfer.training.action.summaries import squashed_summaries
from edgeharfer.training.lazy_keras import keras, layers, ops
from edgeharfer.training.registry import ACTION_NETWORKS, ActionNetwork, Tensor, action_network

__all__ = ["ACTION_NETWORKS", "LINEAR", "MOTION", "action_head", "action_model", "attach_trunk"]


@action_network("lstm", "LSTM({units}) and a dense layer")
def _lstm(x: Tensor, units: int, pool: str) -> Tensor:
    """Long short-term memory (Hochreiter and Schmidhuber 1997)."""
    x = layers.LSTM(units, return_sequences=pool == "mean", name="lstm")(x)
    return layers.GlobalAveragePooling1D(name="time_mean")(x) if pool == "mean" else x


@action_network("mean", "the mean over time and two dense layers ({units} hidden)")
def _mean(x: Tensor, units: int, pool: str) -> Tensor:
    """Mean over time and a dense layer; ignores order and motion."""
    x = layers.GlobalAveragePooling1D(name="time_mean")(x)
    return layers.Dense(units, activation="relu", name="hidden")(x)


@action_network("tcn", "causal convolutions over time ({units} channels) and a dense layer")
def _tcn(x: Tensor, units: int, pool: str) -> Tensor:
    """Causal convolutions with growing dilation (Bai et al. 2018), until the last step covers all frames."""
    frames, seen, step = x.shape[1], 1, 1
    x = layers.Conv1D(units, 1, name="narrow")(x)
    while seen < frames:
        y = layers.Conv1D(
            units, 3, padding="causal", dilation_rate=step, activation="relu", name=f"step_{step}"
        )(x)
        x = layers.Add(name=f"after_{step}")([x, y])
        seen, step = seen + 2 * step, 2 * step
    if pool == "mean":
        return layers.GlobalAveragePooling1D(name="time_mean")(x)
    return layers.Reshape((units,), name="last")(layers.Cropping1D((frames - 1, 0), name="end")(x))


LINEAR, MOTION = "linear", "motion"
"""Heads that consist of the linear branch alone, on frame features or on motion features."""
_LINEAR_SUMMARY = "a linear classifier of the window's {summaries}, solved in closed form"
ACTION_NETWORKS |= {LINEAR: ActionNetwork(_LINEAR_SUMMARY), MOTION: ActionNetwork(_LINEAR_SUMMARY)}


def action_head(
    frames: int,
    features: int,
    classes: int,
    *,
    arch: str = "lstm",
    units: int = 128,
    pool: str = "last",
    squash: float = 0.0,
    feature_dropout: float = 0.5,
    dropout: float = 0.5,
    linear_branch: bool = True,
    linear_gain: float = 20.0,
    summaries: Sequence[str] = ("mean",),
    auxiliary_class: int | None = None,
    auxiliary_outputs: int = 1,
) -> keras.Model:
    """Build a head: Dropout -> arch -> Dropout -> Dense, plus a linear branch whose logits are added.

    Args:
        frames: Frames per window.
        features: Features per frame.
        classes: Number of classes.
        arch: A key of ACTION_NETWORKS; those without `build` have only the linear branch.
        units: Hidden units.
        pool: Output of the LSTM or convolutions: the "last" step or the "mean" over time.
        squash: Features x become squash x / (1 + squash x), which limits strong features; 0 disables it.
        feature_dropout: Dropout rate of features. A dropped feature is missing from all frames of a window,
            since neighbouring frames would reveal it.
        dropout: Dropout rate before the last layer.
        linear_branch: Add a linear classifier of squashed summaries of the window. Its weights are zero until
            they are solved for (`linear.fit_linear`), so the other branch trains without it.
        linear_gain: Gain of its squashing.
        summaries: What it reads, keys of SUMMARIES.
        auxiliary_class: A class that the linear branch represents by several outputs, of which the largest
            counts; the further ones come after those of all classes.
        auxiliary_outputs: Number of further outputs.

    Returns:
        A model from (n, frames, features) to probabilities (n, classes).
    """
    window = keras.Input((frames, features), name="window")
    branches = []
    if (build := ACTION_NETWORKS[arch].build) is not None:
        x = window
        if squash:
            x = layers.Rescaling(squash, name="gain")(x)
            x = layers.Activation("softsign", name="squash")(x)
        if feature_dropout:
            x = layers.Dropout(feature_dropout, noise_shape=(None, 1, features), name="feature_dropout")(x)
        x = build(x, units, pool)
        x = layers.Dropout(dropout, name="dropout")(x)
        branches.append(layers.Dense(classes, name="temporal")(x))
    if linear_branch:
        branches.append(_linear(window, classes, linear_gain, summaries, auxiliary_class, auxiliary_outputs))
    logits = layers.Add(name="logits")(branches) if len(branches) > 1 else branches[0]
    return keras.Model(window, layers.Activation("softmax", name="probs")(logits), name="head")


def _linear(
    window: Tensor,
    classes: int,
    gain: float,
    summaries: Sequence[str],
    auxiliary_class: int | None,
    auxiliary_outputs: int,
) -> Tensor:
    x = squashed_summaries(window, summaries, gain)
    outputs = classes + (0 if auxiliary_class is None else auxiliary_outputs)
    x = layers.Dense(outputs, kernel_initializer="zeros", trainable=False, name="linear")(x)
    if auxiliary_class is None:
        return x
    further = ops.max(ops.take(x, np.arange(classes, outputs), axis=1), axis=1, keepdims=True)
    # Far below any logit, so that the further outputs compete with their own class only.
    mask = np.where(np.arange(classes) == auxiliary_class, 0.0, -1e9).astype(np.float32)
    return ops.maximum(ops.take(x, np.arange(classes), axis=1), further + mask)


def attach_trunk(trunk: keras.Model, head: keras.Model) -> keras.Model:
    """Combine a trunk on windows with a head on its features."""
    window = keras.Input(trunk.input_shape[1:], name="window")
    return keras.Model(window, head(trunk(window)), name="head")


def action_model(encoder: keras.Model, head: keras.Model) -> keras.Model:
    """Build the whole model: clip (n, frames, height, width, channels) -> encoder per frame -> head."""
    clip = keras.Input((head.input_shape[1], *encoder.input_shape[1:]), name="clip")
    features = layers.TimeDistributed(encoder, name="encoder")(clip)
    # Both branches of the head start from this layer, so that the exporter has one place to cut.
    return keras.Model(clip, head(layers.Activation("linear", name="features")(features)), name="action")
