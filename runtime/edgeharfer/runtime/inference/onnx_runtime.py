"""ONNX Runtime itself: how it is imported, its limits, and its errors in one line."""

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
from edgeharfer.runtime.installation import GPU_HINT

MEMORY_BYTES = 2 << 30
"""Of all CPU tensors together. A few bytes of a model can ask for any number of gigabytes."""

ERROR, FATAL = 3, 4
"""Log severities."""

_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Read when ONNX Runtime is loaded, from 1.29 on. Without it a number for this machine and a database are put
into the user's cache, and figures on machine and models go to Microsoft; `disable_telemetry_events` comes too
late for both (docs/Privacy.md of ONNX Runtime)."""


def load() -> Any:
    """The module onnxruntime, with telemetry off and a limit on memory. Raises MissingExtra without it."""
    os.environ[_NO_TELEMETRY] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("ONNX Runtime", "cpu", GPU_HINT) from error
    # Removing one of onnxruntime and onnxruntime-gpu leaves an empty folder that still imports.
    if not hasattr(onnxruntime, "InferenceSession"):
        raise MissingExtra("ONNX Runtime", "cpu", GPU_HINT)
    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    _limit_memory(onnxruntime)
    return onnxruntime


@cache
def _limit_memory(ort: Any) -> None:
    """One arena for all sessions, which refuses what goes beyond the limit; the error is then the model's."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": MEMORY_BYTES}))


def create_session(
    ort: Any,
    graph: Graph,
    threads: int,
    providers: Sequence[str],
    provider_options: Sequence[dict[str, str]] | None = None,
) -> Any:
    """An `InferenceSession`. Raises what ONNX Runtime raises, and KeyboardInterrupt where a stop ended it."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = True
    options.log_severity_level = ERROR
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Constants are computed while a graph is loaded, which can take as long as a graph that never ends.
    with NATIVE_CALLS.call(graph.name, lambda: options.set_load_cancellation_flag(True), loads=True):
        session = ort.InferenceSession(
            graph.data, options, providers=providers, provider_options=provider_options, enable_fallback=0
        )
    session.disable_fallback()
    return session


def run_options() -> Any:
    """New options of one run, which can end it."""
    import onnxruntime

    return onnxruntime.RunOptions()


def reason(error: Exception) -> str:
    """An error of ONNX Runtime without its code and its advice, in one line."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip())
    line = " ".join(text.partition("Please fix")[0].split()) or type(error).__name__
    return line[:300].rstrip(" .")


def missing_library(ort: Any, provider: str) -> str | None:
    """What the system's loader says of a provider's library, which ONNX Runtime writes to stderr only.

    To be called after ONNX Runtime has tried: its own libraries expect to be loaded by it first.
    """
    for path in (Path(ort.__file__).parent / "capi").glob(f"*onnxruntime_providers_{provider}.*"):
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            return str(error)
    return None


@cache
def preload(ort: Any) -> None:
    """Find CUDA and cuDNN where pip has put them; what it prints of those that lie elsewhere is no news."""
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()


@contextlib.contextmanager
def quiet(ort: Any) -> Iterator[None]:
    """Keep the native log and the wrapper's prints out of the user's terminal and of `--events -`."""
    # One stdout is for all threads: in another thread, what the run prints meanwhile would be lost.
    alone = threading.current_thread() is threading.main_thread()
    ort.set_default_logger_severity(FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()) if alone else contextlib.nullcontext():
            yield
    finally:
        ort.set_default_logger_severity(ERROR)
