"""Decoders of network streams: motion JPEG, single images, and what FFmpeg decodes."""

from __future__ import annotations

import av.error
from av.container import InputContainer

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.picture import BgrPicture
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.source.endpoint import Deadline, describe_error, unreachable_error
from edgeharfer.runtime.source.hls import HlsFile
from edgeharfer.runtime.source.http_client import HttpClientResponse, HttpFile
from edgeharfer.runtime.source.jpeg import JpegDecoder
from edgeharfer.runtime.source.media import MediaDecoder, MediaFrame
from edgeharfer.runtime.source.multipart import MultipartReader
from edgeharfer.runtime.source.rtsp_relay import RtspRelay

Origin = HttpFile | HlsFile | RtspRelay
"""What FFmpeg reads the data of a stream from."""
READ_S = 4.5
"""Timeout for each frame after the first one in seconds."""
# About one second of frames that cannot be decoded is an error; a single one is not.
_MAX_CONSECUTIVE_ERRORS = 30
_MAX_IMAGE_BYTES = 64 * 2**20


class StreamDecoder:
    """The frames of a stream.

    Attributes:
        kind: Name of the codec.
        fps: Nominal frame rate in Hz, None if unknown.
        frame_count: Number of frames of a film, None if unknown.
        live: Whether frames arrive in real time; otherwise it is a film.
        bad_pictures: Number of frames that could not be decoded so far.
    """

    kind = "MJPG"
    fps: float | None = None
    frame_count: int | None = None
    live = True
    bad_pictures = 0

    @property
    def error(self) -> SourceError | None:
        """Why the stream ended, None if unknown."""
        return None

    @property
    def complete(self) -> bool:
        """Whether a stream that came to its end has no more frames to expect."""
        return False

    def read(self) -> MediaFrame | None:
        """Return the next frame, None at the end.

        Raises:
            SourceError: None of many frames can be decoded.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection."""


class JpegStream(StreamDecoder):
    """JPEG images in an HTTP response, with or without headers between them.

    Truncated and damaged images are skipped and counted. Each image may have another size.
    """

    def __init__(
        self, response: HttpClientResponse, name: str, deadline: Deadline, head: bytes = b""
    ) -> None:
        self._response, self._name, self._deadline = response, name, deadline
        self._parts = MultipartReader(response.read_some, response.boundary, head)
        self._decoder = JpegDecoder()
        self._error: SourceError | None = None

    @property
    def error(self) -> SourceError | None:
        return self._error

    def read(self) -> MediaFrame | None:
        for _ in range(_MAX_CONSECUTIVE_ERRORS):
            try:
                data = self._parts.next()
            except OSError as error:
                self._error = unreachable_error(self._name, error)
                return None
            if data is None:
                return None
            try:
                return MediaFrame(self._decoder.decode(data, self._name), 0.0)
            except SourceError:
                self.bad_pictures += 1
                self._deadline.extend(READ_S)
        raise SourceError(f"{self._name}: no frame can be decoded: check the video format that it sends")

    def close(self) -> None:
        self._response.close()


class Snapshot(StreamDecoder):
    """A single image, which can be requested again."""

    kind = "image"

    def __init__(self, response: HttpClientResponse, name: str, head: bytes) -> None:
        data = head + response.read_all(_MAX_IMAGE_BYTES)
        response.close()
        self._image: MediaFrame | None = MediaFrame(BgrPicture(decode_image(data, name)), 0.0)

    def read(self) -> MediaFrame | None:
        image, self._image = self._image, None
        return image


class MediaStream(StreamDecoder):
    """A stream or film decoded by FFmpeg, from a file object or an RTSP relay."""

    def __init__(self, container: InputContainer, name: str, origin: Origin, clock: Clock) -> None:
        self._media = MediaDecoder(container, name)
        self._name, self._origin = name, origin
        self.kind = self._media.codec.replace("MJPEG", self.kind)
        self.fps = None if self.kind == StreamDecoder.kind else self._media.fps
        self.live = _is_live(origin, container)
        self.frame_count = None if self.live else self._media.frame_count
        self._pacer = Pacer(clock) if self.live and isinstance(origin, HlsFile) else None

    @property
    def bad_pictures(self) -> int:  # type: ignore[override]
        return self._media.damaged

    @property
    def error(self) -> SourceError | None:
        cause = self._origin.error
        if self.live or cause is None or isinstance(cause, SourceError):
            return origin_error(self._origin, self._name, self._media.error)
        return SourceError(f"{self._name}: the video was interrupted: {describe_error(cause)}")

    @property
    def complete(self) -> bool:
        return not self.live or (isinstance(self._origin, HlsFile) and not self._origin.live)

    def read(self) -> MediaFrame | None:
        frame = self._media.read()
        if frame is not None and self._pacer is not None:
            self._pacer.wait(frame.pts_s)
        return frame

    def close(self) -> None:
        self._media.close()
        self._origin.close()


def _is_live(origin: Origin, container: InputContainer) -> bool:
    if isinstance(origin, HttpFile):
        return origin.size is None and not container.duration
    return isinstance(origin, RtspRelay) or origin.live


class Pacer:
    """Delays frames that arrive in bursts, as those of HLS do, until the time at which they are shown."""

    _MAX_AHEAD_S = 60.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_s: float | None = None

    def wait(self, pts_s: float) -> None:
        """Sleep until a frame is due. Late frames delay the following ones by as much.

        Args:
            pts_s: Presentation time of the frame in seconds.
        """
        now_s = self._clock.monotonic()
        ahead_s = 0.0 if self._start_s is None else self._start_s + pts_s - now_s
        if self._start_s is None or not 0 <= ahead_s <= self._MAX_AHEAD_S:
            self._start_s = now_s - pts_s
        elif ahead_s > 0:
            self._clock.sleep(ahead_s)


def origin_error(origin: Origin, name: str, error: Exception | None) -> SourceError | None:
    """Return why no more data came from an origin, None if the data ended or cannot be decoded.

    Args:
        origin: The origin.
        name: Name of the stream.
        error: FFmpeg's error, if any.
    """
    if isinstance(origin.error, SourceError):
        return origin.error
    timed_out = isinstance(error, av.error.ExitError)
    cause = origin.error or (TimeoutError() if timed_out else None)
    return None if cause is None else unreachable_error(name, cause)
