"""A typed interface to OpenCV's VideoCapture, with timeouts and without output on stderr."""

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

# Defaults only: values that a user sets for debugging take precedence.
_ENVIRONMENT = {
    "OPENCV_LOG_LEVEL": "SILENT",
    # AV_LOG_QUIET of FFmpeg's libavutil/log.h.
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
    # Seconds that V4L2 waits for a frame (10 by default, which would delay a stop).
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "1",
}
# LOG_LEVEL_SILENT in opencv2/core/utils/logger.defines.hpp.
_LOG_LEVEL_SILENT = 0
_MAX_SANE_FPS = 480.0
_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_options_lock = threading.Lock()

NO_PROTOCOL = "none"
"""Protocol whitelist for `open_capture` that allows none."""
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


class VideoCapture(Protocol):
    """The methods of cv2.VideoCapture that the sources use; tests implement them with fakes."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return whether the capture is open."""

    def grab(self) -> bool:
        """Read the next frame without decoding it."""

    def retrieve(self) -> tuple[bool, Image | None]:
        """Decode the last frame grabbed."""

    def read(self) -> tuple[bool, Image | None]:
        """Grab and decode the next frame."""

    def get(self, prop: int) -> float:
        """Return a property (cv2.CAP_PROP_*)."""

    def set(self, prop: int, value: float) -> bool:
        """Request a property value; only `get` shows whether it was accepted."""

    def release(self) -> None:
        """Release the device or file."""


def silence_opencv() -> None:
    """Disable the log output of OpenCV and FFmpeg on stderr.

    Call it before a backend is used for the first time, which is when it reads its environment variable.
    """
    if "OPENCV_LOG_LEVEL" not in os.environ:
        _set_log_level(_LOG_LEVEL_SILENT)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _set_log_level(level: int) -> None:
    """Set OpenCV's log level; OpenCV 4.13 moved the function to cv2.utils.logging."""
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
    """Create a cv2.VideoCapture; check `isOpened` for success.

    Args:
        target: Path, URL, camera index or file object.
        backend: One of cv2.CAP_*.
        parameters: Pairs of cv2.CAP_PROP_* and value.
        protocols: Comma-separated whitelist of FFmpeg protocols; a file object needs none.
        formats: Comma-separated whitelist of FFmpeg formats; the default excludes those that open other
            files or URLs.
    """
    silence_opencv()
    limits = f"protocol_whitelist;{protocols}|format_whitelist;{formats}|rtsp_transport;tcp"
    with _capture_options(limits):
        # The stubs of some versions lack file objects.
        opened = cv2.VideoCapture(target, backend, list(parameters))  # type: ignore[arg-type, call-overload, unused-ignore]
    return cast(VideoCapture, opened)


@contextmanager
def _capture_options(limits: str) -> Iterator[None]:
    """Set FFmpeg options, which OpenCV only reads from the environment; the user's take precedence."""
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
    """Return the frame rate that the backend reports, or None if it is implausible (0, NaN, 1000, 90000)."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= _MAX_SANE_FPS else None


def frame_count(capture: VideoCapture) -> int | None:
    """Return the number of frames that the backend expects, or None if unknown."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if math.isfinite(count) and count > 0 else None


def codec(capture: VideoCapture) -> str:
    """Return the FourCC code of the codec in upper case, e.g. "MJPG" or "H264"; "raw" if there is none."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    letters = code.to_bytes(4, "little").decode("latin-1").strip("\0 ")
    return letters.upper() if letters.isascii() and letters.isprintable() and letters else "raw"


def describe(what: str, size: tuple[int, int] | None, fps: float | None) -> str:
    """Return a short description such as "MJPG 640x480 at 30 fps"."""
    words = [what]
    if size is not None:
        words.append(f"{size[0]}x{size[1]}")
    if fps is not None:
        words.append(f"at {fps:.4g} fps")
    return " ".join(words)
