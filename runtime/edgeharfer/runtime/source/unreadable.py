"""Messages about the parts of a source that could not be read."""

from __future__ import annotations

from collections.abc import Iterator

from edgeharfer.runtime.source.base import Source

MAX_LISTED = 20
"""Maximum number of files listed individually; the rest is counted."""


def describe_unreadable(source: Source) -> Iterator[str]:
    """Yield a line for each of the first 20 unreadable files, and for the others and gaps in a sequence."""
    reasons = [reason for _, reason in source.skipped]
    yield from reasons[:MAX_LISTED]
    if len(reasons) > MAX_LISTED:
        yield f"{source.name}: {len(reasons) - MAX_LISTED} more files could not be read"
    if missing := source.missing:
        named = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
        yield f"{source.name}: {len(missing)} numbers of the sequence are missing ({named})"


def unreadable_summary(source: Source) -> str | None:
    """Return the error message at the end of a run, None if everything could be read."""
    count, total = source.unreadable, source.frame_count
    if not count:
        return None
    what = "images" if source.paths else "frames"
    of = f"{count} of {total} {what}" if total and total >= count else f"{count} {what}"
    return f"{source.name}: {of} could not be read; the results of the others are complete"
