"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    ok: True works, False is broken, None is absent and missed only by those who need it. fix: what to do.
    tried: whether it was really used; a thing that is only known to be there is reported as found, not as ok.
    """

    topic: str
    ok: bool | None
    what: str
    fix: str = ""
    tried: bool = True
