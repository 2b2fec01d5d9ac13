"""The frames of a network stream: RTSP, or HTTP with motion JPEG, HLS or a video file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av.error
from av.container import InputContainer

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.picture import Picture
from edgeharfer.runtime.source.address import Address, parse_address, redact
from edgeharfer.runtime.source.base import BaseSource
from edgeharfer.runtime.source.endpoint import Deadline, unreachable_error
from edgeharfer.runtime.source.hls import HlsFile, is_playlist
from edgeharfer.runtime.source.http_client import HttpClient, HttpClientResponse, HttpFile
from edgeharfer.runtime.source.jpeg import START
from edgeharfer.runtime.source.media import MediaFrame, open_container
from edgeharfer.runtime.source.media_picture import AvPicture, to_planes
from edgeharfer.runtime.source.opencv import describe
from edgeharfer.runtime.source.references import reject_references
from edgeharfer.runtime.source.rtsp_relay import RtspRelay
from edgeharfer.runtime.source.stream_decoders import (
    READ_S,
    JpegStream,
    MediaStream,
    Origin,
    Snapshot,
    StreamDecoder,
    origin_error,
)
from edgeharfer.runtime.types import Frame

OPEN_S = 5.0
"""Timeout until the first frame in seconds."""
_NO_PROTOCOL = "none"
_HEAD_BYTES = 4096
_IMAGE_STARTS = (b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_IMAGE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_WEB_PAGE = (b"<!doctype html", b"<html")
_TEXT_TYPES = ("text/html", "application/json", "application/xhtml+xml")
# FFmpeg reads up to 5 s of a live stream to find its properties, unless an option sets a limit.
_LIVE_OPTIONS = {"analyzeduration": "2000000"}


class StreamSource(BaseSource):
    """The frames of a network stream, or of a film on a web server.

    Frames of a live stream are timestamped on arrival, because the clocks of streams are unreliable. A film
    has its own times, and all its frames are delivered.

    The source connects only to the given server: HTTP requests use `HttpClient` and RTSP uses `RtspRelay`.
    FFmpeg only decodes the data from them and opens no connections to other servers.
    """

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
            self._first = self._read()
            if self._first is None:
                raise self._decoder.error or _no_video_error(self.name)
        except BaseException:
            self._decoder.close()
            raise
        # A recording may begin between two key frames, with frames that refer to earlier ones.
        self._bad_before = self._decoder.bad_pictures
        self.live = self._decoder.live
        self.size = self._first.picture.size
        self.fps, self.frame_count = self._decoder.fps, self._decoder.frame_count
        self.details = describe(f"{address.scheme.upper()} {self._decoder.kind}", self.size, self.fps)

    def _next(self) -> Frame | None:
        found, self._first = self._first, None
        if found is None:
            self._deadline.extend(READ_S)
            found = self._read()
        if found is None:
            error = self._decoder.error
            if error is None and self._decoder.complete:
                self._record_damage()
                return None
            lost = f"{self.name}: connection lost: the stream ended or the network failed"
            raise error or SourceError(lost)
        frame = self._frame(self._seq, None if self.live else found.pts_s, _portable(found.picture))
        self._seq += 1
        return frame

    def _read(self) -> MediaFrame | None:
        found = self._decoder.read()
        if self._decoder.live:
            self._seq += self._decoder.bad_pictures - self.bad_pictures
            self.bad_pictures = self._decoder.bad_pictures
        return found

    def _record_damage(self) -> None:
        """Record the frames of a film that could not be decoded."""
        self.unreadable = self._decoder.bad_pictures - self._bad_before
        if self.unreadable:
            self.skipped = [(
                Path(self.name),
                f"{self.name}: the video is corrupt, {self._seq} frames could be read: copy it to the server "
                "again",
            )]  # fmt: skip

    def _release(self) -> None:
        self._decoder.close()


def _portable(picture: Picture) -> Picture:
    """Return the planes of a picture where it has them, which are cheap to send to another process."""
    return (to_planes(picture) if isinstance(picture, AvPicture) else None) or picture


def open_decoder(
    address: Address, name: str, deadline: Deadline, clock: Clock, *, follow_redirects: bool
) -> StreamDecoder:
    """Connect to a stream.

    Args:
        address: Address of the stream, with credentials if any.
        name: Name of the stream in error messages.
        deadline: Deadline for all network operations.
        clock: Clock for the frames of a live playlist.
        follow_redirects: Whether redirects and references to other servers are followed.

    Raises:
        SourceError: The server is unreachable or sends no supported video.
    """
    if address.scheme in ("rtsp", "rtsps"):
        return _open_rtsp(RtspRelay(address, name, deadline, follow_redirects=follow_redirects), name, clock)
    client = HttpClient(address, name, deadline, follow_redirects=follow_redirects)
    response = client.get()
    try:
        if response.media_type.startswith("multipart/"):
            return JpegStream(response, name, deadline)
        return _open_body(client, response, clock)
    except (OSError, ValueError) as error:
        response.close()
        raise unreachable_error(name, error) from None
    except BaseException:
        response.close()
        raise


def _open_rtsp(relay: RtspRelay, name: str, clock: Clock) -> StreamDecoder:
    def connect() -> InputContainer:
        options = {"rtsp_transport": "tcp", **_LIVE_OPTIONS}
        return open_container(
            relay.url, protocols="tcp", formats="rtsp", options=options, timeout=(OPEN_S, READ_S)
        )

    return _open_media(name, relay, connect, clock, _no_video_error(name))


def _open_body(client: HttpClient, response: HttpClientResponse, clock: Clock) -> StreamDecoder:
    """Choose the decoder by content, because the Content-Type of videos is often wrong."""
    name, head = client.name, _read_head(response)
    if head.lstrip().startswith(b"--") or head.startswith(START):
        return JpegStream(response, name, client.deadline, head)
    if _is_image(response.media_type, head):
        return Snapshot(response, name, head)
    origin: HttpFile | HlsFile
    if is_playlist(head):
        rest = response.read_all(1 << 20)
        response.close()
        origin = HlsFile(client, response.address, head + rest, clock)
    else:
        reject_references(head, name)
        _reject_text(response.media_type, head, name)
        origin = HttpFile(response, head)
    options = _LIVE_OPTIONS if isinstance(origin, HttpFile) and origin.size is None else {}
    return _open_media(
        name,
        origin,
        lambda: open_container(origin, protocols=_NO_PROTOCOL, options=options),
        clock,
        _unsupported_error(response.media_type, name),
    )


def _read_head(response: HttpClientResponse) -> bytes:
    head = b""
    try:
        while len(head) < _HEAD_BYTES and (more := response.read_some(_HEAD_BYTES - len(head))):
            head += more
    except OSError:
        if not head:
            raise
    return head


def _open_media(
    name: str,
    origin: Origin,
    connect: Callable[[], InputContainer],
    clock: Clock,
    unsupported: SourceError,
) -> MediaStream:
    try:
        container = connect()
    except av.error.FFmpegError as error:
        origin.close()  # which waits for the relay's own error
        raise origin_error(origin, name, error) or unsupported from None
    try:
        return MediaStream(container, name, origin, clock)
    except BaseException:
        container.close()
        origin.close()
        raise


def _is_image(media_type: str, head: bytes) -> bool:
    webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    heif = head[4:8] == b"ftyp" and head[8:12] in _IMAGE_BRANDS
    return webp or heif or (media_type.startswith("image/") and head.startswith(_IMAGE_STARTS))


def _reject_text(media_type: str, head: bytes, name: str) -> None:
    page = head.lstrip()[:32].lower().startswith(_WEB_PAGE)
    if page or media_type in _TEXT_TYPES:
        what = "a web page" if page else "text"
        kind = f" ({media_type})" if media_type else ""
        raise SourceError(f"{name}: received {what}{kind} instead of video: check the path of the address")


def _unsupported_error(media_type: str, name: str) -> SourceError:
    """Return the error for a body that cannot be opened as a video."""
    kind = f" ({media_type})" if media_type else ""
    return SourceError(
        f"{name}: no video received: the content{kind} is not a supported video: check the address"
    )


def _no_video_error(name: str) -> SourceError:
    """Return the error for a stream that sends nothing that can be decoded."""
    return SourceError(f"{name}: no video received: check the address, password and network")
