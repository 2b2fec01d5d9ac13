"""The video formats of `--save`, and the encoder that the installed PyAV has for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av

from edgeharfer.runtime.errors import ConfigError

COMMON_TICK = Fraction(1, 360_000)
"""Unit of time in MP4. It divides the frame intervals of 23.976 to 60 fps (film, PAL, NTSC) and those of 600
and 1000 fps, and the units of MPEG-TS (1/90000 s) and Matroska (1/1000 s)."""
_TRIAL_SIZE = 640, 480


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder of FFmpeg and its settings.

    Attributes:
        name: Name of the encoder in FFmpeg.
        title: Name of the format, for messages.
        options: Options of the encoder.
        pixels: Pixel format; 8 bits, 4:2:0.
        finest_tick: Finest unit of time that the encoder allows; None: any.
    """

    name: str
    title: str
    options: Mapping[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"
    finest_tick: Fraction | None = None

    def works(self) -> bool:
        """Return whether this PyAV has the encoder, and it can be opened: some need special hardware."""
        try:
            context = av.CodecContext.create(self.name, "w")
            assert isinstance(context, av.VideoCodecContext)
            context.width, context.height = _TRIAL_SIZE
            context.pix_fmt, context.time_base = self.pixels, self.finest_tick or COMMON_TICK
            context.framerate = Fraction(30)
            context.options = dict(self.options)
            context.open()
        except (av.FFmpegError, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """A container and its encoders.

    Attributes:
        container: Name of the container in FFmpeg.
        encoders: Encoders in order of preference.
        tick: Unit of time in seconds; None: the frame interval, in a container of constant rate.
        options: Options of the container.
        index_first: Whether the index is moved to the start of a complete file.
    """

    container: str
    encoders: tuple[Encoder, ...]
    tick: Fraction | None = COMMON_TICK
    options: Mapping[str, str] = field(default_factory=dict)
    index_first: bool = False


# "ultrafast" with a constant quantiser takes about as much processor time as MPEG-4 Part 2 from OpenCV, in
# smaller files of the same quality. Rate control ("crf") takes 20 % more, "superfast" half as much again.
_H264 = (
    Encoder("libx264", "H.264", {"preset": "ultrafast", "qp": "24"}),
    Encoder("libopenh264", "H.264", {"rc_mode": "off"}),
    Encoder("h264_videotoolbox", "H.264"),
    Encoder("h264_mf", "H.264", pixels="nv12"),
    Encoder("h264_v4l2m2m", "H.264"),
)
# The MPEG-4 standard limits the denominator to 65535.
_MPEG4 = Encoder("mpeg4", "MPEG-4 Part 2", {"qmin": "2", "qmax": "5"}, finest_tick=Fraction(1, 60_000))
_MJPEG = Encoder("mjpeg", "Motion JPEG", {"qmin": "2", "qmax": "4"}, pixels="yuvj420p")

# Fragments and clusters of one second can be read while the file is being written; closing it adds the index.
_FRAGMENTS = {
    "movflags": "hybrid_fragmented+empty_moov+default_base_moof",
    "frag_duration": "1000000",  # in microseconds
    "flush_packets": "1",
}
_CLUSTERS = {"cluster_time_limit": "1000", "flush_packets": "1"}  # in milliseconds

FORMATS: Mapping[str, VideoFormat] = MappingProxyType({
    ".mp4": VideoFormat("mp4", (*_H264, _MPEG4), options=_FRAGMENTS, index_first=True),
    ".mkv": VideoFormat("matroska", (*_H264, _MPEG4), Fraction(1, 1000), _CLUSTERS),
    ".avi": VideoFormat("avi", (_MJPEG,), None, {"flush_packets": "1"}),
})  # fmt: skip
"""Video formats by file extension."""


def choose_encoder(path: Path) -> Encoder:
    """Return the first encoder that works here for a file with one of the extensions in FORMATS.

    Raises:
        ConfigError: None of them works.
    """
    suffix = path.suffix.lower()
    encoders = FORMATS[suffix].encoders
    found = next((encoder for encoder in encoders if encoder.works()), None)
    if found is None:
        names = " or ".join(dict.fromkeys(encoder.title for encoder in encoders))
        others = ", ".join(one for one in FORMATS if one != suffix)
        raise ConfigError(
            f"{path}: this PyAV cannot encode {names}: use the extension {others}, or reinstall PyAV "
            "(pip install --force-reinstall av)"
        )
    return found
