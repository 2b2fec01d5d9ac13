"""What of a source could not be read, in the lines and figures that users see."""

from __future__ import annotations

from collections.abc import Iterator

from edgeharfer.runtime.source.base import Source

MAX_NAMED = 20
"""Files named one by one; the rest is counted."""


def unreadable_count(source: Source) -> int:
    """How many images or frames of a file source could not be read so far."""
    return int(getattr(source, "unreadable", 0))


def missing_count(source: Source) -> int:
    """How many numbers of an image sequence have no file."""
    return len(getattr(source, "missing", ()))


def describe_unreadable(source: Source) -> Iterator[str]:
    """A line for each file that could not be read, the first 20 by name, and one for gaps in a sequence."""
    reasons = [why for _, why in getattr(source, "skipped", ())]
    yield from reasons[:MAX_NAMED]
    if len(reasons) > MAX_NAMED:
        yield f"{source.name}: {len(reasons) - MAX_NAMED} more files could not be read"
    if missing := getattr(source, "missing", ()):
        named = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
        yield f"{source.name}: {len(missing)} numbers of the sequence are missing ({named})"


def conclusion(source: Source) -> str | None:
    """The error at the end, None where everything could be read."""
    count = unreadable_count(source)
    if not count:
        return None
    total = source.frame_count
    what = "images" if hasattr(source, "paths") else "frames"
    of = f"{count} of {total} {what}" if total and total >= count else f"{count} {what}"
    return f"{source.name}: {of} could not be read; the results of the others are complete"
