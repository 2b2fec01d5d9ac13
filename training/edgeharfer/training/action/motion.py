"""Motion features: frame differences, cropped to the moving part, as input of an ImageNet network.

Frame differences contain only motion, and networks trained on photographs can read them (Bilen et al. 2016
use sums over whole clips). People may be small in surveillance video, so the part with most of the motion is
enlarged, which makes near and far people look alike (attention by a moving box: Gregor et al. 2015).

The encoder of such a model only passes on the grey image; everything else is in the head, so that the model
streams and exports like any other. It consists of Keras's own operations, so saved files do not need this
code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.types import Floats

Tensor = Any

BLOCK = 8
"""Side of the blocks, in pixels, in which motion is summed to find the most active part."""
CHANNELS = 3
FRAMES_PER_LOOK = CHANNELS + 1
"""Successive frames per network input."""


@dataclass(frozen=True)
class MotionSpec:
    """How motion is presented to the network.

    Attributes:
        looks: Network inputs per window; the features are their mean.
        width: Width of the network input in pixels.
        height: Height of the network input in pixels.
        gain: A frame difference of 1 / gain of white is full scale.
        reach: Half size of the box, in standard deviations of the motion.
        least: Minimum side of the box, as a share of the frame.
        layer: Layer of MobileNetV2 whose mean features are used; deeper layers represent objects, not edges.

    Raises:
        ConfigError: A value is out of range.
    """

    looks: int = 5
    width: int = 160
    height: int = 120
    gain: float = 5.0
    reach: float = 1.5
    least: float = 0.35
    layer: str = "block_13_expand_relu"

    def __post_init__(self) -> None:
        if self.looks < 1 or not 0 < self.least <= 1:
            raise ConfigError("motion: looks must be at least 1; least must be above 0 and at most 1")


def picture_encoder(width: int, height: int) -> keras.Model:
    """Build a model that flattens grey images in [0, 1], (n, height, width, 1), to (n, height * width)."""
    picture = keras.Input((height, width, 1), name="picture")
    return keras.Model(picture, layers.Flatten(name="pixels")(picture), name="picture_encoder")


def truncate_network(network: keras.Model, layer: str) -> keras.Model:
    """Return the network up to a layer, followed by global average pooling.

    Raises:
        ConfigError: There is no such layer.
    """
    try:
        found = network.get_layer(layer).output
    except ValueError as error:
        raise ConfigError(f"motion.layer = {layer!r}: {network.name} has no such layer") from error
    features = layers.GlobalAveragePooling2D(name="seen")(found)
    truncated = keras.Model(network.inputs[0], features, name="eye")
    truncated.trainable = False
    return truncated


def motion_trunk(frames: int, width: int, height: int, network: keras.Model, spec: MotionSpec) -> keras.Model:
    """Build a model from windows of frames to motion features.

    Args:
        frames: Frames per window.
        width: Width of the frames, a multiple of BLOCK.
        height: Height of the frames, a multiple of BLOCK.
        network: Network from RGB in [-1, 1] of the spec's size to features; its colour channels are three
            successive frame differences.
        spec: How motion is presented.

    Returns:
        A model from (n, frames, height * width) to (n, 1, size).

    Raises:
        ConfigError: The frames do not fit.
    """
    if width % BLOCK or height % BLOCK:
        raise ConfigError(f"motion: width and height must be multiples of {BLOCK}, not {width}x{height}")
    if frames < FRAMES_PER_LOOK:
        raise ConfigError(f"motion: the window has {frames} frames: at least {FRAMES_PER_LOOK} are needed")
    window = keras.Input((frames, height * width), name="window")
    first = np.linspace(0, frames - FRAMES_PER_LOOK, spec.looks).round().astype(int)
    before = np.add.outer(first, np.arange(CHANNELS)).ravel()
    differences = ops.take(window, before + 1, axis=1) - ops.take(window, before, axis=1)
    differences = ops.reshape(differences, (-1, CHANNELS * spec.looks, height, width))
    left, top, side = _motion_box(differences, width, height, spec)
    rows = _resize_weights(top, side, height, spec.height)
    columns = _resize_weights(left, side, width, spec.width)
    region = ops.matmul(ops.matmul(rows, differences), ops.transpose(columns, (0, 1, 3, 2)))
    # Resized with signs, so that flicker cancels out.
    region = ops.minimum(ops.abs(region) * (2 * spec.gain), 2.0) - 1.0
    region = ops.reshape(region, (-1, CHANNELS, spec.height, spec.width))
    found = network(ops.transpose(region, (0, 2, 3, 1)))
    found = ops.reshape(found, (-1, spec.looks, network.output_shape[-1]))
    return keras.Model(window, ops.mean(found, axis=1, keepdims=True), name="motion")


def _motion_box(
    differences: Tensor, width: int, height: int, spec: MotionSpec
) -> tuple[Tensor, Tensor, Tensor]:
    """Return left, top and side of the most active box, each (n, 1), as shares of the frame."""
    blocks = layers.AveragePooling2D(BLOCK, name="blocks")(ops.mean(ops.abs(differences), axis=1)[..., None])
    # Motion above the average, squared: noise and foliage are weak everywhere, people are not.
    motion = ops.square(ops.relu(blocks - ops.mean(blocks, axis=(1, 2), keepdims=True)))[..., 0]
    (x, spread_x), (y, spread_y) = (
        _mean_and_deviation(motion, 1, width),
        _mean_and_deviation(motion, 2, height),
    )
    side = 2 * spec.reach * ops.maximum(spread_x, spread_y)
    side = ops.minimum(ops.maximum(side, spec.least), 1.0)
    left, top = (ops.minimum(ops.relu(middle - side / 2), 1.0 - side) for middle in (x, y))
    return left, top, side


def _mean_and_deviation(motion: Tensor, axis: int, size: int) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of the motion (n, rows, columns) along the other axis than `axis`."""
    places: Floats = ((np.arange(size // BLOCK) + 0.5) * BLOCK / size).astype(np.float32)[:, None]
    weights = ops.sum(motion, axis=axis) + 1e-9
    weights = weights / ops.sum(weights, axis=1, keepdims=True)
    mean = ops.matmul(weights, places)
    return mean, ops.sqrt(ops.relu(ops.matmul(weights, places**2) - ops.square(mean)) + 1e-9)


def _resize_weights(start: Tensor, side: Tensor, size: int, wanted: int) -> Tensor:
    """Return weights (n, 1, wanted, size) that crop `side` of `size` pixels from `start` and resize the crop.

    Triangle filter, as wide as an output pixel when shrinking, so that every input pixel contributes.
    """
    steps: Floats = ((np.arange(wanted) + 0.5) / wanted)[None].astype(np.float32)
    places = (start + side * steps) * size - 0.5
    pixels: NDArray[np.float32] = np.arange(size, dtype=np.float32)
    reach = ops.maximum(side * (size / wanted), 1.0)[..., None]
    weights = ops.relu(1.0 - ops.abs(places[..., None] - pixels) / reach)
    return (weights / ops.sum(weights, axis=2, keepdims=True))[:, None]
