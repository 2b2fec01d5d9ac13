"""A GStreamer pipeline, for cameras on a ribbon cable (CSI) of a Jetson or, with libcamera, a Raspberry Pi.

It needs an OpenCV that was built with GStreamer, which the wheels are not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import ClassVar

import cv2

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import CameraError, SourceError
from edgeharfer.runtime.source.address import redact, unquoted
from edgeharfer.runtime.source.base import Source, SourceOptions
from edgeharfer.runtime.source.isolated import open_live
from edgeharfer.runtime.source.live_capture import LiveCaptureSource, unmet_request
from edgeharfer.runtime.source.opencv import VideoCapture, open_capture
from edgeharfer.runtime.source.requests import OpenRequest
from edgeharfer.runtime.types import Image

PREFIX = "gstreamer:"
SINK = "videoconvert ! video/x-raw,format=BGR ! appsink max-buffers=1 drop=true sync=false"
"""End of a pipeline that OpenCV reads: BGR, and only the newest frame."""

Connect = Callable[[str], VideoCapture]

_log = logging.getLogger(__name__)


def make_source(spec: str, options: SourceOptions) -> Source:
    """Open a pipeline, `gstreamer:` and the text that gst-launch-1.0 takes.

    Raises:
        SourceError: The pipeline is empty, or this OpenCV has no GStreamer.
        CameraError: The pipeline cannot be opened or delivers no frames.
    """
    pipeline = launch_text(spec[len(PREFIX) :])
    if not has_gstreamer():
        raise SourceError(
            f"{redact(spec)}: this OpenCV was built without GStreamer: build it with GStreamer "
            "(docs/deploy/jetson.md), or use an RTSP stream of the camera"
        )
    request = OpenRequest("gstreamer", "GStreamerSource", {"name": redact(spec), "pipeline": pipeline})
    source = open_live(redact(spec), request, options)
    if (line := unmet_request(source, options)) is not None:
        _log.warning("%s; size and rate are set by the elements of the pipeline", line)
    return source


class GStreamerSource(LiveCaptureSource):
    """Live frames of a pipeline that ends with an appsink. Its elements set size and rate."""

    no_frames: ClassVar[str] = "try the pipeline with gst-launch-1.0 and fakesink, and check the camera"
    lost: ClassVar[str] = "check the camera and its cable"

    def __init__(self, name: str, clock: Clock, *, pipeline: str, connect: Connect | None = None) -> None:
        """Start the pipeline and read its first frame.

        Args:
            name: Display name.
            clock: Clock for the timestamps.
            pipeline: Pipeline with an appsink.
            connect: Opens the capture; a replacement for tests.

        Raises:
            CameraError: The pipeline cannot be opened, delivers no frames, or delivers no BGR.
        """
        super().__init__(name, clock, (connect or _connect)(pipeline))

    def _configure(self) -> None:
        if not self._capture.isOpened():
            raise CameraError(
                f"{self.name}: the pipeline cannot be opened: try it with gst-launch-1.0 and fakesink, "
                "and check that no other program uses the camera"
            )

    def _format(self) -> str:
        return "GStreamer"

    def _retrieve(self) -> Image | None:
        image = super()._retrieve()
        if image is not None and (image.ndim != 3 or image.shape[2] != 3):
            raise CameraError(f"{self.name}: the pipeline does not deliver BGR: end it with {SINK}")
        return image


def has_gstreamer() -> bool:
    """Return whether this OpenCV reads GStreamer pipelines."""
    # getBackends also lists plug-ins that are not installed.
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


def launch_text(pipeline: str) -> str:
    """Return a pipeline with SINK at its end, unless it has an appsink.

    Raises:
        SourceError: It is empty.
    """
    text = pipeline.strip().rstrip("!").rstrip()
    if not text:
        raise SourceError(f"{PREFIX} needs a pipeline, such as {PREFIX}libcamerasrc or {PREFIX}videotestsrc")
    if re.search(r"(?:^|[!\s])appsink(?:\s|$)", unquoted(text)):
        return text
    return f"{text} ! {SINK}"


def _connect(pipeline: str) -> VideoCapture:
    return open_capture(pipeline, cv2.CAP_GSTREAMER)
