"""Sums of 8-bit products are exact on every processor, with the smallest scales for which they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import tiny_patterns
from edgeharfer.calib.graphs import StaticQuantizer, dynamic_int8
from edgeharfer.calib.recipes import CALIBRATORS, Recipe
from edgeharfer.calib.weights import Weights, exact_scales, weight_matrices
from edgeharfer.runtime.inference.graph import Graph

LARGEST = 2**15 - 1


def sums_of_pairs(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """What VPMADDUBSW adds before it saturates, for the largest activations."""
    padded = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    return np.asarray(255 * (padded[:, ::2] + padded[:, 1::2]))


@pytest.mark.parametrize("inputs", [1, 7, 64])
def test_no_sum_of_two_products_exceeds_16_bits(inputs: int) -> None:
    rows = np.random.default_rng(inputs).standard_normal((200, inputs)).astype(np.float32)
    scales = exact_scales(rows)
    integers = np.round(rows / scales[:, None]).astype(np.int64)
    assert np.abs(integers).max() <= 127
    assert np.abs(sums_of_pairs(integers)).max() <= LARGEST
    full = np.abs(rows).max(axis=1) / 127
    assert (scales >= full * 0.999).all()
    assert (scales <= 2 * full * 1.001).all()


def test_a_channel_without_large_neighbours_keeps_eight_bits() -> None:
    rows = np.array([[1, 0, 0, 1], [1, 1, 0, 0], [1, -1, 0, 0], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(exact_scales(rows), [1 / 127, 2 / 127, 1 / 127, 1], rtol=1e-6)


@pytest.mark.parametrize(("weights", "saturates"), [("exact", False), ("full", True)])
def test_a_quantized_graph_has_such_weights(weights: Weights, saturates: bool) -> None:
    import onnx

    graph = Graph.scan(tiny_patterns.features_model(1))
    picture = tiny_patterns.stripes(0, np.random.default_rng(0))[None, :, :, None] / 255
    made = StaticQuantizer(graph, "model", lambda: iter([picture.astype(np.float32)])).quantized(
        Recipe(CALIBRATORS[0], weights=weights)
    )
    tensors = [onnx.numpy_helper.to_array(one) for one in onnx.load_from_string(made.data).graph.initializer]
    kernels = [one for one in tensors if one.ndim == 4]
    assert [one.shape for one in kernels] == [(8, 1, 3, 3), (4, 8, 3, 3)]
    largest = [
        np.abs(sums_of_pairs(np.moveaxis(one, 1, -1).reshape(len(one), -1).astype(np.int64))).max()
        for one in kernels
    ]
    assert bool(max(largest) > LARGEST) is saturates


@pytest.mark.parametrize(
    ("shape", "groups", "in_pairs"),
    [((4, 1, 3, 3), 1, True), ((4, 1, 3, 3), 4, False), ((4, 1, 3, 3), 2, True), ((4, 2, 3, 3), 2, True)],
)
def test_only_products_of_depthwise_convolutions_are_not_added_in_pairs(
    shape: tuple[int, ...], groups: int, in_pairs: bool
) -> None:
    """ONNX Runtime has a kernel of its own for one input and one output channel in each group."""
    import onnx

    weights = onnx.numpy_helper.from_array(np.ones(shape, np.float32), "w")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=groups)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "one", [], [], [weights]))
    (matrix,) = weight_matrices(model)
    assert matrix.in_pairs is in_pairs
    np.testing.assert_allclose(matrix.scales("full"), 1 / 127)
    np.testing.assert_allclose(matrix.scales("exact"), (2 if in_pairs else 1) / 127)


def test_dynamic_weights_have_seven_bits() -> None:
    import onnx

    made = onnx.load_from_string(dynamic_int8(Graph.scan(tiny_patterns.head(4)), "head").data)
    integers = [
        onnx.numpy_helper.to_array(one)
        for one in made.graph.initializer
        if one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1
    ]
    assert integers
    assert max(int(np.abs(one.astype(int)).max()) for one in integers) <= 64
