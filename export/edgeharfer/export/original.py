"""Scores of a model file, computed by the engine that it was made for: ONNX Runtime or LiteRT."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from edgeharfer.export import backend
from edgeharfer.runtime.errors import ModelError, first_line
from edgeharfer.runtime.types import Floats


class Original(Protocol):
    """A model file on its own engine."""

    def scores(self, item: Floats) -> Floats:
        """Return all values of the output for one input.

        Args:
            item: Input in the file's own layout, float32, with a batch axis of 1.

        Returns:
            float32, in the shape of the file's output, for one item.

        Raises:
            ModelError: The engine cannot run the file.
        """


class OnnxOriginal:
    """An ONNX model as it stands in its file, in ONNX Runtime without optimizations.

    Args:
        model: The ModelProto.
        name: The file, for errors.
        feed: Name of the input.
        result: Name of the output.
    """

    def __init__(self, model: Any, name: str, feed: str, result: str) -> None:
        ort = backend.load("onnxruntime")
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._name, self._feed, self._result = name, feed, result
        try:
            self._session = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no base class of their own.
            raise ModelError(f"{name}: ONNX Runtime cannot load it: {first_line(error)}") from error
        spec = next(one for one in self._session.get_inputs() if one.name == feed)
        self._batch = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else 1
        self._type = _NUMPY.get(spec.type)
        if self._type is None:
            raise ModelError(f"{name}: its input {feed!r} is {spec.type}, not numbers")

    def scores(self, item: Floats) -> Floats:
        batch = as_pixels(np.repeat(item, self._batch, axis=0), np.dtype(self._type))
        try:
            [values] = self._session.run([self._result], {self._feed: batch})
        except Exception as error:
            raise ModelError(f"{self._name}: ONNX Runtime cannot run it: {first_line(error)}") from error
        values = np.asarray(values)
        if values.dtype.kind not in "fiu":
            raise ModelError(f"{self._name}: its output {self._result!r} is not numeric")
        whole = self._batch > 1 and values.shape[:1] == (self._batch,)
        return np.asarray(values[:1] if whole else values, np.float32)


_NUMPY = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


class TfliteOriginal:
    """A TensorFlow Lite model in LiteRT's interpreter, or in TensorFlow's if LiteRT is not installed.

    An input of bytes takes raw pixels; quantized outputs become real values.

    Args:
        data: Content of the file.
        name: The file, for errors.
        output: Name of the output; None for the only one.
    """

    def __init__(self, data: bytes, name: str, output: str | None = None) -> None:
        self._name = name
        try:
            with backend.quiet():
                self._interpreter = _interpreter(data)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{name}: LiteRT cannot load it: {first_line(error)}") from error
        self._feed = self._interpreter.get_input_details()[0]
        results = self._interpreter.get_output_details()
        self._result = next((one for one in results if one["name"] == output), results[0])

    def scores(self, item: Floats) -> Floats:
        feed, result = self._feed["index"], self._result["index"]
        try:
            with backend.quiet():
                self._interpreter.resize_tensor_input(feed, item.shape)
                self._interpreter.allocate_tensors()
                self._interpreter.set_tensor(feed, as_pixels(item, np.dtype(self._feed["dtype"])))
                self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self._name}: LiteRT cannot run it: {first_line(error)}") from error
        values = np.asarray(self._interpreter.get_tensor(result), np.float32)
        scale, zero = self._result["quantization"]
        return np.asarray((values - zero) * scale if scale else values, np.float32)


def as_pixels(values: Floats, dtype: Any) -> Any:
    """Convert an input to the type that a file takes; black is 0, or -128 for int8."""
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    black = limits.min if dtype == np.int8 else 0
    return np.clip(np.rint(values) + black, limits.min, limits.max).astype(dtype)


def _interpreter(data: bytes) -> Any:
    try:
        module = __import__("ai_edge_litert.interpreter", fromlist=["Interpreter"])
    except ImportError:
        module = backend.load("tensorflow").lite
    return module.Interpreter(model_content=data, num_threads=1)
