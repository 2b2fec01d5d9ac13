"""Checks the size and length of an upload before it is decoded."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgeharfer.app.settings import UserLimits
from edgeharfer.report.inputs import expected_frames
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.source.decode import size_from_header
from edgeharfer.runtime.source.opencv import open_capture

HEAD_BYTES = 1 << 20


def check_picture(path: Path, limits: UserLimits) -> None:
    """Check the picture size in the file header.

    Raises:
        SourceError: The size is missing or too large.
    """
    with path.open("rb") as file:
        size = size_from_header(file.read(HEAD_BYTES))
    if size is None:
        raise SourceError(f"{path.name}: the picture has no size in its header; it is damaged")
    _check_size(size, path.name, limits)


def check_video(path: Path, limits: UserLimits) -> None:
    """Check that a video can be opened, and its frame size.

    Raises:
        SourceError: The file is not a video, or its frames are too large.
    """
    capture = open_capture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise SourceError(f"{path.name}: cannot be read as a video; the file is cut off or damaged")
        size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    finally:
        capture.release()
    if min(size) < 1:
        raise SourceError(f"{path.name}: contains no video stream, only audio or other data")
    _check_size(size, path.name, limits)


def check_length(source: Source, path: Path, limits: UserLimits) -> None:
    """Check the duration of a video, if its header states one.

    Raises:
        SourceError: The video is too long.
    """
    if not source.fps:
        return
    frames = expected_frames(source, str(path))
    if frames is not None and frames / source.fps > limits.video_s + 1:
        raise SourceError(
            f"{path.name}: {frames / source.fps:.0f} s long; the limit is {limits.video_s:.0f} s"
        )


def _check_size(size: tuple[int, int], name: str, limits: UserLimits) -> None:
    if size[0] * size[1] > limits.megapixels * 1e6:
        raise SourceError(
            f"{name}: {size[0]}x{size[1]} pixels are more than the limit of "
            f"{limits.megapixels:g} megapixels; use a smaller resolution"
        )
