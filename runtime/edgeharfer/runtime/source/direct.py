"""A live source that is read in this process, where no other can be started for it."""

from __future__ import annotations

from collections.abc import Callable

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.types import Frame


class DirectSource(Source):
    """A restartable source around a camera or stream; a read waits for as long as OpenCV does, up to 5 s."""

    live = restartable = True

    def __init__(self, connect: Callable[[], Source]) -> None:
        """Open the source by `connect`, which is called again by `reconnect`. Raises what that raises."""
        self._connect = connect
        self._source: Source | None = connect()
        self.name, self.details = self._source.name, self._source.details
        self.size, self.fps = self._source.size, self._source.fps
        self.frame_count = self._source.frame_count
        self.bad_pictures = self._source.bad_pictures
        self._bad_before = 0

    def read(self) -> Frame | None:
        if self._source is None:
            raise SourceError(f"{self.name}: is not open")
        try:
            return self._source.read()
        finally:
            self.bad_pictures = self._bad_before + self._source.bad_pictures

    def reconnect(self) -> None:
        self.close()
        self._bad_before, self._source = self.bad_pictures, None
        self._source = self._connect()

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
