"""What is drawn over a frame: faces with their readings, those of the scene, and how the run goes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from edgeharfer.runtime.overlay.bars import PHOTO, draw_bar, draw_status
from edgeharfer.runtime.overlay.faces import clip_to_image, draw_box, draw_tag, draw_top_classes, tag_of
from edgeharfer.runtime.overlay.readings import draw_face_readings, draw_scene_readings
from edgeharfer.runtime.overlay.style import humanise, label_color, style_for_size
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame, Image

__all__ = ["annotate", "draw", "humanise", "label_color"]

MAX_FACES_WITH_BARS = 4
MIN_ROWS, MIN_COLUMNS = 6, 9  # of a picture that has room for text, in sizes of its type


def draw(image: Image, result: Result, status: Status | None = None) -> Image:
    """Draw into `image` (uint8 BGR, height x width x 3) and return it.

    The result's boxes are in pixels of that image. One too small for any text gets its boxes alone. Without
    a status there is no strip at the top.
    """
    look = style_for_size(image.shape[1], image.shape[0])
    faces = [(face, box) for face in result.faces if (box := clip_to_image(face.box, look.area)) is not None]
    for face, box in faces:
        draw_box(image, face, box, look)
    if look.area.height < MIN_ROWS * look.text or look.area.width < MIN_COLUMNS * look.text:
        return image
    taken = [] if status is None else draw_status(image, status, look)
    top = max((strip.bottom for strip in taken), default=0)
    taken += draw_scene_readings(image, result.readings, top, look)
    for reading in result.readings.values():
        if reading.shown == "bar":
            taken.append(draw_bar(image, reading, result.pts_s, look))
    # With a task that tags faces at least one has its tag; the others are boxes until they are read.
    tags_on = any(tag_of(face) is not None for face in result.faces)
    for face, box in faces:
        if tag_of(face) is not None or not tags_on:
            taken.append(draw_tag(image, face, box, taken, look))
    if len(faces) <= MAX_FACES_WITH_BARS:
        taken += [box for _, box in faces]
        for face, box in faces:
            taken += draw_top_classes(image, face, box, taken, look)
            taken += draw_face_readings(image, face, box, taken, look)
    return image


def annotate(frame: Frame, result: Result, status: Status, *, min_height: int = 0) -> Image:
    """A copy of the frame with the overlay; a lower picture is enlarged to `min_height` rows first.

    A photograph gets no bar of the scene and no rates: it has no neighbours in time.
    """
    if frame.still:
        timeless = {name: one for name, one in result.readings.items() if one.shown != "bar"}
        result = replace(result, readings=timeless)
        status = replace(status, source_state=PHOTO, rates_hz={})
    height, width = frame.bgr.shape[:2]
    if height >= min_height:
        return draw(frame.bgr.copy(), result, status)
    scale = min_height / height
    size = max(1, round(width * scale)), min_height
    larger = cv2.resize(frame.bgr, size, interpolation=cv2.INTER_CUBIC)
    faces = tuple(replace(face, box=face.box.scaled(scale)) for face in result.faces)
    return draw(np.asarray(larger, np.uint8), replace(result, faces=faces), status)
