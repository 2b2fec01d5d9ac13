"""Graphs in other number formats, and graphs in the form that the runtime takes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import tiny_models
from edgeharfer.export.convert import rename_output
from edgeharfer.export.head import Ending, find_ending
from edgeharfer.export.options import Head
from edgeharfer.export.parity import difference, onnx_scores, random_pictures
from edgeharfer.export.precision import HALF_MIN_VALUES, RECIPES, halve_weights
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import InputSpec
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


def masked() -> onnx.ModelProto:
    """A product of which the negative values are masked by a Cast of bool to float32."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["wx"]),
        helper.make_node("Greater", ["wx", "zero"], ["positive"]),
        helper.make_node("Cast", ["positive"], ["mask"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["wx", "mask"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probs"], axis=-1),
    ]
    weights = {"w": tiny_models.class_weights(300, 7), "zero": np.zeros(1, np.float32)}
    data = tiny_models.to_bytes(nodes, {"x": ["batch", 300]}, {"probs": ["batch", 7]}, weights)
    return onnx.load_from_string(data)


def test_fp16_keeps_the_casts_of_the_graph() -> None:
    model = masked()
    made = RECIPES["fp16"](model)
    assert onnx.TensorProto.FLOAT16 in {one.data_type for one in made.graph.initializer}
    np.testing.assert_allclose(probs(made), probs(model), atol=5e-3)


def test_fp16_of_a_graph_with_a_branch_is_refused() -> None:
    model = dense()
    branch = helper.make_graph([], "same", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
    with pytest.raises(
        ConfigError, match="fp16: the graph contains If, which cannot be converted to FP16: remove fp16"
    ):
        RECIPES["fp16"](model)


def graph(operator: str, units: int = 3) -> onnx.ModelProto:
    """One operator after which only the shape changes."""
    nodes = [
        helper.make_node(operator, ["x"], ["y"]),
        helper.make_node("Identity", ["y"], ["scores"]),
    ]
    data = tiny_models.to_bytes(nodes, {"x": ["batch", units]}, {"scores": ["batch", units]})
    return onnx.load_from_string(data)


def ending(model: onnx.ModelProto, units: int = 3, head: Head = "auto") -> Ending:
    outputs = run(model, units)
    return find_ending(model, outputs, units, per_frame=False, head=head, where="m")


def run(model: onnx.ModelProto, units: int = 3) -> np.ndarray:
    inputs = np.random.default_rng(5).normal(0, 2, (16, units)).astype(np.float32)
    return make_session(Graph.scan(model.SerializeToString())).run1(inputs)


@pytest.mark.parametrize(
    ("operator", "units", "head", "kind"),
    [
        ("Softmax", 3, "auto", "softmax"),
        ("Sigmoid", 3, "auto", "sigmoid"),
        ("Sigmoid", 1, "auto", "sigmoid"),
        ("HardSigmoid", 3, "auto", "sigmoid"),
        ("Neg", 3, "auto", "logits"),
        ("LogSoftmax", 3, "auto", "logits"),
        ("Neg", 1, "logits", "logits"),
        ("Relu", 3, "logits", "logits"),
        ("Tanh", 1, "logits", "logits"),
    ],
)
def test_an_ending_becomes_one_number_for_each_label(
    operator: str, units: int, head: Head, kind: str
) -> None:
    model = graph(operator, units)
    outputs, found = run(model, units), ending(model, units, head)
    assert found.kind == kind
    scores = found.apply(outputs)
    assert scores.shape == (16, max(units, 2))
    if kind == "logits":
        scores = softmax(scores)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    if units == 1:
        np.testing.assert_array_equal(scores[:, 1] > 0.5, outputs[:, 0] > (0.5 if kind == "sigmoid" else 0))
    else:
        np.testing.assert_array_equal(scores.argmax(axis=1), outputs.argmax(axis=1))
    found.append(model)
    made = run(model, units)
    np.testing.assert_allclose(softmax(made) if kind == "logits" else made, scores, atol=1e-6)


def test_the_last_frame_of_a_row_of_frames_is_taken() -> None:
    nodes = [helper.make_node("Softmax", ["x"], ["scores"], axis=-1)]
    data = tiny_models.to_bytes(nodes, {"x": ["batch", 4, 3]}, {"scores": ["batch", 4, 3]})
    model = onnx.load_from_string(data)
    inputs = np.random.default_rng(5).normal(0, 2, (5, 4, 3)).astype(np.float32)
    outputs = make_session(Graph.scan(data)).run1(inputs)
    Ending("softmax", 3, per_frame=True).append(model)
    scores = make_session(Graph.scan(model.SerializeToString())).run1(inputs)
    np.testing.assert_array_equal(scores, outputs[:, -1])
    np.testing.assert_array_equal(Ending("softmax", 3, per_frame=True).apply(outputs), outputs[:, -1])


@pytest.mark.parametrize(
    ("operator", "units", "head", "message"),
    [
        ("Relu", 3, "auto", "m ends in Relu, not in probabilities: pass --head logits"),
        ("Tanh", 3, "auto", "m ends in Tanh"),
        ("Softmax", 1, "auto", "softmax over one unit, which is always 1"),
        ("Neg", 1, "auto", "one unit without an activation: pass --head logits"),
        ("Neg", 3, "softmax", "does not output probabilities that sum to 1"),
        ("Neg", 3, "sigmoid", r"outputs values outside \[0, 1\]"),
        ("Softmax", 3, "logits", "probabilities .Softmax., not logits"),
        ("Sigmoid", 1, "logits", "probabilities .Sigmoid., not logits"),
    ],
)
def test_an_ending_that_does_not_say_which_label_is_meant(
    operator: str, units: int, head: Head, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ending(graph(operator, units), units, head)


def test_an_output_is_renamed_everywhere() -> None:
    model = dense()
    rename_output(model, "other")
    assert list(make_session(Graph.scan(model.SerializeToString())).outputs) == ["other"]


def test_streaming_takes_frames_one_by_one() -> None:
    clips = random_pictures(InputSpec(16, 16, "rgb", "unit"), 4)
    models = {"encoder": Graph.scan(tiny_models.encoder()), "head": Graph.scan(tiny_models.head())}
    features = clips.mean(axis=(2, 3)) @ tiny_models.class_weights(3, 8)
    wanted = softmax(features.mean(axis=1) @ tiny_models.class_weights(8, 3))
    assert difference(onnx_scores(models, clips), wanted, "probs") < 1e-6


@pytest.mark.parametrize(("how", "low", "high"), [("none", 0, 255), ("unit", 0, 1), ("symmetric", -1, 1)])
def test_noise_fills_the_range_of_the_input(how: str, low: float, high: float) -> None:
    noise = random_pictures(InputSpec(16, 16, "gray", how))  # type: ignore[arg-type]
    assert noise.shape == (8, 16, 16, 1)
    assert low <= noise.min() < low + 0.1 * (high - low)
    assert high - 0.1 * (high - low) < noise.max() <= high


def test_nothing_that_is_no_number_passes_for_equal() -> None:
    bad = np.full((1, 3), np.nan, np.float32)
    assert difference(bad, np.ones((1, 3), np.float32), "probs") == float("inf")
