"""Motion: how pictures differ from the next, where they differ most, as an ImageNet network sees it.

A picture tells who is there, not how fast they move. Differences of pictures hold the motion alone, and
networks trained on photographs can read them (Bilen et al. 2016 show them sums of whole clips). Whoever
moves may be small in a surveillance picture, so the network is shown the part with most of the motion,
enlarged, which makes people near and far look alike (attention by a moving box: Gregor et al. 2015).

The encoder of such a model only hands over the grey picture; all else is the head's, so that it streams
and exports as any other. Everything is made of Keras's own operations, whose files need none of this code.
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
"""Pixels of a side of the blocks in which motion is summed up to find where most of it is."""
CHANNELS = 3
FRAMES_PER_LOOK = CHANNELS + 1
"""Pictures in a row that one look reads."""


@dataclass(frozen=True)
class MotionSpec:
    """How motion is shown to the network.

    looks: how often it looks at a window; the features are their mean. width, height: of what is shown,
    pixels. gain: a difference of 1 / gain of white counts as full. reach, least: the box reaches so many
    deviations of the motion to each side, and is at least this share of the picture. layer: of MobileNetV2,
    after which its mean features are read; deeper ones know things more than edges.
    Raises ConfigError for what cannot be looked at.
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
            raise ConfigError("motion: looks are 1 at least, and least is a share of the picture")


def picture_encoder(width: int, height: int) -> keras.Model:
    """A grey picture in [0, 1] (n, height, width, 1) as one vector (n, height * width)."""
    picture = keras.Input((height, width, 1), name="picture")
    return keras.Model(picture, layers.Flatten(name="pixels")(picture), name="picture_encoder")


def truncate_network(network: keras.Model, layer: str) -> keras.Model:
    """The network up to a layer, then the mean over the picture. Raises ConfigError where it has no such."""
    try:
        found = network.get_layer(layer).output
    except ValueError as error:
        raise ConfigError(f"motion.layer = {layer!r}: {network.name} has no such layer") from error
    eye = keras.Model(network.inputs[0], layers.GlobalAveragePooling2D(name="seen")(found), name="eye")
    eye.trainable = False
    return eye


def motion_trunk(frames: int, width: int, height: int, eye: keras.Model, spec: MotionSpec) -> keras.Model:
    """Windows of pictures (n, frames, height * width) -> features of their motion (n, 1, size).

    width, height: of the pictures, whole blocks. eye: takes pictures of the spec's size, RGB in [-1, 1],
    and gives a vector; it sees three differences of pictures in a row as the three colours.
    """
    if width % BLOCK or height % BLOCK:
        raise ConfigError(f"motion: pictures are {width}x{height}, which must be multiples of {BLOCK}")
    if frames < FRAMES_PER_LOOK:
        raise ConfigError(f"motion: a look reads {FRAMES_PER_LOOK} pictures, the window has {frames}")
    window = keras.Input((frames, height * width), name="window")
    first = np.linspace(0, frames - FRAMES_PER_LOOK, spec.looks).round().astype(int)
    before = np.add.outer(first, np.arange(CHANNELS)).ravel()
    change = ops.take(window, before + 1, axis=1) - ops.take(window, before, axis=1)
    change = ops.reshape(change, (-1, CHANNELS * spec.looks, height, width))
    left, top, side = _motion_box(change, width, height, spec)
    rows = _resize_weights(top, side, height, spec.height)
    columns = _resize_weights(left, side, width, spec.width)
    shown = ops.matmul(ops.matmul(rows, change), ops.transpose(columns, (0, 1, 3, 2)))
    # Resized with their signs, so that what only flickers cancels out.
    shown = ops.minimum(ops.abs(shown) * (2 * spec.gain), 2.0) - 1.0
    shown = ops.reshape(shown, (-1, CHANNELS, spec.height, spec.width))
    found = eye(ops.transpose(shown, (0, 2, 3, 1)))
    found = ops.reshape(found, (-1, spec.looks, eye.output_shape[-1]))
    return keras.Model(window, ops.mean(found, axis=1, keepdims=True), name="motion")


def _motion_box(change: Tensor, width: int, height: int, spec: MotionSpec) -> tuple[Tensor, Tensor, Tensor]:
    """The box with most of the motion: left, top and side, each (n, 1), in shares of the picture."""
    blocks = layers.AveragePooling2D(BLOCK, name="blocks")(ops.mean(ops.abs(change), axis=1)[..., None])
    # What moves more than the average, squared: noise and leaves are everywhere a little, people are not.
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
    """Mean and deviation of the motion (n, rows, columns) along the axis that is not summed up."""
    places: Floats = ((np.arange(size // BLOCK) + 0.5) * BLOCK / size).astype(np.float32)[:, None]
    weights = ops.sum(motion, axis=axis) + 1e-9
    weights = weights / ops.sum(weights, axis=1, keepdims=True)
    mean = ops.matmul(weights, places)
    return mean, ops.sqrt(ops.relu(ops.matmul(weights, places**2) - ops.square(mean)) + 1e-9)


def _resize_weights(start: Tensor, side: Tensor, size: int, wanted: int) -> Tensor:
    """Weights (n, 1, wanted, size) that cut `side` from `start` on out of `size` pixels and resize it.

    A triangle around each place, as wide as a new pixel where the picture shrinks, so that none is left out.
    """
    steps: Floats = ((np.arange(wanted) + 0.5) / wanted)[None].astype(np.float32)
    places = (start + side * steps) * size - 0.5
    pixels: NDArray[np.float32] = np.arange(size, dtype=np.float32)
    reach = ops.maximum(side * (size / wanted), 1.0)[..., None]
    weights = ops.relu(1.0 - ops.abs(places[..., None] - pixels) / reach)
    return (weights / ops.sum(weights, axis=2, keepdims=True))[:, None]
