"""The networks, by name. Only layers that Keras brings along, so that every model loads anywhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
from keras import layers

from edgeharfer.runtime.errors import ConfigError

Tensor = Any

GRAY_48 = (48, 48, 1)


def resse(
    x: Tensor,
    *,
    stem: int = 24,
    widths: tuple[int, ...] = (48, 96, 192),
    depths: tuple[int, ...] = (1, 2, 1),
    dropout: float = 0.4,
) -> Tensor:
    """Residual blocks (He et al. 2016) with squeeze-and-excitation (Hu et al. 2018); returns features.

    The default trunk for emotions: 48x48 grey in, `widths[-1]` features out. The full resolution is
    left after the stem, since a block there costs as much as three further down and tells less.
    """
    x = conv_norm(x, stem, 3)
    x = layers.ReLU()(x)
    for width, depth in zip(widths, depths, strict=True):
        for block in range(depth):
            x = residual_block(x, width, stride=2 if block == 0 else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dropout(dropout)(x)


def residual_block(x: Tensor, width: int, stride: int) -> Tensor:
    """Two 3x3 convolutions around a shortcut, the sum's channels weighted by what the block saw."""
    shortcut = x
    if stride > 1 or x.shape[-1] != width:
        shortcut = layers.AveragePooling2D(stride)(x) if stride > 1 else x
        shortcut = conv_norm(shortcut, width, 1)
    y = layers.ReLU()(conv_norm(x, width, 3, stride))
    y = squeeze_excite(conv_norm(y, width, 3))
    return layers.ReLU()(layers.Add()([shortcut, y]))


def squeeze_excite(x: Tensor, ratio: int = 8) -> Tensor:
    """Weigh the channels by a small network on their means."""
    width = x.shape[-1]
    w = layers.GlobalAveragePooling2D(keepdims=True)(x)
    w = layers.Conv2D(max(8, width // ratio), 1, activation="relu")(w)
    w = layers.Conv2D(width, 1, activation="sigmoid")(w)
    return layers.Multiply()([x, w])


def conv_norm(x: Tensor, width: int, kernel: int, stride: int = 1) -> Tensor:
    """Convolution without bias, then batch normalisation."""
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(
        x
    )
    return layers.BatchNormalization(momentum=0.99)(x)


TRUNKS: Mapping[str, tuple[tuple[int, int, int], Callable[..., Tensor]]] = {"resse": (GRAY_48, resse)}
"""Name -> (input shape, function from input to features)."""


def emotion_model(arch: str, heads: Mapping[str, int]) -> keras.Model:
    """A trunk with one linear head per label set: image (n, height, width, channels) -> {head: logits}."""
    shape, trunk = TRUNKS[arch]
    image = keras.Input(shape, name="image")
    features = trunk(image)
    logits = {
        name: layers.Dense(classes, dtype="float32", name=name)(features) for name, classes in heads.items()
    }
    return keras.Model(image, logits, name=arch)


def frame_encoder(width: int, height: int, alpha: float, weights: str | Path | None) -> keras.Model:
    """MobileNetV2 (Sandler et al. 2018): RGB in [-1, 1] (n, height, width, 3) -> mean features (n, size).

    weights: "imagenet" (Keras downloads them), a file that `load_weights` reads, or None for random ones.
    Raises ConfigError for weights that cannot be had or do not fit.
    """
    named = "imagenet" if weights == "imagenet" else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That sizes without weights of their own take those of 224x224.
            model = keras.applications.MobileNetV2(
                input_shape=(height, width, 3), alpha=alpha, include_top=False, weights=named, pooling="avg"
            )
        if weights is not None and named is None:
            model.load_weights(weights)
    except Exception as error:  # Keras, h5py and urllib raise whatever the reason leads to.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"backbone weights {weights}: {reason}: give a file, or none for random ones"
        ) from error
    model.trainable = False
    return model


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
