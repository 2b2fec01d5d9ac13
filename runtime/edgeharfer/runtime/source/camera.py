"""A local camera, by number or device path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import CameraError
from edgeharfer.runtime.source.base import BaseSource, Source, SourceOptions, size_of
from edgeharfer.runtime.source.isolated import open_live
from edgeharfer.runtime.source.opencv import VideoCapture, codec, describe, nominal_fps, open_capture
from edgeharfer.runtime.source.requests import OpenRequest
from edgeharfer.runtime.types import Frame, Image

_FOURCC_MJPG = cv2.VideoWriter.fourcc(*"MJPG")
# USB cameras may need several seconds after they are opened; each attempt waits one second.
_FIRST_FRAME_ATTEMPTS = 5
# Reads without a frame, of one second each in V4L2, after which the camera counts as lost.
_MAX_SILENT_READS = 4
# About one second of frames that cannot be decoded is an error; a single one is not.
_MAX_CONSECUTIVE_ERRORS = 30

Connect = Callable[[int | str], VideoCapture]


def make_source(spec: str, options: SourceOptions) -> Source:
    """Open a camera by its number or device path.

    Raises:
        CameraError: The camera does not exist, cannot be opened or delivers no frames.
    """
    device = spec if spec.startswith("/") else int(spec)
    requested = {"width": options.width, "height": options.height, "fps": options.fps}
    arguments: dict[str, int | float | str | None] = {
        "device": device,
        "path": stable_path(device),
        **requested,
    }
    request = OpenRequest("camera", "CameraSource", arguments)
    return open_live(f"camera {device}", request, options)


class CameraSource(BaseSource):
    """Live frames of a camera, compressed as MJPG where the camera supports that.

    Uncompressed 4:2:2 video fills a USB 2 link at 640x480 and 30 fps, so larger frames arrive at a few
    frames per second without MJPG. A camera may not honour the requested size and rate: `size`, `fps` and
    `details` hold the actual values. `bad_pictures` counts frames that could not be decoded.
    """

    live = True

    def __init__(
        self,
        device: int | str,
        clock: Clock,
        *,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        path: str | None = None,
        connect: Connect | None = None,
    ) -> None:
        """Open the device and read its first frame.

        Args:
            device: Number or device path.
            clock: Clock for the timestamps.
            width: Requested width in pixels.
            height: Requested height in pixels.
            fps: Requested frame rate in Hz.
            path: The path to open in place of `device` (see `stable_path`).
            connect: Opens the capture; a replacement for tests.

        Raises:
            CameraError: The camera does not exist, is in use, or delivers no frames.
        """
        super().__init__(f"camera {device}", clock)
        self._seq = 0
        self._capture = (connect or _connect)(device if path is None else path)
        try:
            self._request(width, height, fps)
            self._first: Image | None = self._first_image()
        except CameraError:
            self._capture.release()
            raise
        self._describe(self._first)

    def _request(self, width: int | None, height: int | None, fps: float | None) -> None:
        if not self._capture.isOpened():
            raise CameraError(
                f"{self.name}: cannot be opened: another program may be using it, or this user lacks "
                "permission (group 'video'); or try --source demo"
            )
        # The format comes first: V4L2 looks up sizes and rates for the current format.
        self._capture.set(cv2.CAP_PROP_FOURCC, float(_FOURCC_MJPG))
        sides = (cv2.CAP_PROP_FRAME_WIDTH, width), (cv2.CAP_PROP_FRAME_HEIGHT, height)
        for prop, value in (*sides, (cv2.CAP_PROP_FPS, fps)):
            if value is not None:
                self._capture.set(prop, float(value))

    def _first_image(self) -> Image:
        for _ in range(_FIRST_FRAME_ATTEMPTS):
            if self._capture.grab():
                image = self._retrieve()
                if image is not None:
                    return image
        raise CameraError(f"{self.name}: no frames received: reconnect it, or try --source demo")

    def _describe(self, first: Image) -> None:
        self.size = size_of(first)
        self.fps = nominal_fps(self._capture)
        self.details = describe(codec(self._capture), self.size, self.fps)

    def _next(self) -> Frame:
        image, self._first = self._first, None
        if image is None:
            image = self._next_image()
        frame = self._frame(self._seq, None, image)
        self._seq += 1
        return frame

    def _next_image(self) -> Image:
        silent = bad = 0
        while silent < _MAX_SILENT_READS and bad < _MAX_CONSECUTIVE_ERRORS:
            if not self._capture.grab():
                silent += 1
            elif (image := self._retrieve()) is None:
                bad += 1
            else:
                return image
        raise CameraError(f"{self.name}: connection lost, no more frames received: check the cable")

    def _retrieve(self) -> Image | None:
        good, image = self._capture.retrieve()
        if good and image is not None and image.size:
            return image
        self.bad_pictures += 1
        self._seq += 1
        return None

    def _release(self) -> None:
        self._capture.release()


def stable_path(device: int | str, links: Path = Path("/dev/v4l")) -> str | None:
    """Return a path that still refers to the same camera after it reconnects with another number.

    Args:
        device: Number or device path.
        links: Folder of udev's links.

    Returns:
        A path under `links` if there is one, else the device node; None on systems other than Linux.

    Raises:
        CameraError: The camera does not exist.
    """
    if not sys.platform.startswith("linux"):
        return None
    node = _node(device)
    # udev's links: by model and serial number, else by the port that the camera is plugged into.
    for link in (*sorted(links.glob("by-id/*")), *sorted(links.glob("by-path/*"))):
        if link.resolve() == node.resolve():
            return str(link)
    return str(node)


def _node(device: int | str) -> Path:
    # Checked first because OpenCV tries several backends in turn for a camera that does not exist.
    path = Path(f"/dev/video{device}" if isinstance(device, int) else device)
    if not path.exists():
        raise CameraError(f"camera {device}: {path} does not exist: connect a camera, or try --source demo")
    return path


def _connect(device: int | str) -> VideoCapture:
    linux = sys.platform.startswith("linux")
    target = str(_node(device)) if linux or isinstance(device, str) else device
    return open_capture(target, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
