"""Where results go. To add a kind: a module here with `make_sink(target, options)`, and a row in SINKS.

The command line reads SINKS: a row is an option of `edgeharfer run`, or a choice of its `--view`.
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
    """One kind of sink.

    Attributes:
        summary: A line of help.
        takes: What its option takes, such as "FILE.json"; "" for a view, which a person looks at.
    """

    summary: str
    takes: str = ""


SINKS: Mapping[str, SinkEntry] = MappingProxyType({
    "window": SinkEntry("a window on this screen"),
    "web": SinkEntry("a page for a browser on this machine"),
    "events": SinkEntry("JSON lines, one a result, to a file or standard output.", "FILE|-"),
    "save": SinkEntry(
        "Annotated video (.mp4, .mkv, .avi); of a photograph .jpg or .png, of several a folder.",
        "FILE.mp4|FILE.jpg|DIR",
    ),
    "stats": SinkEntry("Summary of the run.", "FILE.json"),
})  # fmt: skip
"""By name, which is that of the module and of the option or choice that asks for it."""


def views() -> list[str]:
    """The kinds that a person looks at: choices of `--view`."""
    return [name for name, entry in SINKS.items() if not entry.takes]


def writers() -> list[str]:
    """The kinds that write somewhere: options of their own."""
    return [name for name, entry in SINKS.items() if entry.takes]


def make_sink(name: str, target: str, options: SinkOptions) -> Sink:
    """Make a sink by the name of its kind; it opens when it is entered.

    Raises:
        ConfigError: The target does not go with this kind or with the source.
    """
    sink: Sink = import_module(f"{__name__}.{name}").make_sink(target, options)
    return sink


def make_sinks(targets: Mapping[str, str], options: SinkOptions) -> list[Sink]:
    """The sinks that were asked for, in the order of SINKS.

    Lines for people go to standard error as well, unless results go to standard output.

    Args:
        targets: Name of the kind -> what its option says; "" for a view.
        options: Common to all of them.
    """
    sinks = [make_sink(name, targets[name], options) for name in SINKS if name in targets]
    return sinks if STANDARD_OUTPUT in targets.values() else [*sinks, make_sink("console", "", options)]
