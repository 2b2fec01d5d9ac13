"""OpenVINO candidates: the ONNX files of the package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

from edgeharfer.benchmark.peers import PeerGraph, import_peer
from edgeharfer.benchmark.rows import Candidate
from edgeharfer.runtime.clock import Clock, SystemClock


def openvino_candidates(
    part: PeerGraph, threads: Sequence[int], batches: Sequence[int], clock: Clock | None = None
) -> Iterator[Candidate]:
    """Yield the part in each of its precisions, compiled for a fixed batch."""
    clock = clock or SystemClock()
    core = import_peer("openvino").Core()
    for (precision, data), count, batch in product(part.onnx.items(), threads, batches):
        start_s = clock.monotonic()
        model = core.read_model(model=data, weights=b"")
        model.reshape([batch, *part.sample.shape])
        compiled = core.compile_model(model, "CPU", settings(count))
        load_ms = (clock.monotonic() - start_s) * 1e3
        run = partial(_infer, compiled.create_infer_request(), part.batch(batch))
        yield part.candidate("openvino", precision, count, batch, len(data) / 1e6, load_ms, run)


def settings(threads: int) -> dict[str, Any]:
    """Compile settings: one stream, and FP32 also on processors where bfloat16 is the default."""
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }


def _infer(request: Any, batch: Any) -> Any:
    request.infer([batch], share_inputs=True)
    return request.get_output_tensor(0).data
