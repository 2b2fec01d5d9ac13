"""Sources given by a path: a video, an image, a folder or glob of images, or a numbered sequence."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.address import redact
from edgeharfer.runtime.source.base import Source, SourceOptions
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
from edgeharfer.runtime.source.opencv import silence_opencv
from edgeharfer.runtime.source.video import VideoFileSource


def make_source(spec: str, options: SourceOptions) -> Source:
    """Open the file, folder, glob or sequence of a path.

    Raises:
        SourceError: It does not exist or cannot be read.
    """
    try:
        return _open_path(spec, options)
    except OSError as error:
        raise SourceError(f"{redact(spec)}: {error.strerror or error}") from error


def _open_path(text: str, options: SourceOptions) -> Source:
    path = Path(text).expanduser()
    if (shown := redact(text)) != text and not path.exists():
        raise SourceError(f"{shown}: no such file; the URL of a stream starts with rtsp:// or http://")
    if path.is_dir():
        return ImagesSource(str(path), folder_images(path), options.clock)
    if path.is_file():
        return _open_file(path, options)
    if not path.exists():
        return _open_pattern(str(path), options)
    raise SourceError(f"{text}: not a regular file or folder: use a video, an image, a stream or demo")


def _open_file(path: Path, options: SourceOptions) -> Source:
    silence_opencv()
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or (not suffix and cv2.haveImageReader(str(path))):
        return ImagesSource(path.name, [path], options.clock)
    return VideoFileSource(path, options.clock)


def _open_pattern(pattern: str, options: SourceOptions) -> Source:
    if is_sequence(pattern):
        found = sequence_numbers(pattern)
        paths = [found[number] for number in sorted(found)]
        rate = options.fps or DEFAULT_SEQUENCE_FPS
        return ImagesSource(pattern, paths, options.clock, sequence_fps=rate, missing=missing_numbers(found))
    if is_glob(pattern):
        return ImagesSource(pattern, glob_files(pattern), options.clock)
    raise SourceError(f"{pattern}: no such file or folder: check the path, or try --source demo")
