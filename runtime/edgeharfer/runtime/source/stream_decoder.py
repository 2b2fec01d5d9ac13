"""Decoder of one video stream, on the processor or on a device."""

from __future__ import annotations

from fractions import Fraction

import av
import av.error
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from edgeharfer.runtime.source.decode import MAX_MEGAPIXELS
from edgeharfer.runtime.source.decode_devices import CPU, check_decode, open_device_decoder
from edgeharfer.runtime.source.media_picture import (
    UPRIGHT,
    AvPicture,
    FrameConverter,
    display_of,
    orientation_of,
    square_size,
    usable_aspect,
)

DECODER_OPTIONS = {"max_pixels": str(MAX_MEGAPIXELS * 1_000_000)}
"""Options of FFmpeg's decoders: larger frames, which a damaged header may announce, are refused."""
# Above Full HD one thread does not reach 30 fps on a small computer; each further thread holds some frames.
_ONE_THREAD_PIXELS = 1920 * 1088
_MANY_THREADS = 4


class StreamDecoder:
    """Decodes the packets of a video stream.

    Attributes:
        codec: FFmpeg's name of the codec, e.g. "h264".
        extradata: Configuration record of the codec, from the container.
        size: (width, height) in square pixels that the container states, before the picture is turned.
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
        context = stream.codec_context
        large = context.width * context.height > _ONE_THREAD_PIXELS
        context.thread_count = _MANY_THREADS if large else 1
        context.options = dict(DECODER_OPTIONS)
        self.codec = str(context.codec.canonical_name)
        self.extradata = context.extradata or b""
        self._processor = self._context = context
        device = check_decode(decode)
        if device != CPU:
            self._context = open_device_decoder(device, self.codec, context.extradata, name)
        self._orientation = UPRIGHT
        self._turn_is_known = self._context is self._processor
        self._aspect = aspect = stream.sample_aspect_ratio
        self._aspect_of_codec = not aspect or aspect == context.sample_aspect_ratio
        self._converter = FrameConverter()
        self.size = square_size(context.width, context.height, usable_aspect(aspect))

    def decode(self, packet: av.Packet[VideoStream] | None) -> list[av.VideoFrame]:
        """Return the frames that are ready after a packet, or at the end; none if the packet is damaged."""
        if not self._turn_is_known:
            self._find_turn(packet)
        return _decode(self._context, packet)

    def picture(self, frame: av.VideoFrame) -> AvPicture:
        """Return the picture of a frame."""
        display = display_of(frame, self._pixel_aspect(), self._orientation)
        return AvPicture(frame, display, self._converter)

    def _pixel_aspect(self) -> Fraction | None:
        """Return the aspect ratio of the pixels: the container's, else that of the current frames."""
        return self._context.sample_aspect_ratio if self._aspect_of_codec else self._aspect

    def _find_turn(self, packet: av.Packet[VideoStream] | None) -> None:
        """Decode the first frame on the processor, because devices do not get the display matrix."""
        for frame in _decode(self._processor, packet):
            self._orientation = orientation_of(frame) or UPRIGHT
            self._turn_is_known = True


def _decode(context: VideoCodecContext, packet: av.Packet[VideoStream] | None) -> list[av.VideoFrame]:
    try:
        return context.decode(packet)
    except av.error.FFmpegError:
        return []
