"""Graphs in other number formats, and graphs in the form that the runtime takes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import tiny_models
from edgeharfer.export.convert import output_kind, rename_output
from edgeharfer.export.parity import difference, onnx_scores, random_samples
from edgeharfer.export.precision import HALF_MIN_VALUES, RECIPES, halve_weights
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.scan import scan_onnx
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.tasks.smoothing import softmax


def dense(features: int = 300, classes: int = 7) -> onnx.ModelProto:
    """One matrix, large enough to be worth halving, and a bias that is not."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["wx"]),
        helper.make_node("Add", ["wx", "b"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probs"], axis=-1),
    ]
    weights = {"w": tiny_models.class_weights(features, classes), "b": np.ones(classes, np.float32)}
    data = tiny_models.to_bytes(nodes, {"x": ["batch", features]}, {"probs": ["batch", classes]}, weights)
    return onnx.load_from_string(data)


def probs(model: onnx.ModelProto) -> np.ndarray:
    inputs = np.random.default_rng(5).random((3, 300), np.float32)
    return make_session(Graph.scan(model.SerializeToString())).run1(inputs)


def test_halved_weights_halve_the_file_and_keep_the_arithmetic() -> None:
    model = dense()
    halved = halve_weights(model)
    info = scan_onnx(halved.SerializeToString(), "m")
    assert info.initializer_bytes == 300 * 7 * 2 + 7 * 4
    assert info.nodes["Cast"] == 1
    np.testing.assert_allclose(probs(halved), probs(model), atol=2e-3)
    assert scan_onnx(model.SerializeToString(), "m").nodes.get("Cast") is None


def test_small_tensors_and_those_that_float16_cannot_hold_stay() -> None:
    assert HALF_MIN_VALUES > 7
    model = dense()
    huge = np.full((300, 7), 1e6, np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(huge, "w"))
    assert halve_weights(model) == model


def test_fp16_computes_in_halves_and_talks_in_floats() -> None:
    model = dense()
    made = RECIPES["fp16"](model)
    assert {one.data_type for one in made.graph.initializer} == {onnx.TensorProto.FLOAT16}
    np.testing.assert_allclose(probs(made), probs(model), atol=5e-3)


@pytest.mark.parametrize(("output", "found"), [("probs", "probs"), ("logits", "logits")])
def test_the_last_operator_tells_probabilities_from_logits(output: str, found: str) -> None:
    assert output_kind(onnx.load_from_string(tiny_models.classifier(output=output)), "m") == found


def test_other_endings_are_refused() -> None:
    nodes = [helper.make_node("Sigmoid", ["x"], ["y"]), helper.make_node("Identity", ["y"], ["probs"])]
    data = tiny_models.to_bytes(nodes, {"x": ["batch", 3]}, {"probs": ["batch", 3]})
    with pytest.raises(ModelError, match="m: ends in Sigmoid"):
        output_kind(onnx.load_from_string(data), "m")


def test_an_output_is_renamed_everywhere() -> None:
    model = dense()
    rename_output(model, "other")
    assert list(make_session(Graph.scan(model.SerializeToString())).outputs) == ["other"]


def test_streaming_takes_frames_one_by_one() -> None:
    clips = random_samples((4, 16, 16, 3), "unit")
    models = {"encoder": Graph.scan(tiny_models.encoder()), "head": Graph.scan(tiny_models.head())}
    features = clips.mean(axis=(2, 3)) @ tiny_models.class_weights(3, 8)
    wanted = softmax(features.mean(axis=1) @ tiny_models.class_weights(8, 3))
    assert difference(onnx_scores(models, clips), wanted, "probs") < 1e-6


@pytest.mark.parametrize(("how", "low", "high"), [("none", 0, 255), ("unit", 0, 1), ("symmetric", -1, 1)])
def test_noise_fills_the_range_of_the_input(how: str, low: float, high: float) -> None:
    noise = random_samples((16, 16, 1), how)
    assert noise.shape == (8, 16, 16, 1)
    assert low <= noise.min() < low + 0.1 * (high - low)
    assert high - 0.1 * (high - low) < noise.max() <= high


def test_nothing_that_is_no_number_passes_for_equal() -> None:
    bad = np.full((1, 3), np.nan, np.float32)
    assert difference(bad, np.ones((1, 3), np.float32), "probs") == float("inf")
