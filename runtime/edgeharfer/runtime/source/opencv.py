"""OpenCV's capture as the sources use it: silent on stderr, bounded in time, typed."""

from __future__ import annotations

import io
import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

import cv2

from edgeharfer.runtime.types import Image

# A person who debugs OpenCV sets these in the environment, and then they are left alone.
_ENVIRONMENT = {
    "OPENCV_LOG_LEVEL": "SILENT",
    # AV_LOG_QUIET of FFmpeg's libavutil/log.h.
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
    # Seconds that V4L2 waits for a frame (10 by default): a stop must not hang that long.
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "1",
}
# LOG_LEVEL_SILENT in opencv2/core/utils/logger.defines.hpp.
_LOG_LEVEL_SILENT = 0
_MAX_SANE_FPS = 480.0
_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_options_lock = threading.Lock()

NO_PROTOCOL = "none"
"""For `open_capture`: FFmpeg opens nothing by itself."""
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h261,h263,h264,hevc,vvc,av1,obu,ivf,"
    "vc1,vc1test,cavsvideo,dirac,dnxhd,mjpeg,mjpeg_2000,mpjpeg,smjpeg,flv,live_flv,kux,"
    "asf,ogg,nut,mxf,gxf,dv,rm,wtv,swf,nuv,pva,nsv,yuv4mpegpipe,gif,apng,image2,"
    "image2pipe,jpeg_pipe,jpegls_pipe,j2k_pipe,jpegxl_pipe,jpegxl_anim,png_pipe,webp_pipe,"
    "bmp_pipe,tiff_pipe,gif_pipe,qoi_pipe,pbm_pipe,pgm_pipe,ppm_pipe,pam_pipe,dpx_pipe,"
    "exr_pipe,sunrast_pipe,sgi_pipe,psd_pipe"
)
"""FFmpeg's formats of videos and images without those that refer to other files and addresses: playlists
(HLS, DASH, concat, IMF), session descriptions and everything that it has as a network protocol."""


class VideoCapture(Protocol):
    """The part of cv2.VideoCapture that the sources use, so that tests can stand in for it."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Whether there is anything to read."""

    def grab(self) -> bool:
        """Take the next picture, undecoded."""

    def retrieve(self) -> tuple[bool, Image | None]:
        """Decode the picture taken last."""

    def read(self) -> tuple[bool, Image | None]:
        """Take and decode."""

    def get(self, prop: int) -> float:
        """A property of cv2.CAP_PROP_*."""

    def set(self, prop: int, value: float) -> bool:
        """Ask for a property; whether it was granted is seen by `get` alone."""

    def release(self) -> None:
        """Let go of the device or file."""


def quiet() -> None:
    """Keep OpenCV and FFmpeg from writing to stderr, where only our own lines belong.

    Each backend reads its variable when it is used for the first time.
    """
    if "OPENCV_LOG_LEVEL" not in os.environ:
        _set_log_level(_LOG_LEVEL_SILENT)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _set_log_level(level: int) -> None:
    """OpenCV 4.13 moved the function to cv2.utils.logging, and OpenCV 5 has it nowhere else."""
    logging = getattr(cv2.utils, "logging", None)
    set_level = cv2.__dict__["setLogLevel"] if logging is None else logging.setLogLevel
    set_level(level)


def open_capture(
    target: str | int | io.BufferedIOBase,
    backend: int,
    parameters: Sequence[int] = (),
    *,
    protocols: str = "file",
    formats: str = FORMATS,
) -> VideoCapture:
    """A cv2.VideoCapture that may or may not be open; ask `isOpened`.

    protocols, formats: what FFmpeg may use, separated by commas; by default files, and no format that
    opens further files or addresses. A file object needs no protocol at all.
    """
    quiet()
    limits = f"protocol_whitelist;{protocols}|format_whitelist;{formats}|rtsp_transport;tcp"
    with _capture_options(limits):
        # The stubs do not know of file objects in all versions.
        opened = cv2.VideoCapture(target, backend, list(parameters))  # type: ignore[arg-type, call-overload, unused-ignore]
    return cast(VideoCapture, opened)


@contextmanager
def _capture_options(limits: str) -> Iterator[None]:
    """OpenCV takes options for FFmpeg from the environment alone; what a user has set there comes first."""
    with _options_lock:
        before = os.environ.get(_OPTIONS)
        os.environ[_OPTIONS] = f"{before}|{limits}" if before else limits
        try:
            yield
        finally:
            if before is None:
                del os.environ[_OPTIONS]
            else:
                os.environ[_OPTIONS] = before


def nominal_fps(capture: VideoCapture) -> float | None:
    """The rate that the backend reports, or None where it is nonsense (0, NaN, 1000, 90000)."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= _MAX_SANE_FPS else None


def frame_count(capture: VideoCapture) -> int | None:
    """How many frames the backend expects, or None where it does not know."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if math.isfinite(count) and count > 0 else None


def codec(capture: VideoCapture) -> str:
    """The four letters of the compression in upper case, e.g. "MJPG" or "H264"; "raw" where none is told."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    letters = code.to_bytes(4, "little").decode("latin-1").strip("\0 ")
    return letters.upper() if letters.isascii() and letters.isprintable() and letters else "raw"


def describe(what: str, size: tuple[int, int] | None, fps: float | None) -> str:
    """A short text such as "MJPG 640x480 at 30 fps"."""
    words = [what]
    if size is not None:
        words.append(f"{size[0]}x{size[1]}")
    if fps is not None:
        words.append(f"at {fps:.4g} fps")
    return " ".join(words)
