"""The mediapipe library's own face detector, behind the same protocol as ours.

It runs the short-range BlazeFace, the only one that its Tasks API takes in the version that we pin.
Since its wheel carries no model, it gets ours, checked. It reports boxes in whole pixels.
"""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from edgeharfer.runtime.errors import MissingExtra, ModelError, SourceError
from edgeharfer.runtime.faces.detector import Detector, DetectorOptions, Region, crop_region
from edgeharfer.runtime.faces.detectors.blazeface import SHORT_RANGE
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.types import Box, Face, Image

MAX_SIDE = 32_766
"""The OpenCV inside mediapipe ends the process where a image has a longer side."""
_WARM_UP_SHAPE = (480, 640, 3)
_STDERR = 2


def load(options: DetectorOptions) -> MediaPipeDetector:
    """The library's detector with the shipped short-range model."""
    return MediaPipeDetector(min_score=options.min_score)


class MediaPipeDetector(Detector):
    """Finds faces with mediapipe's FaceDetector, one image at a time.

    package: with the tflite file that its manifest names under `options.tflite`; None for the shipped
    short-range one. min_score: of a reported face.
    Raises MissingExtra without mediapipe, ModelError for a file that it may not or cannot run.
    """

    provider = "MediaPipe"

    def __init__(self, *, min_score: float = 0.5, package: Package | None = None) -> None:
        self._mediapipe = _import_mediapipe()
        model = read_tflite(package or load_package(SHORT_RANGE, "faces"))
        self._detector = _open(self._mediapipe, model, min_score)
        self._finalizer = weakref.finalize(self, _close, self._detector)

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        """Faces of the frame, or of one region of it, best first; boxes in pixels of the frame."""
        left, top, image = (0, 0, bgr) if region is None else crop_region(bgr, region)
        if not image.size:
            return []
        if max(image.shape) > MAX_SIDE:
            height, width = image.shape[:2]
            raise SourceError(
                f"mediapipe takes no image of {width}x{height}: make it smaller or use --detector blazeface"
            )
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        mp_image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=rgb)
        found = self._detector.detect(mp_image).detections
        faces = [_to_face(one, left, top, image.shape[1], image.shape[0]) for one in found]
        return sorted(faces, key=lambda face: -face.score)

    def warm_up(self) -> None:
        """Run once, so that the first frame is not slower than the rest."""
        self.detect(np.zeros(_WARM_UP_SHAPE, np.uint8))

    def close(self) -> None:
        """End the library's threads; harmless when repeated. Also done when nobody holds the detector."""
        self._finalizer()


def read_tflite(package: Package) -> bytes:
    """The checked bytes of a package's tflite file. Raises ModelError if they are not what they must be."""
    described = package.manifest.options.get("tflite")
    name = described.get("file") if isinstance(described, dict) else None
    if not isinstance(name, str):
        raise ModelError(f"{package.path}: its manifest names no tflite file under options.tflite")
    return package.read_other_file(name)


def _import_mediapipe() -> Any:
    try:
        with _without_tensorflow():
            import mediapipe
    except ImportError as error:
        raise MissingExtra("mediapipe", "mediapipe") from error
    return mediapipe


@contextlib.contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Where TensorFlow is installed, mediapipe takes seconds to load it, and only to mark its own manual."""
    if "tensorflow" in sys.modules:
        yield
        return
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


def _open(mediapipe: Any, model: bytes, min_score: float) -> Any:
    tasks = mediapipe.tasks
    options = tasks.vision.FaceDetectorOptions(
        base_options=tasks.BaseOptions(model_asset_buffer=model),
        running_mode=tasks.vision.RunningMode.IMAGE,
        min_detection_confidence=min_score,
    )
    try:
        with _quiet():
            return tasks.vision.FaceDetector.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"mediapipe cannot load its face detector: {error}") from error


def _close(detector: Any) -> None:
    try:
        detector.close()
    except RuntimeError:
        # Python is ending and has already stopped the thread that the library closes itself with.
        detector._handle = None  # Or its __del__ tries once more and complains on stderr.


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's greetings off stderr, where it writes them past Python and past any log level."""
    try:
        kept = os.dup(_STDERR)
    except OSError:  # No stderr, nothing to keep quiet.
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, _STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
        os.close(sink)


def _to_face(detection: Any, left: int, top: int, width: int, height: int) -> Face:
    """A detection in a image of some size whose corner is at (left, top) of the frame."""
    found = detection.bounding_box
    box = Box(left + found.origin_x, top + found.origin_y, found.width, found.height)
    points = np.array(
        [(left + one.x * width, top + one.y * height) for one in detection.keypoints], np.float32
    )
    return Face(box, float(detection.categories[0].score), points)
