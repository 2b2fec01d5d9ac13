"""Loading of SavedModels: folders with a TensorFlow graph and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeharfer.export import backend, convert, parity
from edgeharfer.export.keras_model import LoadedModel, chosen_output, layout_of
from edgeharfer.export.onnx_axes import CHANNELS_LAST
from edgeharfer.export.onnx_import import ImportOptions, import_graph
from edgeharfer.export.options import ModelOptions
from edgeharfer.export.original import as_pixels
from edgeharfer.export.source import ModelSource
from edgeharfer.runtime.errors import EdgeharferError, ModelError, first_line
from edgeharfer.runtime.types import Floats

# Operators that touch files or call back into Python.
_UNSAFE_OPS = ("ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc")
_CLIP_AXES = 5


@dataclass(frozen=True)
class Signature:
    """The function for serving of a SavedModel.

    Attributes:
        name: The folder, for errors.
        function: Function of one named tensor, which returns named tensors.
        feed: Name of the input.
        spec: TensorSpec of the input.
        outputs: Name -> tensor of each output, in the order of the names.
        loaded: The SavedModel, which keeps the variables alive.
    """

    name: str
    function: Any
    feed: str
    spec: Any
    outputs: Mapping[str, Any]
    loaded: Any

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Shape of the input, with the batch axis."""
        return tuple(self.spec.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the input."""
        dtype: np.dtype[Any] = np.dtype(self.spec.dtype.as_numpy_dtype)
        return dtype


def read_signature(folder: Path) -> Signature:
    """Read a SavedModel.

    Raises:
        ModelError: It is damaged or unsafe, or has no function of one tensor of numbers with known axes.
    """
    name = str(folder)
    try:
        _check_ops(folder)
        with backend.quiet():
            loaded = backend.load("tensorflow").saved_model.load(name)
            function = loaded.signatures.get("serving_default") or loaded.signatures.get("serve")
    except EdgeharferError:
        raise
    except Exception as error:  # TensorFlow raises many types for damaged files.
        raise ModelError(f"{name}: cannot be loaded: {first_line(error)}") from error
    if function is None:
        raise ModelError(f"{name}: has no serving_default signature")
    inputs = function.structured_input_signature[1]
    if len(inputs) != 1:
        raise ModelError(f"{name}: takes {len(inputs)} inputs, but only one image or clip is supported")
    [(feed, spec)] = inputs.items()
    if not (spec.dtype.is_floating or spec.dtype.is_integer):
        raise ModelError(f"{name}: its input {feed!r} is {spec.dtype.name}, not numbers")
    if spec.shape.rank is None:
        raise ModelError(f"{name}: the shape of its input is unknown: save it with a signature that has one")
    # A signature has no order of its own.
    return Signature(name, function, feed, spec, dict(sorted(function.structured_outputs.items())), loaded)


def load_saved_model(source: ModelSource, options: ModelOptions) -> LoadedModel:
    """Load a SavedModel.

    Args:
        source: The model.
        options: What it does not say.

    Raises:
        ModelError: It is damaged or unsafe, or is not a classifier of one input.
        ConfigError: It leaves something open that the options do not say, such as one of its outputs.
    """
    signature = read_signature(source.model)
    name, shape = signature.name, signature.shape
    key = chosen_output(signature.outputs, name, options.output)

    def call(batch: Any) -> Any:
        return signature.function(**{signature.feed: batch})[key]

    # Like an ONNX graph, one of clips is split, and a fixed batch is freed; bytes are accepted.
    if len(shape) == _CLIP_AXES or shape[:1] != (None,) or signature.dtype != np.float32:
        return _imported(signature, call, options)
    layout = layout_of(shape, options)
    return LoadedModel(name, call, shape, tuple(signature.outputs[key].shape), layout=layout)


def _imported(signature: Signature, call: Any, options: ModelOptions) -> LoadedModel:
    """Convert a SavedModel as if it were an ONNX file."""
    shape, original = signature.shape, _Original(signature, call)
    made = import_graph(
        convert.function_to_onnx(call, signature.spec, "input", "output", signature.name),
        signature.name,
        ImportOptions(None, options.layout, options.frames, options.size),
        original,
        layout=CHANNELS_LAST.get(len(shape)) if layout_of(shape, options) == "nhwc" else None,
    )

    def scores(batch: Floats) -> Floats:
        rows = [original.scores(made.axes.to_file(one[None])) for one in batch]
        return np.stack([row.reshape(made.scores) for row in rows])

    return LoadedModel.from_graph(signature.name, scores, made)


class _Original:
    """A SavedModel in TensorFlow, as `original.Original` describes it."""

    def __init__(self, signature: Signature, call: Any) -> None:
        self._call, self._dtype = call, signature.dtype
        self._batch = signature.shape[0] or 1

    def scores(self, item: Floats) -> Floats:
        batch = as_pixels(np.repeat(item, self._batch, axis=0), self._dtype)
        scores = parity.tensorflow_scores(self._call, [backend.load("tensorflow").constant(batch)])
        return scores[:1] if len(scores) == self._batch else scores


def _check_ops(folder: Path) -> None:
    protobuf = backend.load("tensorflow.core.protobuf.saved_model_pb2")
    saved = protobuf.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    for graph in (meta.graph_def for meta in saved.meta_graphs):
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        for node in nodes:
            if node.op in _UNSAFE_OPS:
                raise ModelError(f"{folder}: operator {node.name!r} ({node.op}) accesses files or runs code")
