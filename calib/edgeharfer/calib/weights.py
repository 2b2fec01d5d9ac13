"""Weights as matrices, and 8-bit scales with which products are exact on every processor.

x86 processors without VNNI (AVX-512 VNNI or AVX-VNNI) multiply unsigned activations with signed weights by
VPMADDUBSW, which adds the products of two neighbouring inputs and saturates the sum to 16 bits (Intel 64 and
IA-32 Architectures Software Developer's Manual, volume 2, PMADDUBSW). With weights of seven bits no sum is
too large, but that doubles the rounding error of all weights. Here a channel has a larger scale only if the
sum of two of its neighbouring weights requires it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgeharfer.calib import tools
from edgeharfer.calib.nodes import attribute
from edgeharfer.runtime.types import Floats

Weights = Literal["exact", "full"]

LIMIT = 127
"""Largest weight and largest sum of two neighbouring ones; rounded, a sum of 128, times 255, fits 16 bits."""
PAIR_LIMIT = LIMIT + 1
"""Largest sum of two neighbouring weights after rounding."""


@dataclass(frozen=True, eq=False)
class WeightMatrix:
    """Weights of a layer in the order of ONNX Runtime's matrix products.

    Attributes:
        node: The layer, a Conv, Gemm or MatMul.
        tensor: Name of its weights.
        shape: Shape of that tensor.
        rows: The weights of each output channel, (groups, channels of a group, inputs); inputs of a
            convolution are taps x channels.
    """

    node: Any
    tensor: str
    shape: tuple[int, ...]
    rows: Floats

    @property
    def axis(self) -> int:
        """Axis of the output channels in the tensor."""
        return 0 if self.node.op_type == "Conv" or _is_transposed(self.node) else 1

    @property
    def in_pairs(self) -> bool:
        """Whether products are added in pairs; those of depthwise convolutions are added in 32 bits."""
        is_depthwise = self.node.op_type == "Conv" and self.shape[1] == self.rows.shape[1] == 1
        return not is_depthwise

    def scales(self, weights: Weights) -> Floats:
        """Return the scale of each output channel, float32 (channels,)."""
        rows = self.rows.reshape(-1, self.rows.shape[-1])
        if weights == "exact" and self.in_pairs:
            return exact_scales(rows)
        return _scales(np.abs(rows).max(axis=1))

    def to_tensor(self, rows: Floats) -> Floats:
        """Return other weights in the form of the tensor."""
        if self.node.op_type != "Conv":
            return np.ascontiguousarray(rows[0] if self.axis == 0 else rows[0].T)
        channels, inputs, *kernel = self.shape
        return np.ascontiguousarray(np.moveaxis(rows.reshape(channels, *kernel, inputs), -1, 1))


def weight_matrices(model: Any) -> Iterator[WeightMatrix]:
    """Yield the layers of a model whose weights are float32 constants."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in constants:
            continue
        weights = tools.load("onnx").numpy_helper.to_array(constants[node.input[1]])
        if weights.dtype != np.float32:
            continue
        if node.op_type == "Conv":
            rows = np.moveaxis(weights, 1, -1).reshape(attribute(node, "group", 1), -1, weights[0].size)
        elif weights.ndim == 2:
            rows = (weights if _is_transposed(node) else weights.T)[None]
        else:
            continue
        yield WeightMatrix(node, node.input[1], weights.shape, rows)


def exact_scales(rows: Floats) -> Floats:
    """Return the smallest scale of each channel with which no sum of two neighbouring products saturates.

    Args:
        rows: Weights of each output channel in the order of ONNX Runtime's matrix products, (channels, k).

    Returns:
        One scale for each channel, float32.
    """
    padded = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    pairs = padded[:, ::2] + padded[:, 1::2]
    return _scales(np.maximum(np.abs(rows).max(axis=1), np.abs(pairs).max(axis=1)))


def scale_overrides(matrix: WeightMatrix, scales: Floats) -> list[dict[str, Any]]:
    """Return the option `TensorQuantOverrides` of ONNX Runtime's quantizer for a layer's weights."""
    int8 = tools.load("onnxruntime.quantization").QuantType.QInt8
    common = {"axis": matrix.axis, "zero_point": np.array(0, np.int8), "quant_type": int8}
    return [{**common, "scale": scale} for scale in scales]


def _scales(largest: Floats) -> Floats:
    return np.where(largest > 0, largest / LIMIT, 1).astype(np.float32)


def _is_transposed(node: Any) -> bool:
    return node.op_type == "Gemm" and bool(attribute(node, "transB", 0))
