"""A camera of this machine, by number or device path."""

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
# USB cameras need up to some seconds after they are opened; each attempt waits one second.
_FIRST_FRAME_ATTEMPTS = 5
# How often no picture comes within the second that V4L2 waits, until the camera counts as lost.
_SILENT_SECONDS = 4
# A second's worth of pictures that cannot be decoded is a fault, a single one is not.
_BAD_PICTURES_IN_A_ROW = 30

Connect = Callable[[int | str], VideoCapture]


def make_source(spec: str, options: SourceOptions) -> Source:
    """Open a camera by its number or device path. Raises CameraError."""
    device = spec if spec.startswith("/") else int(spec)
    wishes = {"width": options.width, "height": options.height, "fps": options.fps}
    order = OpenRequest("camera", "CameraSource", {"device": device, "path": stable_path(device), **wishes})
    return open_live(f"camera {device}", order, options)


class CameraSource(BaseSource):
    """Live frames of a camera, compressed as MJPG where the camera can.

    Uncompressed 4:2:2 video fills a USB 2 link at 640x480 and 30 fps, so larger pictures come at a
    few frames a second without MJPG. Size and rate are wishes: `size`, `fps` and `details` tell
    what the camera really gives. `bad_pictures` counts those that could not be decoded.
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
        """Open the device and take its first picture.

        path: what is opened, where that is not the device's own name (see `stable_path`).
        Raises CameraError where there is no such camera, it is in use, or nothing comes from it.
        """
        super().__init__(f"camera {device}", clock)
        self._seq = 0
        self._capture = (connect or _connect)(device if path is None else path)
        try:
            self._request(width, height, fps)
            self._first: Image | None = self._first_picture()
        except CameraError:
            self._capture.release()
            raise
        self._describe(self._first)

    def _request(self, width: int | None, height: int | None, fps: float | None) -> None:
        if not self._capture.isOpened():
            raise CameraError(
                f"{self.name}: cannot be opened: another program may use it, or this user may not "
                "(group 'video'); or try --source demo"
            )
        # The order matters to V4L2: sizes and rates are looked up for the format chosen.
        self._capture.set(cv2.CAP_PROP_FOURCC, float(_FOURCC_MJPG))
        sides = (cv2.CAP_PROP_FRAME_WIDTH, width), (cv2.CAP_PROP_FRAME_HEIGHT, height)
        for prop, wish in (*sides, (cv2.CAP_PROP_FPS, fps)):
            if wish is not None:
                self._capture.set(prop, float(wish))

    def _first_picture(self) -> Image:
        for _ in range(_FIRST_FRAME_ATTEMPTS):
            if self._capture.grab():
                picture = self._retrieve()
                if picture is not None:
                    return picture
        raise CameraError(f"{self.name}: gives no picture: plug it in again, or try --source demo")

    def _describe(self, first: Image) -> None:
        self.size = size_of(first)
        self.fps = nominal_fps(self._capture)
        self.details = describe(codec(self._capture), self.size, self.fps)

    def _next(self) -> Frame:
        picture, self._first = self._first, None
        if picture is None:
            picture = self._picture()
        frame = self._frame(self._seq, None, picture)
        self._seq += 1
        return frame

    def _picture(self) -> Image:
        silent = bad = 0
        while silent < _SILENT_SECONDS and bad < _BAD_PICTURES_IN_A_ROW:
            if not self._capture.grab():
                silent += 1
            elif (picture := self._retrieve()) is None:
                bad += 1
            else:
                return picture
        raise CameraError(f"{self.name}: lost, no more pictures come: check its cable")

    def _retrieve(self) -> Image | None:
        good, picture = self._capture.retrieve()
        if good and picture is not None and picture.size:
            return picture
        self.bad_pictures += 1
        self._seq += 1
        return None

    def _release(self) -> None:
        self._capture.release()


def stable_path(device: int | str, links: Path = Path("/dev/v4l")) -> str | None:
    """A path that leads to the same camera when it comes back with another number; None where there is none.

    Raises CameraError where there is no such camera now.
    """
    if not sys.platform.startswith("linux"):
        return None
    node = _node(device)
    # udev's links: by model and serial number, else by the socket that the camera is plugged into.
    for link in (*sorted(links.glob("by-id/*")), *sorted(links.glob("by-path/*"))):
        if link.resolve() == node.resolve():
            return str(link)
    return str(node)


def _node(device: int | str) -> Path:
    # Looked up first: asked for a camera that is not there, OpenCV tries several backends in turn.
    path = Path(f"/dev/video{device}" if isinstance(device, int) else device)
    if not path.exists():
        raise CameraError(f"camera {device}: there is no {path}: plug a camera in, or try --source demo")
    return path


def _connect(device: int | str) -> VideoCapture:
    linux = sys.platform.startswith("linux")
    target = str(_node(device)) if linux or isinstance(device, str) else device
    return open_capture(target, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
