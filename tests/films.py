"""Video files for tests, written by OpenCV."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import cv2

from edgeharfer.runtime.types import Image


def write_film(path: Path, pictures: Iterable[Image], fps: float = 30, codec: str = "mp4v") -> Path:
    """A video of pictures of one size, uint8 BGR."""
    pictures = iter(pictures)
    first = next(pictures)
    height, width = first.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    assert writer.isOpened()
    for picture in chain([first], pictures):
        writer.write(picture)
    writer.release()
    return path
