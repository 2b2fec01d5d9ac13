"""What of a source could not be read, in the lines and figures that users see."""

from __future__ import annotations

from collections.abc import Iterator

from edgeharfer.runtime.source.base import Source

MAX_NAMED = 20
"""Files named one by one; the rest is counted."""


def describe_unreadable(source: Source) -> Iterator[str]:
    """A line for each file that could not be read, the first 20 by name, and one for gaps in a sequence."""
    reasons = [why for _, why in source.skipped]
    yield from reasons[:MAX_NAMED]
    if len(reasons) > MAX_NAMED:
        yield f"{source.name}: {len(reasons) - MAX_NAMED} more files could not be read"
    if missing := source.missing:
        named = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
        yield f"{source.name}: {len(missing)} numbers of the sequence are missing ({named})"


def conclusion(source: Source) -> str | None:
    """The error at the end, None where everything could be read."""
    count, total = source.unreadable, source.frame_count
    if not count:
        return None
    what = "images" if source.paths else "frames"
    of = f"{count} of {total} {what}" if total and total >= count else f"{count} {what}"
    return f"{source.name}: {of} could not be read; the results of the others are complete"
