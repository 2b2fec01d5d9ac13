"""The emotion networks. Only layers that Keras brings along, so that every model loads anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.training.backbones import backbone, frame_encoder
from edgeharfer.training.emotion import classic  # noqa: F401  (registers its networks)
from edgeharfer.training.lazy_keras import keras, layers
from edgeharfer.training.registry import EMOTION_NETWORKS, EmotionNetwork, Tensor, emotion_network

__all__ = ["EMOTION_NETWORKS", "MIN_SIDE", "add_l2", "emotion_model", "emotion_trunk", "find_backbones"]

Weights = str | Path | None

MIN_SIDE = 32
"""Below it the deepest of the networks have nothing left to look at."""


@emotion_network(
    "resse", InputSpec(48, 48, "gray", "standardize"), "residual blocks with squeeze-and-excitation"
)
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


@emotion_network(
    "mobilenetv2",
    InputSpec(48, 48, "gray", "standardize"),
    "MobileNetV2 on the face enlarged twice, all of it trained",
    backbone=True,
)
def mobilenetv2(x: Tensor, *, weights: Weights = None, dropout: float = 0.3) -> Tensor:
    """MobileNetV2 on the enlarged face, all of it trained from `weights`; returns features.

    48x48 grey, standardised, in; the network sees it at 96x96 in three channels, as it learned to see.
    """
    x = layers.UpSampling2D(2, interpolation="bilinear", name="enlarged")(x)
    x = layers.Rescaling(0.5, name="to_imagenet")(layers.Concatenate(name="rgb")([x, x, x]))
    network = frame_encoder(x.shape[2], x.shape[1], 1.0, weights)
    network.trainable = True
    return layers.Dropout(dropout)(network(x))


@emotion_network(
    "resnet50v2",
    InputSpec(112, 112, "gray", "symmetric"),
    "ResNet50V2 behind a learned grey-to-colour layer",
    backbone=True,
)
def resnet50v2(x: Tensor, *, weights: Weights = None, dropout: float = 0.5) -> Tensor:
    """ResNet50V2 (He et al. 2016) behind a learned step from grey to RGB; returns features."""
    network = backbone("ResNet50V2", x.shape[2], x.shape[1], weights)
    return layers.Dropout(dropout)(network(gray_to_rgb(x)))


def gray_to_rgb(x: Tensor) -> Tensor:
    """A learned convolution that starts as a copy of the grey picture in each colour."""
    return layers.Conv2D(3, 1, kernel_initializer="ones", name="gray_to_rgb")(x)


@emotion_network("vgg16", InputSpec(112, 112, "rgb", "none"), "VGG16", backbone=True)
def vgg16(x: Tensor, *, weights: Weights = None, dropout: float = 0.5) -> Tensor:
    """VGG16 (Simonyan and Zisserman 2015) on RGB of 0..255; returns features."""
    network = backbone("VGG16", x.shape[2], x.shape[1], weights)
    return layers.Dropout(dropout)(network(subtract_imagenet_mean(x)))


@emotion_network(
    "hybrid",
    InputSpec(112, 112, "rgb", "none"),
    "features of ResNet50 and VGG16 side by side",
    backbone=True,
)
def hybrid(x: Tensor, *, weights: Weights = None, dropout: float = 0.5) -> Tensor:
    """Features of ResNet50 (He et al. 2016) and of VGG16 side by side, from RGB of 0..255.

    weights: as for one backbone, but in place of a file a folder with a file for each of the two.
    """
    x = subtract_imagenet_mean(x)
    networks = [backbone(name, x.shape[2], x.shape[1], weights) for name in ("ResNet50", "VGG16")]
    return layers.Dropout(dropout)(layers.Concatenate()([network(x) for network in networks]))


def subtract_imagenet_mean(x: Tensor) -> Tensor:
    """RGB of 0..255 -> BGR less ImageNet's mean, as the weights of VGG16 and ResNet50 were trained.

    In the graph, since no normalisation of a package's manifest does it.
    """
    return keras.applications.vgg16.preprocess_input(x)


def emotion_trunk(arch: str, side: int | None = None) -> EmotionNetwork:
    """The trunk of that name, for pictures of another size where `side` is given. Raises ConfigError."""
    if arch not in EMOTION_NETWORKS:
        raise ConfigError(f"unknown architecture {arch!r}: choose from {', '.join(EMOTION_NETWORKS)}")
    trunk = EMOTION_NETWORKS[arch]
    if side is None:
        return trunk
    if side < MIN_SIDE:
        raise ConfigError(f"pictures of {side} pixels are too small: choose a side of at least {MIN_SIDE}")
    return replace(trunk, input=replace(trunk.input, width=side, height=side))


def emotion_model(
    arch: str, heads: Mapping[str, int], *, weights: Weights = None, side: int | None = None, **settings: Any
) -> keras.Model:
    """A trunk with one linear head per label set: image (n, height, width, channels) -> {head: logits}.

    heads: name -> number of classes. weights: of the backbone, see `backbones.backbone`. side: of the square
    picture, where not the trunk's own. settings: of the trunk. Raises ConfigError.
    """
    trunk = emotion_trunk(arch, side)
    if weights is not None:
        if not trunk.backbone:
            raise ConfigError(f"{arch} has no backbone that takes weights: leave them out")
        settings["weights"] = weights
    spec = trunk.input
    image = keras.Input((spec.height, spec.width, spec.channels), name="image")
    features = trunk.build(image, **settings)
    logits = {
        name: layers.Dense(classes, dtype="float32", name=name)(features) for name, classes in heads.items()
    }
    return keras.Model(image, logits, name=arch)


def find_backbones(model: keras.Model) -> list[keras.Model]:
    """The ImageNet networks inside a model; none for one that is built of plain layers."""
    return [layer for layer in model.layers if isinstance(layer, keras.Model)]


def set_backbone_trainable(model: keras.Model, trainable: bool) -> None:
    """Freeze or unfreeze the ImageNet networks inside; compile the model again afterwards.

    While frozen, their batch normalisation keeps its means too. Raises ConfigError where there are none.
    """
    networks = find_backbones(model)
    if not networks:
        raise ConfigError(f"{model.name} has no backbone: it can only be trained as a whole")
    for network in networks:
        network.trainable = trainable


_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def add_l2(model: keras.Model, factor: float) -> None:
    """Add `factor` times the squares of all convolution and dense kernels to the loss, in place.

    Biases, batch normalisation and plain depthwise convolutions are left free; frozen layers cost nothing.
    Each layer's settings say so as well, so that a saved model keeps it.
    """
    penalty = keras.regularizers.L2(factor)
    for layer in _walk_layers(model):
        for kernel in _KERNELS:
            setting = f"{kernel.removesuffix('_kernel')}_regularizer"
            if hasattr(layer, setting) and hasattr(layer, kernel):
                setattr(layer, setting, penalty)
                getattr(layer, kernel).regularizer = penalty


def _walk_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _walk_layers(layer)
        else:
            yield layer
