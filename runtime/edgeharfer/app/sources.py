"""What can be watched live, and by whom.

Whoever sits at this machine may name any file or stream. Others could read files and reach addresses that
way which are none of their business, so they choose from what the app was started with.
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


def find_choices(settings: Settings) -> dict[str, Any]:
    """The sources to offer, ready for JSON. free: others may be named, too.

    A stream is offered by its place in the list, since its address may hold a password.
    """
    named = [
        {"value": f"#{place}", "name": shown(spec), "kind": "named"}
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


def chosen(choice: str, settings: Settings) -> str | None:
    """The source that a choice stands for; None for one that may not be watched."""
    if choice.startswith("#") and choice[1:].isdecimal():
        place = int(choice[1:])
        return settings.sources[place] if place < len(settings.sources) else None
    return None if is_exposed(settings) else choice


def shown(spec: str) -> str:
    """A source as clients may see it: a stream without its password, a file without its folder."""
    safe = redact(spec)
    return safe if "://" in spec else Path(safe).name or safe


def without_folders(text: str) -> str:
    """An error message for a client: of each absolute path only the file name is left.

    Where files lie on the server is for its log.
    """
    for path in _PATHS:
        text = path.sub(lambda found: re.split(r"[\\/]", found[0].rstrip("\\/"))[-1], text)
    return text
