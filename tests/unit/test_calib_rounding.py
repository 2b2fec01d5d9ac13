"""Weights are rounded so that the outputs of their layer change least."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeharfer.calib import rounding
from edgeharfer.calib.graphs import StaticQuantizer
from edgeharfer.calib.recipes import CALIBRATORS, Recipe
from edgeharfer.calib.rounding import InputMoments, round_weights
from edgeharfer.calib.weights import PAIR_LIMIT, WeightMatrix, exact_scales, weight_matrices
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.types import Floats

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((4, 3, 3, 3), (2, 3, 6, 6), {}),
    "strides and pads": ((4, 3, 3, 3), (2, 3, 8, 9), {"strides": [2, 1], "pads": [1, 0, 0, 1]}),
    "dilations": ((4, 3, 3, 3), (2, 3, 9, 9), {"dilations": [2, 3]}),
    "groups": ((4, 3, 1, 1), (2, 6, 5, 5), {"group": 2}),
    "depthwise": ((3, 1, 3, 3), (2, 3, 6, 6), {"group": 3}),
    "depthwise with two channels each": ((6, 1, 3, 3), (2, 3, 6, 6), {"group": 3}),
    "the same size, upper": ((4, 3, 4, 4), (2, 3, 5, 5), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "the same size, lower": ((4, 3, 4, 4), (2, 3, 5, 5), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "one axis": ((4, 3, 3), (2, 3, 9), {"strides": [2], "pads": [1, 1]}),
    "three axes": ((4, 3, 2, 2, 2), (2, 3, 4, 4, 4), {}),
}


def one_layer(
    op: str, weights: Floats, given: Floats, attributes: dict[str, Any]
) -> tuple[onnx.ModelProto, Floats]:
    """Return a model of one layer and its output."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"], name="layer", **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, given.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = make_session(Graph.scan(model.SerializeToString()))
    return model, session.run({"x": given})["y"]


def products(matrix: WeightMatrix, given: Floats) -> Floats:
    """Multiply what a layer's rows of weights are said to read with them, (samples, channels)."""
    read = rounding._input_rows(matrix, given)
    return np.moveaxis(read @ matrix.rows.transpose(0, 2, 1), 0, 1).reshape(read.shape[1], -1)


@pytest.mark.parametrize("form", CONVOLUTIONS)
def test_rows_of_a_convolution_are_multiplied_with_what_it_reads(form: str) -> None:
    shape, size, attributes = CONVOLUTIONS[form]
    rng = np.random.default_rng(0)
    weights, given = (rng.standard_normal(one).astype(np.float32) for one in (shape, size))
    model, output = one_layer("Conv", weights, given, attributes)
    (matrix,) = weight_matrices(model)
    assert rounding._step(output.shape[2:]) == 1
    wanted = np.moveaxis(output, 1, -1).reshape(-1, shape[0])
    np.testing.assert_allclose(products(matrix, given), wanted, atol=1e-4)
    np.testing.assert_array_equal(matrix.to_tensor(matrix.rows), weights)


def test_a_large_map_is_read_on_a_grid() -> None:
    rng = np.random.default_rng(0)
    weights, given = (rng.standard_normal(one).astype(np.float32) for one in ((4, 3, 3, 3), (2, 3, 30, 20)))
    model, output = one_layer("Conv", weights, given, {})
    (matrix,) = weight_matrices(model)
    wanted = np.moveaxis(output[:, :, ::4, ::4], 1, -1).reshape(-1, 4)
    assert len(wanted) == 2 * 35
    np.testing.assert_allclose(products(matrix, given), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("op", "shape", "size", "attributes"),
    [
        ("Gemm", (5, 4), (3, 5), {}),
        ("Gemm", (4, 5), (3, 5), {"transB": 1}),
        ("Gemm", (5, 4), (5, 3), {"transA": 1}),
        ("MatMul", (5, 4), (3, 5), {}),
        ("MatMul", (5, 4), (2, 7, 5), {}),
    ],
)
def test_rows_of_a_product_are_multiplied_with_what_it_reads(
    op: str, shape: tuple[int, ...], size: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    rng = np.random.default_rng(0)
    weights, given = (rng.standard_normal(one).astype(np.float32) for one in (shape, size))
    model, output = one_layer(op, weights, given, attributes)
    (matrix,) = weight_matrices(model)
    np.testing.assert_allclose(products(matrix, given), output.reshape(-1, 4), atol=1e-4)
    np.testing.assert_array_equal(matrix.to_tensor(matrix.rows), weights)


def correlated(inputs: int, count: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Return samples of a few common causes, and weights that read them: (count, inputs), (16, inputs)."""
    rng = np.random.default_rng(seed)
    causes = rng.random((count, max(1, inputs // 8)))
    samples = causes @ rng.random((causes.shape[1], inputs)) + 0.1 * rng.random((count, inputs))
    return samples.astype(np.float32), rng.standard_normal((16, inputs)).astype(np.float32)


def layer_of(weights: Floats, samples: Floats) -> tuple[WeightMatrix, InputMoments]:
    model, _ = one_layer("MatMul", np.ascontiguousarray(weights.T), samples, {})
    (matrix,) = weight_matrices(model)
    moments = InputMoments([matrix])
    assert moments.tensors == ["x"]
    for at in range(0, len(samples), 100):
        moments.add({"x": samples[at : at + 100]})
    return matrix, moments


def test_outputs_of_other_data_change_less_than_with_the_nearest_integers() -> None:
    samples, weights = correlated(64, 2000)
    matrix, moments = layer_of(weights, samples[:1000])
    scales = exact_scales(weights)[None]

    def error(known: Any) -> float:
        rounded = round_weights(matrix.rows, scales, known, in_pairs=True)[0] * scales[0][:, None]
        return float(np.mean(((rounded - weights) @ samples[1000:].T) ** 2))

    assert error(moments.corrections(matrix)) < 0.2 * error(None)


@pytest.mark.parametrize("inputs", [1, 7, 64, 300])
def test_integers_stay_within_their_limits(inputs: int) -> None:
    samples, weights = correlated(inputs, 1000)
    weights[0] = np.abs(weights[0])
    matrix, moments = layer_of(weights, samples)
    given = moments.corrections(matrix)
    integers = round_weights(matrix.rows, exact_scales(weights)[None], given, in_pairs=True)[0].astype(int)
    assert np.abs(integers).max() <= 127
    padded = np.pad(integers, ((0, 0), (0, inputs % 2)))
    assert np.abs(padded[:, ::2] + padded[:, 1::2]).max() <= PAIR_LIMIT
    full = np.abs(weights).max(axis=1)[None] / 127
    assert np.abs(round_weights(matrix.rows, full, given, in_pairs=False).astype(int)).max() <= 127


def test_weights_that_eight_bits_represent_do_not_change() -> None:
    samples, _ = correlated(40, 1000)
    integers = np.random.default_rng(1).integers(-127, 128, (16, 40))
    integers[:, 0] = 127
    scales = np.random.default_rng(2).random((1, 16)).astype(np.float32) + 0.1
    matrix, moments = layer_of((integers * scales[0][:, None]).astype(np.float32), samples)
    found = round_weights(matrix.rows, scales, moments.corrections(matrix), in_pairs=False)
    np.testing.assert_array_equal(found[0], integers)


def test_the_size_of_blocks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, weights = correlated(50, 1000)
    matrix, moments = layer_of(weights, samples)
    scales = exact_scales(weights)[None]
    wanted = round_weights(matrix.rows, scales, moments.corrections(matrix), in_pairs=True)
    monkeypatch.setattr(rounding, "BLOCK", 7)
    np.testing.assert_array_equal(
        round_weights(matrix.rows, scales, moments.corrections(matrix), in_pairs=True), wanted
    )


def test_correlations_of_few_samples_count_less() -> None:
    def correlation(count: int) -> float:
        samples = correlated(8, count)[0].astype(np.float64)
        sums = samples.T @ samples
        found = rounding.second_moments(sums[None], count)[0]
        damping = 0.01 * np.trace(sums) / count / 8
        np.testing.assert_allclose(np.diag(found), np.diag(sums) / count + damping)
        return float(found[0, 1] / sums[0, 1] * count)

    assert correlation(8) == pytest.approx(0.5)
    assert correlation(792) == pytest.approx(0.99)


def test_layers_whose_inputs_are_unknown_are_rounded_to_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, weights = correlated(8, 100)
    matrix, _ = layer_of(weights, samples)
    assert InputMoments([matrix, matrix]).tensors == [], "weights that two layers read"
    monkeypatch.setattr(rounding, "MAX_INPUTS", 7)
    assert InputMoments([matrix]).tensors == []
    monkeypatch.undo()
    infinite = InputMoments([matrix])
    infinite.add({"x": np.full((1, 8), np.inf, np.float32)})
    assert infinite.corrections(matrix) is None
    scales = exact_scales(weights)[None]
    np.testing.assert_array_equal(
        round_weights(matrix.rows, scales, None, in_pairs=True)[0], np.round(weights / scales[0][:, None])
    )


def test_inputs_that_are_always_zero_are_harmless() -> None:
    samples, weights = correlated(8, 100)
    matrix, moments = layer_of(weights, 0 * samples)
    scales = exact_scales(weights)[None]
    np.testing.assert_array_equal(
        round_weights(matrix.rows, scales, moments.corrections(matrix), in_pairs=True),
        round_weights(matrix.rows, scales, None, in_pairs=True),
    )


def test_a_layer_that_reads_the_input_of_the_graph_is_rounded_too() -> None:
    samples, weights = correlated(32, 2000)
    model, wanted = one_layer("MatMul", np.ascontiguousarray(weights.T), samples, {})
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    quantizer = StaticQuantizer(
        Graph.scan(model.SerializeToString()), "model", lambda: iter(np.split(samples[:1000], 10))
    )
    rounded, overrides = quantizer._with_rounded_weights(Recipe(CALIBRATORS[0]), {"layer"})
    assert list(overrides) == ["w"]
    given = numpy_helper.to_array(rounded.graph.initializer[0])
    scales = exact_scales(weights)
    nearest = (np.round(weights / scales[:, None]) * scales[:, None]).T
    errors = [np.mean((samples[1000:] @ one - wanted[1000:]) ** 2) for one in (given, nearest)]
    assert errors[0] < 0.3 * errors[1]
    assert quantizer.quantized(Recipe(CALIBRATORS[0])).info.nodes["MatMul"] == 1
