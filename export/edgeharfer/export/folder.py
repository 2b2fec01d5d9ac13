"""A package folder that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.inference.package import MANIFEST
from edgeharfer.runtime.staging import locked_folder, replace_folder, temporary_folder


def check_place(out: Path) -> None:
    """Raises ConfigError where something stands that an export must not replace."""
    if out.is_symlink() or (out.exists() and not (out.is_dir() and _is_package_or_empty(out))):
        raise ConfigError(f"{out}: exists and is no model package: give another --out")


@contextmanager
def written_beside(out: Path) -> Iterator[Path]:
    """A new folder next to `out` that takes its place at the end, and goes away if anything fails.

    A package that stood there is kept until then. Raises SinkError where the disk says no.
    """
    try:
        with temporary_folder(out) as fresh:
            yield fresh
            with locked_folder(out.parent):
                replace_folder(fresh, out)
    except OSError as error:
        raise SinkError(f"{out}: cannot be written: {error.strerror or error}") from error


def _is_package_or_empty(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() or not any(folder.iterdir())
