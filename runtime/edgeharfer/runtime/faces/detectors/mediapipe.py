"""The face detector of the mediapipe library.

It runs the short-range BlazeFace, the only model that its Tasks API accepts in the pinned version. Its wheel
includes no model, so the verified one of our package is used. It reports boxes in whole pixels.
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
"""The OpenCV inside mediapipe aborts the process for images with a longer side."""
_WARM_UP_SHAPE = (480, 640, 3)
_STDERR = 2


def load(options: DetectorOptions) -> MediaPipeDetector:
    """Load the library's detector with the included short-range model."""
    return MediaPipeDetector(min_score=options.min_score)


class MediaPipeDetector(Detector):
    """Detect faces with mediapipe's FaceDetector, one image at a time.

    Args:
        min_score: Lowest score of a reported face.
        package: Package whose manifest names a tflite file in `options.tflite`; None for the included
            short-range one.

    Raises:
        MissingExtra: mediapipe is not installed.
        ModelError: The model file is damaged or cannot be loaded.
    """

    provider = "MediaPipe"

    def __init__(self, *, min_score: float = 0.5, package: Package | None = None) -> None:
        self._mediapipe = _import_mediapipe()
        model = read_tflite(package or load_package(SHORT_RANGE, "faces"))
        self._detector = _open(self._mediapipe, model, min_score)
        self._finalizer = weakref.finalize(self, _close, self._detector)

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        """See `Detector.detect`."""
        left, top, image = (0, 0, bgr) if region is None else crop_region(bgr, region)
        if not image.size:
            return []
        if max(image.shape) > MAX_SIDE:
            height, width = image.shape[:2]
            raise SourceError(
                f"mediapipe cannot process a {width}x{height} image: reduce it or use --detector blazeface"
            )
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        mp_image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=rgb)
        found = self._detector.detect(mp_image).detections
        faces = [_to_face(one, left, top, image.shape[1], image.shape[0]) for one in found]
        return sorted(faces, key=lambda face: -face.score)

    def warm_up(self) -> None:
        """Run once, so that the first frame is as fast as the others."""
        self.detect(np.zeros(_WARM_UP_SHAPE, np.uint8))

    def close(self) -> None:
        """Stop the library's threads; may be called repeatedly. Also done on garbage collection."""
        self._finalizer()


def read_tflite(package: Package) -> bytes:
    """Read and verify the tflite file of a package. Raises ModelError."""
    described = package.manifest.options.get("tflite")
    name = described.get("file") if isinstance(described, dict) else None
    if not isinstance(name, str):
        raise ModelError(f"{package.path}: the manifest lists no tflite file in options.tflite")
    return package.read_other_file(name)


def _import_mediapipe() -> Any:
    try:
        with _hidden_tensorflow():
            import mediapipe
    except ImportError as error:
        raise MissingExtra("mediapipe", "mediapipe") from error
    return mediapipe


@contextlib.contextmanager
def _hidden_tensorflow() -> Iterator[None]:
    """Hide TensorFlow, which mediapipe imports for documentation only and which takes seconds to load."""
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
        # Python is shutting down and has already stopped the thread that the library needs to close itself.
        detector._handle = None  # Otherwise its __del__ tries again and writes an error to stderr.


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the library's startup messages, which it writes to stderr regardless of any log level."""
    try:
        saved = os.dup(_STDERR)
    except OSError:  # There is no stderr.
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, _STDERR)
        yield
    finally:
        os.dup2(saved, _STDERR)
        os.close(saved)
        os.close(sink)


def _to_face(detection: Any, left: int, top: int, width: int, height: int) -> Face:
    """Convert a detection of an image whose corner is at (left, top) of the frame."""
    found = detection.bounding_box
    box = Box(left + found.origin_x, top + found.origin_y, found.width, found.height)
    points = np.array(
        [(left + one.x * width, top + one.y * height) for one in detection.keypoints], np.float32
    )
    return Face(box, float(detection.categories[0].score), points)
