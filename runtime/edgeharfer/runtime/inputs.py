"""Opens the sources of a run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.source import SOURCES, Source, open_source, source_kind
from edgeharfer.runtime.source.address import redact
from edgeharfer.runtime.source.late import LateSource
from edgeharfer.runtime.source.reader_server import ReaderServer, is_supported

MAX_SOURCES = 64
RESERVED_NAMES = frozenset({"all"})
"""Names that no source can have: "all" are the figures of all sources."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceSpec:
    """A source of a run.

    Attributes:
        spec: The source, as `open_source` takes it.
        name: Its name in results and events; by default that of the source.
        opening: Further keyword arguments of `open_source`, in addition to those of the run.
        face_interval_s: Seconds between its face detections; None: those of the run.
    """

    spec: str
    name: str = ""
    opening: Mapping[str, Any] = field(default_factory=dict)
    face_interval_s: float | None = None


def open_sources(
    specs: Sequence[SourceSpec],
    opening: Mapping[str, Any],
    stack: ExitStack,
    stopping: Callable[[], bool],
    *,
    opener: Callable[..., Source] = open_source,
) -> list[Source]:
    """Open the sources of a run, several at the same time.

    With several sources, a camera or stream that cannot be opened is tried again during the run, as long as
    another one can.

    Args:
        specs: The sources.
        opening: Keyword arguments of `open_source` for all of them.
        stack: Closes the sources.
        stopping: Polled while live sources open.
        opener: Opens a source, see `open_source`.

    Returns:
        The sources, in the order of `specs`.

    Raises:
        ConfigError: There are too many sources.
        SourceError: A file cannot be opened, or none of the sources.
        KeyboardInterrupt: `stopping` returned True.
    """
    if len(specs) == 1:
        [one] = specs
        return [stack.enter_context(opener(one.spec, **{**opening, **one.opening}, stopping=stopping))]
    if len(specs) > MAX_SOURCES:
        raise ConfigError(f"{len(specs)} sources: a run has at most {MAX_SOURCES}; start several")
    over = threading.Event()
    readers = stack.enter_context(ReaderServer(stopping)) if is_supported() else None
    stack.callback(over.set)

    def open_one(one: SourceSpec) -> Source:
        return opener(
            one.spec,
            **{**opening, **one.opening},
            stopping=lambda: stopping() or over.is_set(),
            start_reader=readers.start_reader if readers else None,
        )

    with ThreadPoolExecutor(len(specs)) as pool:
        attempts = [pool.submit(open_one, one) for one in specs]
        errors = [attempt.exception() for attempt in attempts]
    for attempt, error in zip(attempts, errors, strict=True):
        if error is None:
            stack.callback(attempt.result().close)
    if any(errors) and stopping():
        raise KeyboardInterrupt
    fatal = [error for one, error in zip(specs, errors, strict=True) if error and not _is_passing(one, error)]
    if fatal or all(errors):
        raise (fatal or [error for error in errors if error])[0]
    return [
        _named(attempt.result() if error is None else _later(one, error, open_one), one)
        for one, attempt, error in zip(specs, attempts, errors, strict=True)
    ]


def unique_names(specs: Sequence[SourceSpec], sources: Sequence[Source]) -> list[str]:
    """Return the names of sources in results and events: the given one or that of the source, numbered if
    others have the same."""
    names: list[str] = []
    for one, source in zip(specs, sources, strict=True):
        name = full = one.name or source.name
        number = 1
        while full in names or full in RESERVED_NAMES:
            number += 1
            full = f"{name} ({number})"
        names.append(full)
    return names


def _is_passing(one: SourceSpec, error: BaseException) -> bool:
    return isinstance(error, SourceError) and SOURCES[source_kind(one.spec)].live


def _later(one: SourceSpec, error: BaseException, open_one: Callable[[SourceSpec], Source]) -> Source:
    _log.warning("%s; the other sources start without it, and it is retried", error)
    return LateSource(one.name or redact(one.spec), partial(open_one, one), str(error))


def _named(source: Source, one: SourceSpec) -> Source:
    """Use the given name in messages too."""
    source.name = one.name or source.name
    return source
