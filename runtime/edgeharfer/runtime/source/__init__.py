"""Where frames come from. To add a kind: a module here with `make_source(spec, options)`, a row in SOURCES.

`open_source`, the command line, the picker, the app and the checks of configuration files read SOURCES.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import MissingExtra, SourceError
from edgeharfer.runtime.source.address import redact
from edgeharfer.runtime.source.base import Source, SourceOptions

__all__ = ["SOURCES", "Source", "SourceEntry", "kind_of", "named_sources", "open_source", "specs"]


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One kind of source.

    Attributes:
        takes: What names such a source, as the help of the command line writes it.
        pattern: Regular expression for the whole of what names it.
        live: Frames come at their own pace.
        endless: There is no last frame.
        title, detail: As the picker and the app offer it; "" for a kind of which one has to be named.
        extra: The extra of this product that brings the packages it needs.
    """

    takes: str
    pattern: str
    live: bool = False
    endless: bool = False
    title: str = ""
    detail: str = ""
    extra: str | None = None

    @property
    def is_path(self) -> bool:
        """The path of a file or folder names it."""
        return not (self.live or self.title)


SOURCES: Mapping[str, SourceEntry] = MappingProxyType({
    "camera": SourceEntry("N|/dev/…", r"-?[0-9]{1,9}|/dev/.*", live=True, endless=True),
    "demo": SourceEntry("demo", "demo", endless=True, title="Demo", detail="two portraits, no camera needed"),
    "stream": SourceEntry("rtsp://…|http://…", r"(?i:rtsps?|https?)://.*", live=True, endless=True),
    "files": SourceEntry("FILE|DIR|GLOB", r"(?![A-Za-z][A-Za-z0-9+.-]*://).*"),
})  # fmt: skip
"""By name, which is that of the module. The first row whose pattern matches opens a source."""


def open_source(
    spec: str | int | Path,
    *,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    follow_redirects: bool = False,
    clock: Clock | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Source:
    """Open what `spec` names and make sure that a first frame comes from it.

    Args:
        spec: A camera's number or /dev path, "demo", a video file, an image, a folder or glob of images,
            a numbered sequence such as "img_%04d.png", or an rtsp:// or http:// stream.
        width, height, fps, follow_redirects, clock, stopping: See `SourceOptions`.

    Raises:
        CameraError: A camera is not there.
        SourceError: Anything else cannot be opened.
        MissingExtra: This kind of source needs packages that are not installed.
    """
    text = str(spec)
    name = kind_of(text)
    options = SourceOptions(clock or SystemClock(), width, height, fps, follow_redirects, stopping)
    try:
        module = import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if (extra := SOURCES[name].extra) is None:
            raise
        raise MissingExtra(f"What a source of the kind {name!r} needs", extra) from error
    source: Source = module.make_source(text, options)
    return source


def kind_of(spec: str) -> str:
    """The name of the kind that opens a source. Nothing is opened. Raises SourceError where there is none."""
    if not spec.strip():
        raise SourceError(f"source {spec!r}: empty; name one of {specs()}")
    for name, entry in SOURCES.items():
        if re.fullmatch(entry.pattern, spec, re.DOTALL):
            return name
    raise SourceError(f"{redact(spec)}: not a source; name one of {specs()}")


def specs() -> str:
    """What names a source, in the words of the help: "FILE|DIR|GLOB|rtsp://…|http://…|demo|N|/dev/…"."""
    return "|".join(reversed([entry.takes for entry in SOURCES.values()]))


def named_sources() -> dict[str, SourceEntry]:
    """The kinds of which there is one, by what names it, such as "demo"."""
    return {entry.takes: entry for entry in SOURCES.values() if entry.title}
