"""The PACKAGE argument: a model package, or a Keras model that is exported temporarily."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.model_file import model_arguments, refuse_model_options

if TYPE_CHECKING:
    from edgeharfer.runtime.inference.package import Package

MODEL_FILES = (".keras", ".h5", ".hdf5", ".json", ".onnx", ".tflite")


def is_model_file(path: Path) -> bool:
    """Return whether the path is a model file or a training run, not a package."""
    if (path / "manifest.json").is_file():
        return False
    return path.suffix.lower() in MODEL_FILES or any(
        (path / name).is_file() for name in ("model.keras", "saved_model.pb")
    )


@contextmanager
def open_package(package: str, options: dict[str, Any] | None = None) -> Iterator[Package]:
    """Load a package, or export a model to a temporary one that exists inside the block.

    Args:
        package: A package, a model file, or a training run.
        options: Options of a command with `model_file_options`, which are removed.

    Raises:
        ConfigError: An option describes a model file, but this is a package.
    """
    from edgeharfer.runtime.inference.package import load_package

    if not is_model_file(Path(package)):
        refuse_model_options(package, options or {})
        yield load_package(package)
        return
    with needs_extra("export"):
        from edgeharfer.export import export_model

    with tempfile.TemporaryDirectory(prefix="edgeharfer-") as folder:
        arguments = model_arguments(options) if options else {}
        yield export_model(Path(package), Path(folder, "package"), **arguments)
