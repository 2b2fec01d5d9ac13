"""A smaller network from a trained one, without the channels that matter least.

A channel matters as much as it varies and as the next convolution weights it. Each convolution is then fitted
to the outputs of the full network by least squares, one after the other, so that it makes up for what the
layers before it lost (He, Zhang and Sun 2017, arXiv:1707.06168).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats
from edgeharfer.training.lazy_keras import keras

POSITIONS = 16
"""Positions of each face at which a layer is compared, at most."""
RIDGE = 1e-4
"""How much a fitted weight is drawn to the original one, relative to the mean square of the inputs."""
BATCH = 100


def prune(full: keras.Model, small: keras.Model, faces: Floats) -> None:
    """Set the weights of a narrower network.

    Args:
        full: A stack of the layers "conv1", "depthwise1", "pointwise1", "depthwise2" ... and linear heads.
        small: The same with fewer outputs of some pointwise layers.
        faces: Inputs of both, float32 (n, height, width, channels). More than the largest number of channels
            should be given.
    """
    small.get_layer("conv1").set_weights(full.get_layer("conv1").get_weights())
    pointwise = [layer.name for layer in full.layers if layer.name.startswith("pointwise")]
    kept = np.arange(full.get_layer("conv1").filters)
    for name, following in zip(pointwise, [*pointwise[1:], None], strict=True):
        depthwise = name.replace("pointwise", "depthwise")
        kernel, bias = full.get_layer(depthwise).get_weights()
        small.get_layer(depthwise).set_weights([kernel[:, :, kept], bias[kept]])
        fitted = _fitted(full, small, [name], kept, faces)
        readers = full.output_names if following is None else [following]
        kept = _most_important(full, readers, small.get_layer(name).filters, faces)
        small.get_layer(name).set_weights([fitted[None, None, :-1, kept], fitted[-1, kept]])
    heads = list(full.output_names)
    fitted = _fitted(full, small, heads, kept, faces)
    ends = np.cumsum([full.get_layer(head).units for head in heads])
    for head, columns in zip(heads, np.split(fitted, ends[:-1], axis=1), strict=True):
        small.get_layer(head).set_weights([columns[:-1], columns[-1]])


def _fitted(
    full: keras.Model, small: keras.Model, names: list[str], kept: NDArray[np.intp], faces: Floats
) -> Floats:
    """Return weights with which layers of the small network have about the outputs of the full one.

    Returns:
        Weights of the layers side by side, (inputs kept + 1, outputs); the last row is the bias.
    """
    weights = _weights(full, names)
    inputs = _with_ones(_inputs(full, names[0], faces)).astype(np.float64)
    original = weights[[*kept, -1]].astype(np.float64)
    reduced = _with_ones(_inputs(small, names[0], faces)).astype(np.float64)
    products = reduced.T @ reduced
    ridge = RIDGE * np.trace(products) / len(products)
    products[np.diag_indices_from(products)] += ridge
    targets = reduced.T @ (inputs @ weights) + ridge * original
    return np.asarray(np.linalg.solve(products, targets), np.float32)


def _most_important(full: keras.Model, readers: list[str], count: int, faces: Floats) -> NDArray[np.intp]:
    """Return the channels that matter most to the layers that read them, in ascending order."""
    variance = _inputs(full, readers[0], faces).var(axis=0)
    importance = variance * np.square(_weights(full, readers)[:-1]).sum(axis=1)
    return np.sort(np.argsort(-importance, kind="stable")[:count])


def _weights(model: keras.Model, names: list[str]) -> Floats:
    """Return the weights of linear layers side by side, (inputs + 1, outputs); the last row is the bias."""
    parts = []
    for name in names:
        kernel, bias = model.get_layer(name).get_weights()
        parts.append(np.vstack([kernel.reshape(kernel.shape[-2:]), bias]))
    return np.hstack(parts)


def _inputs(model: keras.Model, name: str, faces: Floats) -> Floats:
    """Return the inputs of a layer, at random positions if there are many, (rows, channels)."""
    rng = np.random.default_rng(1)  # the same positions in both networks
    rows = []
    for values in layer_inputs(model, name, faces):
        chosen = rng.integers(0, values.shape[1], (len(values), min(POSITIONS, values.shape[1])))
        rows.append(np.take_along_axis(values, chosen[..., None], axis=1).reshape(-1, values.shape[-1]))
    return np.concatenate(rows)


def layer_inputs(model: keras.Model, name: str, faces: Floats) -> Iterator[Floats]:
    """Yield the inputs of a layer in batches, float32 (n, positions, channels)."""
    part = keras.Model(model.input, model.get_layer(name).input)
    for start in range(0, len(faces), BATCH):
        values = np.asarray(part.predict_on_batch(faces[start : start + BATCH]), np.float32)
        yield values.reshape(len(values), -1, values.shape[-1])


def _with_ones(rows: Floats) -> Floats:
    return np.hstack([rows, np.ones((len(rows), 1), np.float32)])
