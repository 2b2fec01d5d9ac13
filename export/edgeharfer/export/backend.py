"""TensorFlow, Keras and the ONNX tools, imported when an export starts and kept quiet."""

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
    """A module of the export extra. Raises MissingExtra where it is not installed."""
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
        raise ConfigError("Keras runs on another backend here: set KERAS_BACKEND=tensorflow")
    return loaded


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back warnings, log lines below an error, prints, and what native code writes to stderr.

    TensorFlow writes lines at its import that no setting of its own holds back. An error still says
    itself: it is raised, not written.
    """
    with tools.quiet(), _native_stderr_held():
        yield


@contextlib.contextmanager
def _native_stderr_held() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
    finally:
        os.close(kept)
