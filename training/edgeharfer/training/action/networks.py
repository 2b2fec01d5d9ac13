"""Action networks: an encoder for each frame, a head for the window; only layers that Keras brings along."""

from __future__ import annotations

import numpy as np

from edgeharfer.training.lazy_keras import keras, layers, ops
from edgeharfer.training.registry import ACTION_NETWORKS, ActionNetwork, Tensor, action_network

__all__ = ["ACTION_NETWORKS", "LINEAR", "MOTION", "action_head", "action_model", "attach_trunk"]


@action_network("lstm", "LSTM({units}) and a dense layer")
def _lstm(x: Tensor, units: int, pool: str) -> Tensor:
    """Long short-term memory (Hochreiter and Schmidhuber 1997)."""
    x = layers.LSTM(units, return_sequences=pool == "mean", name="lstm")(x)
    return layers.GlobalAveragePooling1D(name="mean")(x) if pool == "mean" else x


@action_network("mean", "the mean over time and two dense layers ({units} hidden)")
def _mean(x: Tensor, units: int, pool: str) -> Tensor:
    """The mean over time, then a dense layer: blind to order and motion."""
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    return layers.Dense(units, activation="relu", name="hidden")(x)


@action_network("tcn", "causal convolutions over time ({units} channels) and a dense layer")
def _tcn(x: Tensor, units: int, pool: str) -> Tensor:
    """Causal convolutions over time with growing steps (Bai et al. 2018), until the last sees all frames."""
    frames, seen, step = x.shape[1], 1, 1
    x = layers.Conv1D(units, 1, name="narrow")(x)
    while seen < frames:
        y = layers.Conv1D(
            units, 3, padding="causal", dilation_rate=step, activation="relu", name=f"step_{step}"
        )(x)
        x = layers.Add(name=f"after_{step}")([x, y])
        seen, step = seen + 2 * step, 2 * step
    if pool == "mean":
        return layers.GlobalAveragePooling1D(name="mean")(x)
    return layers.Reshape((units,), name="last")(layers.Cropping1D((frames - 1, 0), name="end")(x))


LINEAR, MOTION = "linear", "motion"
"""The linear branch and nothing else; of the pictures, or of how they differ."""
_LINEAR_SUMMARY = "a linear classifier of the window's mean features, solved in closed form"
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
    auxiliary_class: int | None = None,
) -> keras.Model:
    """Dropout -> arch -> Dropout -> Dense, beside a linear branch: (n, frames, features) -> probabilities.

    arch: one of ACTION_NETWORKS; those without `build` are the linear branch alone. pool: what of the LSTM
    or the convolutions is read, the "last" step or the "mean" over time. squash: features x become
    a x / (1 + a x), so that few strong ones do not outshout the rest; 0 leaves them. Dropped features are
    missing from all frames of a window, since what a frame lacks its neighbours would tell.
    The linear branch reads the squashed mean of the window and is left out while the rest trains: its
    weights are zero until they are solved for (see `linear.fit_linear`). The logits of both are added.
    double: a class that the linear branch knows in two guises, of which the likelier counts; the second one
    is its last output.
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
        branches.append(_linear(window, classes, linear_gain, auxiliary_class))
    logits = layers.Add(name="logits")(branches) if len(branches) > 1 else branches[0]
    return keras.Model(window, layers.Activation("softmax", name="probs")(logits), name="head")


def _linear(window: Tensor, classes: int, gain: float, auxiliary_class: int | None) -> Tensor:
    x = layers.GlobalAveragePooling1D(name="window_mean")(window)
    x = layers.Rescaling(gain, name="linear_gain")(x)
    x = layers.Activation("softsign", name="linear_squash")(x)
    outputs = classes + (auxiliary_class is not None)
    x = layers.Dense(outputs, kernel_initializer="zeros", trainable=False, name="linear")(x)
    if auxiliary_class is None:
        return x
    # Far below any logit, so that the second guise competes with its own class alone.
    barred = np.where(np.arange(classes) == auxiliary_class, 0.0, -1e9).astype(np.float32)
    return ops.maximum(ops.take(x, np.arange(classes), axis=1), ops.take(x, [classes], axis=1) + barred)


def attach_trunk(trunk: keras.Model, head: keras.Model) -> keras.Model:
    """A head for what a trunk makes of a window, as a head for the window itself."""
    window = keras.Input(trunk.input_shape[1:], name="window")
    return keras.Model(window, head(trunk(window)), name="head")


def action_model(encoder: keras.Model, head: keras.Model) -> keras.Model:
    """The whole: clip (n, frames, height, width, 3) -> TimeDistributed(encoder) -> head -> probabilities."""
    clip = keras.Input((head.input_shape[1], *encoder.input_shape[1:]), name="clip")
    features = layers.TimeDistributed(encoder, name="encoder")(clip)
    # both branches of the head start from this one layer, so that the exporter finds one place to cut
    return keras.Model(clip, head(layers.Activation("linear", name="features")(features)), name="action")
