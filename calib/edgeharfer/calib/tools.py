"""The ONNX tools of the export extra, imported when a quantization starts and kept quiet."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from edgeharfer.runtime.errors import MissingExtra

TOOLS = ("onnx", "onnxruntime", "numpy")


def load(module: str) -> Any:
    """A module of the export extra. Raises MissingExtra where it is not installed."""
    try:
        with quiet():
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra("The quantizer's ONNX tools", "export") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back warnings, log lines below an error and prints; the calibrators print as they go."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)
