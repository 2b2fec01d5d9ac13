"""LiteRT (TensorFlow Lite) candidates: the converted Keras model with XNNPACK kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from edgeharfer.benchmark.peers import PeerGraph, import_peer
from edgeharfer.benchmark.rows import Candidate
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.types import Floats

_CALIBRATION_ITEMS = 8


def litert_candidates(
    part: PeerGraph, threads: Sequence[int], batches: Sequence[int], clock: Clock | None = None
) -> Iterator[Candidate]:
    """Yield the part in FP32 and, if the package has it, in INT8.

    INT8 is calibrated on noise, which makes its outputs meaningless but does not affect speed.

    Raises:
        ModelError: INT8 of a recurrent network, which TensorFlow cannot convert.
    """
    clock = clock or SystemClock()
    precisions = ["fp32", *(["int8"] if "int8" in part.onnx else [])]
    for precision, batch in product(precisions, batches):
        if precision == "int8" and _is_recurrent(part.model):
            raise ModelError("INT8 of a recurrent network crashes TensorFlow's converter")
        data = convert(part.model, part.sample, batch, quantized=precision == "int8")
        for count in threads:
            start_s = clock.monotonic()
            interpreter = _interpreter(data, count)
            load_ms = (clock.monotonic() - start_s) * 1e3
            run = _runner(interpreter, part.batch(batch))
            yield part.candidate("litert", precision, count, batch, len(data) / 1e6, load_ms, run)


def convert(model: Any, sample: Floats, batch: int, *, quantized: bool) -> bytes:
    """Convert a Keras model to a .tflite file with a fixed batch size and float32 inputs and outputs."""
    from edgeharfer.export import backend

    tf = import_peer("tensorflow")
    with backend.quiet():
        spec = tf.TensorSpec((batch, *sample.shape), tf.float32)
        function = tf.function(partial(model, training=False)).get_concrete_function(spec)
        # Variables would not be stored in the file, and recurrent layers would not run.
        freeze = import_peer("tensorflow.python.framework.convert_to_constants")
        frozen = freeze.convert_variables_to_constants_v2(function)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        if quantized:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = partial(_noise, sample, batch)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        return bytes(converter.convert())


def _is_recurrent(model: Any) -> bool:
    recurrent = import_peer("keras").layers.RNN
    return any(isinstance(layer, recurrent) for layer in model._flatten_layers())


def _noise(sample: Floats, batch: int) -> Iterator[list[Floats]]:
    rng = np.random.default_rng(0)
    for _ in range(_CALIBRATION_ITEMS):
        yield [np.stack([rng.permutation(sample.ravel()).reshape(sample.shape)] * batch)]


def _interpreter(data: bytes, threads: int) -> Any:
    """The interpreter of the ai-edge-litert package, or the older one of TensorFlow."""
    from edgeharfer.export import backend

    with backend.quiet():
        try:
            interpreter = import_peer("ai_edge_litert.interpreter").Interpreter(
                model_content=data, num_threads=threads
            )
        except ImportError:
            lite = import_peer("tensorflow").lite
            interpreter = lite.Interpreter(model_content=data, num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter


def _runner(interpreter: Any, batch: Floats) -> Any:
    feed, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run() -> Any:
        interpreter.set_tensor(feed, batch)
        interpreter.invoke()
        return interpreter.get_tensor(result)

    return run
