"""The public Python API of edgeharfer: sources, pipelines, tasks, results and sinks.

    from edgeharfer.runtime import Pipeline, Reading, Sink, Task, open_source

Everything that is not exported here is private, except for `edgeharfer.runtime.tasks.make_task`. Names are
imported on first use, so that importing a single type does not load OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeharfer.runtime.errors import (
        CameraError,
        ConfigError,
        EdgeharferError,
        MissingExtra,
        ModelError,
        ProviderError,
        SinkError,
        SourceError,
        TaskError,
    )
    from edgeharfer.runtime.inference.backend import Backend
    from edgeharfer.runtime.inference.package import Package, load_package, shipped_packages, verify_package
    from edgeharfer.runtime.pipeline import Pipeline
    from edgeharfer.runtime.result import Result
    from edgeharfer.runtime.sinks import Sink
    from edgeharfer.runtime.source import Source, open_source
    from edgeharfer.runtime.stats import Status
    from edgeharfer.runtime.tasks.base import Task
    from edgeharfer.runtime.types import Action, Box, Emotion, Face, Frame, Reading, TrackedFace

    __version__: str

_NAMES_BY_MODULE = {
    "errors": (
        "CameraError", "ConfigError", "EdgeharferError", "MissingExtra", "ModelError", "ProviderError",
        "SinkError", "SourceError", "TaskError",
    ),
    "inference.backend": ("Backend",),
    "inference.package": ("Package", "load_package", "shipped_packages", "verify_package"),
    "pipeline": ("Pipeline",),
    "sinks": ("Sink",),
    "source": ("Source", "open_source"),
    "stats": ("Status",),
    "tasks.base": ("Task",),
    "result": ("Result",),
    "types": ("Action", "Box", "Emotion", "Face", "Frame", "Reading", "TrackedFace"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = [
    "Action", "Backend", "Box", "CameraError", "ConfigError", "EdgeharferError", "Emotion", "Face", "Frame",
    "MissingExtra", "ModelError", "Package", "Pipeline", "ProviderError", "Reading", "Result", "Sink",
    "SinkError", "Source", "SourceError", "Status", "Task", "TaskError", "TrackedFace", "load_package",
    "open_source", "shipped_packages", "verify_package",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module(f"{__name__}.versions").product_version()
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return list(__all__)
