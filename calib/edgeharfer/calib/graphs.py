"""INT8 quantization with ONNX Runtime's tools: ranges are measured once and used for many recipes."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeharfer.calib import tools
from edgeharfer.calib.nodes import read_names
from edgeharfer.calib.recipes import Calibrator, Recipe
from edgeharfer.calib.rounding import InputMoments, round_weights
from edgeharfer.calib.weights import WeightMatrix, Weights, scale_overrides, weight_matrices
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import make_session
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
        self._matrices = list(weight_matrices(self._model))
        self._rounded: dict[Weights, dict[str, tuple[Floats, list[dict[str, Any]]]]] = {}

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
        floats = {layer for role, layer in recipe.in_floats if role == self.role}
        model, overrides = self._with_rounded_weights(recipe, set(only or self.layers) - floats)
        with tools.quiet():
            quantizer = quantizer_of(
                model,
                per_channel=True,
                reduce_range=False,
                weight_qType=onnx_type.QInt8,
                activation_qType=onnx_type.QUInt8 if for_cpu else onnx_type.QInt8,
                tensors_range=self._measured(recipe),
                nodes_to_quantize=list(only),
                nodes_to_exclude=sorted(floats),
                op_types_to_quantize=_cpu_ops() if for_cpu else list(_TENSORRT_OPS),
                extra_options={"TensorQuantOverrides": overrides, **({} if for_cpu else _TENSORRT_OPTIONS)},
            )
            quantizer.quantize_model()
            if for_cpu:
                _keep_float_scores(quantizer.model.model)
            quantizer.model.topological_sort()
        return Graph.scan(_bytes(quantizer.model.model), self.role)

    def _with_rounded_weights(
        self, recipe: Recipe, layers: Set[str]
    ) -> tuple[Any, dict[str, list[dict[str, Any]]]]:
        """Return the model with weights of these layers that 8 bits represent, and their scales."""
        if recipe.weights not in self._rounded:
            self._rounded[recipe.weights] = {
                one.tensor: self._round(one, recipe.weights) for one in self._matrices
            }
        rounded = self._rounded[recipe.weights]
        chosen = {one.tensor for one in self._matrices if one.node.name in layers}
        model = _copy(self._model)
        from_array = tools.load("onnx").numpy_helper.from_array
        for tensor in model.graph.initializer:
            if tensor.name in chosen:
                tensor.CopyFrom(from_array(rounded[tensor.name][0], tensor.name))
        return model, {name: rounded[name][1] for name in sorted(chosen)}

    def _round(self, matrix: WeightMatrix, weights: Weights) -> tuple[Floats, list[dict[str, Any]]]:
        scales = matrix.scales(weights)
        by_row = scales.reshape(matrix.rows.shape[:2])
        integers = round_weights(
            matrix.rows,
            by_row,
            self._moments.corrections(matrix),
            in_pairs=weights == "exact" and matrix.in_pairs,
        )
        return matrix.to_tensor(integers * by_row[..., None]), scale_overrides(matrix, scales)

    @cached_property
    def _moments(self) -> InputMoments:
        return _input_moments(self._model, self._batches(), self._matrices, self.role)

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


def _input_moments(
    model: Any, batches: Iterator[Floats], matrices: Sequence[WeightMatrix], name: str
) -> InputMoments:
    """Run a model on the calibration set and collect the inputs of its layers."""
    moments = InputMoments(matrices)
    fed = model.graph.input[0].name
    probed = _copy(model)
    onnx = tools.load("onnx")
    probed.graph.output.extend(
        onnx.helper.make_tensor_value_info(one, onnx.TensorProto.FLOAT, None)
        for one in sorted(set(moments.tensors) - {fed} - {output.name for output in model.graph.output})
    )
    session = make_session(Graph.scan(_bytes(probed), name))
    for batch in with_progress(batches, f"measuring inputs of layers of the {name}"):
        moments.add({fed: batch, **session.run({fed: batch})})
    return moments


def _keep_float_scores(model: Any) -> None:
    """Leave matrix products in floats if nothing quantized reads them.

    Eight bits for all values between the smallest and the largest score change labels and save no time.
    """
    graph = model.graph
    readers: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for name in set(read_names(node)):
            readers[name].append(node)
    removed = []
    for node in (one for one in graph.node if one.op_type in ("Gemm", "MatMul")):
        pair = readers[node.output[0]]
        pair = [*pair, *readers[pair[0].output[0]]] if len(pair) == 1 else []
        if [one.op_type for one in pair] != ["QuantizeLinear", "DequantizeLinear"]:
            continue
        result = pair[1].output[0]
        if all(one.op_type in _IN_FLOATS for one in readers[result]):
            node.output[0] = result
            removed += pair
    for node in removed:
        graph.node.remove(node)
    unused = {name for node in removed for name in node.input[1:]}
    unused -= {name for node in graph.node for name in read_names(node)}
    for tensor in [one for one in graph.initializer if one.name in unused]:
        graph.initializer.remove(tensor)


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
