"""A live network stream: RTSP, or MJPEG over HTTP."""

from __future__ import annotations

import re

import cv2

from ..clock import Clock
from ..errors import SourceError
from ..types import Frame, Image
from .base import BaseSource, size_of
from .decode import decode_image
from .opencv import codec, describe, frame_count, nominal_fps, open_capture

SCHEMES = ("rtsp", "rtsps", "http", "https")
# FFmpeg would wait 30 s for a silent peer.
_PARAMETERS = (
    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
    5000,
    cv2.CAP_PROP_READ_TIMEOUT_MSEC,
    4500,
)
# A second's worth of pictures that cannot be decoded is a fault, a single one is not.
_BAD_PICTURES_IN_A_ROW = 30


class StreamSource(BaseSource):
    """Live frames from the network, stamped as they come: streams' own clocks are seldom right.

    Of motion JPEG the pictures are taken as bytes and decoded here. FFmpeg would give a cut picture as a
    whole one, force pictures of a new size into the old one, and end at the first that is damaged;
    here those that are cut off or damaged are left out, and `bad_pictures` counts them.
    """

    live = True

    def __init__(self, url: str, clock: Clock) -> None:
        """Connect and wait for the first frame, 5 s at most where the name of the host is found.

        Raises SourceError where the scheme is unknown or nothing comes.
        """
        super().__init__(check_url(url), clock)
        self.bad_pictures = 0
        self._seq = 0
        self._start_s: float | None = None
        self._capture = open_capture(url, cv2.CAP_FFMPEG, _PARAMETERS)
        kind = codec(self._capture)
        self._jpegs = kind == "MJPG" and self._capture.set(cv2.CAP_PROP_FORMAT, -1)
        try:
            self._first = self._picture()
        except SourceError:
            self._capture.release()
            raise
        if self._first is None:
            self._capture.release()
            raise SourceError(f"{self.name}: no video comes from it: check the address, password and network")
        self.size = size_of(self._first)
        # MJPEG carries no rate: FFmpeg then makes up 25.
        self.fps = None if kind == "MJPG" else nominal_fps(self._capture)
        self.frame_count = frame_count(self._capture)
        self.details = describe(f"{url.partition('://')[0].upper()} {kind}", self.size, self.fps)

    def _next(self) -> Frame | None:
        picture, self._first = self._first, None
        picture = self._picture() if picture is None else picture
        if picture is None and self.frame_count is not None:
            return None  # a film that a server has sent to its end
        if picture is None:
            raise SourceError(f"{self.name}: the stream was lost: it ended, or the network did")
        now_s = self._clock.monotonic()
        self._start_s = now_s if self._start_s is None else self._start_s
        frame = Frame(self._seq, now_s - self._start_s, now_s, picture)
        self._seq += 1
        return frame

    def _picture(self) -> Image | None:
        """The next picture that decodes, None where no more come. Raises SourceError where none decodes."""
        for _ in range(_BAD_PICTURES_IN_A_ROW):
            if not self._capture.grab():
                return None
            if (picture := self._decoded()) is not None:
                return picture
            self.bad_pictures += 1
            self._seq += 1
        raise SourceError(f"{self.name}: none of its pictures can be decoded: check what it sends")

    def _decoded(self) -> Image | None:
        good, data = self._capture.retrieve()
        if not good or data is None or not self._jpegs:
            return data if good else None
        try:
            return decode_image(data.tobytes(), self.name)
        except SourceError:
            return None

    def _release(self) -> None:
        self._capture.release()


def check_url(url: str) -> str:
    """The URL as it may be shown. Raises SourceError where its scheme is unknown."""
    if url.partition("://")[0].lower() not in SCHEMES:
        raise SourceError(f"{redact(url)}: a stream is one of rtsp://, rtsps://, http:// and https://")
    return redact(url)


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
