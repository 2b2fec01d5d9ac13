"""Plug-in execution providers: libraries of their own that are registered with ONNX Runtime.

A plug-in comes as a Python package beside the plain `onnxruntime` wheel. Once its library is registered, ONNX
Runtime lists the devices that it supports on this machine, and a session is created for one of them.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

from edgeharfer.runtime.errors import ProviderError
from edgeharfer.runtime.inference.onnx_runtime import error_reason, suppress_output

_registering = threading.Lock()


def find_devices(ort: Any, package: str, provider: str) -> Sequence[Any]:
    """Return the devices that a plug-in supports on this machine, as `OrtEpDevice`.

    Its library is registered on the first call and stays so until the process ends, because sessions use it.

    Args:
        ort: The module that `onnx_runtime.load` returns.
        package: Python package of the plug-in.
        provider: ONNX Runtime name of the provider.

    Raises:
        ImportError: The package is not installed.
        ProviderError: ONNX Runtime is too old, or the library cannot be loaded.
    """
    with _registering:
        _register(ort, package)
    return [device for device in ort.get_ep_devices() if device.ep_name == provider]


@cache
def _register(ort: Any, package: str) -> None:
    module = importlib.import_module(package)
    if not hasattr(ort, "register_execution_provider_library"):
        raise ProviderError(f"ONNX Runtime {ort.__version__} is too old for plug-in providers")
    try:
        with suppress_output(ort):
            ort.register_execution_provider_library(package, module.get_library_path())
    except Exception as error:  # ONNX Runtime's errors have no base class of their own.
        if "already registered" not in str(error):  # by the program that uses edgeharfer
            raise ProviderError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Shorten "Failed to load library PATH with error: REASON" to the reason."""
    return error_reason(Exception(str(error).rpartition(" with error: ")[2]))
