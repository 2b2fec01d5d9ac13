"""Action networks: an encoder for each frame, a head for the window; only layers that Keras brings along."""

from __future__ import annotations

import keras
from keras import layers


def action_head(
    frames: int,
    features: int,
    classes: int,
    *,
    units: int = 128,
    pool: str = "last",
    squash: float = 0.0,
    feature_dropout: float = 0.5,
    dropout: float = 0.5,
    linear_gain: float = 20.0,
) -> keras.Model:
    """Dropout -> LSTM -> Dropout -> Dense, beside a linear branch: (n, frames, features) -> probabilities.

    pool: what of the LSTM is read, its "last" state or the "mean" over time. squash: features x become
    a x / (1 + a x), so that few strong ones do not outshout the rest; 0 leaves them. Dropped features are
    missing from all frames of a window, since what a frame lacks its neighbours would tell.
    The linear branch reads the squashed mean of the window and is left out while the LSTM trains: its
    weights are zero until they are solved for (see `linear.fit_linear`). The logits of both are added.
    """
    window = keras.Input((frames, features), name="window")
    x = window
    if squash:
        x = layers.Rescaling(squash, name="gain")(x)
        x = layers.Activation("softsign", name="squash")(x)
    x = layers.Dropout(feature_dropout, noise_shape=(None, 1, features), name="feature_dropout")(x)
    x = layers.LSTM(units, return_sequences=pool == "mean", name="lstm")(x)
    if pool == "mean":
        x = layers.GlobalAveragePooling1D(name="mean")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    temporal = layers.Dense(classes, name="temporal")(x)
    y = layers.GlobalAveragePooling1D(name="window_mean")(window)
    y = layers.Rescaling(linear_gain, name="linear_gain")(y)
    y = layers.Activation("softsign", name="linear_squash")(y)
    linear = layers.Dense(classes, kernel_initializer="zeros", trainable=False, name="linear")(y)
    probs = layers.Activation("softmax", name="probs")(layers.Add(name="logits")([temporal, linear]))
    return keras.Model(window, probs, name="head")


def action_model(encoder: keras.Model, head: keras.Model) -> keras.Model:
    """The whole: clip (n, frames, height, width, 3) -> TimeDistributed(encoder) -> head -> probabilities."""
    clip = keras.Input((head.input_shape[1], *encoder.input_shape[1:]), name="clip")
    features = layers.TimeDistributed(encoder, name="encoder")(clip)
    # both branches of the head start from this one layer, so that the exporter finds one place to cut
    return keras.Model(clip, head(layers.Activation("linear", name="features")(features)), name="action")
