"""Sinks: where results are shown or written.

To add a kind, add a module with `make_sink(target, options)` to this package and a row to SINKS. Each row
becomes an option of `edgeharfer run`, or a choice of its `--view`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

from edgeharfer.runtime.sinks.base import Sink, SinkOptions

__all__ = ["SINKS", "Sink", "SinkEntry", "SinkOptions", "make_sink", "make_sinks", "views", "writers"]

STANDARD_OUTPUT = "-"


@dataclass(frozen=True, slots=True)
class SinkEntry:
    """A kind of sink.

    Attributes:
        summary: Help text in one line.
        metavar: Metavar of its option, such as "FILE.json"; "" for a view.
    """

    summary: str
    metavar: str = ""


SINKS: Mapping[str, SinkEntry] = MappingProxyType({
    "window": SinkEntry("a window on this screen"),
    "web": SinkEntry("a page for a browser on this machine"),
    "events": SinkEntry("Write results as JSON lines to a file or standard output.", "FILE|-"),
    "save": SinkEntry(
        "Save annotated output: a video (.mp4, .mkv, .avi), a photograph (.jpg, .png), "
        "or a folder for several photographs.",
        "FILE.mp4|FILE.jpg|DIR",
    ),
    "stats": SinkEntry("Write the summary of the run.", "FILE.json"),
})  # fmt: skip
"""Kinds by name, which is also the name of the module and of the option or choice of `--view`."""


def views() -> list[str]:
    """Return the kinds that show results: the choices of `--view`."""
    return [name for name, entry in SINKS.items() if not entry.metavar]


def writers() -> list[str]:
    """Return the kinds that write to a target and have an option of their own."""
    return [name for name, entry in SINKS.items() if entry.metavar]


def make_sink(name: str, target: str, options: SinkOptions) -> Sink:
    """Create a sink of the named kind; it opens its output when it is entered.

    Raises:
        ConfigError: The target does not fit the kind or the source.
    """
    sink: Sink = import_module(f"{__name__}.{name}").make_sink(target, options)
    return sink


def make_sinks(targets: Mapping[str, str], options: SinkOptions) -> list[Sink]:
    """Create the requested sinks, in the order of SINKS.

    A console sink on standard error is added unless results go to standard output.

    Args:
        targets: Name of the kind -> value of its option; "" for a view.
        options: Settings common to all sinks.
    """
    sinks = [make_sink(name, targets[name], options) for name in SINKS if name in targets]
    return sinks if STANDARD_OUTPUT in targets.values() else [*sinks, make_sink("console", "", options)]
