"""Small networks trained from scratch; each maps an image tensor to features."""

from __future__ import annotations

from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.training.lazy_keras import layers
from edgeharfer.training.registry import Tensor, emotion_network


@emotion_network("cnn4", InputSpec(48, 48, "gray", "unit"), "four convolution layers and two dense ones")
def cnn4(x: Tensor, *, dropout: float = 0.5) -> Tensor:
    """Four 3x3 convolutions and a wide dense layer, as in most FER-2013 tutorials."""
    for width in (32, 64):
        x = layers.Conv2D(width, 3, activation="relu")(x)
    x = layers.Dropout(dropout / 2)(layers.MaxPooling2D(2)(x))
    for width in (128, 128):
        x = layers.Conv2D(width, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dropout(dropout / 2)(x)
    x = layers.Dense(1024, activation="relu")(layers.Flatten()(x))
    return layers.Dropout(dropout)(x)


@emotion_network("lenet", InputSpec(256, 256, "rgb", "unit"), "LeNet-5 with batch normalisation and dropout")
def lenet(x: Tensor, *, dropout: float = 0.2) -> Tensor:
    """LeNet-5 (LeCun et al. 1998) with ReLU, max pooling and dense layers of 1024 and 128 units.

    At 256x256 it has 61 million parameters, nearly all in the first dense layer.
    """
    for width in (6, 16):
        x = layers.Conv2D(width, 5, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    for units in (1024, 128):
        x = layers.Dense(units, activation="relu")(x)
        x = layers.Dropout(dropout)(layers.BatchNormalization()(x))
    return x


@emotion_network(
    "mini-xception",
    InputSpec(64, 64, "gray", "symmetric"),
    "mini-Xception, depthwise separable convolutions with shortcuts",
)
def mini_xception(x: Tensor) -> Tensor:
    """mini-Xception (Arriaga et al. 2017): residual modules of depthwise separable convolutions.

    The paper ends with a 3x3 convolution to the classes, averaged over its feature map. Here the map is
    averaged first, so that each head is a dense layer as in all other networks; this equals a 1x1 convolution
    before the mean, with 7,168 fewer weights for seven classes.
    """
    for _ in range(2):
        x = layers.Conv2D(8, 3, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    for width in (16, 32, 64, 128):
        x = _separable_module(x, width)
    return layers.GlobalAveragePooling2D()(x)


def _separable_module(x: Tensor, width: int) -> Tensor:
    """Two separable convolutions and a pooling that halves the size, with a strided 1x1 shortcut.

    The shortcut is strided before its convolution, which gives the same values: in TensorFlow 2.21 with
    oneDNN, the gradient of a strided 1x1 convolution with 8 channels writes out of bounds.
    """
    shortcut = layers.MaxPooling2D(1, 2, padding="same")(x)
    shortcut = layers.Conv2D(width, 1, use_bias=False)(shortcut)
    shortcut = layers.BatchNormalization()(shortcut)
    x = layers.SeparableConv2D(width, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(width, 3, padding="same", use_bias=False)(x)
    x = layers.MaxPooling2D(3, 2, padding="same")(layers.BatchNormalization()(x))
    return layers.Add()([shortcut, x])
