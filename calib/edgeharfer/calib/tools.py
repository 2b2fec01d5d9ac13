"""Lazy imports of the ONNX tools of the export extra, with their output suppressed."""

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
    """Import a module of the export extra.

    Raises:
        MissingExtra: The module is not installed.
    """
    try:
        with quiet():
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra("The quantizer's ONNX tools", "export") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings, log records up to errors, and prints, which the calibrators produce."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)
