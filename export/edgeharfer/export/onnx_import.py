"""ONNX graphs of other tools, made into graphs that the runtime takes: opset, types, axes, batch, outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeharfer.export import backend
from edgeharfer.export.convert import OPSET, tidy
from edgeharfer.export.dequantize import dequantize, is_quantized
from edgeharfer.export.head import last_operator
from edgeharfer.export.onnx_axes import Axes, find_axes, fold_transposition
from edgeharfer.export.onnx_file import tensors
from edgeharfer.export.onnx_graph import OnnxGraph, all_nodes, copy_model, rename_tensors
from edgeharfer.export.original import Original
from edgeharfer.runtime.errors import ConfigError, ModelError, first_line
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.scan import MAX_ELEMENTS
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.types import Floats

OLDEST_OPSET = 7
"""The oldest that ONNX Runtime runs."""
CLOSE = 1e-4
"""Largest difference between two graphs of the same model, relative to the largest score."""
HALF_CLOSE = 1e-2
"""The same if one of them computes in float16 or bfloat16."""
QUANTIZED_CLOSE = 0.5
"""The same if one of them rounds activations to eight bits; the receipt has the difference in the end."""

_SAMPLES, _SEED = 3, 20_26
_SUM_TOLERANCE = 0.05  # 8-bit probabilities are rounded to 1/256
# Factors of pixels are about 1/255; those of values between 0 and 1 are at least 1.
_PIXEL_FACTOR = 0.2
_SCALING = ("Sub", "Div", "Mul", "Add")
_CHOOSING = ("ArgMax", "ArgMin", "TopK")
_PASSING = ("Identity", "Cast", "Transpose", "Reshape", "Unsqueeze", "Squeeze")


@dataclass(frozen=True)
class ImportOptions:
    """What the caller says of a file.

    Attributes:
        output: Name of the output to use; None for the only one.
        layout: Order of the input's axes, "nhwc" or "nchw"; "auto" finds the axis of the channels.
        frames: Number of frames, if the file leaves it free.
        size: Width and height in pixels, likewise.
    """

    output: str | None = None
    layout: str = "auto"
    frames: int | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class ImportedGraph:
    """A graph from pictures or clips, "image", to scores (batch, classes), "scores"; both are float32.

    Attributes:
        model: The ModelProto.
        axes: Axes of the file's input.
        scores: Shape of the scores of one input: (classes,), or (frames, classes).
        batch: Size of the batch; None if it is free.
        scaling: Operator at the beginning that takes raw pixels; None if there is none.
        notes: What was changed, for the receipt.
    """

    model: Any
    axes: Axes
    scores: tuple[int, ...]
    batch: int | None = None
    scaling: str | None = None
    notes: dict[str, str] = field(default_factory=dict)


def only_input(model: Any, name: str) -> Any:
    """Return the input of a graph that has one.

    Raises:
        ModelError: It has several, or none.
    """
    constants = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(one.name[:40] for one in inputs[:8])
        raise ModelError(
            f"{name}: takes {len(inputs)} inputs ({names}), but only one image or clip is supported"
        )
    return inputs[0]


def pick_output(model: Any, name: str, wanted: str | None) -> Any:
    """Return an output of a graph.

    Raises:
        ConfigError: There is no output of that name, or there are several and none was named.
    """
    outputs = {one.name: one for one in model.graph.output}
    if wanted is None and len(outputs) == 1:
        return next(iter(outputs.values()))
    names = ", ".join(list(outputs)[:12]) or "none"
    if wanted is None:
        raise ConfigError(f"{name}: has {len(outputs)} outputs ({names}): choose one with --output")
    if wanted not in outputs:
        raise ConfigError(f"{name}: has no output {wanted!r}; its outputs are {names}")
    return outputs[wanted]


def import_graph(
    model: Any, name: str, options: ImportOptions, original: Original, *, layout: str | None = None
) -> ImportedGraph:
    """Convert a graph of another tool.

    Args:
        model: A ModelProto as `read_onnx` returns it; it is changed.
        name: The file, for errors.
        options: What the caller says of it.
        original: The file on its own engine, which the result is compared with.
        layout: Order of the input's axes if it is known.

    Raises:
        ModelError: The graph is no classifier of one picture or clip, or cannot be converted.
        ConfigError: The file leaves something open that the options do not say.
    """
    notes: dict[str, str] = {}
    result = pick_output(model, name, options.output).name
    given = _keep_only(model, name, result)
    if (last := last_operator(model)) in _CHOOSING:
        raise ModelError(
            f"{name}: its output {result!r} is the number of the best class ({last}), not a row of scores: "
            f"export the model without {last}"
        )
    axes = fold_transposition(model, given.name, find_axes(model, given, name, options, layout))
    _fix_sizes(given, axes)
    _check_sizes(model, name)
    is_integer = given.type.tensor_type.elem_type in _integers()
    inputs = _random_inputs(axes, is_integer=is_integer)
    rows = [original.scores(axes.to_file(one[None])) for one in inputs]
    shape = _row_shape(rows[0], axes, name, result)
    is_scaled = _to_floats(model, name, given.name, notes, limits=layout is None)
    scaling = "DequantizeLinear" if is_scaled else _scaling(OnnxGraph(model), given.name)
    if scaling is None and is_integer:
        scaling = "Cast"
    model = _raise_opset(model, name, notes)
    _wrap(model, axes, model.graph.input[0], model.graph.output[0].name, shape)
    tolerance = QUANTIZED_CLOSE if "quantized" in notes else HALF_CLOSE if is_half(notes) else CLOSE
    samples = _Samples(inputs, np.stack([one.reshape(shape) for one in rows]), tolerance)
    made, batch = _free_batch(model, axes, name, samples)
    if batch is not None:
        notes["batch"] = "fixed at 1: the graph mixes the batch with other axes"
    if last_operator(made) == "Softmax" and math.prod(shape) > 1 and not _sum_to_one(samples):
        raise ModelError(
            f"{name}: its softmax is not over the classes: export the model with softmax over axis 1"
        )
    return ImportedGraph(made, axes, shape, batch, scaling, notes)


def _row_shape(scores: Floats, axes: Axes, name: str, result: str) -> tuple[int, ...]:
    """Return the shape of the scores of one input."""
    if axes.frames > 1 and scores.ndim == 3 and scores.shape[1] == axes.frames:
        return axes.frames, scores.shape[2]
    if scores.size == 0 or sum(length > 1 for length in scores.shape) > 1:
        shape = " x ".join(map(str, scores.shape))
        raise ModelError(
            f"{name}: its output {result!r} is {shape}, not one row of scores: choose another with --output"
        )
    return (int(scores.size),)


def _sum_to_one(samples: _Samples) -> bool:
    return bool(np.abs(samples.scores.sum(axis=-1) - 1).max() < _SUM_TOLERANCE)


def _integers() -> tuple[int, ...]:
    kinds = backend.load("onnx").TensorProto
    return kinds.UINT8, kinds.INT8, kinds.INT32, kinds.INT64


def _random_inputs(axes: Axes, *, is_integer: bool) -> Floats:
    """Return three inputs in usual ranges, since the normalization is not known yet."""
    rng, shape = np.random.default_rng(_SEED), axes.shape
    pixels = rng.integers(0, 256, (_SAMPLES, *shape)).astype(np.float32)
    if not is_integer:
        pixels[1] = rng.uniform(-1, 1, shape)
        pixels[2] = rng.standard_normal(shape, np.float32)
    return pixels


def _keep_only(model: Any, name: str, result: str) -> Any:
    """Reduce a graph to one input and one output; return the input."""
    given = only_input(model, name)
    graph = model.graph
    kept = [one for one in graph.output if one.name == result]
    for part, value in ((graph.input, [given]), (graph.output, kept)):
        copies = [type(one).FromString(one.SerializeToString()) for one in value]
        del part[:]
        part.extend(copies)
    del graph.value_info[:]
    del graph.quantization_annotation[:]
    for node in [one for one in graph.node if one.op_type == "Constant" and not one.domain]:
        tensor = next((one.t for one in node.attribute if one.name == "value"), None)
        if tensor is not None:
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = node.output[0]
            graph.node.remove(node)
    rename_tensors(graph, {one: f"{one}/inside" for one in ("image", "scores")})
    ordered = OnnxGraph(model)
    ordered.sort_nodes()
    ordered.remove_unused()
    return graph.input[0]


def _to_floats(model: Any, name: str, feed: str, notes: dict[str, str], *, limits: bool) -> bool:
    """Convert quantized, float16 and float64 graphs to float32; return whether they scale raw pixels now."""
    scales = False
    if is_quantized(model):
        scales = dequantize(model, name, feed, limits=limits)
        notes["quantized"] = "8-bit weights as floats; activations are not rounded"
    numpy_helper = backend.load("onnx.numpy_helper")
    kinds = backend.load("onnx").TensorProto
    others = {kinds.FLOAT16: "float16", kinds.DOUBLE: "float64", kinds.BFLOAT16: "bfloat16"}
    found = set()
    for tensor in tensors(model.graph):
        if tensor.data_type in others:
            found.add(others[tensor.data_type])
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in all_nodes(model.graph):
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in others:
                found.add(others[attribute.i])
                attribute.i = kinds.FLOAT
    for one in (*model.graph.input, *model.graph.output):
        if one.type.tensor_type.elem_type in others:
            one.type.tensor_type.elem_type = kinds.FLOAT
    if found:
        notes["floats"] = f"{' and '.join(sorted(found))} became float32"
    return scales


def is_half(notes: Mapping[str, str]) -> bool:
    """Whether a file computes in float16 or bfloat16, by the notes of its import."""
    return "float16" in notes.get("floats", "")


def _scaling(graph: OnnxGraph, feed: str) -> str | None:
    """Return the first operator if it scales values of 0 to 255; others scale small values already."""
    reader = graph.only_consumer(feed)
    while reader is not None and reader.op_type in (*_PASSING, *_SCALING):
        if reader.op_type in _SCALING:
            values = [value for one in reader.input if (value := graph.constant(one)) is not None]
            if not values:
                return None
            largest = float(np.abs(values[0]).max())
            if largest < _PIXEL_FACTOR if reader.op_type == "Mul" else largest > 1 / _PIXEL_FACTOR:
                return str(reader.name or reader.op_type)
        reader = graph.only_consumer(reader.output[0])
    return None


def opset_of(model: Any) -> int:
    """Return the version of the standard operators that a graph uses."""
    return next(int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx"))


def runnable(model: Any, name: str) -> Any:
    """Return a graph as it is, or with the oldest opset that ONNX Runtime runs if its own is older.

    Raises:
        ModelError: It cannot be converted.
    """
    if (found := opset_of(model)) >= OLDEST_OPSET:
        return model
    model = copy_model(model)
    model.ir_version = max(model.ir_version, 3)
    try:
        with backend.quiet():
            return backend.load("onnx.version_converter").convert_version(model, OLDEST_OPSET)
    except Exception as error:  # The converter raises RuntimeError and others for unknown operators.
        raise ModelError(
            f"{name}: its opset {found} is older than ONNX Runtime supports ({OLDEST_OPSET}) and cannot be "
            f"converted: {first_line(error)}: export the model again with opset {OPSET}"
        ) from error


def _raise_opset(model: Any, name: str, notes: dict[str, str]) -> Any:
    """Convert an old graph to OPSET where a converter is known; a newer one stays as it is."""
    found, helper = opset_of(model), backend.load("onnx.helper")
    model.ir_version = max(model.ir_version, 8)  # from 4 on, constants need not be inputs
    if found < OPSET:
        try:
            with backend.quiet():
                model = backend.load("onnx.version_converter").convert_version(model, OPSET)
            notes["opset"] = f"{found}, converted to {OPSET}"
        except Exception as error:  # The converter raises RuntimeError and others for unknown operators.
            if found < OLDEST_OPSET:
                raise ModelError(
                    f"{name}: has opset {found}, which cannot be converted: {first_line(error)}: export the "
                    f"model again with opset {OPSET}"
                ) from error
            notes["opset"] = f"{found}, kept: {first_line(error)}"
    standard = [one for one in model.opset_import if one.domain in ("", "ai.onnx", "ai.onnx.ml")]
    model.ir_version = max(8, helper.find_min_ir_version_for(standard))
    return model


def _wrap(model: Any, axes: Axes, given: Any, result: str, shape: tuple[int, ...]) -> None:
    """Give a graph the input "image" and the output "scores", both float32, with fixed sizes, in place."""
    helper, kinds = backend.load("onnx.helper"), backend.load("onnx").TensorProto
    graph, batch = model.graph, axes.batch or 1
    before, after, feed = [], [], given.name
    name = "image"
    if given.type.tensor_type.elem_type != kinds.FLOAT:
        before.append(helper.make_node("Cast", [name], ["image/cast"], to=given.type.tensor_type.elem_type))
        name = "image/cast"
    if axes.graph_order != axes.wanted:
        before.append(helper.make_node("Transpose", [name], ["image/transposed"], perm=axes.permutation))
        name = "image/transposed"
    rename_tensors(graph, {feed: name})
    result = {feed: name}.get(result, result)
    if graph.output[0].type.tensor_type.elem_type not in (kinds.FLOAT, kinds.UNDEFINED):
        after.append(helper.make_node("Cast", [result], ["scores/cast"], to=kinds.FLOAT))
        result = "scores/cast"
    rows = backend.load("onnx.numpy_helper").from_array(np.array([-1, *shape]), "scores/shape")
    graph.initializer.append(rows)
    after.append(helper.make_node("Reshape", [result, rows.name], ["scores"]))
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("image", kinds.FLOAT, [batch, *axes.shape]))
    graph.output.append(helper.make_tensor_value_info("scores", kinds.FLOAT, [batch, *shape]))


def _fix_sizes(given: Any, axes: Axes) -> None:
    """Set the sizes of the input, which a file may leave free."""
    by_letter = {**dict(zip(axes.order, axes.sizes, strict=True)), "n": axes.batch or 1}
    for axis, letter in zip(given.type.tensor_type.shape.dim, axes.graph_order, strict=True):
        axis.dim_value = by_letter[letter]


def _check_sizes(model: Any, name: str) -> None:
    """Refuse tensors that would exhaust the memory."""
    try:
        inferred = backend.load("onnx.shape_inference").infer_shapes(model, data_prop=True)
    except Exception as error:  # onnx raises types of its own.
        raise ModelError(f"{name}: damaged: {first_line(error)}") from error
    for one in inferred.graph.value_info:
        if math.prod(axis.dim_value or 1 for axis in one.type.tensor_type.shape.dim) > MAX_ELEMENTS:
            raise ModelError(f"{name}: {one.name[:80]!r} has more than {MAX_ELEMENTS} elements")


@dataclass(frozen=True, eq=False)
class _Samples:
    """Inputs, a batch in the order that the runtime gives, and the original's scores of them."""

    inputs: Floats
    scores: Floats
    tolerance: float


def _free_batch(model: Any, axes: Axes, name: str, samples: _Samples) -> tuple[Any, int | None]:
    """Return a simplified graph and its batch: None if it is free, or 1.

    The first graph whose scores are the original's is taken.
    """
    reasons = []
    for make in (_freed, _simplified_and_freed, _always_free, _fixed):
        if (make is _always_free and axes.batch is not None) or (
            make is _fixed and axes.batch not in (None, 1)
        ):
            continue
        try:
            with backend.quiet():
                made, batch = make(copy_model(model), axes, name)
                _compare(made, batch, samples)
        except Exception as error:  # onnxslim raises many types.
            reasons.append(first_line(error))
        else:
            return made, batch
    if axes.batch not in (None, 1):
        raise ModelError(
            f"{name}: its batch size is fixed at {axes.batch}: export it with a free batch size, or with 1"
        )
    hint = ": it is quantized, so export the float model" if samples.tolerance == QUANTIZED_CLOSE else ""
    raise ModelError(f"{name}: cannot be converted: {reasons[0]}{hint}")


def _compare(model: Any, batch: int | None, samples: _Samples) -> None:
    """Check the scores of a graph.

    Raises:
        ModelError: They differ from the original's, or the graph cannot be run.
    """
    session = make_session(Graph.scan(model.SerializeToString()))
    if batch is None:
        scores = session.run1(samples.inputs)
    else:
        scores = np.concatenate([session.run1(one[None]) for one in samples.inputs])
    size = max(1.0, float(np.abs(samples.scores).max()))
    if not np.allclose(scores, samples.scores, rtol=0, atol=samples.tolerance * size, equal_nan=True):
        found = float(np.abs(scores - samples.scores).max())
        raise ModelError(f"its scores change by {found:.2g}")


def _slim(model: Any) -> Any:
    return backend.load("onnxslim").slim(model)


def _freed(model: Any, axes: Axes, name: str) -> tuple[Any, int | None]:
    """Free the batch by reshapes that state all other lengths."""
    inferred = backend.load("onnx.shape_inference").infer_shapes(model, data_prop=True)
    graph, shapes = OnnxGraph(model), OnnxGraph(inferred)
    for node in graph.nodes("Reshape"):
        shape = shapes.shape(node.output[0])
        if graph.constant(node.input[0]) is None and shape and None not in shape:
            rows = np.array([-1, *(length or 0 for length in shape[1:])], np.int64)
            node.input[1] = graph.add_constant(f"{node.output[0]}/rows", rows)
            del node.attribute[:]
    graph.remove_unused()
    return _always_free(model, axes, name)


def _simplified_and_freed(model: Any, axes: Axes, name: str) -> tuple[Any, int | None]:
    """The same for a graph whose shapes are only known after the simplification with a fixed batch."""
    return _freed(_slim(model), axes, name)


def _always_free(model: Any, axes: Axes, name: str) -> tuple[Any, int | None]:
    for one in (model.graph.input[0], model.graph.output[0]):
        one.type.tensor_type.shape.dim[0].dim_param = "batch"
    return tidy(_slim(model), axes.shape, "image", "scores", name), None


def _fixed(model: Any, axes: Axes, name: str) -> tuple[Any, int | None]:
    made = tidy(_slim(model), axes.shape, "image", "scores", name)
    for one in (made.graph.input[0], made.graph.output[0]):
        one.type.tensor_type.shape.dim[0].dim_value = 1
    return made, 1
