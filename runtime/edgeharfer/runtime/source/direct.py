"""Live sources read in the calling process, on systems without reader processes."""

from __future__ import annotations

from collections.abc import Callable

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.types import Frame


class DirectSource(Source):
    """A restartable wrapper of a camera or stream. A read blocks as long as OpenCV does, up to 5 s."""

    live = restartable = True

    def __init__(self, connect: Callable[[], Source]) -> None:
        """Open the source.

        Args:
            connect: Opens the source, here and in `reconnect`; its exceptions are passed on.
        """
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
