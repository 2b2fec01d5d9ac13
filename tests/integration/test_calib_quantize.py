"""Packages get INT8 graphs that keep their accuracy, or none."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_models
import tiny_patterns
from edgeharfer.calib import open_calibration_source
from edgeharfer.calib.data import batches
from edgeharfer.calib.graphs import StaticQuantizer, dynamic_int8
from edgeharfer.calib.guard import AccuracyLimits
from edgeharfer.calib.quantize import Quantization
from edgeharfer.calib.recipes import CALIBRATORS, Recipe
from edgeharfer.calib.scoring import Scorer, layer_errors
from edgeharfer.export import Int8Options, quantize_package
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.package import Package, load_package, verify_package
from edgeharfer.runtime.inference.session import make_session


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_patterns.write_pictures(tmp_path_factory.mktemp("data") / "stripes", {"train": 20, "val": 25})


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return tiny_patterns.picture_package(tmp_path_factory.mktemp("package") / "tiny")


def receipt_of(package: Package) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((package.path / "receipt.json").read_text())
    return found


def pretend_times(monkeypatch: pytest.MonkeyPatch, times_ms: dict[str, float]) -> None:
    """What each candidate takes; the others take as long as each other."""
    monkeypatch.setattr(
        "edgeharfer.calib.quantize.median_ms",
        lambda candidates, *rest, **named: {name: times_ms.get(name, 1.0) for name in candidates},
    )


def test_int8_stands_beside_fp32_and_keeps_the_accuracy(tmp_path: Path, package: Package, data: Path) -> None:
    lines: list[str] = []
    out = tmp_path / "out"
    int8 = Int8Options(data, data, items=40, keep_slower=True)
    made = quantize_package(package.path, out, int8, report=lines.append)
    manifest = verify_package(out).manifest
    assert set(manifest.files) == {"fp32", "int8"}
    assert manifest.files["fp32"] == package.manifest.files["fp32"]
    assert manifest.auto["cpu"] in ("fp32", "int8")
    nodes = made.read("model", "int8").info.nodes
    assert nodes["QuantizeLinear"] >= 2 and nodes["DequantizeLinear"] >= 4
    scorer = Scorer(manifest, open_calibration_source(manifest, data).evaluation(tmp_path))
    fp32 = scorer.figures({"model": made.read("model")})
    quantized = scorer.figures({"model": made.read("model", "int8")})
    assert fp32.top1 > 0.95
    assert quantized.top1 >= fp32.top1 - 0.01
    facts = receipt_of(made)["int8"]
    assert facts["recipe"].startswith("minmax")
    assert facts["calibration"]["items"] == 40
    assert facts["guard"]["n"] == 100
    assert facts["guard"]["also_in_calibration"] == 0
    assert set(facts["guard"]["per_class_points"]) == set(tiny_patterns.CLASSES)
    assert facts["bytes"]["int8"] != facts["bytes"]["fp32"]
    assert set(facts["latency_ms"]["cpu"]) == {"fp32", "int8"}
    parity = receipt_of(made)["parity"]
    assert parity["int8_vs_fp32"] < 0.2
    assert parity["top1_agreement"]["int8_vs_fp32"] > 0.9
    assert "## INT8" in (out / "MODELCARD.md").read_text()
    assert lines[-1] == f"wrote {out}"


@pytest.mark.parametrize(
    ("value", "spread"), [(0, 0), (255, 0), (0, 3)], ids=["black", "white", "faint noise"]
)
def test_a_poisoned_calibration_set_ends_in_refusal(
    tmp_path: Path, package: Package, data: Path, value: int, spread: int
) -> None:
    poison = tiny_patterns.write_flat(tmp_path / "poison", value, spread)
    lines: list[str] = []
    with pytest.raises(
        ModelError, match=r"INT8 is rejected: .*tried minmax: top-1 .*; percentile 99.99"
    ) as caught:
        quantize_package(
            package.path, tmp_path / "out", Int8Options(poison, data, items=40), report=lines.append
        )
    assert "\n" not in str(caught.value)
    assert "without 1 layers" in str(caught.value)
    assert sum("points" in line for line in lines) == len(CALIBRATORS) + 1
    assert [path.name for path in tmp_path.iterdir()] == ["poison"]


def test_a_guard_that_nothing_passes_names_all_that_was_tried(
    tmp_path: Path, package: Package, data: Path
) -> None:
    material = open_calibration_source(package.manifest, data)
    calibration, judged = material.calibration(40, 1), material.evaluation(tmp_path)
    with pytest.raises(ModelError, match="entropy: top-1"):
        Quantization(package, calibration, judged, AccuracyLimits(-50.0, 3.0)).run()


def test_without_data_to_judge_by_int8_is_made_but_never_chosen(
    tmp_path: Path, package: Package, data: Path
) -> None:
    lines: list[str] = []
    int8 = Int8Options(data, items=40, keep_slower=True)
    made = quantize_package(package.path, tmp_path / "out", int8, report=lines.append)
    assert made.manifest.auto == {"cpu": "fp32", "tensorrt": "fp16"}
    assert receipt_of(made)["int8"]["guard"] is None
    assert any("accuracy is not checked" in line for line in lines)


def test_faster_int8_that_nobody_judged_stays_in_the_package(
    tmp_path: Path, package: Package, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_times(monkeypatch, {"fp32": 2.0, "int8": 1.0})
    made = quantize_package(package.path, tmp_path / "out", Int8Options(data, items=40))
    assert set(made.manifest.files) == {"fp32", "int8"}
    assert made.manifest.auto == {"cpu": "fp32", "tensorrt": "fp16"}
    assert receipt_of(made)["int8"]["kept"] is True


def test_a_gpu_timed_by_wall_time_decides_nothing(tmp_path: Path, package: Package, data: Path) -> None:
    int8 = Int8Options(data, data, items=40, target="tensorrt")
    made = quantize_package(package.path, tmp_path / "out", int8)
    assert set(made.manifest.files) == {"fp32", "int8"}
    assert "tensorrt" not in made.manifest.auto
    assert receipt_of(made)["int8"]["chosen_by"] == "nothing: run tune"


@pytest.mark.parametrize(("first_ms", "floats"), [(0.9, ["model: conv1"]), (0.99, [])])
def test_the_first_layers_stay_in_floats_where_that_is_faster(
    tmp_path: Path,
    package: Package,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    first_ms: float,
    floats: list[str],
) -> None:
    pretend_times(monkeypatch, {"1": first_ms})
    made = quantize_package(
        package.path, tmp_path / "out", Int8Options(data, data, items=40, keep_slower=True)
    )
    assert receipt_of(made)["int8"]["in_floats"] == floats


def test_another_split_can_be_judged_by(tmp_path: Path, package: Package, data: Path) -> None:
    """That which was trained on has more of a rare class."""
    int8 = Int8Options(data, data, "train", items=40, keep_slower=True)
    facts = receipt_of(quantize_package(package.path, tmp_path / "out", int8))["int8"]
    assert facts["guard"]["n"] == 80
    assert facts["eval_split"] == "train"


def test_a_clip_model_streams_in_int8(tmp_path: Path) -> None:
    package = tiny_patterns.clip_package(tmp_path / "package")
    data = tiny_patterns.write_clips(tmp_path / "clips", clips=2)
    made = quantize_package(
        package.path, tmp_path / "out", Int8Options(data, data, items=60, keep_slower=True)
    )
    facts = receipt_of(made)["int8"]
    assert facts["heads"]["encoder"] == "static"
    assert facts["heads"]["head"] in ("float", "dynamic")
    assert facts["guard"]["window_top1_points"] >= -1.0
    if facts["heads"]["head"] == "float":
        assert made.manifest.files["int8"]["head"] == made.manifest.files["fp32"]["head"]
    verify_package(made.path)


def test_a_package_can_be_quantized_in_its_place_and_to_int8_alone(
    tmp_path: Path, package: Package, data: Path
) -> None:
    place = tmp_path / "package"
    shutil.copytree(package.path, place)
    made = quantize_package(place, place, Int8Options(data, data, items=40), precisions=("int8",))
    assert set(made.manifest.files) == {"int8"}
    assert sorted(path.name for path in place.iterdir()) == [
        "MODELCARD.md",
        "golden.json",
        "manifest.json",
        "model.int8.onnx",
        "receipt.json",
    ]


def test_slower_int8_is_left_out_and_said_so(
    tmp_path: Path, package: Package, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_times(monkeypatch, {"fp32": 1.0, "int8": 2.0})
    lines: list[str] = []
    made = quantize_package(
        package.path, tmp_path / "out", Int8Options(data, data, items=40), report=lines.append
    )
    assert set(made.manifest.files) == {"fp32"}
    assert made.manifest.auto == {"cpu": "fp32", "tensorrt": "fp16"}
    assert receipt_of(made)["int8"]["kept"] is False
    assert any("slower than FP32" in line for line in lines)
    assert "not part of the package" in (made.path / "MODELCARD.md").read_text()


def test_faster_int8_is_chosen(
    tmp_path: Path, package: Package, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_times(monkeypatch, {"fp32": 2.0, "int8": 1.0})
    made = quantize_package(package.path, tmp_path / "out", Int8Options(data, data, items=40))
    assert made.manifest.auto == {"cpu": "int8", "tensorrt": "fp16"}
    facts = receipt_of(made)["int8"]
    assert facts["latency_clock"] == "thread processor time"
    assert facts["chosen_by"] == "processor time, at least 1.05 x"


def test_the_layers_that_suffer_are_found(tmp_path: Path, package: Package, data: Path) -> None:
    calibration = open_calibration_source(package.manifest, data).calibration(16, 1)
    quantizer = StaticQuantizer(
        package.read("model"), "model", lambda: batches(calibration.pictures, package.manifest)
    )
    given = next(batches(calibration.pictures, package.manifest))
    found = layer_errors(quantizer, Recipe(CALIBRATORS[0]), lambda graph: make_session(graph).run1(given))
    assert sorted(layer for layer, _ in found) == sorted(quantizer.layers)
    errors = [error for _, error in found]
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[0] < 0.1


def test_scores_stay_in_floats(package: Package, data: Path) -> None:
    """Eight bits for all scores, between the smallest and the largest of any class, change labels."""
    import onnx

    calibration = open_calibration_source(package.manifest, data).calibration(16, 1)
    quantizer = StaticQuantizer(
        package.read("model"), "model", lambda: batches(calibration.pictures, package.manifest)
    )
    graph = onnx.load_from_string(quantizer.quantized(Recipe(CALIBRATORS[0])).data).graph
    (last,) = (node for node in graph.node if graph.output[0].name in node.output)
    assert last.op_type in ("Gemm", "MatMul", "Softmax")
    makers = {name: node.op_type for node in graph.node for name in node.output}
    assert {makers.get(name) for name in last.input[:2]} == {"DequantizeLinear"}
    read = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= read


def test_what_a_subgraph_reads_stays() -> None:
    """A body can read tensors of the graph around it that are not inputs of its node."""
    from onnx import TensorProto, helper

    def info(name: str, kind: int = TensorProto.FLOAT, shape: list[int] | None = None) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("Add", ["value", "scores"], ["sum"]),
            helper.make_node("Add", ["sum", "offset"], ["value_out"]),
        ],
        "body",
        [info("count", TensorProto.INT64, []), info("go_on", TensorProto.BOOL, []), info("value")],
        [info("go_on_out", TensorProto.BOOL, []), info("value_out")],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"], name="product"),
        helper.make_node("Softmax", ["scores"], ["probs"], name="softmax"),
        helper.make_node("Loop", ["twice", "true", "probs"], ["y"], body=body),
    ]
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((6, 4)).astype(np.float32),
        "offset": np.arange(4, dtype=np.float32),
        "twice": np.array(2),
        "true": np.array(True),
    }
    graph = Graph.scan(tiny_models.to_bytes(nodes, {"x": ["batch", 6]}, {"y": ["batch", 4]}, constants))
    given = rng.random((32, 6)).astype(np.float32)
    made = StaticQuantizer(graph, "model", lambda: iter([given])).quantized(Recipe(CALIBRATORS[0]))
    wanted = make_session(graph).run1(given)
    np.testing.assert_allclose(make_session(made).run1(given), wanted, atol=0.1)


def test_tensorrt_gets_signed_symmetric_values(package: Package, data: Path) -> None:
    import onnx

    calibration = open_calibration_source(package.manifest, data).calibration(16, 1)
    quantizer = StaticQuantizer(
        package.read("model"), "model", lambda: batches(calibration.pictures, package.manifest)
    )
    model = onnx.load_from_string(quantizer.quantized(Recipe(CALIBRATORS[0], "tensorrt")).data)
    zeros = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if "zero_point" in tensor.name
    ]
    assert zeros
    assert {str(zero.dtype) for zero in zeros} == {"int8"}
    assert not any(zero.any() for zero in zeros)


def test_dynamic_heads_keep_their_answers() -> None:
    head = Graph.scan(tiny_patterns.head(4))
    windows = np.random.default_rng(0).random((5, 4, tiny_patterns.FEATURES), np.float32)
    wanted = make_session(head).run1(windows)
    given = make_session(dynamic_int8(head, "head")).run1(windows)
    np.testing.assert_allclose(given, wanted, atol=0.1)


def test_a_package_without_fp32_or_of_faces_is_refused(tmp_path: Path, package: Package, data: Path) -> None:
    def refused(error: type[EdgeharferError], message: str, source: Path | str, **options: Any) -> None:
        with pytest.raises(error, match=message):
            quantize_package(source, tmp_path / "out", Int8Options(data, data, items=40), **options)
        assert not (tmp_path / "out").exists()

    refused(ConfigError, "and a face detector has none", "face-full-range")
    refused(
        ConfigError, "has no fp16 graphs: export its model again", package.path, precisions=("fp16", "int8")
    )
    alone = quantize_package(
        package.path, tmp_path / "alone", Int8Options(data, data, items=40), precisions=("int8",)
    )
    refused(ModelError, "has no FP32 graphs", alone.path, precisions=("int8",))
    assert load_package(alone.path).manifest.precision_for("cpu", "auto") == "int8"


def test_portraits_that_are_cut_can_be_calibrated_on(tmp_path: Path, data: Path) -> None:
    """The face is detected first, by the same detector as in a run."""
    made = tiny_patterns.picture_package(tmp_path / "tiny")
    manifest = replace(made.manifest, options={"portraits": "cut"})
    assert len(open_calibration_source(manifest, data).calibration(4, 1).pictures) == 4
