"""All outputs of a run as one: an output that fails is left behind, the run is not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

_log = logging.getLogger(__name__)


class SinkGroup:
    """Hands each result to every sink. Sinks are entered and left by the caller.

    A sink that raises SinkError misses that result and is given the next one: a full disk may be freed.
    The log tells of the first failure and of the first success after it.
    errors: how many results were missed by some sink.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.errors = 0
        self._sinks = sinks
        self._missed: dict[int, int] = {}  # by each sink that fails now

    @property
    def closed(self) -> bool:
        """Whoever looked or read has gone away from one of them."""
        return any(sink.closed for sink in self._sinks)

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        for sink in self._sinks:
            try:
                sink.write(frame, result, status)
            except SinkError as error:
                self._tell_failure(sink, error)
                self._missed[id(sink)] += 1
                self.errors += 1
            else:
                self._tell_recovery(sink)

    def refresh(self, status: Status) -> None:
        """While no results come: windows answer, and what writes events tells of the source."""
        for sink in self._sinks:
            try:
                sink.refresh(status)
            except SinkError as error:
                self._tell_failure(sink, error)

    def poll(self) -> bool:
        """While the last picture stays up: windows answer. Whether a key was pressed in one of them."""
        pressed = [sink.poll() for sink in self._sinks]
        return any(pressed)

    def finish(self, summary: dict[str, Any]) -> None:
        """The summary, to each of them, whatever another one raises; that is raised at the end."""
        with ExitStack() as stack:
            for sink in reversed(self._sinks):
                stack.callback(sink.finish, summary)

    def _tell_failure(self, sink: Sink, error: SinkError) -> None:
        if id(sink) not in self._missed:
            self._missed[id(sink)] = 0
            _log.warning("%s; the run goes on, and this output is tried again", error)

    def _tell_recovery(self, sink: Sink) -> None:
        missed = self._missed.pop(id(sink), None)
        if missed is not None:
            _log.warning("%s works again; %d results were missed", type(sink).__name__, missed)
