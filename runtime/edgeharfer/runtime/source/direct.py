"""A live source that is read in this process, where no other can be started for it."""

from __future__ import annotations

from collections.abc import Callable

from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.camera import CameraSource
from edgeharfer.runtime.source.stream import StreamSource
from edgeharfer.runtime.types import Frame


class DirectSource(Closing):
    """A `LiveSource` around a camera or stream; a read waits for as long as OpenCV does, up to 5 s."""

    live = True

    def __init__(self, connect: Callable[[], CameraSource | StreamSource]) -> None:
        """Open the source by `connect`, which is called again to open it anew. Raises what that raises."""
        self._connect = connect
        self._source: CameraSource | StreamSource | None = connect()
        self.name, self.details = self._source.name, self._source.details
        self.size, self.fps = self._source.size, self._source.fps
        self.frame_count = self._source.frame_count
        self.ended = False
        self._bad_before = 0

    @property
    def bad_pictures(self) -> int:
        """Over all connections."""
        return self._bad_before + (self._source.bad_pictures if self._source else 0)

    def read(self) -> Frame | None:
        if self._source is None:
            raise SourceError(f"{self.name}: is not open")
        return self._source.read()

    def read_within(self, timeout_s: float) -> Frame | None:
        frame = self.read()
        self.ended = frame is None
        return frame

    def reconnect(self) -> None:
        self.close()
        self._bad_before, self._source = self.bad_pictures, None
        self._source = self._connect()

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
