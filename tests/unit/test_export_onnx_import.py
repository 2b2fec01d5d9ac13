"""Graphs of other tools, brought into the runtime's form: they give what ONNX Runtime gives for the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxconverter_common import float16

import foreign_models
from edgeharfer.export.clip_graphs import clip_graphs
from edgeharfer.export.foreign import ForeignFile, convert_file, score_file
from edgeharfer.export.onnx_import import CLOSE, ImportedGraph, ImportOptions
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.types import Floats
from foreign_models import node


def file_of(folder: Path, made: onnx.ModelProto, **options: Any) -> ForeignFile:
    return ForeignFile(foreign_models.save(made, folder / "m.onnx"), "onnx", ImportOptions(**options))


def run(model: Any, batch: Floats) -> Floats:
    return make_session(Graph.scan(model.SerializeToString())).run1(batch)


def pixels(imported: ImportedGraph, number: int = 3, *, unit: bool = False) -> Floats:
    rng = np.random.default_rng(8)
    made = rng.integers(0, 256, (number, *imported.axes.shape)).astype(np.float32)
    return np.asarray(made / 255, np.float32) if unit else made


def check(file: ForeignFile, atol: float = 1e-5) -> ImportedGraph:
    """Convert a file and compare the graph with the file, several inputs at once."""
    imported = convert_file(file)
    inputs = pixels(imported, unit=not imported.scaling)
    expected = score_file(file, imported.axes.to_file(inputs)).reshape(len(inputs), *imported.scores)
    np.testing.assert_allclose(run(imported.model, inputs), expected, atol=atol)
    return imported


def operators(imported: ImportedGraph) -> list[str]:
    return [one.op_type for one in imported.model.graph.node]


@pytest.mark.parametrize("batch", [1, "batch_size"])
def test_channels_first_stay_so(tmp_path: Path, batch: int | str) -> None:
    imported = check(file_of(tmp_path, foreign_models.cnn(batch)))
    assert (imported.axes.layout, imported.axes.shape, imported.batch) == ("nchw", (3, 16, 16), None)
    assert "Transpose" not in operators(imported)
    dims = imported.model.graph.input[0].type.tensor_type.shape.dim
    assert [one.dim_param or one.dim_value for one in dims] == ["batch", 3, 16, 16]


def channels_last() -> onnx.ModelProto:
    """Channels last, with a scaling before the transposition."""
    made = foreign_models.cnn(
        begin=[node("Mul", ["input", "s"], ["m"]), node("Transpose", ["m"], ["x"], perm=[0, 3, 1, 2])],
        constants={"s": np.array(1 / 255, np.float32)},
    )
    shape = made.graph.input[0].type.tensor_type.shape
    shape.dim[1].dim_value, shape.dim[3].dim_value = 16, 3
    return made


def test_a_transposition_at_the_start_is_left_to_the_preprocessing(tmp_path: Path) -> None:
    imported = check(file_of(tmp_path, channels_last()))
    assert (imported.axes.order, imported.axes.layout, imported.axes.shape) == ("nhwc", "nchw", (3, 16, 16))
    assert "Transpose" not in operators(imported)
    assert imported.scaling == "Mul"


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 19])
def test_opsets_are_raised_but_never_lowered(tmp_path: Path, opset: int) -> None:
    imported = check(file_of(tmp_path, foreign_models.cnn(opset=opset)))
    assert imported.model.opset_import[0].version == max(opset, 17)
    assert imported.notes == ({"opset": f"{opset}, converted to 17"} if opset < 17 else {})


@pytest.mark.parametrize("opset", [6, 7, 8])
def test_the_form_of_ferplus(tmp_path: Path, opset: int) -> None:
    """Old opsets, constants among the inputs, a fixed batch, its own scaling, batch normalization."""
    imported = check(file_of(tmp_path, foreign_models.cntk(opset)), atol=1e-4)
    compared = ", and compared with its form in opset 7" if opset < 7 else ""
    assert imported.notes["opset"] == f"{opset}, converted to 17{compared}"
    assert (imported.axes.shape, imported.scores, imported.batch) == ((1, 16, 16), (8,), None)
    assert imported.scaling == "Sub"
    assert "Dropout" not in operators(imported)


def test_an_opset_that_nobody_converts_is_refused_with_the_way_out(tmp_path: Path) -> None:
    made = foreign_models.cntk(6)
    made.opset_import[0].version = 2
    with pytest.raises(
        ModelError, match=r"its opset 2 is older than ONNX Runtime supports .*: export the model again"
    ):
        convert_file(file_of(tmp_path, made))


def test_a_batch_that_cannot_be_freed_is_stated(tmp_path: Path) -> None:
    file = file_of(tmp_path, foreign_models.token())
    imported = check(file)  # a session runs a fixed batch row by row
    assert imported.batch == 1
    assert imported.notes["batch"].startswith("fixed at 1")
    with pytest.raises(ModelError, match="its batch size is fixed at 2"):
        convert_file(file_of(tmp_path, foreign_models.token(2)))


@pytest.mark.parametrize("batch", [1, "N"])
def test_a_clip_model_of_pytorch_is_split(tmp_path: Path, batch: int | str) -> None:
    imported = check(file_of(tmp_path, foreign_models.cnn_lstm(batch)))
    assert (imported.axes.order, imported.axes.layout, imported.batch) == ("ntchw", "nchw", None)
    encoder, head, reason = clip_graphs(imported, "m")
    assert reason is None
    assert [one.op_type for one in encoder.graph.node] == ["Conv", "Relu", "GlobalAveragePool", "Flatten"]
    assert [one.op_type for one in head.graph.node] == ["Transpose", "LSTM", "Squeeze", "Gemm"]
    clip = pixels(imported, 1, unit=True)
    features = run(encoder, clip[0])
    np.testing.assert_allclose(run(head, features[None]), run(imported.model, clip), atol=1e-5)


def test_a_three_dimensional_convolution_stays_whole(tmp_path: Path) -> None:
    made = foreign_models.model(
        [
            node("Conv", ["input", "w"], ["c"], strides=[2, 4, 4]),
            node("GlobalAveragePool", ["c"], ["g"]),
            node("Flatten", ["g"], ["output"]),
        ],
        [1, 3, 8, 16, 16],
        [1, 4],
        {"w": foreign_models.weights(4, 3, 3, 3, 3)},
    )
    imported = check(file_of(tmp_path, made))
    assert (imported.axes.order, imported.axes.shape) == ("ncthw", (8, 3, 16, 16))
    encoder, head, reason = clip_graphs(imported, "m")
    assert reason is not None and "cannot be split" in reason
    clip = pixels(imported, 1, unit=True)
    window = run(encoder, clip[0])[None]
    np.testing.assert_allclose(run(head, window), run(imported.model, clip), atol=1e-5)


def test_quantized_weights_become_floats(tmp_path: Path) -> None:
    """Weights are exact and the limits of activations, which stand for a ReLU, are kept."""
    imported = check(file_of(tmp_path, foreign_models.quantized()), atol=0.05)
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators(imported))
    assert operators(imported).count("Clip") == 2
    assert "8-bit" in imported.notes["quantized"]


@pytest.mark.parametrize("operator", ["ConvInteger", "MatMulInteger", "QLinearConv"])
def test_graphs_that_compute_in_integers_are_refused_with_the_way_out(tmp_path: Path, operator: str) -> None:
    """Dynamic quantization of PyTorch and ONNX Runtime."""
    made = foreign_models.model(
        [
            node("DynamicQuantizeLinear", ["input"], ["q", "s", "z"]),
            node("ConvInteger", ["q", "w", "z"], ["c"], strides=[3, 3]),
            node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
            node("GlobalAveragePool", ["f"], ["g"]),
            node("Flatten", ["g"], ["output"]),
        ],
        [1, 3, 16, 16],
        [1, 4],
        {"w": np.ones((4, 3, 3, 3), np.uint8)},
    )
    if operator == "MatMulInteger":
        made = foreign_models.model(
            [
                node("Flatten", ["input"], ["x"]),
                node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
                node("MatMulInteger", ["q", "w", "z"], ["c"]),
                node("Cast", ["c"], ["output"], to=TensorProto.FLOAT),
            ],
            [1, 3, 16, 16],
            [1, 4],
            {"w": np.ones((768, 4), np.uint8)},
        )
    if operator == "QLinearConv":
        one, zero = np.array(0.1, np.float32), np.array(0, np.uint8)
        made = foreign_models.model(
            [
                node("QuantizeLinear", ["input", "one", "zero"], ["q"]),
                node("QLinearConv", ["q", "one", "zero", "w", "one", "zero", "one", "zero"], ["c"]),
                node("DequantizeLinear", ["c", "one", "zero"], ["f"]),
                node("GlobalAveragePool", ["f"], ["g"]),
                node("Flatten", ["g"], ["output"]),
            ],
            [1, 3, 16, 16],
            [1, 4],
            {"w": np.ones((4, 3, 3, 3), np.uint8), "one": one, "zero": zero},
        )
    with pytest.raises(
        ModelError, match=rf"is quantized \({operator}\): export the float model.*--calibration"
    ):
        convert_file(file_of(tmp_path, made))


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    made, kind = foreign_models.cnn(), np.float16
    data_type = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    for tensor in made.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), tensor.name))
    for one in (*made.graph.input, *made.graph.output):
        one.type.tensor_type.elem_type = data_type
    imported = check(file_of(tmp_path, made), atol=5e-3)
    assert imported.notes == {"floats": "float16 became float32"}
    assert {one.data_type for one in imported.model.graph.initializer} <= {
        TensorProto.FLOAT,
        TensorProto.INT64,
    }


def test_half_precision_may_round_more_than_other_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels of 0 to 255, scaled by the file itself, whose products float16 rounds."""
    made = foreign_models.cnn(
        begin=[node("Mul", ["input", "factor"], ["x"])], constants={"factor": np.array(3.7, np.float32)}
    )
    half = float16.convert_float_to_float16(made, keep_io_types=False)
    monkeypatch.setattr("edgeharfer.export.onnx_import.HALF_CLOSE", CLOSE)
    with pytest.raises(ModelError, match="its scores change by"):
        convert_file(file_of(tmp_path, half))
    monkeypatch.undo()
    check(file_of(tmp_path, half), atol=0.05)


def test_operators_of_onnx_runtime_are_kept(tmp_path: Path) -> None:
    """Its optimizer writes them to files."""
    made = foreign_models.cnn(end=[node("Relu", ["y"], ["output"])])
    made.graph.node[-1].op_type, made.graph.node[-1].domain = "Gelu", "com.microsoft"
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert "Gelu" in operators(check(file_of(tmp_path, made)))


def test_the_number_of_a_class_is_no_score(tmp_path: Path) -> None:
    made = foreign_models.cnn(end=[node("ArgMax", ["y"], ["output"], axis=1)])
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(ModelError, match=r"'output' is the number of the best class .* without ArgMax"):
        convert_file(file_of(tmp_path, made))


def test_bytes_as_input(tmp_path: Path) -> None:
    made = foreign_models.cnn(
        begin=[node("Cast", ["input"], ["x"], to=TensorProto.FLOAT)],
    )
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    file = file_of(tmp_path, made)
    imported = convert_file(file)
    inputs = pixels(imported)
    np.testing.assert_allclose(run(imported.model, inputs), score_file(file, inputs), rtol=1e-5)


@pytest.mark.parametrize(
    "end",
    [
        [node("Unsqueeze", ["y", "two"], ["output"])],
        [node("Reshape", ["y", "row"], ["output"])],
        [node("Softmax", ["y"], ["output"], axis=-1)],
        [node("LogSoftmax", ["y"], ["output"], axis=1)],
    ],
    ids=["1 x 3 x 1", "3", "softmax", "log softmax"],
)
def test_rows_of_scores_in_other_shapes(tmp_path: Path, end: list[onnx.NodeProto]) -> None:
    constants = {"two": np.array([2]), "row": np.array([3])}
    made = foreign_models.cnn(1, end=end, constants=constants)
    del made.graph.output[0].type.tensor_type.shape.dim[:]
    made.graph.output[0].type.tensor_type.ClearField("shape")
    imported = check(file_of(tmp_path, made))
    assert imported.scores == (3,)


def test_several_outputs_need_a_choice(tmp_path: Path) -> None:
    made = foreign_models.cnn(1, end=[node("Softmax", ["y"], ["output"], axis=-1)])
    made.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3]))
    with pytest.raises(ConfigError, match=r"has 2 outputs \(output, y\): choose one with --output"):
        convert_file(file_of(tmp_path, made))
    with pytest.raises(ConfigError, match="has no output 'z'; its outputs are output, y"):
        convert_file(file_of(tmp_path, made, output="z"))
    assert operators(check(file_of(tmp_path, made, output="y")))[-1] == "MatMul"


def free_sizes() -> onnx.ModelProto:
    made = foreign_models.cnn()
    for axis, name in enumerate(("n", "c", "h", "w")):
        made.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    return made


def test_a_free_size_is_asked_for(tmp_path: Path) -> None:
    """The channels are those of the first convolution."""
    with pytest.raises(ConfigError, match="is not fixed: pass --size"):
        convert_file(file_of(tmp_path, free_sizes()))
    imported = check(file_of(tmp_path, free_sizes(), size=(20, 16)))
    assert imported.axes.shape == (3, 16, 20)


def ambiguous() -> onnx.ModelProto:
    return foreign_models.model(
        [node("Flatten", ["input"], ["f"]), node("MatMul", ["f", "k"], ["output"])],
        [1, 3, 8, 3],
        [1, 3],
        {"k": foreign_models.weights(72, 3)},
    )


def test_an_order_that_is_not_clear_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"channels first or last\? Pass --layout nchw or nhwc"):
        convert_file(file_of(tmp_path, ambiguous()))
    assert check(file_of(tmp_path, ambiguous(), layout="nhwc")).axes.shape == (3, 8, 3)
    assert check(file_of(tmp_path, ambiguous(), layout="nchw")).axes.order == "nchw"


def two_inputs() -> onnx.ModelProto:
    made = foreign_models.cnn(1)
    made.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, [1, 1]))
    return made


def of_feature_maps() -> onnx.ModelProto:
    return foreign_models.model(
        [node("Conv", ["input", "w"], ["output"])],
        [1, 3, 16, 16],
        [1, 4, 14, 14],
        {"w": foreign_models.weights(4, 3, 3, 3)},
    )


def over_the_batch() -> onnx.ModelProto:
    return foreign_models.cnn(1, end=[node("Softmax", ["y"], ["output"], axis=0)])


def four_channels() -> onnx.ModelProto:
    return foreign_models.cnn(1, channels=4)


def of_key_points() -> onnx.ModelProto:
    return foreign_models.model(
        [node("ReduceMean", ["input"], ["output"], axes=[1])], [1, 30, 132], [1, 1, 132], {}
    )


def without_batch() -> onnx.ModelProto:
    return foreign_models.model(
        [node("ReduceMean", ["input"], ["output"], axes=[0, 1], keepdims=0)], [16, 16, 3], [3], {}
    )


def growing() -> onnx.ModelProto:
    return foreign_models.cnn(
        1,
        begin=[node("Resize", ["input", "", "scales"], ["big"]), node("Identity", ["big"], ["x"])],
        constants={"scales": np.array([1, 1, 4000, 4000], np.float32)},
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_inputs, r"takes 2 inputs \(input, age\)"),
        (of_feature_maps, "1 x 4 x 14 x 14, not one row of scores"),
        (over_the_batch, "its softmax is not over the classes"),
        (four_channels, "1 x 4 x 16 x 16: 1 or 3 channels are required"),
        (of_key_points, "1 x 30 x 132, neither an image nor a clip"),
        (without_batch, "16 x 16 x 3, an image without an axis for the batch: .* a batch of 1"),
        (growing, "has more than 268435456 elements"),
    ],
)
def test_what_is_no_classifier_of_pictures_is_refused(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        convert_file(file_of(tmp_path, make()))


def test_damaged_graphs_end_in_one_line(tmp_path: Path) -> None:
    """Single bytes changed all over a file: whatever happens is one of the product's errors."""
    whole = foreign_models.cntk().SerializeToString()
    rng = np.random.default_rng(5)
    for _ in range(25):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        path = tmp_path / "m.onnx"
        path.write_bytes(bytes(data))
        try:
            convert_file(ForeignFile(path, "onnx"))
        except EdgeharferError as error:
            assert "\n" not in str(error)
