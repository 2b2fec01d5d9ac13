"""YuNet on ONNX Runtime: a small anchor-free face detector for images of any size.

Decoding follows OpenCV's FaceDetectorYN (modules/objdetect/src/face_detect.cpp) and the authors' training
code, ShiqiYu/libfacedetection.train. Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector",
Machine Intelligence Research 2023.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edgeharfer.runtime.faces.detector import Detector, DetectorOptions, Region, crop_region
from edgeharfer.runtime.faces.overlap import suppress_overlaps
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.inference.preprocess import resize
from edgeharfer.runtime.inference.session import Session
from edgeharfer.runtime.inference.tuning import open_graph, resolve_backend
from edgeharfer.runtime.types import KEYPOINTS, Box, Face, Floats, Image

PACKAGE = "face-yunet"
STRIDES = (8, 16, 32)
MULTIPLE = STRIDES[-1]
"""The sides of the input are multiples of the largest stride."""
NMS_IOU = 0.3
"""OpenCV's default `nms_threshold`."""
VIDEO_SIDES, CLOSE_SIDES, PHOTOGRAPH_SIDES = (320,), (160,), (160, 640)
"""Longer sides of the input: for a frame of a video, for one face and its surroundings, for a photograph.

A face that fills the image is found with few pixels, a small one with many: of 200 tightly cropped
photographs 160 pixels find 199, 320 find 193 and 640 find 174.
"""
WARM_UP_SIZE = (480, 640)
"""Height and width of a typical video frame."""
SIDE_OF_HEIGHT = 0.87
"""Side of BlazeFace's square box as a multiple of the height of YuNet's box, which spans forehead to chin.

The square is centred half-way between eyes and mouth (least squares over 556 faces that both found in webcam
clips and photographs; the standard deviation of the centres is 3 % of the height).
"""
MOUTH = KEYPOINTS.index("mouth")


@dataclass(frozen=True)
class Candidates:
    """Faces of one image, best first, in pixels of the input.

    Attributes:
        boxes: (n, 4), x, y, width and height.
        points: (n, 5, 2), right eye, left eye, nose tip, right and left corner of the mouth.
        scores: (n,).
    """

    boxes: Floats
    points: Floats
    scores: Floats


def load(options: DetectorOptions) -> YuNet:
    """Load the included model."""
    found = load_package(PACKAGE, "faces")
    session = open_graph(found, "model", resolve_backend(found, options.backend))
    return YuNet(session, min_score=options.min_score)


class YuNet(Detector):
    """Detect faces in a frame or a region; boxes are framed like BlazeFace's.

    Args:
        session: `input` (1, 3, height, width), BGR in 0..255 -> `cls_8`, `obj_8`, `bbox_8`, `kps_8` and the
            same for the strides 16 and 32.
        sides: Longer sides of the input, one pass each.
        min_score: Lowest score of a reported face.
    """

    needs_tiles = False

    def __init__(
        self, session: Session, *, sides: Sequence[int] = VIDEO_SIDES, min_score: float = 0.5
    ) -> None:
        self.session = session
        self._sides, self._min_score = sides, min_score

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        """See `Detector.detect`."""
        region = region or (0, 0, bgr.shape[1], bgr.shape[0])
        sides = CLOSE_SIDES if close_up else self._sides
        return suppress_overlaps([face for side in sides for face in self._detect_at(bgr, region, side)])

    def _detect_at(self, bgr: Image, region: Region, side: int) -> list[Face]:
        left, top, image = crop_region(bgr, region)
        if not image.size:
            return []
        scale = side / max(region[2], region[3], *image.shape[:2])
        size = input_size(region[2] * scale, region[3] * scale)
        array, factors = fill_input(image, scale, size)
        found = self.candidates(array)
        return [
            to_face(box / np.tile(factors, 2), points / factors, float(score), left, top)
            for box, points, score in zip(found.boxes, found.points, found.scores, strict=True)
        ]

    def candidates(self, array: Floats) -> Candidates:
        """Run the network on an input (1, 3, height, width)."""
        return decode(self.session.run({"input": array}), array.shape[2:], self._min_score)

    @property
    def provider(self) -> str:
        """ONNX Runtime name of the provider."""
        return self.session.provider

    @property
    def for_photographs(self) -> YuNet:
        """The same network with larger inputs."""
        return YuNet(self.session, sides=PHOTOGRAPH_SIDES, min_score=self._min_score)

    def warm_up(self) -> None:
        """Run once for each input size of a 640x480 video."""
        image = np.zeros((*WARM_UP_SIZE, 3), np.uint8)
        for close_up in (False, True):
            self.detect(image, (0, 0, 480, 480) if close_up else None, close_up=close_up)

    def close(self) -> None:
        """Close the session."""
        self.session.close()


def input_size(width: float, height: float) -> tuple[int, int]:
    """Return (height, width) of the smallest input that contains an image of this size."""
    return tuple(MULTIPLE * max(1, math.ceil(length / MULTIPLE - 1e-6)) for length in (height, width))  # type: ignore[return-value]


def fill_input(image: Image, scale: float, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Scale an image into the top left corner of a black input.

    Args:
        image: uint8, (height, width, 3) BGR.
        scale: From the image to the input.
        size: (height, width) of the input.

    Returns:
        The input, (1, 3, height, width), and the exact scales (x, y) after rounding.
    """
    height, width = (
        min(limit, max(1, round(n * scale))) for n, limit in zip(image.shape, size, strict=False)
    )
    small = resize(image, width, height)
    array = np.zeros((1, 3, *size), np.float32)
    array[0, :, :height, :width] = small.transpose(2, 0, 1)
    return array, np.array([width / image.shape[1], height / image.shape[0]], np.float32)


def decode(outputs: Mapping[str, Floats], size: tuple[int, ...], min_score: float) -> Candidates:
    """Decode the outputs of the network, with non-maximum suppression.

    Args:
        outputs: Outputs by name, see `YuNet`.
        size: (height, width) of the input.
        min_score: Lowest score of a face.
    """
    parts = [_decode_stride(outputs, stride, size, min_score) for stride in STRIDES]
    boxes, points, scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if not scores.size:
        return Candidates(boxes, points, scores)
    kept = np.asarray(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), min_score, NMS_IOU), int).ravel()
    return Candidates(boxes[kept], points[kept], scores[kept])


def _decode_stride(
    outputs: Mapping[str, Floats], stride: int, size: tuple[int, ...], min_score: float
) -> tuple[Floats, Floats, Floats]:
    """Return boxes (n, 4), points (n, 5, 2) and scores (n,) of the cells of one stride, row by row."""
    likely, object_like = (np.clip(outputs[f"{name}_{stride}"][0, :, 0], 0, 1) for name in ("cls", "obj"))
    scores = np.sqrt(likely * object_like)
    kept = np.flatnonzero(scores >= min_score)
    rows, columns = np.divmod(kept, size[1] // stride)
    cells = np.stack([columns, rows], axis=1).astype(np.float32)
    raw = outputs[f"bbox_{stride}"][0, kept]
    sides = np.exp(raw[:, 2:]) * stride
    corners = (cells + raw[:, :2]) * stride - sides / 2
    points = (outputs[f"kps_{stride}"][0, kept].reshape(-1, 5, 2) + cells[:, None]) * stride
    return np.concatenate([corners, sides], axis=1), points, scores[kept]


def to_face(box: Floats, points: Floats, score: float, left: int, top: int) -> Face:
    """Convert a box and points of an image whose corner is at (left, top) of the frame."""
    side = SIDE_OF_HEIGHT * float(box[3])
    keypoints = np.full((len(KEYPOINTS), 2), np.nan, np.float32)
    keypoints[:MOUTH] = points[:MOUTH]
    keypoints[MOUTH] = points[MOUTH:].mean(axis=0)
    keypoints += np.array([left, top], np.float32)
    x, y = ((keypoints[:2].mean(axis=0) + keypoints[MOUTH]) / 2).tolist()
    return Face(Box(x - side / 2, y - side / 2, side, side), score, keypoints)
