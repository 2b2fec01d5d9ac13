"""Pictures for the report, held in memory and only if the user requested them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from edgeharfer.report.record import FaceSample, SampledFace
from edgeharfer.runtime.types import Frame, Image

MAX_SCENES = 6
_SCENE_WIDTH, _FACE_WIDTH = 480, 240  # pixels
_FACE_MARGIN = 0.25  # of the box, on each side
_QUALITY = 82


@dataclass(frozen=True)
class GalleryFrame:
    """A frame as JPEG. `name` is the file name of a picture, or "" for a video."""

    time_s: float
    name: str
    jpeg: bytes


class Gallery:
    """Frames spread evenly over a source of unknown length, and the best picture of each face.

    Every stride-th sample is stored as a scene. When there are too many scenes, every other one is removed
    and the stride is doubled.

    Attributes:
        faces: JPEG of each face by track number.
    """

    def __init__(self) -> None:
        self.faces: dict[int, bytes] = {}
        self._best: dict[int, float] = {}
        self._scenes: list[GalleryFrame] = []
        self._seen, self._stride = 0, 1

    def add(self, frame: Frame, sample: FaceSample) -> None:
        """Add the frame of a sample."""
        if self._seen % self._stride == 0:
            self._scenes.append(GalleryFrame(sample.time_s, sample.picture, _jpeg(frame.bgr, _SCENE_WIDTH)))
            if len(self._scenes) >= 4 * MAX_SCENES:
                self._scenes, self._stride = self._scenes[::2], 2 * self._stride
        self._seen += 1
        for face in sample.faces:
            self._add_face(frame.bgr, face)

    @property
    def scenes(self) -> list[GalleryFrame]:
        """At most MAX_SCENES frames in order of time, including the first and the last."""
        count = min(MAX_SCENES, len(self._scenes))
        last = len(self._scenes) - 1
        return [self._scenes[round(place * last / max(1, count - 1))] for place in range(count)]

    def _add_face(self, bgr: Image, face: SampledFace) -> None:
        quality = face.score * face.box.area
        cut = _face_crop(bgr, face)
        if quality > self._best.get(face.track, 0.0) and cut.size:
            self._best[face.track] = quality
            self.faces[face.track] = _jpeg(cut, _FACE_WIDTH)


def _face_crop(bgr: Image, face: SampledFace) -> Image:
    """The face with a margin."""
    box, pad = face.box, _FACE_MARGIN * max(face.box.width, face.box.height)
    top, left = max(0, round(box.y - pad)), max(0, round(box.x - pad))
    bottom, right = max(0, round(box.y + box.height + pad)), max(0, round(box.x + box.width + pad))
    return bgr[top:bottom, left:right]


def _jpeg(bgr: Image, width: int) -> bytes:
    """Encode a picture, scaled down to at most `width` pixels."""
    if bgr.shape[1] > width:
        height = max(1, round(bgr.shape[0] * width / bgr.shape[1]))
        bgr = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done, "a picture in memory can be encoded"
    return data.tobytes()
