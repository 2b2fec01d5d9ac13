"""Where frames come from: cameras, files, folders, streams and the demo, behind one function."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.address import is_url, parse_address, redact
from edgeharfer.runtime.source.base import LiveSource, Source
from edgeharfer.runtime.source.camera import stable_path
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.source.direct import DirectSource
from edgeharfer.runtime.source.images import (
    DEFAULT_SEQUENCE_FPS,
    IMAGE_SUFFIXES,
    ImagesSource,
    folder_images,
    glob_files,
    is_glob,
    is_sequence,
    missing_numbers,
    sequence_numbers,
)
from edgeharfer.runtime.source.isolated import IsolatedSource
from edgeharfer.runtime.source.opencv import quiet
from edgeharfer.runtime.source.orders import CameraOrder, Order, StreamOrder
from edgeharfer.runtime.source.video import VideoFileSource

__all__ = ["LiveSource", "Source", "open_source"]


def open_source(
    spec: str | int | Path,
    *,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    follow_redirects: bool = False,
    clock: Clock | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Source:
    """Open what `spec` names and make sure that a first frame comes from it.

    spec: a camera's number or /dev path, "demo", a video file, an image, a folder or glob of images,
    a numbered sequence such as "img_%04d.png", or an rtsp:// or http:// stream.
    width, height: wished of a camera. fps: wished of a camera, or the rate of a numbered sequence.
    follow_redirects: let a stream connect to other servers that the given one names.
    stopping: asked while a live source opens; once true, KeyboardInterrupt is raised.
    Raises CameraError where a camera is not there, SourceError for everything else.
    """
    clock = clock or SystemClock()
    text = str(spec)
    if (device := _camera(text)) is not None:
        order = CameraOrder(device, stable_path(device), width, height, fps)
        return _open_live(f"camera {device}", order, clock, stopping)
    if text == "demo":
        return DemoSource(clock)
    if is_url(text):
        parse_address(text)
        return _open_live(redact(text), StreamOrder(text, follow_redirects), clock, stopping)
    try:
        return _open_path(text, fps, clock)
    except OSError as error:
        raise SourceError(f"{redact(text)}: {error.strerror or error}") from error


def _open_live(name: str, order: Order, clock: Clock, stopping: Callable[[], bool]) -> LiveSource:
    if os.name == "posix":
        return IsolatedSource(name, order, clock, stopping)
    return DirectSource(partial(order.open, clock))


def _camera(text: str) -> int | str | None:
    if re.fullmatch(r"-?[0-9]{1,9}", text):
        return int(text)
    return text if text.startswith("/dev/") else None


def _open_path(text: str, fps: float | None, clock: Clock) -> Source:
    if not text.strip():
        raise SourceError("source '': empty: name a video, an image, a folder, a stream or demo")
    path = Path(text).expanduser()
    if (shown := redact(text)) != text and not path.exists():
        raise SourceError(f"{shown}: there is no such file; a stream begins with rtsp:// or http://")
    if path.is_dir():
        return ImagesSource(str(path), folder_images(path), clock)
    if path.is_file():
        return _open_file(path, clock)
    if not path.exists():
        return _open_pattern(str(path), fps, clock)
    raise SourceError(f"{text}: neither a file nor a folder: name a video, an image, a stream or demo")


def _open_file(path: Path, clock: Clock) -> Source:
    quiet()
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or (not suffix and cv2.haveImageReader(str(path))):
        return ImagesSource(path.name, [path], clock)
    return VideoFileSource(path, clock)


def _open_pattern(pattern: str, fps: float | None, clock: Clock) -> Source:
    if is_sequence(pattern):
        found = sequence_numbers(pattern)
        paths = [found[number] for number in sorted(found)]
        rate = fps or DEFAULT_SEQUENCE_FPS
        return ImagesSource(pattern, paths, clock, sequence_fps=rate, missing=missing_numbers(found))
    if is_glob(pattern):
        return ImagesSource(pattern, glob_files(pattern), clock)
    raise SourceError(f"{pattern}: there is no such file or folder: check the path, or try --source demo")
