"""Decoding of video containers with PyAV: pictures on demand and the times of the container."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.picture import Picture, SkippedPicture
from edgeharfer.runtime.source.decode import MAX_MEGAPIXELS
from edgeharfer.runtime.source.deinterlace import Deinterlacer
from edgeharfer.runtime.source.media_picture import (
    AvPicture,
    FrameConverter,
    display_of,
    square_size,
    usable_aspect,
)
from edgeharfer.runtime.source.skipping import FrameSkipper

FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h261,h263,h264,hevc,vvc,av1,obu,ivf,"
    "vc1,vc1test,cavsvideo,dirac,dnxhd,mjpeg,mjpeg_2000,mpjpeg,smjpeg,flv,live_flv,kux,"
    "asf,ogg,nut,mxf,gxf,dv,rm,wtv,swf,nuv,pva,nsv,yuv4mpegpipe,gif,apng,image2,"
    "image2pipe,jpeg_pipe,jpegls_pipe,j2k_pipe,jpegxl_pipe,jpegxl_anim,png_pipe,webp_pipe,"
    "bmp_pipe,tiff_pipe,gif_pipe,qoi_pipe,pbm_pipe,pgm_pipe,ppm_pipe,pam_pipe,dpx_pipe,"
    "exr_pipe,sunrast_pipe,sgi_pipe,psd_pipe"
)
"""FFmpeg's video and image formats, without those that refer to other files and URLs: playlists (HLS, DASH,
concat, IMF), session descriptions and network protocols."""
MAX_FPS = 960.0
"""Highest plausible rate: slow-motion cameras reach it, and 1000 is the time base of many containers."""
_DECODER_OPTIONS = {"max_pixels": str(MAX_MEGAPIXELS * 1_000_000)}
# The presentation times that PyAV lets FFmpeg generate are wrong for AVI files with B-frames.
_DEMUXER_OPTIONS = {"fflags": "-genpts"}
# Used if a stream has neither times nor a frame rate: FFmpeg's default, the rate of PAL.
_DEFAULT_FPS = 25.0
# Damaged data in a row, without a single frame, after which a file is given up.
_MAX_READ_ERRORS = 100
# Above Full HD one thread does not reach 30 fps on a small computer; each further thread takes some frames.
_ONE_THREAD_PIXELS = 1920 * 1088
_MANY_THREADS = 4


def open_container(
    target: str | io.RawIOBase | io.BufferedIOBase,
    *,
    protocols: str = "file",
    formats: str = FORMATS,
    options: Mapping[str, str] | None = None,
    timeout: tuple[float, float] | None = None,
) -> InputContainer:
    """Open a container.

    Args:
        target: Path, URL, or readable file object.
        protocols: Comma-separated whitelist of FFmpeg protocols; a file object needs none.
        formats: Comma-separated whitelist of FFmpeg formats; the default excludes those that open other
            files or URLs.
        options: Further options of the demuxer.
        timeout: Maximum time to open and to read, in seconds.

    Raises:
        av.error.FFmpegError: It cannot be opened.
    """
    limits = {"protocol_whitelist": protocols, "format_whitelist": formats, **_DECODER_OPTIONS}
    opened: InputContainer = av.open(
        target,
        "r",
        options={**limits, **_DEMUXER_OPTIONS, **(options or {})},
        metadata_errors="replace",
        timeout=timeout,
    )
    return opened


def find_video(container: InputContainer, name: str) -> VideoStream:
    """Return the video stream of a container that a player would show; the others are not read.

    Raises:
        SourceError: There is none, or no decoder for it.
    """
    videos = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not videos:
        raise SourceError(f"{name}: contains no video, only audio or other data")
    best = container.streams.best("video")
    chosen = best if best in videos else videos[0]
    for stream in container.streams:
        if stream is not chosen:
            stream.discard = Discard.all
    assert isinstance(chosen, VideoStream)
    if chosen.codec_context is None:
        raise SourceError(f"{name}: no decoder for its codec: convert it to MP4 (H.264)")
    return chosen


@dataclass(frozen=True, slots=True)
class MediaFrame:
    """A frame of a container.

    Attributes:
        picture: The picture.
        pts_s: Time of presentation in seconds since the first frame.
    """

    picture: Picture
    pts_s: float


class MediaDecoder:
    """The frames of the video of an open container, in the order in which they are shown.

    Frames are turned upright and get square pixels. Interlaced ones are deinterlaced, one frame for each.
    Damaged data is skipped. Use it from one thread at a time; pictures can be used from any.

    Attributes:
        codec: Name of the codec, e.g. "H264".
        size: (width, height) in square pixels that the container states, before the picture is turned.
        fps: Frame rate in Hz, None if unknown.
        frame_count: Number of frames, as far as the container states it.
        error: Why reading ended early, None at the end of the data.
    """

    def __init__(self, container: InputContainer, name: str) -> None:
        """Find the video.

        Args:
            container: The open container, which `close` closes.
            name: Name for error messages.

        Raises:
            SourceError: There is no video, or no decoder for it.
        """
        self._container = container
        self._stream = stream = find_video(container, name)
        self._context = context = stream.codec_context
        pixels = context.width * context.height
        if pixels > MAX_MEGAPIXELS * 1_000_000:
            raise SourceError(
                f"{name}: {context.width}x{context.height} pixels are more than {MAX_MEGAPIXELS} megapixels: "
                "convert it to a smaller size"
            )
        context.thread_count = 1 if pixels <= _ONE_THREAD_PIXELS else _MANY_THREADS
        context.options = dict(_DECODER_OPTIONS)
        self.codec = codec_name(stream)
        self.fps = frame_rate(stream)
        self.frame_count = frame_count(container, stream, self.fps)
        self.error: av.error.FFmpegError | None = None
        self._stream_aspect = aspect = stream.sample_aspect_ratio
        self.size = square_size(context.width, context.height, usable_aspect(aspect))
        self._aspect_of_codec = not aspect or aspect == context.sample_aspect_ratio
        self._converter = FrameConverter()
        self._deinterlacer = Deinterlacer()
        self._time_base = stream.time_base or Fraction(1)
        self._best_time = BestTime()
        self._times = FrameTimes(self.fps or _DEFAULT_FPS)
        self._skipper = FrameSkipper(
            context.codec.canonical_name,
            context.extradata or b"",
            lambda pts: self._times.of(pts * self._time_base),
        )
        self._frames = self._decode()

    def read(
        self,
        wanted: Callable[[float], bool] | None = None,
        announce: Callable[[float], None] | None = None,
    ) -> MediaFrame | None:
        """Return the next frame, None at the end.

        Args:
            wanted: See `Source.wanted`.
            announce: See `Source.announce`.
        """
        self._skipper.wanted, self._skipper.announce = wanted, announce
        return next(self._frames, None)

    def count_packets(self) -> int:
        """Return the number of packets of the video, in most formats one for each frame; reads to the end."""
        return sum(1 for _ in self._packets())

    def close(self) -> None:
        """Close the container."""
        self._frames.close()
        self._container.close()

    def _decode(self) -> Generator[MediaFrame, None, None]:
        size = self.size
        for frame in self._deinterlaced():
            if isinstance(frame, int):
                yield MediaFrame(SkippedPicture(size), self._times.next(frame * self._time_base))
                continue
            pts = self._best_time.of(frame)
            picture = AvPicture(frame, display_of(frame, self._aspect()), self._converter)
            size = picture.size
            yield MediaFrame(picture, self._times.next(None if pts is None else pts * self._time_base))

    def _deinterlaced(self) -> Iterator[av.VideoFrame | int]:
        for frame in self._in_order():
            if isinstance(frame, int):
                yield frame
            else:
                yield from self._deinterlacer.push(frame)
        yield from self._deinterlacer.flush()

    def _in_order(self) -> Iterator[av.VideoFrame | int]:
        """Yield decoded frames in order, and the times of those left out."""
        for packet in self._packets():
            frames = [] if self._skipper.leaves_out(packet) else self._decode_packet(packet)
            yield from self._skipper.in_order(frames)
        yield from self._skipper.in_order(self._decode_packet(None))
        yield from self._skipper.rest()

    def _decode_packet(self, packet: av.Packet[VideoStream] | None) -> list[av.VideoFrame]:
        """Return the frames that are ready after a packet, or at the end; none if it is damaged."""
        try:
            return self._context.decode(packet)
        except av.error.FFmpegError:
            return []

    def _packets(self) -> Iterator[av.Packet[VideoStream]]:
        """Yield the packets of the video; damaged parts of the container are skipped."""
        errors = 0
        while errors < _MAX_READ_ERRORS:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size == 0:  # the end
                        return
                    errors = 0
                    yield packet
            except av.error.InvalidDataError:
                errors += 1
            except av.error.FFmpegError as error:
                self.error = error
                return

    def _aspect(self) -> Fraction | None:
        """Return the aspect ratio of the pixels: the container's, else that of the current frames."""
        return self._context.sample_aspect_ratio if self._aspect_of_codec else self._stream_aspect


class BestTime:
    """Chooses between the presentation and decoding times of frames in order, as FFmpeg's own tools do.

    Some containers have no presentation times, and some writers store wrong ones. Whichever went back less
    often so far is used.
    """

    def __init__(self) -> None:
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._faulty_pts = self._faulty_dts = 0

    def of(self, frame: av.VideoFrame) -> int | None:
        """Return the time of the next frame in units of the stream, None if it has none."""
        pts, dts = frame.pts, frame.dts
        if pts is not None:
            self._faulty_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        if dts is not None:
            self._faulty_dts += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        if pts is None or (dts is not None and self._faulty_pts > self._faulty_dts):
            return dts
        return pts


class FrameTimes:
    """Strictly increasing frame times in seconds since the first frame, whatever the container states."""

    # Times that go back by more than this start again, as in files that were joined.
    _RESTART_S = 1.0

    def __init__(self, fps: float) -> None:
        self._interval_s = 1.0 / fps
        self._origin: Fraction | None = None
        self._last_s: float | None = None

    def of(self, pts_s: Fraction) -> float | None:
        """Return the time that a presentation time stands for, None before the first frame."""
        return None if self._origin is None else round(float(pts_s - self._origin), 6)

    def next(self, pts_s: Fraction | None) -> float:
        """Return the time of the next frame.

        Args:
            pts_s: Presentation time from the container in seconds. If it is None or does not increase, one
                frame duration is added to the last time instead. After a large step back, the times that
                follow are relative to that frame.
        """
        if self._last_s is None:
            self._origin = pts_s
            self._last_s = 0.0
            return 0.0
        stated_s = None if pts_s is None else self.of(pts_s)
        if stated_s is not None and stated_s > self._last_s:
            self._last_s = stated_s
            return stated_s
        following_s = round(self._last_s + self._interval_s, 6)
        if pts_s is not None and (stated_s is None or stated_s < self._last_s - self._RESTART_S):
            self._origin = pts_s - Fraction(following_s)
        self._last_s = following_s
        return following_s


def frame_rate(stream: VideoStream) -> float | None:
    """Return the average rate of a stream in Hz, None if it is unknown or implausible (such as 90000)."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= MAX_FPS:
            return float(rate)
    return None


def frame_count(container: InputContainer, stream: VideoStream, fps: float | None) -> int | None:
    """Return the number of frames that a container states, else its duration times the rate, else None."""
    if stream.frames > 0:
        return int(stream.frames)
    if fps is None:
        return None
    duration_s = None
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration_s = container.duration / av.time_base
    return round(duration_s * fps) or None if duration_s and duration_s > 0 else None


def codec_name(stream: VideoStream) -> str:
    """Return the name of a codec in upper case, e.g. "H264"."""
    return str(stream.codec_context.codec.canonical_name).upper()
