"""The end of a classifier: what its outputs are, and their form in a package, one number for each label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgeharfer.export import backend
from edgeharfer.export.onnx_graph import OnnxGraph
from edgeharfer.export.options import Head
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.types import Floats

# Operators after the last layer that change neither which value is largest nor that the values sum to 1.
_TRANSPARENT = ("Identity", "Cast", "Reshape", "Squeeze", "Flatten", "Unsqueeze")
_SIGMOIDS = ("Sigmoid", "HardSigmoid")
# Activations after which the largest value need not be the class.
_DOUBTFUL = (
    *("Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Gelu", "Mish", "HardSwish"),
    *("Tanh", "Softplus", "Softsign", "Clip"),
)
_SUM_TOLERANCE = 1e-3
_SMALLEST_SUM = 1e-7


@dataclass(frozen=True)
class Ending:
    """What a model gives, and what the package gives of it.

    Attributes:
        kind: "softmax" for probabilities that sum to 1, "sigmoid" for independent probabilities, "logits".
        units: Number of outputs for one row.
        per_frame: Whether there is a row for each frame of a clip; the last one is used.
    """

    kind: Literal["softmax", "sigmoid", "logits"]
    units: int
    per_frame: bool = False

    @property
    def output(self) -> Literal["probs", "logits"]:
        """Meaning of the package's outputs, as in the manifest."""
        return "logits" if self.kind == "logits" else "probs"

    def apply(self, outputs: Floats) -> Floats:
        """Convert outputs of the model, float32 (n, ...), to those of the package, (n, labels)."""
        rows = (outputs[:, -1] if self.per_frame else outputs).reshape(len(outputs), self.units)
        if self.units == 1:
            return np.concatenate([np.zeros_like(rows) if self.kind == "logits" else 1 - rows, rows], axis=1)
        if self.kind != "sigmoid":
            return rows
        sums = np.maximum(rows.sum(axis=1, keepdims=True), np.float32(_SMALLEST_SUM))
        return np.asarray(rows / sums, np.float32)

    def append(self, model: Any) -> None:
        """Append the same conversion to an ONNX ModelProto with one output, in place."""
        graph = OnnxGraph(model)
        result = model.graph.output[0]
        shape = [axis.dim_value for axis in result.type.tensor_type.shape.dim]
        name = result.name
        if self.per_frame:
            last = graph.add_constant("head/last", np.array([-1]))
            name = graph.append("Gather", [name, last], "head/last_frame", axis=1)
        if self.per_frame or len(shape) != 2:
            name = graph.append("Flatten", [name], "head/row", axis=1)
        if self.units == 1:
            name = self._second_of_two(graph, name)
        elif self.kind == "sigmoid":
            axis = graph.add_constant("head/axis", np.array([1]))
            total = graph.append("ReduceSum", [name, axis], "head/sum")
            least = graph.add_constant("head/least", np.array([_SMALLEST_SUM], np.float32))
            name = graph.append(
                "Div", [name, graph.append("Max", [total, least], "head/total")], "head/shares"
            )
        if name == result.name:
            return
        tensor = backend.load("onnx").TensorProto.FLOAT
        labels = max(self.units, 2)
        made = backend.load("onnx.helper").make_tensor_value_info(name, tensor, ["batch", labels])
        result.CopyFrom(made)

    def _second_of_two(self, graph: OnnxGraph, name: str) -> str:
        one = graph.add_constant("head/one", np.array([0 if self.kind == "logits" else 1], np.float32))
        if self.kind == "logits":
            other = graph.append("Mul", [name, one], "head/first")
        else:
            other = graph.append("Sub", [one, name], "head/first")
        return graph.append("Concat", [other, name], "head/both", axis=1)


def output_units(shape: Sequence[int | None], frames: int | None = None) -> tuple[int, bool] | None:
    """Return how many outputs a model has for one row, and whether it has a row for each frame.

    Args:
        shape: Shape of the output with the batch axis.
        frames: Number of frames of a clip; None for a picture.

    Returns:
        None if the outputs are not one number for each class.
    """
    sizes = [size for size in shape[1:] if size != 1]
    if frames is not None and frames > 1 and len(shape) == 3 and shape[1] in (frames, None):
        return (shape[2], True) if shape[2] is not None else None
    if len(shape) < 2 or len(sizes) > 1 or None in sizes:
        return None
    return math.prod(size or 0 for size in sizes), False


def find_ending(
    model: Any, outputs: Floats, units: int, *, per_frame: bool, head: Head, where: str
) -> Ending:
    """Find out what the outputs of a classifier are.

    Args:
        model: ONNX ModelProto with one output.
        outputs: What it gives for a few inputs.
        units: Number of outputs for one row.
        per_frame: Whether there is a row for each frame.
        head: What the caller says.
        where: The model and its last layer, for errors.

    Raises:
        ConfigError: The outputs do not say which label is meant, or are not what the caller says.
    """
    last = last_operator(model)
    rows = np.asarray(outputs, np.float64).reshape(-1, units)
    in_range = bool(((rows >= -_SUM_TOLERANCE) & (rows <= 1 + _SUM_TOLERANCE)).all())
    sums_to_one = in_range and bool((np.abs(rows.sum(axis=1) - 1) <= _SUM_TOLERANCE).all())
    if units == 1 and (last == "Softmax" or head == "softmax"):
        raise ConfigError(f"{where} is a softmax over one unit, which is always 1: use a sigmoid there")
    if head == "auto":
        head = _from_graph(last, sums_to_one, units, where)
    elif head == "softmax" and not sums_to_one:
        raise ConfigError(
            f"{where} does not output probabilities that sum to 1: pass --head sigmoid or logits"
        )
    elif head == "sigmoid" and not in_range:
        raise ConfigError(f"{where} outputs values outside [0, 1]: pass --head logits")
    elif head == "logits" and (last in ("Softmax", *_SIGMOIDS)):
        raise ConfigError(f"{where} outputs probabilities ({last}), not logits: remove --head")
    assert head != "auto", "decided above"
    return Ending(head, units, per_frame)


def last_operator(model: Any) -> str:
    """Return the last operator of an ONNX graph that is more than a change of shape or type."""
    makers = {output: node for node in model.graph.node for output in node.output}
    node = makers.get(model.graph.output[0].name)
    while node is not None and node.op_type in _TRANSPARENT:
        node = makers.get(node.input[0])
    return node.op_type if node is not None else "nothing"


def _from_graph(last: str, sums_to_one: bool, units: int, where: str) -> Head:
    if last in _SIGMOIDS:
        return "sigmoid"
    if last == "Softmax" or (sums_to_one and units > 1):
        return "softmax"
    if last in _DOUBTFUL:
        raise ConfigError(
            f"{where} ends in {last}, not in probabilities: pass --head logits if the largest output "
            "is the class, or end the model in softmax"
        )
    if units == 1:
        raise ConfigError(
            f"{where} is one unit without an activation: pass --head logits if its sign separates two "
            "classes; only classifiers can be exported"
        )
    return "logits"
