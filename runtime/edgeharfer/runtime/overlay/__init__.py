"""The overlay on a frame: faces and scene with their readings, and the status of the run."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from edgeharfer.runtime.overlay.bars import PHOTO, draw_bar, draw_status
from edgeharfer.runtime.overlay.faces import clip_to_image, draw_box, draw_tag, draw_top_classes, tag_of
from edgeharfer.runtime.overlay.readings import draw_face_readings, draw_scene_readings
from edgeharfer.runtime.overlay.skeleton import draw_skeleton
from edgeharfer.runtime.overlay.style import humanise, label_color, style_for_size
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.tasks.pose import Pose
from edgeharfer.runtime.types import Frame, Image

__all__ = ["annotate", "draw", "humanise", "label_color", "scale_result"]

MAX_FACES_WITH_BARS = 4
MIN_ROWS, MIN_COLUMNS = 6, 9  # smallest image with text, in multiples of the text size


def draw(image: Image, result: Result, status: Status | None = None) -> Image:
    """Draw a result into an image, in place.

    An image that is too small for text gets only the boxes and the skeleton.

    Args:
        image: uint8 BGR, (height, width, 3).
        result: Result with boxes in pixels of the image.
        status: Status for the strip at the top; without it there is no strip.

    Returns:
        The image.
    """
    style = style_for_size(image.shape[1], image.shape[0])
    faces = [(face, box) for face in result.faces if (box := clip_to_image(face.box, style.area)) is not None]
    for reading in result.readings.values():
        if isinstance(reading, Pose):
            draw_skeleton(image, reading, style)
    for face, box in faces:
        draw_box(image, face, box, style)
    if style.area.height < MIN_ROWS * style.text or style.area.width < MIN_COLUMNS * style.text:
        return image
    taken = [] if status is None else draw_status(image, status, style)
    top = max((strip.bottom for strip in taken), default=0)
    taken += draw_scene_readings(image, result.readings, top, style)
    for reading in result.readings.values():
        if reading.shown == "bar":
            taken.append(draw_bar(image, reading, result.pts_s, style))
    # If a task tags faces, the ones without a reading yet are shown as boxes only.
    has_tags = any(tag_of(face) is not None for face in result.faces)
    for face, box in faces:
        if tag_of(face) is not None or not has_tags:
            taken.append(draw_tag(image, face, box, taken, style))
    if len(faces) <= MAX_FACES_WITH_BARS:
        taken += [box for _, box in faces]
        for face, box in faces:
            taken += draw_top_classes(image, face, box, taken, style)
            taken += draw_face_readings(image, face, box, taken, style)
    return image


def annotate(frame: Frame, result: Result, status: Status, *, min_height: int = 0) -> Image:
    """Return a copy of the frame with the overlay.

    Photographs get neither the bar of the scene nor rates, which need several frames.

    Args:
        frame: Frame.
        result: Result for the frame.
        status: Status of the run.
        min_height: A lower frame is enlarged to this many rows first.

    Returns:
        uint8 BGR, (height, width, 3).
    """
    if frame.picture.annotated:
        return frame.bgr.copy()
    if frame.still:
        kept = {name: one for name, one in result.readings.items() if one.shown != "bar"}
        result = replace(result, readings=kept)
        status = replace(status, source_state=PHOTO, rates_hz={})
    width, height = frame.size
    if height >= min_height:
        return draw(frame.bgr.copy(), result, status)
    scale = min_height / height
    size = max(1, round(width * scale)), min_height
    enlarged = cv2.resize(frame.bgr, size, interpolation=cv2.INTER_CUBIC)
    return draw(np.asarray(enlarged, np.uint8), scale_result(result, scale), status)


def scale_result(result: Result, scale: float) -> Result:
    """Return a result for a picture that is `scale` times as large."""
    faces = tuple(replace(face, box=face.box.scaled(scale)) for face in result.faces)
    readings = {
        name: one.scaled(scale) if isinstance(one, Pose) else one for name, one in result.readings.items()
    }
    return replace(result, faces=faces, readings=readings)
