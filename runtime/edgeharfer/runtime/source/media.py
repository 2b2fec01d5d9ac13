"""Decoding of video containers with PyAV: pictures on demand and the times of the container."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
import av.logging
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.picture import Picture, SkippedPicture
from edgeharfer.runtime.source.decode_devices import AUTO
from edgeharfer.runtime.source.deinterlace import Deinterlacer
from edgeharfer.runtime.source.media_times import BestTime, FrameTimes
from edgeharfer.runtime.source.packet_decoder import DECODER_OPTIONS, PacketDecoder
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
# The presentation times that PyAV lets FFmpeg generate are wrong for AVI files with B-frames.
_DEMUXER_OPTIONS = {"fflags": "-genpts"}
# Used if a stream has neither times nor a frame rate: FFmpeg's default, the rate of PAL.
_DEFAULT_FPS = 25.0
# Damaged data in a row, without a single frame, after which a file is given up.
_MAX_READ_ERRORS = 100


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
    limits = {"protocol_whitelist": protocols, "format_whitelist": formats, **DECODER_OPTIONS}
    opened: InputContainer = av.open(
        target,
        "r",
        options={**limits, **_DEMUXER_OPTIONS, **(options or {})},
        metadata_errors="replace",
        timeout=timeout,
    )
    return opened


def find_video(container: InputContainer, name: str) -> VideoStream:
    """Return the video stream of a container that a player would show.

    Raises:
        SourceError: There is none, or no decoder for it.
    """
    videos = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not videos:
        raise SourceError(f"{name}: contains no video, only audio or other data")
    best = container.streams.best("video")
    chosen = best if best in videos else videos[0]
    assert isinstance(chosen, VideoStream)
    if chosen.codec_context is None:
        codec = _name_of_unknown_codec(container, chosen)
        raise SourceError(f"{name}: its codec {codec} cannot be decoded: convert it to MP4 (H.264)")
    return chosen


def _name_of_unknown_codec(container: InputContainer, stream: VideoStream) -> str:
    """Return the name or code of a codec without decoder, which PyAV only has in its summary for logs."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        summary = str(container.dumps_format())  # type: ignore[attr-defined]
    finally:
        av.logging.set_level(level)
    found = re.search(rf"Stream #0:{stream.index}\b.* Video: (\w+)(?: \((\w+))?", summary)
    name, code = found.groups() if found else ("none", None)
    return name if name != "none" else repr(code or "unknown")


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

    def __init__(self, container: InputContainer, name: str, decode: str = AUTO) -> None:
        """Find the video and its decoder.

        Args:
            container: The open container, which `close` closes.
            name: Name for error messages.
            decode: A value of `decode_choices`.

        Raises:
            SourceError: There is no video, or no decoder for it.
            DecoderError: The device of `decode` cannot decode it.
        """
        self._container = container
        self._stream = stream = find_video(container, name)
        self._decoder = PacketDecoder(stream, name, decode)
        self.codec, self.size = self._decoder.codec.upper(), self._decoder.size
        self.fps = frame_rate(stream)
        self.frame_count = frame_count(container, stream, self.fps)
        self._start()

    def _start(self) -> None:
        self.error: av.error.FFmpegError | None = None
        self._times = FrameTimes(self.fps or _DEFAULT_FPS, self._stream.time_base or Fraction(1))
        self._skipper = FrameSkipper(self._decoder.codec, self._decoder.extradata, self._times.of)
        self._frames = self._read_frames()

    def rewind(self) -> None:
        """Continue with the first frame.

        Raises:
            av.error.FFmpegError: The container cannot go back.
        """
        self._frames.close()
        self._container.seek(0)
        self._decoder.flush()
        self._start()

    def read(
        self,
        wanted: Callable[[float], bool] | None = None,
        announce: Callable[[float, bool], None] | None = None,
    ) -> MediaFrame | None:
        """Return the next frame, None at the end.

        Args:
            wanted: See `Source.wanted`.
            announce: See `Source.announce`.
        """
        self._skipper.wanted, self._skipper.announce = wanted, announce
        return next(self._frames, None)

    @property
    def damaged(self) -> int:
        """Number of packets that could not be decoded so far."""
        return self._decoder.damaged

    def count_packets(self) -> int:
        """Return the number of packets of the video, in most formats one for each frame; reads to the end."""
        return sum(1 for _ in self._packets())

    def close(self) -> None:
        """Close the container."""
        self._frames.close()
        self._container.close()

    def _read_frames(self) -> Generator[MediaFrame, None, None]:
        size, best_time = self.size, BestTime()
        for frame in self._deinterlaced():
            if isinstance(frame, int):
                yield MediaFrame(SkippedPicture(size), self._times.next(frame))
                continue
            picture = self._decoder.picture(frame)
            size = picture.size
            yield MediaFrame(picture, self._times.next(best_time.of(frame)))

    def _deinterlaced(self) -> Iterator[av.VideoFrame | int]:
        deinterlacer = Deinterlacer()
        for frame in self._in_order():
            if isinstance(frame, int):
                yield frame
            else:
                yield from deinterlacer.push(frame)
        yield from deinterlacer.flush()

    def _in_order(self) -> Iterator[av.VideoFrame | int]:
        """Yield decoded frames in order, and the times of those left out."""
        for packet in self._packets():
            frames = [] if self._skipper.leaves_out(packet) else self._decoder.decode(packet)
            yield from self._skipper.in_order(frames)
        yield from self._skipper.in_order(self._decoder.decode(None))
        yield from self._skipper.rest()

    def _packets(self) -> Iterator[av.Packet[VideoStream]]:
        """Yield the packets of the video; damaged parts of the container are skipped."""
        errors = 0
        while errors < _MAX_READ_ERRORS:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:  # the last one, at the end, is empty
                        errors = 0
                        yield packet
                return
            except av.error.InvalidDataError:
                errors += 1
            except av.error.FFmpegError as error:
                self.error = error
                return


def frame_rate(stream: VideoStream) -> float | None:
    """Return the average rate of a stream in Hz, None if it is unknown or implausible (such as 90000)."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= MAX_FPS:
            return float(rate)
    return None


def frame_count(container: InputContainer, stream: VideoStream, fps: float | None) -> int | None:
    """Return the number of frames that a container states, else its duration times the rate, else None.

    Frames that the edit list of an MP4 file leaves out are not counted.
    """
    duration_s = None
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration_s = container.duration / av.time_base
    played = round(duration_s * fps) if fps and duration_s and duration_s > 0 else 0
    if stream.frames > 0:
        edited = played < stream.frames
        return int(stream.frames) - (sum(entry.is_discard for entry in stream.index_entries) if edited else 0)
    return played or None
