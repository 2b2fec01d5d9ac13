"""The table of devices that decode video. To add one, add a row to DECODE_DEVICES.

The option `--decode`, its help and the kiosk configuration read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeharfer.runtime.errors import ConfigError, DecoderError

if TYPE_CHECKING:
    import av
    from av.video.codeccontext import VideoCodecContext

AUTO, CPU = "auto", "cpu"


@dataclass(frozen=True, slots=True)
class DecodeDevice:
    """A row of DECODE_DEVICES.

    Attributes:
        title: What decodes.
        hwaccel: FFmpeg's type of the device, as PyAV's HWAccel takes it; "" if there is none.
        suffix: Suffix of the name of the device's decoders in FFmpeg, such as "_v4l2m2m" in "h264_v4l2m2m".
    """

    title: str
    hwaccel: str = ""
    suffix: str = ""


DECODE_DEVICES: Mapping[str, DecodeDevice] = MappingProxyType({
    CPU: DecodeDevice("the processor"),
    "cuda": DecodeDevice("an NVIDIA GPU", hwaccel="cuda"),
    "vaapi": DecodeDevice("an Intel or AMD GPU, with VA-API", hwaccel="vaapi"),
    "v4l2m2m": DecodeDevice("the video decoder of a Linux board", suffix="_v4l2m2m"),
    "videotoolbox": DecodeDevice("a Mac", hwaccel="videotoolbox"),
})  # fmt: skip
"""By the value of `--decode`. "auto" is the processor: frames that a GPU decodes have to be copied back."""


def decode_choices() -> tuple[str, ...]:
    """Return the values of `--decode`."""
    return AUTO, *DECODE_DEVICES


def check_decode(decode: str) -> str:
    """Return the device of a value of `--decode`.

    Raises:
        ConfigError: There is no such value.
    """
    if decode not in decode_choices():
        raise ConfigError(f"unknown decoder {decode!r}: choose from {', '.join(decode_choices())}")
    return CPU if decode == AUTO else decode


def open_device_decoder(decode: str, codec: str, extradata: bytes | None, name: str) -> VideoCodecContext:
    """Open the decoder of a device.

    Args:
        decode: A name of DECODE_DEVICES other than "cpu".
        codec: FFmpeg's name of the codec.
        extradata: Configuration record of the codec, from the container.
        name: Name of the source, for error messages.

    Raises:
        DecoderError: The device is not there, or does not decode this codec.
    """
    import av
    from av.codec.hwaccel import HWAccel

    device = DECODE_DEVICES[decode]
    # FFmpeg's names differ for the first two: mpeg1video and mpeg2video, mpeg1_v4l2m2m and mpeg2_v4l2m2m.
    decoder = codec.removesuffix("video") + device.suffix if device.suffix else codec
    reason = "the device or its driver is missing, or does not decode this codec"
    try:
        hwaccel = HWAccel(device.hwaccel, allow_software_fallback=False) if device.hwaccel else None
        context = decoders().create(decoder, "r", hwaccel)
        context.extradata = extradata
        context.open()
        if hwaccel is None or context.is_hwaccel:
            assert isinstance(context, av.VideoCodecContext)
            return context
    except (av.error.FFmpegError, av.codec.codec.UnknownCodecError, ValueError) as error:
        reason = f"{reason} ({' '.join(str(error).split())})"
    raise DecoderError(
        f"{name}: {device.title} cannot decode {codec.upper()} here: {reason}; use --decode cpu"
    )


def decoders() -> type[av.CodecContext]:
    """Return the class that creates decoders; tests replace it."""
    import av

    return av.CodecContext
