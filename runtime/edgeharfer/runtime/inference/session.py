"""Inference sessions: checked bytes in, an ONNX Runtime session on the provider that really loaded out.

ONNX Runtime lists GPU providers that cannot load, and its Python wrapper retries on the CPU without
a word that a script could read. Here each provider is tried by itself, the session is asked what it
runs on, and why another one did not load is kept for the message.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.errors import ConfigError, EdgeharferError, MissingExtra, ModelError, ProviderError
from edgeharfer.runtime.inference.binding import BoundGraph, Device, Sizes
from edgeharfer.runtime.inference.native_calls import NATIVE_CALLS
from edgeharfer.runtime.inference.ort_messages import ERROR, missing_library, preload, quiet, reason
from edgeharfer.runtime.inference.tensorrt import keep_engine, provider_options, wants_cuda_graphs
from edgeharfer.runtime.installation import OR_GPU, install_command, pip
from edgeharfer.runtime.types import Floats

Shape = tuple[int | str | None, ...]
Tensor = NDArray[np.generic]

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""Short names, best first, and ONNX Runtime's names."""

MEMORY_BYTES = 2 << 30
"""Of all CPU tensors together. A few bytes of a model can ask for any number of gigabytes."""

_PROBE_MODEL = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)
"""An ONNX model, y = Identity(x) on one float, opset 17; written with onnx.helper."""

_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Read when ONNX Runtime is loaded, from 1.29 on. Without it a number for this machine and a database are put
into the user's cache, and figures on machine and models go to Microsoft; `disable_telemetry_events` comes too
late for both (docs/Privacy.md of ONNX Runtime)."""

_log = logging.getLogger(__name__)


class Session:
    """A loaded graph. `provider` is where it runs, in ONNX Runtime's words, `name` how errors call it.

    bound: the same graph with buffers on a device, for one thread at a time.
    """

    def __init__(self, session: Any, name: str, bound: BoundGraph | None = None) -> None:
        self._session, self._bound = session, bound
        self.name = name
        inputs, outputs = session.get_inputs(), session.get_outputs()
        self.inputs: Mapping[str, Shape] = {one.name: tuple(one.shape) for one in inputs}
        self.outputs: Mapping[str, Shape] = {one.name: tuple(one.shape) for one in outputs}
        self.provider: str = session.get_providers()[0]
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
        return tuple(self.outputs)

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Floats]:
        """All outputs by name. Raises ModelError where the graph does not take the feeds or breaks.

        Raises KeyboardInterrupt where a stop ended the run, see `native_calls`.
        """
        with self._run_options() as options:
            if self._bound:
                values = self._bound.run(feeds, options)
            else:
                values = self._session.run(None, dict(feeds), options)
        return dict(zip(self.outputs, values, strict=True))

    def run1(self, array: Tensor) -> Floats:
        """The first output for the only input."""
        return self.run({self.input_name: array})[self.output_names[0]]

    @property
    def device(self) -> str | None:
        """Where answers may stay for another session there, such as "cuda"; None for nowhere but the host."""
        return None if self._bound is None else self._bound.device

    def keep(self, feeds: Mapping[str, Any]) -> Any:
        """The first output, left on the device: an OrtValue. feeds: arrays, or what was kept there."""
        assert self._bound is not None, "answers stay on a device"
        with self._run_options() as options:
            return self._bound.keep(feeds, options)

    @contextmanager
    def _run_options(self) -> Iterator[Any]:
        """Options of one run that a stop can end. Raises ModelError where it fails."""
        options = run_options()
        try:
            with NATIVE_CALLS.call(self.name, lambda: setattr(options, "terminate", True)):
                yield options
        except Exception as error:  # ONNX Runtime's errors have no base class of their own.
            raise ModelError(f"{self.name}: cannot run: {reason(error)}") from error

    def warm_up(self, shapes: Sequence[Sequence[int]]) -> None:
        """Run zeros of each shape twice, so that a first real run is not slower than the rest.

        The first run of a shape plans its memory (and on a GPU picks its kernels), the second uses it.
        """
        for shape in shapes:
            zeros = np.zeros(tuple(shape), np.float32)
            for _ in range(2):
                self.run1(zeros)

    def close(self) -> None:
        """End what goes on beside: nothing, where a graph is only run."""


def make_session(
    model: bytes,
    provider: str = "auto",
    threads: int = 0,
    allow_fallback: bool = False,
    *,
    name: str = "model",
    shapes: Sequence[Sizes] = (),
) -> Session:
    """A session on the provider asked for.

    provider: "cpu", "cuda", "tensorrt", or "auto" for the best that really loads.
    threads: of one operator; 0 leaves it to ONNX Runtime.
    allow_fallback: take the next best where the one asked for does not load.
    name: of the model, in errors.
    shapes: of the only input, if it is one of a few: where CUDA graphs are wanted, those of these shapes.

    Raises ProviderError for a provider that does not load, ModelError for bytes that are no model,
    ConfigError for an unknown provider, MissingExtra without ONNX Runtime.
    """
    if provider not in (*PROVIDERS, "auto"):
        raise ConfigError(f"unknown provider {provider!r}: choose from auto, {', '.join(PROVIDERS)}")
    names = list(PROVIDERS)
    chain = names if provider == "auto" else names[names.index(provider) :]
    for kind in chain[:-1]:
        try:
            return _load(model, kind, threads, name, shapes)
        except ProviderError as error:
            if provider != "auto" and not allow_fallback:
                _create_on_cpu(model, threads, name)  # Bytes that load nowhere are no provider's fault.
                raise
            _log.log(logging.INFO if provider == "auto" else logging.WARNING, "%s", error)
    return Session(_create_on_cpu(model, threads, name), name)


def _load(model: bytes, kind: str, threads: int, name: str, shapes: Sequence[Sizes]) -> Session:
    """A session on that GPU provider; with CUDA graphs only if those give what the graph itself gives."""
    ort = _onnxruntime()
    if kind == "cuda" and shapes and wants_cuda_graphs(model, name):
        try:
            graph = _create(model, kind, threads, name, captured=True)
            bound = BoundGraph(graph, Device(ort, captured=frozenset(map(tuple, shapes))))
            if bound.replays_truly():
                return Session(graph, name, bound)
            _log.warning("%s: runs without CUDA graphs: replayed, they give something else", name)
        except Exception as error:  # ONNX Runtime's errors have no base class of their own.
            _log.warning("%s: runs without CUDA graphs: %s", name, reason(error))
    graph = _create(model, kind, threads, name)
    return Session(graph, name, BoundGraph(graph, Device(ort)))


def available_providers() -> tuple[str, ...]:
    """Short names of the providers that really load here, best first."""
    return tuple(kind for kind, reason in probe_providers().items() if reason is None)


def probe_providers() -> dict[str, str | None]:
    """For each provider, why it does not load or run a model here, or None if it does.

    Raises MissingExtra without ONNX Runtime.
    """
    reasons: dict[str, str | None] = {}
    for kind in PROVIDERS:
        try:
            _try(_create(_PROBE_MODEL, kind, 1, "probe", cached=False), kind)
        except MissingExtra:
            raise
        except EdgeharferError as error:
            reasons[kind] = str(error)
        else:
            reasons[kind] = None
    return reasons


def _try(session: Any, kind: str) -> None:
    """Run the probe model. Raises ProviderError where the answer is not right."""
    one = np.ones(1, np.float32)
    try:
        (answer,) = session.run(None, {session.get_inputs()[0].name: one})
    except Exception as error:  # ONNX Runtime's errors have no base class of their own.
        raise ProviderError(f"{kind} loads but cannot run a model: {reason(error)}") from error
    if not np.array_equal(answer, one):
        raise ProviderError(f"{kind} loads but gives wrong answers")


def _onnxruntime() -> Any:
    os.environ[_NO_TELEMETRY] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("ONNX Runtime", "cpu", OR_GPU) from error
    # Removing one of onnxruntime and onnxruntime-gpu leaves an empty folder that still imports.
    if not hasattr(onnxruntime, "InferenceSession"):
        raise MissingExtra("ONNX Runtime", "cpu", OR_GPU)
    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    _limit_memory(onnxruntime)
    return onnxruntime


def run_options() -> Any:
    """New options of a run: nothing but what ends it."""
    import onnxruntime

    return onnxruntime.RunOptions()


@cache
def _limit_memory(ort: Any) -> None:
    """One arena for all sessions, which refuses what goes beyond the limit; the error is then the model's."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": MEMORY_BYTES}))


def _options(ort: Any, threads: int) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = True
    options.log_severity_level = ERROR
    options.add_session_config_entry("session.use_env_allocators", "1")
    return options


def _create_on_cpu(model: bytes, threads: int, name: str) -> Any:
    ort = _onnxruntime()
    try:
        return _open(ort, model, name, ["cpu"], threads)
    except Exception as error:  # ONNX Runtime's errors have no base class of their own.
        raise ModelError(f"{name}: ONNX Runtime cannot load it: {reason(error)}") from error


def _create(
    model: bytes, kind: str, threads: int, name: str, *, cached: bool = True, captured: bool = False
) -> Any:
    """A session on that provider and no lesser one, or ProviderError with the reason."""
    ort = _onnxruntime()
    listed = ort.get_available_providers()
    if PROVIDERS[kind] not in listed:
        raise ProviderError(
            f"{kind} is not part of this ONNX Runtime: "
            f"{pip('uninstall')} onnxruntime, then {install_command('gpu')}"
        )
    names = list(PROVIDERS)
    chain = [one for one in names[names.index(kind) :] if PROVIDERS[one] in listed]
    if kind != "cpu":
        preload(ort)
    with quiet(ort):
        try:
            told = provider_options(chain, model, name, cached=cached, captured=captured)
            session = _open(ort, model, name, chain, threads, told)
        except Exception as error:  # ONNX Runtime's errors have no base class of their own.
            raise _cannot_load(ort, kind, reason(error)) from error
    if session.get_providers()[0] != PROVIDERS[kind]:
        raise _cannot_load(ort, kind, "ONNX Runtime gives no reason")
    keep_engine(told[0], name)
    return session


def _open(
    ort: Any,
    model: bytes,
    name: str,
    chain: list[str],
    threads: int,
    options: list[dict[str, Any]] | None = None,
) -> Any:
    providers = [PROVIDERS[one] for one in chain]
    how = _options(ort, threads)
    # Constants are computed while a graph is loaded, which can take as long as a graph that never ends.
    with NATIVE_CALLS.call(name, lambda: how.set_load_cancellation_flag(True), loads=True):
        session = ort.InferenceSession(
            model, how, providers=providers, provider_options=options, enable_fallback=0
        )
    session.disable_fallback()
    return session


def _cannot_load(ort: Any, kind: str, why: str) -> ProviderError:
    missing = missing_library(ort, kind) or why
    return ProviderError(
        f"{kind} cannot be loaded: {missing}: see `edgeharfer doctor`, or use --provider cpu"
    )
