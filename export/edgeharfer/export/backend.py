"""Lazy imports of TensorFlow, Keras and the ONNX tools, with their output suppressed."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from edgeharfer.calib import tools
from edgeharfer.runtime.errors import ConfigError, MissingExtra

TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxslim", "onnxruntime", "numpy")


def load(module: str) -> Any:
    """Import a module of the export extra.

    Raises:
        MissingExtra: The module is not installed.
        ConfigError: The module cannot be loaded, or Keras does not run on TensorFlow.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        with quiet():
            loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra("The exporter's TensorFlow and ONNX tools", "export") from error
    except (ImportError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        raise ConfigError(f"{module} is installed but cannot be loaded here: {reason}") from error
    if module == "keras" and loaded.backend.backend() != "tensorflow":
        raise ConfigError(
            f"Keras uses the backend {loaded.backend.backend()}, not tensorflow: set KERAS_BACKEND=tensorflow"
        )
    return loaded


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings, log records up to errors, prints, and native output on stderr.

    TensorFlow writes lines at import that none of its settings suppresses. Errors are still raised.
    """
    with tools.quiet(), _native_stderr_suppressed():
        yield


@contextlib.contextmanager
def _native_stderr_suppressed() -> Iterator[None]:
    sys.stderr.flush()
    original = os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(original, 2)
    finally:
        os.close(original)
