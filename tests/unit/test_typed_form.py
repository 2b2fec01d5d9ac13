"""Forms of graphs for TensorRT: the same outputs, and nothing that its parser refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tiny_models
import tiny_patterns
from edgeharfer.calib.graphs import StaticQuantizer, dynamic_int8
from edgeharfer.calib.recipes import CALIBRATORS, Recipe
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.package import Package, load_package, shipped_packages, write_manifest
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.inference.tuning import read_graph
from edgeharfer.runtime.inference.typed_form import DYNAMIC, half_form, tensorrt_form

SIDES = {"side": 96, "height": 64, "width": 64}
FULL = [
    (package.manifest.name, role, precision)
    for package in shipped_packages()
    for precision, roles in package.manifest.files.items()
    for role in roles
    if package.manifest.name in ("emotion-fer7", "action-ucf20", "pose", "action-daily", "face-yunet")
]


@pytest.fixture(scope="module")
def quantized() -> Graph:
    rng = np.random.default_rng(0)
    pictures = np.stack([tiny_patterns.stripes(label % 4, rng) for label in range(16)])[..., None] / 255
    graph = Graph.scan(tiny_patterns.classifier())
    return StaticQuantizer(graph, "model", lambda: iter([pictures.astype(np.float32)])).quantized(
        Recipe(CALIBRATORS[0])
    )


def tensors_of(graph: Graph) -> dict[str, Any]:
    model = onnx.load_from_string(graph.data)
    onnx.checker.check_model(model, full_check=True)
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def outputs(graph: Graph, seed: int = 0) -> Any:
    session = make_session(graph)
    shape = [one if isinstance(one, int) else SIDES.get(str(one), 1) for one in session.input_shape]
    noise = np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)
    return session.run1(noise)


def test_quantized_activations_become_signed_and_symmetric(quantized: Graph) -> None:
    assert "uint8" in {str(one.dtype) for one in tensors_of(quantized).values()}
    made = tensorrt_form(quantized)
    tensors = tensors_of(made)
    assert not {"uint8", "int32"} & {str(one.dtype) for one in tensors.values()}
    zeros = [one for name, one in tensors.items() if "zero_point" in name]
    assert zeros
    assert not any(one.any() for one in zeros)
    np.testing.assert_allclose(
        outputs(made), outputs(quantized), atol=0.02 * np.abs(outputs(quantized)).max()
    )


def test_a_lower_limit_of_zero_becomes_a_relu(quantized: Graph) -> None:
    """The quantizer leaves out a Relu whose output is unsigned; signed values need it again."""
    assert quantized.info.nodes.get("Relu", 0) < tensorrt_form(quantized).info.nodes["Relu"]


def test_a_graph_that_tensorrt_takes_is_not_changed() -> None:
    graph = Graph.scan(tiny_patterns.classifier())
    assert tensorrt_form(graph) is graph
    made = tensorrt_form(tensorrt_form(graph))
    assert made.sha256 == graph.sha256


def test_half_form_has_half_weights_and_float_ends() -> None:
    graph = Graph.scan(tiny_patterns.classifier())
    made = half_form(graph)
    assert {str(one.dtype) for one in tensors_of(made).values()} == {"float16"}
    np.testing.assert_allclose(outputs(made), outputs(graph), rtol=5e-3, atol=5e-3)


def test_half_form_keeps_what_must_be_float_and_limits_masks() -> None:
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["big"], mode="nearest"),
        helper.make_node(
            "Constant", [], ["one"], value=helper.make_tensor("v", TensorProto.FLOAT, [], [1.0])
        ),
        helper.make_node("Add", ["big", "one"], ["more"]),
        helper.make_node("Cast", ["bytes"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["more", "weights"], ["scaled"]),
        helper.make_node("Max", ["scaled", "mask"], ["y"]),
    ]
    model = tiny_models.to_bytes(
        nodes,
        {"x": [1, 1, 2, 2]},
        {"y": [1, 1, 4, 4]},
        {
            "scales": np.array([1, 1, 2, 2], np.float32),
            "bytes": np.array([3], np.int8),
            "mask": np.array([-1e9], np.float32),
        },
    )
    graph = Graph.scan(model)
    made = half_form(graph)
    tensors = tensors_of(made)
    assert tensors["scales"].dtype == np.float32
    assert tensors["mask"] == np.float16(-65504)
    assert "int8" not in {str(one.dtype) for one in tensors.values()}
    np.testing.assert_allclose(outputs(made), outputs(graph), rtol=2e-3)


def test_a_graph_with_subgraphs_has_no_half_form() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])],
    )
    node = helper.make_node("If", ["which"], ["y"], then_branch=branch, else_branch=branch)
    model = tiny_models.to_bytes([node], {"x": [1]}, {"y": [1]}, {"which": np.array(True)})
    with pytest.raises(ModelError, match="subgraphs cannot be converted to FP16"):
        half_form(Graph.scan(model))


@pytest.mark.parametrize(("name", "role", "precision"), FULL)
def test_shipped_graphs_have_valid_forms(name: str, role: str, precision: str) -> None:
    graph = load_package(name).read(role, precision)
    made = tensorrt_form(graph)
    tensors_of(made)
    assert "uint8" not in {str(one.dtype) for one in tensors_of(made).values()}
    if precision == "fp32":
        half = half_form(graph)
        given, wanted = outputs(half), outputs(graph)
        cosine = float((given * wanted).sum() / np.linalg.norm(given) / np.linalg.norm(wanted))
        assert cosine > 0.99


def test_the_provider_decides_the_form(tmp_path: Path, quantized: Graph) -> None:
    folder = tmp_path / "package"
    package = tiny_patterns.picture_package(folder)
    spec = tiny_models.file_spec(folder, "model.int8.onnx", quantized.data)
    files = {**package.manifest.files, "int8": {"model": spec}}
    write_manifest(folder, package.manifest.__class__(**{**vars(package.manifest), "files": files}))
    package = load_package(folder)
    assert read_graph(package, "model", Backend("cpu", "int8")).sha256 == quantized.sha256
    for provider in ("tensorrt", "tensorrt-rtx"):
        made = read_graph(package, "model", Backend(provider, "int8"))
        assert made.sha256 == tensorrt_form(quantized).sha256
    half = read_graph(package, "model", Backend("cuda", "fp16"))
    assert half.sha256 == half_form(package.read("model")).sha256
    assert package.manifest.precision_for("tensorrt", "fp16") == "fp16"


def test_activations_quantized_at_run_time_give_way_to_fp16(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    package: Package = tiny_patterns.clip_package(folder)
    head = dynamic_int8(package.read("head"), "head")
    assert DYNAMIC in head.info.nodes
    spec = tiny_models.file_spec(folder, "head.int8.onnx", head.data)
    floats = package.manifest.files["fp32"]
    files = {"fp32": floats, "int8": {**floats, "head": spec}}
    write_manifest(folder, package.manifest.__class__(**{**vars(package.manifest), "files": files}))
    package = load_package(folder)
    made = read_graph(package, "head", Backend("tensorrt", "int8"))
    assert made.sha256 == half_form(package.read("head")).sha256


def test_operators_that_depend_on_each_other_are_an_error() -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "b")]
    model = helper.make_model(
        helper.make_graph(nodes, "circle", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    with pytest.raises(ModelError, match="contains a cycle"):
        half_form(Graph.scan(model.SerializeToString()))
