"""Errors for commands whose dependencies come with an extra, such as `edgeharfer[report]`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgeharfer.runtime.errors import ConfigError, MissingExtra
from edgeharfer.runtime.installation import install_command
from edgeharfer.runtime.versions import dependencies


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a failed import inside the block into an error that names the extra to install.

    Args:
        extra: Name of the extra that provides the imported packages.

    Raises:
        MissingExtra: A package is not installed.
        ConfigError: An installed package has an unsupported version.
    """
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
    """Check that all packages of an extra are installed, for a command that imports them much later.

    Raises:
        MissingExtra: A package is not installed.
    """
    for one in dependencies(extra):
        if one.version is None:
            raise MissingExtra(one.name, extra)
