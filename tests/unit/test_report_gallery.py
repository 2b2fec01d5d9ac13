"""Pictures in memory: spread evenly, few, and the best look at each face."""

from __future__ import annotations

import cv2
import numpy as np

from edgeharfer.report.gallery import MAX_SCENES, Gallery
from edgeharfer.report.record import FaceSample, SampledFace
from edgeharfer.runtime.types import Box, Frame


def show(gallery: Gallery, count: int, *, score: float = 0.9, box: Box | None = None) -> None:
    for number in range(count):
        bgr = np.full((120, 160, 3), number % 250, np.uint8)
        face = SampledFace(1, box or Box(40, 30, 40, 40), score, ())
        gallery.add(Frame(number, float(number), 0.0, bgr), FaceSample(float(number), number, "", (face,)))


def test_scenes_are_few_and_span_the_source() -> None:
    gallery = Gallery()
    show(gallery, 1000)
    times_s = [scene.time_s for scene in gallery.scenes]
    assert len(times_s) == MAX_SCENES
    assert times_s[0] == 0
    assert times_s[-1] > 900
    assert np.ptp(np.diff(times_s)) < 100


def test_a_short_source_gives_all_it_has() -> None:
    gallery = Gallery()
    show(gallery, 2)
    assert [scene.time_s for scene in gallery.scenes] == [0.0, 1.0]
    assert Gallery().scenes == []


def test_the_best_look_at_a_face_is_kept() -> None:
    gallery = Gallery()
    show(gallery, 1, score=0.9)
    first = gallery.faces[1]
    show(gallery, 1, score=0.5)
    assert gallery.faces[1] == first
    show(gallery, 1, score=0.95)
    face = cv2.imdecode(np.frombuffer(gallery.faces[1], np.uint8), cv2.IMREAD_COLOR)
    assert face is not None
    assert face.shape == (60, 60, 3), "the box and a quarter of it around"


def test_a_face_beyond_the_edge_is_no_error() -> None:
    gallery = Gallery()
    show(gallery, 1, box=Box(-500, -500, 50, 50))
    assert gallery.faces == {}
    show(gallery, 1, box=Box(-10, -10, 50, 50))
    assert 1 in gallery.faces
