"""The PACKAGE argument: a model package, or a Keras model that is exported temporarily."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgeharfer.cli.extras import needs_extra

if TYPE_CHECKING:
    from edgeharfer.runtime.inference.package import Package

KERAS_FILES = (".keras", ".h5", ".hdf5")


def is_keras(path: Path) -> bool:
    """Return whether the path is a Keras model or a training run, not a package."""
    return path.suffix.lower() in KERAS_FILES or (path / "model.keras").is_file()


@contextmanager
def open_package(package: str) -> Iterator[Package]:
    """Load a package, or export a Keras model to a temporary one that exists inside the block."""
    from edgeharfer.runtime.inference.package import load_package

    if not is_keras(Path(package)):
        yield load_package(package)
        return
    with needs_extra("export"):
        from edgeharfer.export import export_model

    with tempfile.TemporaryDirectory(prefix="edgeharfer-") as folder:
        yield export_model(Path(package), Path(folder, "package"))
