"""All sinks of a run as one; a sink that fails does not end the run."""

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
    """Passes each result to every sink. The caller enters and leaves the sinks.

    A sink that raises SinkError misses that result and gets the next one, as a full disk may be freed. The
    first failure and the first success after it are logged.

    Attributes:
        errors: Number of results that some sink missed.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.errors = 0
        self._sinks = sinks
        self._missed: dict[int, int] = {}  # id of a failing sink -> results missed

    @property
    def uses_status(self) -> bool:
        """Whether a sink looks at the status of each result."""
        return any(sink.uses_status for sink in self._sinks)

    @property
    def closed(self) -> bool:
        """Whether a sink is closed."""
        return any(sink.closed for sink in self._sinks)

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        """Write one result to every sink."""
        for sink in self._sinks:
            try:
                sink.write(frame, result, status)
            except SinkError as error:
                self._log_failure(sink, error)
                self._missed[id(sink)] += 1
                self.errors += 1
            else:
                self._log_recovery(sink)

    def refresh(self, status: Status) -> None:
        """Update the status of every sink while there are no results."""
        for sink in self._sinks:
            try:
                sink.refresh(status)
            except SinkError as error:
                self._log_failure(sink, error)

    def poll(self) -> bool:
        """Keep the last image on screen, and return whether a key was pressed in a window."""
        pressed = [sink.poll() for sink in self._sinks]
        return any(pressed)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary to every sink; an error of one is raised after all have been called."""
        with ExitStack() as stack:
            for sink in reversed(self._sinks):
                stack.callback(sink.finish, summary)

    def _log_failure(self, sink: Sink, error: SinkError) -> None:
        if id(sink) not in self._missed:
            self._missed[id(sink)] = 0
            _log.warning("%s; the run continues, and this output is retried", error)

    def _log_recovery(self, sink: Sink) -> None:
        missed = self._missed.pop(id(sink), None)
        if missed is not None:
            _log.warning("%s works again; %d results were missed", type(sink).__name__, missed)
