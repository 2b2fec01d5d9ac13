"""Scales of 8-bit weights with which 8-bit products are exact on every processor.

x86 processors without VNNI (AVX-512 VNNI or AVX-VNNI) multiply unsigned activations with signed weights by
VPMADDUBSW, which adds the products of two neighbouring inputs and saturates the sum to 16 bits (Intel 64 and
IA-32 Architectures Software Developer's Manual, volume 2, PMADDUBSW). With weights of seven bits no sum is
too large, but that doubles the rounding error of all weights. Here a channel has a larger scale only if the
sum of two of its neighbouring weights requires it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeharfer.calib import tools
from edgeharfer.runtime.types import Floats

LIMIT = 127
"""Largest weight and largest sum of two neighbouring ones; rounded, a sum of 128, times 255, fits 16 bits."""


def exact_scales(rows: Floats) -> Floats:
    """Return the smallest scale of each channel with which no sum of two neighbouring products saturates.

    Args:
        rows: Weights of each output channel in the order of ONNX Runtime's matrix products, (channels, k).

    Returns:
        One scale for each channel, float32.
    """
    padded = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    pairs = padded[:, ::2] + padded[:, 1::2]
    largest = np.maximum(np.abs(rows).max(axis=1), np.abs(pairs).max(axis=1))
    return np.where(largest > 0, largest / LIMIT, 1).astype(np.float32)


def exact_overrides(model: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the option `TensorQuantOverrides` of ONNX Runtime's quantizer for the weights of a graph.

    Depthwise convolutions are left out: ONNX Runtime adds their products in 32 bits.
    """
    int8 = tools.load("onnxruntime.quantization").QuantType.QInt8
    return {
        name: [
            {"axis": axis, "scale": scale, "zero_point": np.array(0, np.int8), "quant_type": int8}
            for scale in exact_scales(rows)
        ]
        for name, axis, rows in _weights(model)
    }


def _weights(model: Any) -> Iterator[tuple[str, int, Floats]]:
    """Yield name, channel axis and rows of the weights whose products are added in pairs."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in constants:
            continue
        weights = tools.load("onnx").numpy_helper.to_array(constants[node.input[1]])
        if node.op_type == "Conv":
            if weights.shape[1] > 1:
                yield node.input[1], 0, np.moveaxis(weights, 1, -1).reshape(len(weights), -1)
        elif weights.ndim == 2:
            transposed = any(one.name == "transB" and one.i for one in node.attribute)
            yield node.input[1], 0 if transposed else 1, weights if transposed else weights.T
