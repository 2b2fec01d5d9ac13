"""Emotion networks by name. Only layers that Keras brings along, so that every model loads anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
from keras import layers

from edgeharfer.training.backbones import frame_encoder

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


def mobilenetv2(x: Tensor, *, weights: str | Path | None = None, dropout: float = 0.3) -> Tensor:
    """MobileNetV2 on the enlarged face, all of it trained from `weights`; returns features.

    48x48 grey, standardised, in; the network sees it at 96x96 in three channels, as it learned to see.
    """
    x = layers.UpSampling2D(2, interpolation="bilinear", name="enlarged")(x)
    x = layers.Rescaling(0.5, name="to_imagenet")(layers.Concatenate(name="rgb")([x, x, x]))
    network = frame_encoder(2 * GRAY_48[1], 2 * GRAY_48[0], 1.0, weights)
    network.trainable = True
    return layers.Dropout(dropout)(network(x))


TRUNKS: Mapping[str, tuple[tuple[int, int, int], Callable[..., Tensor]]] = {
    "resse": (GRAY_48, resse),
    "mobilenetv2": (GRAY_48, mobilenetv2),
}
"""Name -> (input shape, function from input to features)."""


def emotion_model(arch: str, heads: Mapping[str, int], **settings: Any) -> keras.Model:
    """A trunk with one linear head per label set: image (n, height, width, channels) -> {head: logits}."""
    shape, trunk = TRUNKS[arch]
    image = keras.Input(shape, name="image")
    features = trunk(image, **settings)
    logits = {
        name: layers.Dense(classes, dtype="float32", name=name)(features) for name, classes in heads.items()
    }
    return keras.Model(image, logits, name=arch)
