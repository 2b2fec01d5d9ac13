"""A video file that is written frame by frame, with the time of each frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from edgeharfer.runtime.sinks.encoders import Encoder, VideoFormat
from edgeharfer.runtime.types import Image

DEFAULT_FPS = 30.0
MAX_FPS = 1000.0
KEYFRAME_S = 2.0
"""Interval between key frames, at which players can start."""
# Numbers of ITU-T H.273. Primaries and transfer of BT.709 are those of screens and webcams. OpenCV converts
# to YUV with the matrix of BT.601, whatever the size.
_BT709, _BT601 = 1, 6
# AVColorRange of FFmpeg's libavutil/pixfmt.h.
_LIMITED, _FULL = 1, 2
# More threads take more processor time, and hold frames back.
_THREADS = 1


class VideoWriter:
    """Encodes images to a file."""

    def __init__(
        self, path: Path, form: VideoFormat, encoder: Encoder, size: tuple[int, int], fps: float
    ) -> None:
        """Create the file.

        Args:
            path: File to write.
            form: Container.
            encoder: Encoder.
            size: (width, height) of the images, both even.
            fps: Usual frame rate.

        Raises:
            av.FFmpegError: The file cannot be written, or the encoder does not support the size.
        """
        self.frames = 0
        self._pixels = encoder.pixels
        self._tick = time_unit(form, encoder, fps)
        self._last: int | None = None
        self._duration = 0
        self._container = av.open(
            str(path.absolute()), "w", format=form.container, container_options=dict(form.options)
        )
        try:
            rate = frame_rate(fps)
            stream = self._container.add_stream(encoder.name, rate=rate, options=dict(encoder.options))
            assert isinstance(stream, av.VideoStream)
            self._stream = stream
            self._configure(size, rate)
            self._container.start_encoding()
        except BaseException:
            self._container.close()
            raise

    def _configure(self, size: tuple[int, int], rate: Fraction) -> None:
        context = self._stream.codec_context
        context.width, context.height = size
        context.pix_fmt, context.time_base = self._pixels, self._tick
        context.gop_size = max(1, math.ceil(KEYFRAME_S * rate))
        context.max_b_frames = 0
        context.thread_count, context.thread_type = _THREADS, "AUTO"
        context.color_primaries, context.color_trc, context.colorspace = _BT709, _BT709, _BT601
        context.color_range = _FULL if self._pixels == "yuvj420p" else _LIMITED

    def write(self, image: Image, time_s: float, duration_s: float) -> None:
        """Encode an image.

        An image is left out if its time is not after that of the previous one, in units of the container.

        Args:
            image: uint8 BGR, (height, width, 3), of the size of the video.
            time_s: Time in the video in seconds.
            duration_s: Duration of the image if it is the last one.

        Raises:
            av.FFmpegError: The file cannot be written.
        """
        tick = round(time_s / self._tick)
        if self._last is not None and tick <= self._last:
            return
        frame = self._convert(image)
        frame.pts, frame.time_base = tick, self._tick
        self._last, self._duration = tick, round(duration_s / self._tick)
        self._mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Write what is left, and close the file.

        Raises:
            av.FFmpegError: The file cannot be completed.
        """
        try:
            self._mux(self._stream.encode(None))
        finally:
            self._container.close()

    def _convert(self, image: Image) -> av.VideoFrame:
        planes = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        return frame if self._pixels == "yuv420p" else frame.reformat(format=self._pixels)

    def _mux(self, packets: Iterable[av.Packet[av.VideoStream]]) -> None:
        for packet in packets:
            packet.duration = max(1, round(self._duration * self._tick / packet.time_base))
            self._container.mux(packet)


def move_index_first(source: Path, target: Path, form: VideoFormat, proceed: Callable[[], bool]) -> bool:
    """Copy a video so that its index stands before the pictures, as browsers like it.

    Args:
        source: Complete video.
        target: File to write.
        form: Container of both.
        proceed: Called before each packet; False ends the copy.

    Returns:
        False if the copy was ended.

    Raises:
        av.FFmpegError: A file cannot be read or written.
    """
    flags = {"movflags": "faststart"}
    with (
        av.open(str(source.absolute())) as original,
        av.open(str(target.absolute()), "w", format=form.container, container_options=flags) as copy,
    ):
        stream = original.streams.video[0]
        copied = copy.add_stream_from_template(stream)
        for packet in original.demux(stream):
            if not proceed():
                return False
            if packet.dts is not None:
                packet.stream = copied
                copy.mux(packet)
    return True


def frame_rate(fps: float | None) -> Fraction:
    """Return a usable frame rate: that of a source, else DEFAULT_FPS; at most MAX_FPS."""
    if fps is None or not math.isfinite(fps) or fps <= 0:
        fps = DEFAULT_FPS
    # 1001 is the denominator of NTSC's rates, such as 30000/1001.
    return Fraction(min(fps, MAX_FPS)).limit_denominator(1001) or Fraction(1, 1001)


def time_unit(form: VideoFormat, encoder: Encoder, fps: float) -> Fraction:
    """Return the unit of time of a file in seconds."""
    if form.tick is None:
        return 1 / frame_rate(fps)
    return max(form.tick, encoder.finest_tick or form.tick)
