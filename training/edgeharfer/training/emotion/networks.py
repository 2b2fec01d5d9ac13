"""Emotion networks, built only of standard Keras layers so that every saved model loads anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.types import Floats, Image
from edgeharfer.training.backbones import backbone, frame_encoder
from edgeharfer.training.emotion import classic, face_network  # noqa: F401  (register their networks)
from edgeharfer.training.lazy_keras import keras, layers
from edgeharfer.training.registry import EMOTION_NETWORKS, EmotionNetwork, Tensor, emotion_network

__all__ = [
    "EMOTION_NETWORKS",
    "add_l2",
    "emotion_model",
    "emotion_trunk",
    "predict",
    "set_backbone_trainable",
]

Weights = str | Path | None

MIN_SIDE = 32
"""Smallest input side in pixels; smaller images vanish in the deepest networks."""


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
    """Residual blocks (He et al. 2016) with squeeze-and-excitation (Hu et al. 2018).

    There is no block at full resolution: it would cost as much as three further down and help less.

    Args:
        x: Image tensor.
        stem: Channels of the first convolution.
        widths: Channels of each stage; the last is the number of features.
        depths: Blocks of each stage.
        dropout: Dropout rate of the features.
    """
    x = conv_norm(x, stem, 3)
    x = layers.ReLU()(x)
    for width, depth in zip(widths, depths, strict=True):
        for block in range(depth):
            x = residual_block(x, width, stride=2 if block == 0 else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dropout(dropout)(x)


def residual_block(x: Tensor, width: int, stride: int) -> Tensor:
    """Two 3x3 convolutions with squeeze-and-excitation and a shortcut."""
    shortcut = x
    if stride > 1 or x.shape[-1] != width:
        shortcut = layers.AveragePooling2D(stride)(x) if stride > 1 else x
        shortcut = conv_norm(shortcut, width, 1)
    y = layers.ReLU()(conv_norm(x, width, 3, stride))
    y = squeeze_excite(conv_norm(y, width, 3))
    return layers.ReLU()(layers.Add()([shortcut, y]))


def squeeze_excite(x: Tensor, ratio: int = 8) -> Tensor:
    """Scale the channels by a small network on their means."""
    width = x.shape[-1]
    w = layers.GlobalAveragePooling2D(keepdims=True)(x)
    w = layers.Conv2D(max(8, width // ratio), 1, activation="relu")(w)
    w = layers.Conv2D(width, 1, activation="sigmoid")(w)
    return layers.Multiply()([x, w])


def conv_norm(x: Tensor, width: int, kernel: int, stride: int = 1) -> Tensor:
    """Convolution without bias, followed by batch normalisation."""
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
    """MobileNetV2 on the face enlarged twice, as three equal channels; all layers are trained."""
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
    """ResNet50V2 (He et al. 2016) with a learned conversion from grey to RGB."""
    network = backbone("ResNet50V2", x.shape[2], x.shape[1], weights)
    return layers.Dropout(dropout)(network(gray_to_rgb(x)))


def gray_to_rgb(x: Tensor) -> Tensor:
    """A learned 1x1 convolution, initialised to copy the grey channel."""
    return layers.Conv2D(3, 1, kernel_initializer="ones", name="gray_to_rgb")(x)


@emotion_network("vgg16", InputSpec(112, 112, "rgb", "none"), "VGG16", backbone=True)
def vgg16(x: Tensor, *, weights: Weights = None, dropout: float = 0.5) -> Tensor:
    """VGG16 (Simonyan and Zisserman 2015) on RGB from 0 to 255."""
    network = backbone("VGG16", x.shape[2], x.shape[1], weights)
    return layers.Dropout(dropout)(network(subtract_imagenet_mean(x)))


@emotion_network(
    "hybrid",
    InputSpec(112, 112, "rgb", "none"),
    "features of ResNet50 and VGG16 side by side",
    backbone=True,
)
def hybrid(x: Tensor, *, weights: Weights = None, dropout: float = 0.5) -> Tensor:
    """Concatenated features of ResNet50 (He et al. 2016) and VGG16, on RGB from 0 to 255.

    Args:
        x: Image tensor.
        weights: As for `backbone`, but instead of a file a folder with one file for each network.
        dropout: Dropout rate of the features.
    """
    x = subtract_imagenet_mean(x)
    networks = [backbone(name, x.shape[2], x.shape[1], weights) for name in ("ResNet50", "VGG16")]
    return layers.Dropout(dropout)(layers.Concatenate()([network(x) for network in networks]))


def subtract_imagenet_mean(x: Tensor) -> Tensor:
    """Convert RGB from 0 to 255 to BGR minus ImageNet's mean, as VGG16 and ResNet50 were trained.

    This is part of the graph, since the manifest has no such normalisation.
    """
    return keras.applications.vgg16.preprocess_input(x)


def emotion_trunk(arch: str, side: int | None = None) -> EmotionNetwork:
    """Return a registered network.

    Args:
        arch: A key of EMOTION_NETWORKS.
        side: Input side in pixels; None uses the network's own.

    Raises:
        ConfigError: Unknown architecture or too small a side.
    """
    if arch not in EMOTION_NETWORKS:
        raise ConfigError(f"unknown architecture {arch!r}: choose from {', '.join(EMOTION_NETWORKS)}")
    trunk = EMOTION_NETWORKS[arch]
    if side is None:
        return trunk
    if side < MIN_SIDE:
        raise ConfigError(f"side = {side}: too small: choose at least {MIN_SIDE} pixels")
    return replace(trunk, input=replace(trunk.input, width=side, height=side))


def no_faces() -> Floats:
    """Stand for the training faces where there are none.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError("these weights can only be used in a training, which has faces to fit the network to")


def emotion_model(
    arch: str,
    heads: Mapping[str, int],
    *,
    weights: Weights = None,
    side: int | None = None,
    faces: Callable[[], Floats] = no_faces,
    **settings: Any,
) -> keras.Model:
    """Build a network with one linear head per label set.

    Args:
        arch: A key of EMOTION_NETWORKS.
        heads: Head -> number of classes.
        weights: Weights of the backbone, see `backbones.backbone`, or what the network is restored from.
        side: Input side in pixels; None uses the network's own.
        faces: Returns a sample of the training faces, as the model reads them, for `EmotionNetwork.restore`.
        **settings: Keyword arguments of the network.

    Returns:
        A model from images (n, height, width, channels) to {head: logits (n, classes)}.

    Raises:
        ConfigError: Unknown architecture, or weights that it cannot use.
    """
    trunk = emotion_trunk(arch, side)
    if weights is not None and not trunk.backbone and trunk.restore is None:
        raise ConfigError(f"{arch} has no backbone: it does not take backbone weights")
    if trunk.backbone and weights is not None:
        settings["weights"] = weights
    spec = trunk.input
    image = keras.Input((spec.height, spec.width, spec.channels), name="image")
    features = trunk.build(image, **settings)
    logits = {
        name: layers.Dense(classes, dtype="float32", name=name)(features) for name, classes in heads.items()
    }
    model = keras.Model(image, logits, name=arch)
    if trunk.restore is not None and weights is not None:
        trunk.restore(model, Path(weights), faces)
    return model


def predict(model: keras.Model, pictures: Image, spec: InputSpec, batch: int = 128) -> dict[str, Floats]:
    """Compute the logits of every head.

    Args:
        model: A model of `emotion_model`.
        pictures: uint8 (n, height, width[, 3]), of any size.
        spec: Input of the network.
        batch: Batch size.

    Returns:
        Head -> logits, float32 (n, classes).
    """
    parts = [
        model.predict_on_batch(preprocess_images(list(pictures[i : i + batch]), spec))
        for i in range(0, len(pictures), batch)
    ]
    return {head: np.concatenate([np.asarray(part[head], np.float32) for part in parts]) for head in parts[0]}


def find_backbones(model: keras.Model) -> list[keras.Model]:
    """Return the ImageNet networks inside a model; empty for a network of plain layers."""
    return [layer for layer in model.layers if isinstance(layer, keras.Model)]


def set_backbone_trainable(model: keras.Model, trainable: bool) -> None:
    """Freeze or unfreeze the ImageNet networks inside a model; compile it again afterwards.

    Frozen networks also keep their batch-normalisation statistics.

    Raises:
        ConfigError: The model has no backbone.
    """
    networks = find_backbones(model)
    if not networks:
        raise ConfigError(f"{model.name} has no backbone to freeze: set frozen_epochs = 0")
    for network in networks:
        network.trainable = trainable


_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def add_l2(model: keras.Model, factor: float) -> None:
    """Add an L2 penalty on all convolution and dense kernels, in place.

    Biases, batch normalisation and depthwise convolutions are excluded; frozen layers add nothing. The
    penalty is also stored in the layers' configuration, so that a saved model keeps it.
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
