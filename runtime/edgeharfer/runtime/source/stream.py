"""A live network stream: RTSP, or HTTP with motion JPEG, a playlist (HLS) or a video file."""

from __future__ import annotations

from collections.abc import Callable

import cv2

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.address import Address, check_url, parse_address, redact
from edgeharfer.runtime.source.base import BaseSource, Source, SourceOptions, size_of
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.source.endpoint import Deadline, unreachable, why
from edgeharfer.runtime.source.hls import HlsFile, is_playlist
from edgeharfer.runtime.source.http_client import HttpClient, HttpClientResponse, HttpFile
from edgeharfer.runtime.source.isolated import open_live
from edgeharfer.runtime.source.multipart import MultipartPictures
from edgeharfer.runtime.source.opencv import (
    NO_PROTOCOL,
    VideoCapture,
    codec,
    describe,
    frame_count,
    nominal_fps,
    open_capture,
)
from edgeharfer.runtime.source.references import refuse_references
from edgeharfer.runtime.source.requests import OpenRequest
from edgeharfer.runtime.source.rtsp_relay import RtspRelay
from edgeharfer.runtime.types import Frame, Image

OPEN_S = 5.0
"""How long a server may take until the first frame; FFmpeg would wait 30 s."""
READ_S = 4.5
"""How long it may be silent afterwards."""
# A second's worth of pictures that cannot be decoded is a fault, a single one is not.
_BAD_PICTURES_IN_A_ROW = 30
_HEAD_BYTES = 4096
_IMAGES = ("MJPG", "PNG", "MPNG", "WEBP", "BMP")
_TEXT_TYPES = ("text/html", "application/json", "application/xhtml+xml")


def make_source(spec: str, options: SourceOptions) -> Source:
    """Connect to an address. Raises SourceError."""
    parse_address(spec)
    order = OpenRequest("stream", "StreamSource", {"url": spec, "follow_redirects": options.follow_redirects})
    return open_live(redact(spec), order, options)


class StreamSource(BaseSource):
    """Live frames from the network, stamped as they come: streams' own clocks are seldom right.

    It connects to the address that was given and to no other. HTTP is spoken by our own client and RTSP
    through our own relay; FFmpeg decodes what they hand on, and opens nothing itself.

    Of motion JPEG the pictures are taken as bytes and decoded here. FFmpeg would give a cut picture as a
    whole one, force pictures of a new size into the old one, and end at the first that is damaged;
    here those that are cut off or damaged are left out, and `bad_pictures` counts them.
    """

    live = True

    def __init__(self, url: str, clock: Clock, *, follow_redirects: bool = False) -> None:
        """Connect and wait for the first frame, 5 s at most where the name of the host is found.

        follow_redirects: connect to other servers that the given one names, too.
        Raises SourceError where the scheme is unknown, nothing comes, or another server would be needed.
        """
        super().__init__(check_url(url), clock)
        self._seq = 0
        address = parse_address(url)
        self._deadline = Deadline(clock, OPEN_S)
        self._feed = open_feed(address, self.name, self._deadline, clock, follow_redirects=follow_redirects)
        try:
            self._first = self._picture()
            if self._first is None:
                raise self._feed.error or SourceError(
                    f"{self.name}: no video comes from it: check the address, password and network"
                )
        except BaseException:
            self._feed.close()
            raise
        self.size = size_of(self._first)
        self.fps, self.frame_count = self._feed.fps, self._feed.frame_count
        self.details = describe(f"{address.scheme.upper()} {self._feed.kind}", self.size, self.fps)

    def _next(self) -> Frame | None:
        picture, self._first = self._first, None
        if picture is None:
            self._deadline.extend(READ_S)
            picture = self._picture()
        if picture is None and (self.frame_count is not None or self._feed.complete):
            return None  # a film that a server has sent to its end
        if picture is None:
            raise self._feed.error or SourceError(
                f"{self.name}: the stream was lost: it ended, or the network did"
            )
        frame = self._frame(self._seq, None, picture)
        self._seq += 1
        return frame

    def _picture(self) -> Image | None:
        """The next picture that decodes, None where no more come. Raises SourceError where none decodes."""
        for _ in range(_BAD_PICTURES_IN_A_ROW):
            if not self._feed.grab():
                return None
            if (picture := self._feed.picture()) is not None:
                return picture
            self.bad_pictures += 1
            self._seq += 1
            self._deadline.extend(READ_S)
        raise SourceError(f"{self.name}: none of its pictures can be decoded: check what it sends")

    def _release(self) -> None:
        self._feed.close()


class StreamDecoder:
    """The pictures of a stream. kind: of compression. error: why no more come, where that is known.

    complete: the end of something that has an end was reached.
    """

    kind = "MJPG"
    fps: float | None = None
    frame_count: int | None = None

    @property
    def error(self) -> SourceError | None:
        return None

    @property
    def complete(self) -> bool:
        return False

    def grab(self) -> bool:
        """Take the next picture; False where no more come."""
        raise NotImplementedError

    def picture(self) -> Image | None:
        """Decode it; None where that cannot be done."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the connection."""


class MultipartDecoder(StreamDecoder):
    """Motion JPEG in the parts of an HTTP answer."""

    def __init__(self, response: HttpClientResponse, name: str, head: bytes = b"") -> None:
        self._response, self._name = response, name
        self._parts = MultipartPictures(response.read_some, response.boundary, head)
        self._data = b""
        self._error: SourceError | None = None

    @property
    def error(self) -> SourceError | None:
        return self._error

    def grab(self) -> bool:
        try:
            data = self._parts.next()
        except OSError as error:
            self._error = SourceError(f"{self._name}: no video comes from it any more: {why(error)}")
            return False
        self._data = data or b""
        return data is not None

    def picture(self) -> Image | None:
        try:
            return decode_image(self._data, self._name)
        except SourceError:
            return None

    def close(self) -> None:
        self._response.close()


class FfmpegDecoder(StreamDecoder):
    """What FFmpeg makes of a stream that comes through a file object or relay of ours."""

    def __init__(self, capture: VideoCapture, name: str, origin: HttpFile | HlsFile | RtspRelay) -> None:
        self._capture, self._name, self._origin = capture, name, origin
        self.kind = codec(capture)
        self._jpegs = self.kind == "MJPG" and capture.set(cv2.CAP_PROP_FORMAT, -1)
        # MJPEG carries no rate: FFmpeg then makes up 25.
        self.fps = None if self.kind == "MJPG" else nominal_fps(capture)
        self.frame_count = frame_count(capture)

    @property
    def error(self) -> SourceError | None:
        error = self._origin.error
        return error if error is None or isinstance(error, SourceError) else unreachable(self._name, error)

    @property
    def complete(self) -> bool:
        image = self.kind in _IMAGES  # a camera's snapshot, of which there will be another
        return not (image or isinstance(self._origin, RtspRelay)) and self._origin.complete

    def grab(self) -> bool:
        return self._capture.grab()

    def picture(self) -> Image | None:
        good, data = self._capture.retrieve()
        if not good or data is None or not self._jpegs:
            return data if good else None
        try:
            return decode_image(data.tobytes(), self._name)
        except SourceError:
            return None

    def close(self) -> None:
        self._capture.release()
        self._origin.close()


def open_feed(
    address: Address, name: str, deadline: Deadline, clock: Clock, *, follow_redirects: bool
) -> StreamDecoder:
    """Connect. Raises SourceError."""
    if address.scheme in ("rtsp", "rtsps"):
        relay = RtspRelay(address, name, deadline, follow_redirects=follow_redirects)
        return _decoded(
            name,
            relay,
            lambda: open_capture(relay.url, cv2.CAP_FFMPEG, _limits(), protocols="tcp", formats="rtsp"),
        )
    client = HttpClient(address, name, deadline, follow_redirects=follow_redirects)
    response = client.get()
    try:
        if response.media_type.startswith("multipart/"):
            return MultipartDecoder(response, name)
        return _open_body(client, response, deadline, clock)
    except (OSError, ValueError) as error:
        response.close()
        raise unreachable(name, error) from None
    except BaseException:
        response.close()
        raise


def _open_body(
    client: HttpClient, response: HttpClientResponse, deadline: Deadline, clock: Clock
) -> StreamDecoder:
    """By what comes, since servers name the type of a video wrongly more often than not."""
    name, head = client.name, b""
    while len(head) < _HEAD_BYTES and (more := response.read_some(_HEAD_BYTES - len(head))):
        head += more
    if head.lstrip().startswith(b"--"):
        return MultipartDecoder(response, name, head)
    origin: HttpFile | HlsFile
    if is_playlist(head):
        rest = response.read_all(1 << 20)
        response.close()
        origin = HlsFile(client, response.address, head + rest, clock)
    else:
        refuse_references(head, name)
        if response.media_type in _TEXT_TYPES:
            raise SourceError(f"{name}: sends {response.media_type}, no video: check the path of the address")
        origin = HttpFile(response, head)
    return _decoded(
        name, origin, lambda: open_capture(origin, cv2.CAP_FFMPEG, _limits(), protocols=NO_PROTOCOL)
    )


def _decoded(
    name: str, origin: HttpFile | HlsFile | RtspRelay, opener: Callable[[], VideoCapture]
) -> FfmpegDecoder:
    try:
        capture = opener()
        if capture.isOpened():
            return FfmpegDecoder(capture, name, origin)
        capture.release()
        error = origin.error
        if isinstance(error, SourceError):
            raise error
        if error is not None:
            raise unreachable(name, error)
        raise SourceError(f"{name}: no video comes from it: check the address, password and network")
    except BaseException:
        origin.close()
        raise


def _limits() -> tuple[int, ...]:
    return (
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(1000 * OPEN_S),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(1000 * READ_S),
    )
