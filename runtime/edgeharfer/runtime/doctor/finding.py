"""One line of the report of `edgeharfer doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        topic: What was checked, in one word.
        ok: True if it works, False if it is broken, None if it is absent and optional.
        message: What was found.
        fix: What to do about it; empty if nothing is needed.
        verified: It was actually used; otherwise it is only reported as found.
    """

    topic: str
    ok: bool | None
    message: str
    fix: str = ""
    verified: bool = True
