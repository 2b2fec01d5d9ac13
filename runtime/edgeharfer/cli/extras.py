"""Commands whose packages come with an extra report in one line what is missing or too old."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgeharfer.runtime.errors import ConfigError, MissingExtra
from edgeharfer.runtime.installation import install_command
from edgeharfer.runtime.versions import dependencies


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a failed import of another project's package into MissingExtra, or ConfigError for its version."""
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "edgeharfer"):
            raise
        for one in dependencies(extra):
            if one.version is not None and not one.fits:
                raise ConfigError(f"{one.problem}: {install_command(extra)}") from error
        if not isinstance(error, ModuleNotFoundError):
            raise
        raise MissingExtra(package, extra) from error


def check_extra(extra: str) -> None:
    """Raises MissingExtra for a package that is not installed, for a command that imports it much later."""
    for one in dependencies(extra):
        if one.version is None:
            raise MissingExtra(one.name, extra)
