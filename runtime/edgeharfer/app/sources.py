"""Sources of the live view.

Users of this machine may open any file or stream. Users of other machines can only choose from the sources
that the app was started with, so that they cannot read files or reach other addresses through it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgeharfer.app.access import is_exposed
from edgeharfer.app.settings import Settings
from edgeharfer.runtime.source import named_sources, source_kind
from edgeharfer.runtime.source.address import redact
from edgeharfer.runtime.source.cameras import find_cameras

# Absolute paths: in quotes, before the colon of an error message, and anywhere else.
_PATHS = (
    re.compile(r"^(?:/|[A-Za-z]:[\\/]|\\\\)[^:]*(?=: )"),
    re.compile(r"""(?<=['"])(?:/|[A-Za-z]:[\\/]|\\\\)[^'"]*(?=['"])"""),
    re.compile(r"""(?<![\w/\\:.*~-])(?:/|[A-Za-z]:[\\/]|\\\\)[^\s:;,'"<>|()]+"""),
)


def list_sources(settings: Settings) -> dict[str, Any]:
    """The sources to choose from, JSON-serialisable.

    Configured sources are identified by their index, because a URL may contain a password.

    Returns:
        "sources" is the list; "free" says whether any other source may be entered.
    """
    named = [
        {"value": f"#{place}", "name": display_name(spec), "kind": "named"}
        for place, spec in enumerate(settings.sources)
    ]
    if is_exposed(settings):
        return {"sources": named, "free": False}
    cameras = [{"value": str(one.path), "name": one.name, "kind": "camera"} for one in find_cameras()]
    others = [
        {"value": spec, "name": kind.title, "kind": source_kind(spec)}
        for spec, kind in named_sources().items()
    ]
    return {"sources": [*named, *cameras, *others], "free": True}


def resolve_choice(choice: str, settings: Settings) -> str | None:
    """The source for a choice; None if it is not allowed."""
    if choice.startswith("#") and choice[1:].isdecimal():
        place = int(choice[1:])
        return settings.sources[place] if place < len(settings.sources) else None
    return None if is_exposed(settings) else choice


def display_name(spec: str) -> str:
    """A source as shown to clients: a URL without its password, a file without its folder."""
    safe = redact(spec)
    return safe if "://" in spec else Path(safe).name or safe


def strip_folders(text: str) -> str:
    """Reduce each absolute path in an error message to its file name, before clients see it."""
    for path in _PATHS:
        text = path.sub(lambda match: re.split(r"[\\/]", match[0].rstrip("\\/"))[-1], text)
    return text
