"""Commands whose packages come by an extra say so in one line when it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgeharfer.runtime.errors import MissingExtra


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a failed import of somebody else's package into MissingExtra."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "edgeharfer"):
            raise
        raise MissingExtra(missing, extra) from error
