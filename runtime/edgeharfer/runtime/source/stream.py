"""Network streams: RTSP, or HTTP with motion JPEG, HLS or a video file."""

from __future__ import annotations

from collections.abc import Callable

import cv2

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.address import Address, parse_address, redact
from edgeharfer.runtime.source.base import BaseSource, Source, SourceOptions, size_of
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.source.endpoint import Deadline, describe_error, unreachable_error
from edgeharfer.runtime.source.hls import HlsFile, is_playlist
from edgeharfer.runtime.source.http_client import HttpClient, HttpClientResponse, HttpFile
from edgeharfer.runtime.source.isolated import open_live
from edgeharfer.runtime.source.multipart import MultipartReader
from edgeharfer.runtime.source.opencv import (
    NO_PROTOCOL,
    VideoCapture,
    codec,
    describe,
    frame_count,
    nominal_fps,
    open_capture,
)
from edgeharfer.runtime.source.references import reject_references
from edgeharfer.runtime.source.requests import OpenRequest
from edgeharfer.runtime.source.rtsp_relay import RtspRelay
from edgeharfer.runtime.types import Frame, Image

OPEN_S = 5.0
"""Timeout until the first frame in seconds; FFmpeg's default is 30 s."""
READ_S = 4.5
"""Timeout for each later frame in seconds."""
# About one second of frames that cannot be decoded is an error; a single one is not.
_MAX_CONSECUTIVE_ERRORS = 30
_HEAD_BYTES = 4096
_IMAGES = ("MJPG", "PNG", "MPNG", "WEBP", "BMP")
_TEXT_TYPES = ("text/html", "application/json", "application/xhtml+xml")


def make_source(spec: str, options: SourceOptions) -> Source:
    """Connect to the URL of a stream.

    Raises:
        SourceError: The URL is invalid or no video is received.
    """
    parse_address(spec)
    arguments = {"url": spec, "follow_redirects": options.follow_redirects}
    return open_live(redact(spec), OpenRequest("stream", "StreamSource", arguments), options)


class StreamSource(BaseSource):
    """Live frames of a network stream, timestamped on arrival because the clocks of streams are unreliable.

    It connects only to the given server: HTTP requests use `HttpClient` and RTSP uses `RtspRelay`. FFmpeg
    only decodes the data from them and opens no connections to other servers.

    Motion JPEG frames are read as bytes and decoded here. FFmpeg would output truncated images, scale images
    of a new size to the old one, and stop at the first damaged image; here truncated and damaged images are
    skipped and counted in `bad_pictures`.
    """

    live = True

    def __init__(self, url: str, clock: Clock, *, follow_redirects: bool = False) -> None:
        """Connect and wait for the first frame, 5 s at most after the host name is resolved.

        Args:
            url: URL of the stream.
            clock: Clock for timestamps and timeouts.
            follow_redirects: Whether redirects and references to other servers are followed.

        Raises:
            SourceError: The URL is invalid, no video is received, or another server would be needed.
        """
        super().__init__(redact(url), clock)
        self._seq = 0
        address = parse_address(url)
        self._deadline = Deadline(clock, OPEN_S)
        self._decoder = open_decoder(
            address, self.name, self._deadline, clock, follow_redirects=follow_redirects
        )
        try:
            self._first = self._next_image()
            if self._first is None:
                raise self._decoder.error or _no_video_error(self.name)
        except BaseException:
            self._decoder.close()
            raise
        self.size = size_of(self._first)
        self.fps, self.frame_count = self._decoder.fps, self._decoder.frame_count
        self.details = describe(f"{address.scheme.upper()} {self._decoder.kind}", self.size, self.fps)

    def _next(self) -> Frame | None:
        image, self._first = self._first, None
        if image is None:
            self._deadline.extend(READ_S)
            image = self._next_image()
        if image is None and (self.frame_count is not None or self._decoder.complete):
            return None  # the end of a video file
        if image is None:
            raise self._decoder.error or SourceError(
                f"{self.name}: connection lost: the stream ended or the network failed"
            )
        frame = self._frame(self._seq, None, image)
        self._seq += 1
        return frame

    def _next_image(self) -> Image | None:
        """Return the next image that can be decoded, None at the end. Raises SourceError if none can."""
        for _ in range(_MAX_CONSECUTIVE_ERRORS):
            if not self._decoder.grab():
                return None
            if (image := self._decoder.retrieve()) is not None:
                return image
            self.bad_pictures += 1
            self._seq += 1
            self._deadline.extend(READ_S)
        raise SourceError(f"{self.name}: no frame can be decoded: check the video format that it sends")

    def _release(self) -> None:
        self._decoder.close()


class StreamDecoder:
    """The images of a stream.

    Attributes:
        kind: FourCC code of the codec.
        fps: Nominal frame rate in Hz, None if unknown.
        frame_count: Number of frames of a video file, None for a live stream.
    """

    kind = "MJPG"
    fps: float | None = None
    frame_count: int | None = None

    @property
    def error(self) -> SourceError | None:
        """Why the stream ended, None if unknown."""
        return None

    @property
    def complete(self) -> bool:
        """Whether a stream of finite length was read to its end."""
        return False

    def grab(self) -> bool:
        """Read the next image; return False at the end."""
        raise NotImplementedError

    def retrieve(self) -> Image | None:
        """Decode the last image grabbed; None if it cannot be decoded."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection."""


class MultipartDecoder(StreamDecoder):
    """Motion JPEG in a multipart HTTP response."""

    def __init__(self, response: HttpClientResponse, name: str, head: bytes = b"") -> None:
        self._response, self._name = response, name
        self._parts = MultipartReader(response.read_some, response.boundary, head)
        self._data = b""
        self._error: SourceError | None = None

    @property
    def error(self) -> SourceError | None:
        return self._error

    def grab(self) -> bool:
        try:
            data = self._parts.next()
        except OSError as error:
            self._error = SourceError(f"{self._name}: no video received: {describe_error(error)}")
            return False
        self._data = data or b""
        return data is not None

    def retrieve(self) -> Image | None:
        try:
            return decode_image(self._data, self._name)
        except SourceError:
            return None

    def close(self) -> None:
        self._response.close()


class FfmpegDecoder(StreamDecoder):
    """A stream decoded by FFmpeg, from a file object or an RTSP relay."""

    def __init__(self, capture: VideoCapture, name: str, origin: HttpFile | HlsFile | RtspRelay) -> None:
        self._capture, self._name, self._origin = capture, name, origin
        self.kind = codec(capture)
        self._jpegs = self.kind == "MJPG" and capture.set(cv2.CAP_PROP_FORMAT, -1)
        # MJPEG has no frame rate: FFmpeg then reports 25.
        self.fps = None if self.kind == "MJPG" else nominal_fps(capture)
        self.frame_count = frame_count(capture)

    @property
    def error(self) -> SourceError | None:
        error = self._origin.error
        if error is None or isinstance(error, SourceError):
            return error
        return unreachable_error(self._name, error)

    @property
    def complete(self) -> bool:
        image = self.kind in _IMAGES  # a snapshot of a camera, which can be requested again
        return not (image or isinstance(self._origin, RtspRelay)) and self._origin.complete

    def grab(self) -> bool:
        return self._capture.grab()

    def retrieve(self) -> Image | None:
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


def open_decoder(
    address: Address, name: str, deadline: Deadline, clock: Clock, *, follow_redirects: bool
) -> StreamDecoder:
    """Connect to a stream.

    Args:
        address: Address of the stream, with credentials if any.
        name: Name of the stream in error messages.
        deadline: Deadline for all network operations.
        clock: Clock for the reload interval of a live playlist.
        follow_redirects: Whether redirects and references to other servers are followed.

    Raises:
        SourceError: The server is unreachable or sends no supported video.
    """
    if address.scheme in ("rtsp", "rtsps"):
        relay = RtspRelay(address, name, deadline, follow_redirects=follow_redirects)
        return _open_ffmpeg(
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
        raise unreachable_error(name, error) from None
    except BaseException:
        response.close()
        raise


def _open_body(
    client: HttpClient, response: HttpClientResponse, deadline: Deadline, clock: Clock
) -> StreamDecoder:
    """Choose the decoder by content, because the Content-Type of videos is often wrong."""
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
        reject_references(head, name)
        if response.media_type in _TEXT_TYPES:
            raise SourceError(
                f"{name}: received {response.media_type} instead of video: check the path of the address"
            )
        origin = HttpFile(response, head)
    return _open_ffmpeg(
        name, origin, lambda: open_capture(origin, cv2.CAP_FFMPEG, _limits(), protocols=NO_PROTOCOL)
    )


def _open_ffmpeg(
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
            raise unreachable_error(name, error)
        raise _no_video_error(name)
    except BaseException:
        origin.close()
        raise


def _no_video_error(name: str) -> SourceError:
    """Return the error for a stream that sends nothing that can be decoded."""
    return SourceError(f"{name}: no video received: check the address, password and network")


def _limits() -> tuple[int, ...]:
    return (
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(1000 * OPEN_S),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(1000 * READ_S),
    )
