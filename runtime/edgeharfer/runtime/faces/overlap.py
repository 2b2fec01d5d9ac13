"""Decide which boxes belong to the same face."""

from __future__ import annotations

from collections.abc import Sequence

from edgeharfer.runtime.types import Box, Face

SAME_FACE_IOU = 0.3
"""Intersection over union from which two boxes are one face (MediaPipe's min_suppression_threshold)."""
MIN_CONTAINMENT = 0.6
"""Share of the smaller box inside the other from which they are one face: a tile has cut it."""


def suppress_overlaps(faces: Sequence[Face]) -> list[Face]:
    """Apply non-maximum suppression to faces of overlapping regions; best first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(not same_face(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def same_face(a: Box, b: Box) -> bool:
    """Whether two boxes overlap well or one is mostly inside the other (cut by a tile)."""
    iou = a.iou(b)
    if iou > SAME_FACE_IOU:
        return True
    overlap = iou * (a.area + b.area) / (1 + iou)
    smaller: float = min(a.area, b.area)
    return smaller > 0 and overlap / smaller > MIN_CONTAINMENT
