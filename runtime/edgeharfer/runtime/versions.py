"""Versions of what is installed, from its metadata: nothing is imported for it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version


def installed(name: str) -> str | None:
    """The version of a distribution, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def all_installed(names: Iterable[str]) -> dict[str, str]:
    """Name -> version of those that are installed, in the order given."""
    return {name: found for name in names if (found := installed(name)) is not None}


def product_version() -> str:
    """Our own; empty in a source tree that is not installed."""
    return installed("edgeharfer") or ""
