"""The live picture: the faces marked, and nothing that the page says in words beside it."""

from __future__ import annotations

import cv2
import numpy as np

from edgeharfer.runtime.overlay.canvas import Rect
from edgeharfer.runtime.overlay.faces import clip_to_image, draw_box, draw_tag
from edgeharfer.runtime.overlay.style import style_for_size
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import Frame, Image, TrackedFace

MIN_HEIGHT, MAX_SIDE = 480, 1280
"""Pixels: so that text can be read, and so that a picture of a large camera still goes over a slow line."""
QUALITY = 82


def encode(frame: Frame, result: Result) -> bytes:
    """The frame with its faces marked, as JPEG."""
    image, scale = fit(frame.bgr)
    mark(image, result.faces, scale)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def fit(bgr: Image) -> tuple[Image, float]:
    """A copy of a size that is good to look at, and how many times larger it is."""
    height, width = bgr.shape[:2]
    scale = min(max(1.0, MIN_HEIGHT / height), MAX_SIDE / max(height, width))
    if scale == 1.0:
        return bgr.copy(), scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(bgr, size, interpolation=how), np.uint8), scale


def mark(image: Image, faces: tuple[TrackedFace, ...], scale: float) -> None:
    """Draw boxes and their words into the picture; boxes are of the picture before it was scaled."""
    style = style_for_size(image.shape[1], image.shape[0])
    seen = [(face, clip_to_image(face.box.scaled(scale), style.area)) for face in faces]
    taken: list[Rect] = []
    for face, box in seen:
        if box is not None:
            draw_box(image, face, box, style)
    for face, box in seen:
        if box is not None:
            taken.append(draw_tag(image, face, box, taken, style))
