"""Runs through buffers on the device that are made once for each shape, not anew in each run.

Inputs are copied into them and outputs out of them, while their addresses stay. So a run can also be
captured as a CUDA graph, which one call then replays in place of one call for each kernel. On the CPU there
is nothing to gain: measured with an action model, a run through buffers takes as long as one without.

What CUDA graphs ask for (ONNX Runtime's documentation of its CUDA provider): every node runs on the GPU,
none is If, Loop or Scan, shapes and addresses stay the same under one `gpu_graph_id`, and no other thread
uses the GPU while a run is captured, which is the first one of each shape in each thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats

Tensor = NDArray[np.generic]
Sizes = tuple[int, ...]

MAX_SHAPES = 16
"""Shapes of one graph that get buffers; a run of any further one allocates its own."""
GRAPH_ID = "gpu_graph_id"
NO_GRAPH = "-1"
"""Neither captured nor replayed (onnxruntime_run_options_config_keys.h)."""
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Device:
    """Where the buffers lie. ort: ONNX Runtime. kind: "cuda", or "cpu" to try it without a GPU.

    captured: shapes of the only input whose runs are captured as CUDA graphs.
    """

    ort: Any
    kind: str = "cuda"
    captured: frozenset[Sizes] = frozenset()


class BoundGraph:
    """An ONNX Runtime session that runs through buffers. For one thread at a time."""

    def __init__(self, graph: Any, device: Device) -> None:
        self._graph, self._device = graph, device
        self._buffers: dict[object, _Buffers] = {}

    def run(self, feeds: Mapping[str, Tensor], options: Any = None) -> Sequence[Floats]:
        """All outputs, in the graph's order. The first run of a shape makes its buffers.

        options: ONNX Runtime's options of this run, which are added to.
        """
        key = tuple((name, array.shape, array.dtype) for name, array in feeds.items())
        if (buffers := self._buffers.get(key)) is not None:
            return buffers.run(feeds, self._options(options, buffers.graph_id))
        outputs = self._run_plain(feeds, options)
        if len(self._buffers) < MAX_SHAPES:
            captured = tuple(next(iter(feeds.values())).shape) in self._device.captured
            graph_id = str(len(self._buffers) + 1) if captured else NO_GRAPH
            self._buffers[key] = _Buffers(self._graph, self._device, feeds, outputs, graph_id)
        return outputs

    @property
    def device(self) -> str | None:
        """Where an answer may stay; None with CUDA graphs, whose fixed addresses are worth more."""
        return None if self._device.captured else self._device.kind

    def keep(self, feeds: Mapping[str, Any], options: Any = None) -> Any:
        """The first output, left on the device in memory of its own. feeds: arrays, or what was kept."""
        binding = self._graph.io_binding()
        for name, value in feeds.items():
            bind = binding.bind_cpu_input if isinstance(value, np.ndarray) else binding.bind_ortvalue_input
            bind(name, value)
        binding.bind_output(self._graph.get_outputs()[0].name, self._device.kind)
        self._graph.run_with_iobinding(binding, self._options(options))
        return binding.get_outputs()[0]

    def replays_truly(self) -> bool:
        """Whether captured shapes give what plain runs give, also when replayed on other values."""
        name = self._graph.get_inputs()[0].name
        for shape in sorted(self._device.captured):
            ramp = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32)
            one, other = ({name: values.reshape(shape)} for values in (ramp, ramp[::-1].copy()))
            self.run(one)
            for feeds in (one, other, one):
                if not _alike(self._run_plain(feeds), self.run(feeds)):
                    return False
        return True

    def _run_plain(self, feeds: Mapping[str, Tensor], options: Any = None) -> Sequence[Floats]:
        outputs: Sequence[Floats] = self._graph.run(None, dict(feeds), self._options(options))
        return outputs

    def _options(self, given: Any, graph_id: str = NO_GRAPH) -> Any:
        """The options of a run; those given, where nothing is captured at all."""
        if not self._device.captured:
            return given
        options = self._device.ort.RunOptions() if given is None else given
        options.add_run_config_entry(GRAPH_ID, graph_id)
        return options


class _Buffers:
    """Those of one shape, bound to the graph. graph_id: of the CUDA graph that its runs are captured as."""

    def __init__(
        self,
        graph: Any,
        device: Device,
        feeds: Mapping[str, Tensor],
        outputs: Sequence[Floats],
        graph_id: str,
    ) -> None:
        self._graph, self.graph_id, self._binding = graph, graph_id, graph.io_binding()
        # What lies on the CPU is handed out as it lies there, and the next run would write over it.
        self._shared = device.kind == "cpu"

        def place(array: Tensor) -> Any:
            return device.ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, device.kind, 0)

        self._inputs = {name: place(array) for name, array in feeds.items()}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        self._outputs = [place(array) for array in outputs]
        for one, value in zip(graph.get_outputs(), self._outputs, strict=True):
            self._binding.bind_ortvalue_output(one.name, value)

    def run(self, feeds: Mapping[str, Tensor], options: Any) -> Sequence[Floats]:
        for name, value in self._inputs.items():
            # ONNX Runtime before 1.30 copies as many bytes as the array has, whatever its strides.
            value.update_inplace(np.ascontiguousarray(feeds[name]))
        self._graph.run_with_iobinding(self._binding, options)
        arrays = [value.numpy() for value in self._outputs]
        return [array.copy() for array in arrays] if self._shared else arrays


def _alike(wanted: Sequence[Floats], given: Sequence[Floats]) -> bool:
    pairs = zip(wanted, given, strict=True)
    return all(np.allclose(mine, one, rtol=_TOLERANCE, atol=_TOLERANCE) for one, mine in pairs)
