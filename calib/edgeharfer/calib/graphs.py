"""INT8 quantization with ONNX Runtime's tools: ranges are measured once and used for many recipes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeharfer.calib import tools
from edgeharfer.calib.recipes import Calibrator, Recipe
from edgeharfer.calib.weights import exact_overrides
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.types import Floats

CONVOLUTIONS = ("Conv", "ConvTranspose")
WEIGHTED = (*CONVOLUTIONS, "Gemm", "MatMul")
"""Operators whose weights are quantized."""
RECURRENT = ("LSTM",)
"""Recurrent operators that the dynamic quantizer supports; a GRU stays in FP32."""

# Their output decides the label or scales whole channels, and in floats they cost almost nothing.
_IN_FLOATS = ("Softmax", "Sigmoid", "LogSoftmax")
# TensorRT fuses the operators that follow these, with a higher resolution than eight bits.
_TENSORRT_OPS = (*WEIGHTED, "Add", "GlobalAveragePool", "AveragePool", "MaxPool")
_TENSORRT_OPTIONS = {
    "ActivationSymmetric": True,
    "AddQDQPairToWeight": True,
    "DedicatedQDQPair": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": list(WEIGHTED),
}
Batches = Callable[[], Iterator[Floats]]


class StaticQuantizer:
    """Static quantization of one graph, with tensor ranges measured on the calibration set.

    Args:
        graph: The FP32 graph.
        role: Role of the graph in its package.
        batches: Returns an iterator over the calibration set in the form of the graph's input.

    Raises:
        ModelError: ONNX Runtime cannot prepare the graph.
    """

    def __init__(self, graph: Graph, role: str, batches: Batches) -> None:
        self.role = role
        self._batches = batches
        self._ranges: dict[tuple[Calibrator, str], Any] = {}
        self._model = _prepared(graph, role)

    @property
    def original(self) -> Graph:
        """The prepared FP32 graph."""
        return Graph.scan(_bytes(_copy(self._model)), self.role)

    @property
    def layers(self) -> list[str]:
        """Names of the nodes with weights to quantize."""
        return [node.name for node in self._model.graph.node if node.op_type in WEIGHTED]

    def quantized(self, recipe: Recipe, only: Sequence[str] = ()) -> Graph:
        """Quantize the graph with a recipe; if `only` is given, just those nodes."""
        onnx_type = tools.load("onnxruntime.quantization").QuantType
        quantizer_of = tools.load("onnxruntime.quantization.qdq_quantizer").QDQQuantizer
        for_cpu = recipe.target == "cpu"
        model = _copy(self._model)
        with tools.quiet():
            quantizer = quantizer_of(
                model,
                per_channel=True,
                reduce_range=False,
                weight_qType=onnx_type.QInt8,
                activation_qType=onnx_type.QUInt8 if for_cpu else onnx_type.QInt8,
                tensors_range=self._measured(recipe),
                nodes_to_quantize=list(only),
                nodes_to_exclude=[layer for role, layer in recipe.in_floats if role == self.role],
                op_types_to_quantize=_cpu_ops() if for_cpu else list(_TENSORRT_OPS),
                extra_options=self._options(recipe),
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        return Graph.scan(_bytes(quantizer.model.model), self.role)

    def _options(self, recipe: Recipe) -> dict[str, Any]:
        if recipe.target == "tensorrt":
            return dict(_TENSORRT_OPTIONS)
        return {"TensorQuantOverrides": exact_overrides(self._model)} if recipe.weights == "exact" else {}

    def _measured(self, recipe: Recipe) -> Any:
        key = recipe.calibrator, recipe.target
        if key not in self._ranges:
            self._ranges[key] = _ranges(self._model, self._batches(), recipe, self.role)
        return self._ranges[key]


def dynamic_int8(graph: Graph, role: str) -> Graph:
    """Quantize the weights of recurrent layers and matrix products, and their activations at run time.

    The weights have seven bits, so that products are exact on every processor.
    """
    quantization = tools.load("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as folder, tools.quiet():
        source, result = Path(folder, "in.onnx"), Path(folder, "out.onnx")
        source.write_bytes(_bytes(_prepared(graph, role)))
        quantization.quantize_dynamic(
            source,
            result,
            op_types_to_quantize=[*RECURRENT, "Gemm", "MatMul"],
            weight_type=quantization.QuantType.QInt8,
            reduce_range=True,
        )
        return Graph.scan(_bytes(tools.load("onnx").load(result)), role)


def _cpu_ops() -> list[str]:
    registry = tools.load("onnxruntime.quantization.registry")
    return sorted({*registry.QDQRegistry, *registry.QLinearOpsRegistry} - set(_IN_FLOATS))


def _prepared(graph: Graph, role: str) -> Any:
    """Fold constants and infer shapes, through files because the tool loses shapes of a graph in memory."""
    process = tools.load("onnxruntime.quantization").quant_pre_process
    with tempfile.TemporaryDirectory() as folder, tools.quiet():
        source, result = Path(folder, "in.onnx"), Path(folder, "out.onnx")
        source.write_bytes(graph.data)
        try:
            process(source, result, skip_symbolic_shape=True)
        except Exception as error:  # ONNX Runtime and onnx raise many types for a graph they cannot infer.
            raise ModelError(f"{role}: cannot be prepared for INT8: {error}") from error
        return tools.load("onnx").load(result)


def _ranges(model: Any, batches: Iterator[Floats], recipe: Recipe, name: str) -> Any:
    """Measure the range of each tensor batch by batch: histograms hold all values of a call in memory."""
    calibrate = tools.load("onnxruntime.quantization.calibrate")
    feed = model.graph.input[0].name
    options = {"symmetric": recipe.target == "tensorrt", **dict(recipe.calibrator.options)}
    with tempfile.TemporaryDirectory() as folder, tools.quiet():
        path = Path(folder, "model.onnx")
        path.write_bytes(_bytes(model))
        try:
            calibrator = calibrate.create_calibrator(
                path,
                None,
                str(Path(folder, "augmented.onnx")),
                calibrate.CalibrationMethod[recipe.calibrator.method],
                extra_options=options,
            )
            for batch in with_progress(batches, f"calibrating the {name}, {recipe.calibrator}"):
                calibrator.collect_data(_Reader([{feed: batch}]))
            return calibrator.compute_data()
        except Exception as error:  # The calibrators raise many types for values that are not finite.
            raise ModelError(f"{name}: cannot be calibrated: {error}") from error


class _Reader:
    """ONNX Runtime's protocol for calibration data: the next feeds, then None."""

    def __init__(self, feeds: Iterable[Mapping[str, Floats]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, Floats] | None:
        feeds = next(self._feeds, None)
        return None if feeds is None else dict(feeds)


def _bytes(model: Any) -> bytes:
    """Serialize a model without the domains that ONNX Runtime declares but the graph does not use."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [one for one in model.opset_import if one.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    del model.metadata_props[:], model.graph.value_info[:]
    return bytes(model.SerializeToString(deterministic=True))


def _copy(model: Any) -> Any:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy
