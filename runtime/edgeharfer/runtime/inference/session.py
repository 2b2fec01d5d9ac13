"""Inference sessions: load a scanned graph on the provider that was requested or the best that loads."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.errors import ModelError, ProviderError
from edgeharfer.runtime.inference import onnx_runtime
from edgeharfer.runtime.inference.backend import AUTO, CPU, Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.native_calls import NATIVE_CALLS
from edgeharfer.runtime.inference.onnx_runtime import create_session, error_reason, run_options
from edgeharfer.runtime.inference.providers import PROVIDERS, fallback_chain, open_provider_session
from edgeharfer.runtime.types import Floats

Shape = tuple[int | str | None, ...]
Sizes = tuple[int, ...]
Tensor = NDArray[np.generic]

MAX_BINDINGS = 16
"""Input shapes for which device buffers are kept; other shapes allocate theirs in each run."""

_log = logging.getLogger(__name__)


class Session:
    """A loaded graph.

    Args:
        session: The ONNX Runtime session.
        name: Name of the graph in error messages.
        memory: Device memory for inputs and outputs, such as "cuda"; None for runs on host memory. A session
            with device memory must be used by one thread at a time.
        device: Type of the device that it runs on, if one was requested.

    Attributes:
        name: Name of the graph in error messages.
        inputs: Shapes of the inputs by name, in the graph's order; free axes are names or None.
        outputs: Shapes of the outputs, in the same form.
        provider: ONNX Runtime name of the provider that it runs on, and the requested device: see
            `session_provider`.
    """

    def __init__(
        self, session: Any, name: str, memory: str | None = None, *, device: str | None = None
    ) -> None:
        self._session, self._memory = session, memory
        self._bindings: dict[object, _Binding] = {}
        self.name = name
        inputs, outputs = session.get_inputs(), session.get_outputs()
        self.inputs: Mapping[str, Shape] = {one.name: tuple(one.shape) for one in inputs}
        self.outputs: Mapping[str, Shape] = {one.name: tuple(one.shape) for one in outputs}
        self._output_names = list(self.outputs)
        self.provider: str = ":".join(filter(None, (session.get_providers()[0], device)))
        if any(one.type != "tensor(float)" for one in inputs):
            raise ModelError(f"{name}: an input is not float32; export the model again")

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in the graph's order."""
        return tuple(self.inputs)

    @property
    def input_name(self) -> str:
        """Name of the first input."""
        return self.input_names[0]

    @property
    def input_shape(self) -> Shape:
        """Shape of the first input; free axes are names or None."""
        return self.inputs[self.input_name]

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in the graph's order."""
        return tuple(self._output_names)

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Floats]:
        """Run the graph.

        Args:
            feeds: Inputs by name.

        Returns:
            All outputs by name.

        Raises:
            ModelError: The inputs do not fit the graph, or the run fails.
            KeyboardInterrupt: The run was cancelled, see `native_calls`.
        """
        options = run_options()
        try:
            with NATIVE_CALLS.call(self.name, lambda: setattr(options, "terminate", True)):
                values = self._run(feeds, options)
        except Exception as error:  # ONNX Runtime's errors have no base class of their own.
            raise ModelError(f"{self.name}: cannot run: {error_reason(error)}") from error
        return dict(zip(self.outputs, values, strict=True))

    def run1(self, array: Tensor) -> Floats:
        """Run a graph with one input and return its first output; row by row if its batch is fixed at 1."""
        if len(array) > 1 and self.input_shape[0] == 1:
            return np.concatenate([self.run1(row) for row in array[:, None]])
        return self.run({self.input_name: array})[self._output_names[0]]

    def warm_up(self, shapes: Sequence[Sequence[int]]) -> None:
        """Run zeros of each shape twice, so that the first real run is as fast as the others.

        The first run of a shape plans its memory (and selects kernels on a GPU), the second one uses the
        plan.
        """
        for shape in shapes:
            zeros = np.zeros(tuple(shape), np.float32)
            for _ in range(2):
                self.run1(zeros)

    def end_profiling(self) -> Path:
        """Finish the trace of a graph with a `profile`, and return the path of its file."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Stop an engine build in the background, if there is one."""

    def _run(self, feeds: Mapping[str, Tensor], options: Any) -> Sequence[Floats]:
        if self._memory is not None:
            key = tuple((name, array.shape, array.dtype) for name, array in feeds.items())
            binding = self._bindings.get(key)
            if binding is None and len(self._bindings) < MAX_BINDINGS:
                binding = _Binding(self._session, feeds, self._memory)
            if binding is not None:
                outputs = binding.run(feeds, options)
                self._bindings[key] = binding  # Only kept if the run succeeds.
                return outputs
        plain: Sequence[Floats] = self._session.run(self._output_names, feeds, options)
        return plain


class _Binding:
    """An IOBinding for inputs of fixed shapes, whose device buffers are allocated once."""

    def __init__(self, session: Any, feeds: Mapping[str, Tensor], memory: str) -> None:
        make = onnx_runtime.load().OrtValue.ortvalue_from_shape_and_type
        self._session, self._binding = session, session.io_binding()
        self._inputs = {name: make(array.shape, array.dtype, memory, 0) for name, array in feeds.items()}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for output in session.get_outputs():
            self._binding.bind_output(output.name, memory)  # Allocated by the first run, then reused.

    def run(self, feeds: Mapping[str, Tensor], options: Any) -> Sequence[Floats]:
        for name, value in self._inputs.items():
            # ONNX Runtime before 1.30 copies as many bytes as the array has, whatever its strides.
            value.update_inplace(np.ascontiguousarray(feeds[name]))
        self._session.run_with_iobinding(self._binding, options)
        outputs: Sequence[Floats] = self._binding.copy_outputs_to_cpu()
        return outputs


def make_session(graph: Graph, backend: Backend = CPU) -> Session:
    """Create a session on the requested provider, or on the best that loads.

    Raises:
        ProviderError: The provider does not load and `backend.fallback` is not set.
        ModelError: ONNX Runtime cannot load the graph.
        ConfigError: There is no such provider.
        MissingExtra: ONNX Runtime is not installed.
    """
    auto = backend.provider == AUTO
    for provider in fallback_chain(backend)[:-1]:
        device = backend.device if provider == backend.provider else None
        try:
            made = open_provider_session(provider, graph, replace(backend, device=device))
            return Session(made, graph.name, PROVIDERS[provider].memory, device=device)
        except ProviderError as error:
            if not auto and not backend.fallback:
                _open_on_cpu(graph, backend)  # If the graph loads nowhere, report that instead.
                raise
            _log.log(logging.INFO if auto else logging.WARNING, "%s", error)
    return Session(_open_on_cpu(graph, backend), graph.name)


def _open_on_cpu(graph: Graph, backend: Backend) -> Any:
    ort = onnx_runtime.load()
    try:
        return create_session(ort, graph, backend.threads or 1, [PROVIDERS["cpu"].name])
    except Exception as error:  # ONNX Runtime's errors have no base class of their own.
        raise ModelError(f"{graph.name}: ONNX Runtime cannot load it: {error_reason(error)}") from error
