"""Error messages as the page shows them: without folders of the server, options and commands.

The messages of the engine end with what to do on the command line. The page has other means.
"""

from __future__ import annotations

import re

from edgeharfer.app.sources import strip_folders

_ADVICE = (
    (r"(?:try|use) --source demo", "choose the demo"),
    (r"pass .{1,60} with --background", "record yourself doing nothing as one more action"),
    (r"has no end[;:] .*", "has no end, so it cannot be analysed"),
)
"""Advice for the command line, and what it is on the page."""
_COMMAND = re.compile(r"--[a-z]|`|\bedgeharfer [a-z]|\bpip (?:un)?install\b")
_SEPARATOR = re.compile(r"(; |: |, )")
ELSEWHERE = "; change this in the settings that the app is started with"


def page_message(message: object) -> str:
    """Convert a message of the engine, or an error with one.

    Clauses that name an option or a command are replaced by what the page offers, or left out.
    """
    text = strip_folders(str(message))
    for pattern, advice in _ADVICE:
        text = re.sub(pattern, advice, text)
    first, *rest = _SEPARATOR.split(text)
    clauses = list(zip(rest[::2], rest[1::2], strict=True))
    kept = [separator + clause for separator, clause in clauses if not _COMMAND.search(clause)]
    first = "the settings do not fit" if _COMMAND.search(first) else first
    return first + "".join(kept) + (ELSEWHERE if len(kept) < len(clauses) else "")


def bug_message(reason: str) -> str:
    """The message for an exception that is a defect of the app."""
    return strip_folders(f"internal error, please report it: {reason}")
