"""A live network stream: RTSP, or MJPEG over HTTP."""

from __future__ import annotations

import re

import cv2

from ..clock import Clock
from ..errors import SourceError
from ..types import Frame, Image
from .base import BaseSource, size_of
from .opencv import codec, describe, nominal_fps, open_capture

SCHEMES = ("rtsp", "rtsps", "http", "https")
# A silent peer blocks FFmpeg for 30 s by default; a stop must come through in about 2 s.
_OPEN_TIMEOUT_MS = 5000
_READ_TIMEOUT_MS = 1500
_PARAMETERS = (
    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
    _OPEN_TIMEOUT_MS,
    cv2.CAP_PROP_READ_TIMEOUT_MSEC,
    _READ_TIMEOUT_MS,
)


class StreamSource(BaseSource):
    """Live frames from the network, stamped as they come: streams' own clocks are seldom right."""

    live = True

    def __init__(self, url: str, clock: Clock) -> None:
        """Connect and wait for the first frame, 5 s at most.

        Raises SourceError where the scheme is unknown or nothing comes.
        """
        super().__init__(redact(url), clock)
        scheme = url.partition("://")[0].lower()
        if scheme not in SCHEMES:
            raise SourceError(f"{self.name}: a stream is one of rtsp://, rtsps://, http:// and https://")
        self._seq = 0
        self._start_s: float | None = None
        self._capture = open_capture(url, cv2.CAP_FFMPEG, _PARAMETERS)
        good, first = self._capture.read()
        if not good or first is None:
            self._capture.release()
            raise SourceError(
                f"{self.name}: no video comes from it: check the address, the password and the network"
            )
        self._first: Image | None = first
        self.size = size_of(first)
        kind = codec(self._capture)
        # MJPEG carries no rate: FFmpeg then makes up 25.
        self.fps = None if kind == "MJPG" else nominal_fps(self._capture)
        self.details = describe(f"{scheme.upper()} {kind}", self.size, self.fps)

    def _next(self) -> Frame:
        picture, self._first = self._first, None
        if picture is None:
            good, picture = self._capture.read()
            if not good or picture is None:
                raise SourceError(f"{self.name}: the stream was lost: it ended, or the network did")
        now_s = self._clock.monotonic()
        if self._start_s is None:
            self._start_s = now_s
        frame = Frame(self._seq, now_s - self._start_s, now_s, picture)
        self._seq += 1
        return frame

    def _release(self) -> None:
        self._capture.release()


def redact(url: str) -> str:
    """The URL as it may be shown: no user, no password, no values in its query.

    Everything up to the last "@" goes, since passwords hold "/", "?" and "@" more often than paths
    hold an "@".
    """
    scheme, separator, rest = url.partition("://")
    _, at, shown = rest.rpartition("@")
    shown = shown.partition("#")[0]
    shown = re.sub(r"(?<==)[^&;]+", "***", shown) if "?" in shown else shown
    return f"{scheme}{separator}{'***@' if at else ''}{shown}"
