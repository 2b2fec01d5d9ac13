"""What ONNX Runtime says when something fails: in one line of ours, and nowhere else."""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ERROR, FATAL = 3, 4
"""Severities of its log, from which on it is written."""


def reason(error: Exception) -> str:
    """An error of ONNX Runtime without its code and its advice, in one line."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip())
    line = " ".join(text.partition("Please fix")[0].split()) or type(error).__name__
    return line[:300].rstrip(" .")


def missing_library(ort: Any, kind: str) -> str | None:
    """What the system's loader says of a provider's library, which ONNX Runtime writes to stderr only.

    To be called after ONNX Runtime has tried: its own libraries expect to be loaded by it first.
    """
    for path in (Path(ort.__file__).parent / "capi").glob(f"*onnxruntime_providers_{kind}.*"):
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
    # One stdout is for all threads: beside a run, what the run prints would be lost.
    alone = threading.current_thread() is threading.main_thread()
    ort.set_default_logger_severity(FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()) if alone else contextlib.nullcontext():
            yield
    finally:
        ort.set_default_logger_severity(ERROR)
