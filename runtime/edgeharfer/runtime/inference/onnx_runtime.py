"""Import ONNX Runtime, limit its memory, create its sessions and shorten its error messages."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from edgeharfer.runtime.errors import MissingExtra
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.native_calls import NATIVE_CALLS
from edgeharfer.runtime.installation import gpu_hint

MAX_MEMORY_BYTES = 2 << 30
"""Limit for all CPU tensors of the process. A model of a few bytes can ask for any number of gigabytes."""

ERROR, FATAL = 3, 4
"""ONNX Runtime log severities."""

_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Disables telemetry; read when ONNX Runtime is loaded, from version 1.29 on.

Without it, ONNX Runtime writes a machine identifier and a database to the user's cache and sends machine and
model statistics to Microsoft. Calling `disable_telemetry_events` is too late for both (docs/Privacy.md of
ONNX Runtime).
"""


def load() -> Any:
    """Import onnxruntime with telemetry disabled and memory limited.

    Returns:
        The module `onnxruntime`.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
    """
    os.environ[_NO_TELEMETRY] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("ONNX Runtime", "cpu", gpu_hint()) from error
    # Removing one of onnxruntime and onnxruntime-gpu leaves an empty folder that still imports.
    if not hasattr(onnxruntime, "InferenceSession"):
        raise MissingExtra("ONNX Runtime", "cpu", gpu_hint())
    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    _limit_memory(onnxruntime)
    return onnxruntime


@cache
def _limit_memory(ort: Any) -> None:
    """Register one arena for all sessions. Allocations beyond its limit fail as an error of the model."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": MAX_MEMORY_BYTES}))


def create_session(
    ort: Any,
    graph: Graph,
    threads: int,
    providers: Sequence[str],
    provider_options: Sequence[dict[str, str]] | None = None,
    *,
    device: Any = None,
    memory_pattern: bool = True,
) -> Any:
    """Create an `onnxruntime.InferenceSession`.

    Args:
        ort: The module that `load` returns.
        graph: Graph to load.
        threads: Intra-op threads.
        providers: ONNX Runtime names of the execution providers, best first.
        provider_options: Options of each provider, in the same order.
        device: Device of a plug-in, the first of the providers; ONNX Runtime adds the CPU after it.
        memory_pattern: Plan the memory of each input shape. DirectML does not support it.

    Raises:
        KeyboardInterrupt: The load was cancelled, see `native_calls`.
        Exception: ONNX Runtime cannot load the graph; its errors have no common base class.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = memory_pattern
    # A plug-in also writes each error that it raises to standard error.
    options.log_severity_level = ERROR if device is None else FATAL
    options.add_session_config_entry("session.use_env_allocators", "1")
    if device is not None or len(providers) > 1:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if graph.profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, graph.profile
    for axis, size in graph.sizes:
        options.add_free_dimension_override_by_name(axis, size)
    chosen: dict[str, Any] = {"providers": providers, "provider_options": provider_options}
    if device is not None:
        options.add_provider_for_devices([device], provider_options[0] if provider_options else {})
        chosen = {}
    # Constants are folded while a graph is loaded, which may never end either.
    with NATIVE_CALLS.call(graph.name, lambda: options.set_load_cancellation_flag(True), is_load=True):
        session = ort.InferenceSession(graph.data, options, enable_fallback=0, **chosen)
    session.disable_fallback()
    return session


def count_operators(session: Any) -> dict[str, int]:
    """Return how many operators of a session's graph each provider runs, by its ONNX Runtime name.

    The session must have been created with several providers. Empty if this version of ONNX Runtime does not
    tell.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    counts: dict[str, int] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        counts[subgraph.ep_name] = counts.get(subgraph.ep_name, 0) + len(subgraph.get_nodes())
    return counts


def run_options() -> Any:
    """Return new `RunOptions`, which can terminate one run."""
    import onnxruntime

    return onnxruntime.RunOptions()


def error_reason(error: Exception) -> str:
    """Shorten an ONNX Runtime error to one line, without its error code and advice."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip())
    line = " ".join(text.partition("Please fix")[0].split()) or type(error).__name__
    return line[:300].rstrip(" .")


def missing_library(ort: Any, provider: str) -> str | None:
    """Return the system loader's error for a provider's library, which ONNX Runtime only writes to stderr.

    Call it after ONNX Runtime has tried to load the provider: its libraries expect to be loaded by it first.

    Args:
        ort: The module that `load` returns.
        provider: Name of the provider in the library's file name, such as "cuda".

    Returns:
        The loader's message, or None if the library loads or does not exist.
    """
    for path in (Path(ort.__file__).parent / "capi").glob(f"*onnxruntime_providers_{provider}.*"):
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            return str(error)
    return None


@cache
def preload_cuda(ort: Any) -> None:
    """Load CUDA and cuDNN from pip packages. Messages about those installed elsewhere are dropped."""
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()


@contextlib.contextmanager
def suppress_output(ort: Any) -> Iterator[None]:
    """Keep the native log and the Python wrapper's prints off the terminal and out of `--events -`."""
    # stdout is shared by all threads: redirecting it in another thread would discard the run's output.
    in_main_thread = threading.current_thread() is threading.main_thread()
    ort.set_default_logger_severity(FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()) if in_main_thread else contextlib.nullcontext():
            yield
    finally:
        ort.set_default_logger_severity(ERROR)
