"""A live source that was not available when a run with several sources started."""

from __future__ import annotations

from collections.abc import Callable

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.types import Frame


class LateSource(Source):
    """Opens a live source when it is first reconnected, so that it is supervised like one that was lost.

    Args:
        name: Display name.
        connect: Opens the source; called in the thread that reads.
        reason: Why it could not be opened so far.
    """

    live = restartable = True

    def __init__(self, name: str, connect: Callable[[], Source], reason: str) -> None:
        self.name = name
        self._connect, self._reason = connect, reason
        self._source: Source | None = None

    def read(self) -> Frame | None:
        return self.read_within(0.0)

    def read_within(self, timeout_s: float) -> Frame | None:
        if self._source is None:
            raise SourceError(self._reason)
        try:
            return self._source.read_within(timeout_s)
        finally:
            self.ended, self.bad_pictures = self._source.ended, self._source.bad_pictures
            self.details, self.size = self._source.details, self._source.size

    def reconnect(self) -> None:
        """Open the source, or open it again.

        Raises:
            SourceError: It cannot be opened, or the run was stopped.
        """
        if self._source is not None:
            self._source.reconnect()
            return
        try:
            self._source = self._connect()
        except KeyboardInterrupt:
            raise SourceError(f"{self.name}: stopped") from None

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
