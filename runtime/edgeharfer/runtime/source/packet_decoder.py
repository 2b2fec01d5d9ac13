"""Decoder of one video stream, on the processor or on a device."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import av
import av.error
from av.codec.context import ThreadType
from av.video.stream import VideoStream

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.decode_devices import CPU, check_decode, open_device_decoder
from edgeharfer.runtime.source.image_format import MAX_MEGAPIXELS
from edgeharfer.runtime.source.media_picture import (
    UPRIGHT,
    AvPicture,
    Display,
    FrameConverter,
    Orientation,
    orientation_of,
    square_size,
    usable_aspect,
)

DECODER_OPTIONS = {"max_pixels": str(MAX_MEGAPIXELS * 1_000_000)}
"""Options of FFmpeg's decoders: larger frames, which a damaged header may announce, are refused."""
# A frame of H.264 takes 5 ms at 1920x1080 and 21 ms at 3840x2160. A second thread takes 10 to 15 % more
# processor time and, at 3840x2160, 28 MB.
_ONE_THREAD_PIXELS = 1920 * 1088

_Shown = tuple[int, int, int, Fraction | None]


class PacketDecoder:
    """Decodes the packets of a video stream.

    Attributes:
        codec: FFmpeg's name of the codec, e.g. "h264".
        extradata: Configuration record of the codec, from the container.
        size: (width, height) in square pixels that the container states, before the picture is turned.
        damaged: Number of packets that could not be decoded so far.
    """

    def __init__(self, stream: VideoStream, name: str, decode: str) -> None:
        """Prepare the decoder.

        Args:
            stream: The stream.
            name: Name for error messages.
            decode: A value of `decode_choices`.

        Raises:
            DecoderError: The device of `decode` cannot decode the stream.
        """
        self.damaged = 0
        self._name = name
        context = stream.codec_context
        large = context.width * context.height > _ONE_THREAD_PIXELS
        context.thread_count = 2 if large else 1
        context.thread_type = ThreadType.AUTO
        context.options = dict(DECODER_OPTIONS)
        self.codec = str(context.codec.canonical_name)
        self.extradata = context.extradata or b""
        self._processor = self._context = context
        device = check_decode(decode)
        if device != CPU:
            self._context = open_device_decoder(device, self.codec, context.extradata, name)
        self._first_orientation: Orientation | None = None
        self._turn_is_known = self._context is self._processor
        self._display: Display | None = None
        self._shown: _Shown | None = None
        self._aspect = aspect = stream.sample_aspect_ratio
        self._aspect_of_codec = not aspect or aspect == context.sample_aspect_ratio
        self._converter = FrameConverter()
        self.size = square_size(context.width, context.height, usable_aspect(aspect))

    def decode(self, packet: av.Packet[VideoStream] | None) -> list[av.VideoFrame]:
        """Return the frames that are ready after a packet, or at the end; none if the packet is damaged."""
        if not self._turn_is_known:
            self._find_turn(packet)
        try:
            return self._context.decode(packet)
        except av.error.FFmpegError:
            self.damaged += 1
            return []

    def flush(self) -> None:
        """Forget the packets before, because the next one is from another place of the stream."""
        self._context.flush_buffers()

    def picture(self, frame: av.VideoFrame) -> AvPicture:
        """Return the picture of a frame.

        Raises:
            SourceError: Its pixel format cannot be converted.
        """
        shown = frame.width, frame.height, frame.rotation, self._pixel_aspect()
        if self._display is None or shown != self._shown:
            orientation = self._orientation(frame) or self._first_orientation or UPRIGHT
            square = square_size(frame.width, frame.height, usable_aspect(shown[3]))
            self._display, self._shown = Display(square, orientation), shown
        return AvPicture(frame, self._display, self._converter)

    def _orientation(self, frame: av.VideoFrame) -> Orientation | None:
        try:
            return orientation_of(frame)
        except av.error.FFmpegError:
            kind = frame.format.name
            raise SourceError(
                f"{self._name}: its pixel format {kind} is not supported: convert it to MP4 (H.264)"
            ) from None

    def _pixel_aspect(self) -> Fraction | None:
        """Return the aspect ratio of the pixels: the container's, else that of the current frames."""
        return self._context.sample_aspect_ratio if self._aspect_of_codec else self._aspect

    def _find_turn(self, packet: av.Packet[VideoStream] | None) -> None:
        """Decode the first frame on the processor, because devices do not get the display matrix."""
        with suppress(av.error.FFmpegError):
            for frame in self._processor.decode(packet):
                self._first_orientation = self._orientation(frame)
                self._turn_is_known = True
