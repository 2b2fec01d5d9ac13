"""The live picture: the frame with labelled face boxes, as JPEG."""

from __future__ import annotations

import cv2
import numpy as np

from edgeharfer.runtime.overlay.canvas import Rect
from edgeharfer.runtime.overlay.faces import clip_to_image, draw_box, draw_tag
from edgeharfer.runtime.overlay.style import style_for_size
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import Frame, Image, TrackedFace

MIN_HEIGHT, MAX_SIDE = 480, 1280
"""Bounds of the picture in pixels: readable labels, and a size for slow connections."""
QUALITY = 82


def encode(frame: Frame, result: Result) -> bytes:
    """Draw the faces into a copy of the frame and encode it as JPEG."""
    image, scale = fit(frame.bgr)
    draw_faces(image, result.faces, scale)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def fit(bgr: Image) -> tuple[Image, float]:
    """Scale a picture into the bounds.

    Args:
        bgr: (height, width, 3), uint8.

    Returns:
        A copy, and its scale relative to `bgr`.
    """
    height, width = bgr.shape[:2]
    scale = min(max(1.0, MIN_HEIGHT / height), MAX_SIDE / max(height, width))
    if scale == 1.0:
        return bgr.copy(), scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(bgr, size, interpolation=how), np.uint8), scale


def draw_faces(image: Image, faces: tuple[TrackedFace, ...], scale: float) -> None:
    """Draw boxes and labels into the picture.

    Args:
        image: The scaled picture, modified in place.
        faces: Faces with boxes in the coordinates of the unscaled picture.
        scale: Scale of `image`.
    """
    style = style_for_size(image.shape[1], image.shape[0])
    seen = [(face, clip_to_image(face.box.scaled(scale), style.area)) for face in faces]
    taken: list[Rect] = []
    for face, box in seen:
        if box is not None:
            draw_box(image, face, box, style)
    for face, box in seen:
        if box is not None:
            taken.append(draw_tag(image, face, box, taken, style))
