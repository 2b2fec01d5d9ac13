"""A package folder that appears whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.package import MANIFEST


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
        out.parent.mkdir(parents=True, exist_ok=True)
        # A folder in a folder: mkdtemp makes it private, a package is for everyone to read.
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
            fresh = Path(temporary, "new")
            fresh.mkdir()
            yield fresh
            _swap(fresh, out, Path(temporary, "old"))
    except OSError as error:
        raise SinkError(f"{out}: cannot be written: {error.strerror or error}") from error


def _swap(fresh: Path, out: Path, old: Path) -> None:
    """Put `fresh` in the place of `out`, whose former content goes to `old`, or leave all as it is."""
    if out.exists():
        out.rename(old)
    try:
        fresh.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise


def _is_package_or_empty(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() or not any(folder.iterdir())
