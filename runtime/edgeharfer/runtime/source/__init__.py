"""Frame sources and their registry.

To add a kind of source, write a module in this package with `make_source(spec, options)` and add a row to
`SOURCES`. `open_source`, the command line, the picker, the app and the configuration checks read that table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import MissingExtra, SourceError
from edgeharfer.runtime.source.address import redact
from edgeharfer.runtime.source.base import Source, SourceOptions
from edgeharfer.runtime.source.decode_devices import AUTO, check_decode

if TYPE_CHECKING:
    from edgeharfer.runtime.source.messages import Reader

__all__ = [
    "SOURCES",
    "Source",
    "SourceEntry",
    "named_sources",
    "open_source",
    "source_kind",
    "source_metavar",
]


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One kind of source.

    Attributes:
        metavar: Form of the spec, as shown in command-line help.
        pattern: Regular expression that matches the whole spec.
        live: Whether frames arrive in real time.
        endless: Whether the source never ends.
        title: Label in the picker and the app; "" where the user has to name a specific source.
        detail: Text shown next to the title.
        extra: Optional dependency group of edgeharfer that the source needs.
        privileged: Whether a spec can do more than read, such as write files; the page of the app cannot
            choose it.
    """

    metavar: str
    pattern: str
    live: bool = False
    endless: bool = False
    title: str = ""
    detail: str = ""
    extra: str | None = None
    privileged: bool = False

    @property
    def is_path(self) -> bool:
        """Whether the spec is the path of a file or folder."""
        return not (self.live or self.title)


SOURCES: Mapping[str, SourceEntry] = MappingProxyType({
    "camera": SourceEntry("N|/dev/…", r"-?[0-9]{1,9}|/dev/.*", live=True, endless=True),
    "demo": SourceEntry("demo", "demo", endless=True, title="Demo", detail="two portraits, no camera needed"),
    "stream": SourceEntry("rtsp://…|http://…", r"(?i:rtsps?|https?)://.*", live=True, endless=True),
    "gstreamer": SourceEntry(
        "gstreamer:PIPELINE", r"(?i:gstreamer):.*", live=True, endless=True, privileged=True
    ),
    "files": SourceEntry("FILE|DIR|GLOB", r"(?![A-Za-z][A-Za-z0-9+.-]*://).*"),
})  # fmt: skip
"""Kinds of sources by module name. The first row whose pattern matches the spec opens the source."""


def open_source(
    spec: str | int | Path,
    *,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    follow_redirects: bool = False,
    decode: str = AUTO,
    clock: Clock | None = None,
    stopping: Callable[[], bool] = lambda: False,
    start_reader: Callable[[], Reader] | None = None,
) -> Source:
    """Open a source and check that it delivers a first frame.

    Args:
        spec: A camera's number or /dev path, "demo", a video file, an image, a folder or glob of images,
            a numbered sequence such as "img_%04d.png", an rtsp:// or http:// stream, or "gstreamer:" and a
            pipeline.
        width: See `SourceOptions`, as for the other arguments.
        height: Requested picture height.
        fps: Requested rate, or the rate of a numbered sequence.
        follow_redirects: Whether a stream may connect to other servers.
        decode: Device that decodes videos and streams: "auto" and "cpu" are the processor, others are named
            in `decode_devices.DECODE_DEVICES`.
        clock: Clock for the timestamps; the system clock by default.
        stopping: Polled while a live source opens.
        start_reader: Starts the reader process of a live source; those of several sources can share memory.

    Returns:
        The open source; close it after use, or use it in a `with` statement.

    Raises:
        CameraError: The camera is not available.
        DecoderError: The device of `decode` is missing, or does not decode the video.
        ConfigError: `decode` is unknown.
        SourceError: Any other source cannot be opened.
        MissingExtra: The source needs packages that are not installed.
    """
    check_decode(decode)
    text = str(spec)
    name = source_kind(text)
    options = SourceOptions(
        clock or SystemClock(), width, height, fps, follow_redirects, decode, stopping, start_reader
    )
    try:
        module = import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if (extra := SOURCES[name].extra) is None:
            raise
        raise MissingExtra(f"Support for {name!r} sources", extra) from error
    source: Source = module.make_source(text, options)
    return source


def source_kind(spec: str) -> str:
    """Return the key in `SOURCES` of the kind that opens a spec, without opening it.

    Raises:
        SourceError: No kind of source matches.
    """
    if not spec.strip():
        raise SourceError(f"source {spec!r}: empty; use one of {source_metavar()}")
    for name, entry in SOURCES.items():
        if re.fullmatch(entry.pattern, spec, re.DOTALL):
            return name
    raise SourceError(f"{redact(spec)}: not a supported source; use one of {source_metavar()}")


def source_metavar() -> str:
    """Return the forms of all specs for help texts: "FILE|DIR|GLOB|rtsp://…|http://…|demo|N|/dev/…"."""
    return "|".join(reversed([entry.metavar for entry in SOURCES.values()]))


def named_sources() -> dict[str, SourceEntry]:
    """Return the sources that have a fixed name, such as "demo", by that name."""
    return {entry.metavar: entry for entry in SOURCES.values() if entry.title}
