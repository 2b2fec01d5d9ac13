"""MediaPipe's BlazeFace, full range and short range, on ONNX Runtime.

The constants are those of MediaPipe's graph options (face_detection_full_range.pbtxt and
face_detection_short_range.pbtxt): anchors of one fixed size, boxes and six key points in pixels of the input,
scores clipped to +-100, weighted non-maximum suppression at IoU 0.3. Bazarevsky et al. 2019,
arXiv:1907.05047.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.faces.detector import Detector, DetectorOptions, Region
from edgeharfer.runtime.faces.overlap import SAME_FACE_IOU
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.inference.preprocess import convert_color
from edgeharfer.runtime.inference.session import Session
from edgeharfer.runtime.inference.tuning import open_graph, resolve_backend
from edgeharfer.runtime.types import Box, Face, Floats, Image

FULL_RANGE, SHORT_RANGE = "face-full-range", "face-short-range"
AnchorLayers = tuple[tuple[int, int], ...]
"""(stride, anchors per cell) of each layer."""
FREE_AXIS = "side"
"""Name of the free axis of the full-range graph."""
ANCHOR_LAYERS: dict[int, AnchorLayers] = {192: ((4, 1),), 128: ((8, 2), (16, 6))}
"""By the side of the input: 2304 and 896 anchors."""

SCORE_LIMIT = 100.0
KEYPOINTS = 6
# The input of the network for each value of a byte, from -1 to 1.
_BYTE_VALUES = np.arange(256, dtype=np.float32) * np.float32(1 / 127.5) - np.float32(1)


def anchor_centers(side: int, layers: AnchorLayers) -> Floats:
    """Return the anchor centres of a square input, (n, 2), x and y in pixels of the input, row by row."""
    centers = []
    for stride, count in layers:
        steps = (np.arange(side // stride, dtype=np.float32) + 0.5) * stride
        x, y = np.meshgrid(steps, steps)
        centers.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), count, axis=0))
    return np.concatenate(centers)


def load(options: DetectorOptions) -> BlazeFace:
    """Load the full-range model."""
    return load_blazeface(backend=options.backend, min_score=options.min_score)


def load_blazeface(package: str = FULL_RANGE, *, backend: Backend = CPU, min_score: float = 0.5) -> BlazeFace:
    """Load one of the included models.

    Args:
        package: FULL_RANGE or SHORT_RANGE.
        backend: Where it runs.
        min_score: Lowest score of a reported face.
    """
    found = load_package(package, "faces")
    side = found.manifest.input.width
    sides = [side, side // 2] if package == FULL_RANGE else [side]
    shapes = [(1, one, one, 3) for one in sides]
    open_for = partial(open_graph, found, "model", resolve_backend(found, backend), shapes=shapes)
    session, close_up = open_for(cpu_sizes={FREE_AXIS: side}), None
    if package == FULL_RANGE and isinstance(session.input_shape[1], int):
        # On the CPU, sessions of one size each take an eighth less time.
        close_up = open_for(cpu_sizes={FREE_AXIS: side // 2})
    return BlazeFace(session, side, close_up=close_up, min_score=min_score)


class BlazeFace(Detector):
    """Detect faces in a frame or a region.

    Args:
        session: `image` (1, side, side, 3), RGB in [-1, 1] -> `boxes` (1, n, 16), `scores` (1, n, 1). If the
            side is a free axis, half of it is used for close-ups.
        side: Side of the input, 192 (full range, n = 2304) or 128 (short range, n = 896).
        close_up: The same graph with half the side, for close-ups.
        min_score: Lowest score of a reported face.

    Raises:
        ModelError: There are no anchors for this side.
    """

    def __init__(
        self, session: Session, side: int, *, close_up: Session | None = None, min_score: float = 0.5
    ) -> None:
        if side not in ANCHOR_LAYERS:
            raise ModelError(
                f"unsupported input of {side} pixels for BlazeFace: use one of {sorted(ANCHOR_LAYERS)}"
            )
        self.session = session
        self._min_logit = float(np.log(min_score / (1.0 - min_score)))
        self._full = _NetworkInput.of_side(side, ANCHOR_LAYERS[side])
        self._close_session = close_up or session
        free = close_up is not None or not isinstance(session.input_shape[1], int)
        self._close_up = _NetworkInput.of_side(side // 2, ANCHOR_LAYERS[side]) if free else self._full

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        """See `Detector.detect`."""
        network_input = self._close_up if close_up else self._full
        session = self._close_session if close_up else self.session
        scale, left, top = network_input.fill(bgr, region or (0, 0, bgr.shape[1], bgr.shape[0]))
        outputs = session.run({"image": network_input.input})
        found = self._decode(outputs["boxes"][0], outputs["scores"][0, :, 0], network_input.anchors)
        return [_to_frame(box, score, scale, left, top) for box, score in found]

    @property
    def provider(self) -> str:
        """ONNX Runtime name of the provider."""
        return self.session.provider

    def warm_up(self) -> None:
        """Run once in each input size, so that the first frame is as fast as the others."""
        self.session.warm_up([self._full.input.shape])
        if self._close_up is not self._full:
            self._close_session.warm_up([self._close_up.input.shape])

    def close(self) -> None:
        """Close the sessions."""
        self.session.close()
        self._close_session.close()

    def _decode(self, raw: Floats, logits: Floats, anchors: Floats) -> list[tuple[Floats, float]]:
        """Decode raw outputs.

        Returns:
            For each face, (8, 2) corners of the box and key points in pixels of the input, and its score.
        """
        kept = (logits >= self._min_logit).nonzero()[0]
        if not kept.size:
            return []
        scores = np.reciprocal(1 + np.exp(-np.minimum(logits[kept], SCORE_LIMIT)))
        points, places = raw[kept].reshape(-1, 2 + KEYPOINTS, 2), anchors[kept]
        center, half = points[:, 0] + places, points[:, 1] / 2
        points[:, 0], points[:, 1] = center - half, center + half
        points[:, 2:] += places[:, None]
        real = half > 0  # The network can return negative sizes; MediaPipe drops those too.
        if not real.all():
            points, scores = points[real.all(axis=1)], scores[real.all(axis=1)]
        return weighted_nms(points, scores)


@dataclass(frozen=True, eq=False)
class _NetworkInput:
    """One input size: its buffer (1, side, side, 3) and the anchors (n, 2) of the outputs."""

    input: Floats
    anchors: Floats

    @classmethod
    def of_side(cls, side: int, layers: AnchorLayers) -> _NetworkInput:
        return cls(np.empty((1, side, side, 3), np.float32), anchor_centers(side, layers))

    def fill(self, bgr: Image, region: Region) -> tuple[float, float, float]:
        """Warp a region into the input, keeping its aspect ratio; without half-pixel shift, as in MediaPipe.

        Returns:
            The scale from frame to input and the position of the input's corner in the frame.
        """
        x, y, width, height = region
        side = self.input.shape[1]
        scale = side / max(width, height)
        left = x - (side / scale - width) / 2
        top = y - (side / scale - height) / 2
        matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
        small = np.asarray(cv2.warpAffine(bgr, matrix, (side, side), flags=cv2.INTER_LINEAR), np.uint8)
        cv2.LUT(convert_color(small, cv2.COLOR_BGR2RGB), _BYTE_VALUES, self.input[0])
        return scale, left, top


def weighted_nms(points: Floats, scores: Floats) -> list[tuple[Floats, float]]:
    """Merge overlapping candidates into their score-weighted mean (MediaPipe's WEIGHTED suppression).

    Args:
        points: (n, 8, 2), the first two rows are the corners of the box.
        scores: (n,).

    Returns:
        Merged points and the best score of each group.
    """
    order = (-scores).argsort(kind="stable")
    points, scores = points[order], scores[order]
    joined = []
    while len(scores) > 1:
        near = iou_with(points[0, :2], points[:, :2]) > SAME_FACE_IOU
        near[0] = True
        weights = scores[near]
        weights /= np.add.reduce(weights)
        mean = np.dot(weights[None], points[near].reshape(len(weights), -1))
        joined.append((mean.reshape(points.shape[1:]), float(scores[0])))
        others = ~near
        points, scores = points[others], scores[others]
    if scores.size:  # the mean of one candidate is itself
        joined.append((points[0], float(scores[0])))
    return joined


def iou_with(box: Floats, boxes: Floats) -> Floats:
    """Return the intersection over union of one box (2, 2) with many (n, 2, 2), given by their corners."""
    size = np.maximum(0.0, np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0]))
    sides, (width, height) = boxes[:, 1] - boxes[:, 0], box[1] - box[0]
    overlap: Floats = size[:, 0] * size[:, 1]
    both = width * height + sides[:, 0] * sides[:, 1] - overlap
    iou: Floats = np.divide(overlap, both, out=np.zeros_like(overlap), where=both > 0)
    return iou


def _to_frame(points: Floats, score: float, scale: float, left: float, top: float) -> Face:
    placed = points / np.float32(scale) + np.array([left, top], np.float32)
    (x, y), (right, bottom) = placed[:2].tolist()
    return Face(Box(x, y, right - x, bottom - y), score, placed[2:].astype(np.float32))
