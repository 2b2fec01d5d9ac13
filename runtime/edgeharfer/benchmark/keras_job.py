"""Baseline of the end-to-end benchmark: a detector, a whole clip model and a face model in Keras per frame.

The models have the architectures of typical Keras programs with random weights, which do not affect speed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from edgeharfer.benchmark.keras_peer import set_threads
from edgeharfer.benchmark.peers import import_peer
from edgeharfer.benchmark.video import LoopedVideo
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.faces import make_detector
from edgeharfer.runtime.faces.detector import Detector, crop_region
from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.types import Box, Floats, Image

FRAMES, SIDE = 16, 112
ACTIONS, EMOTIONS = 20, 7
_CLIP = InputSpec(SIDE, SIDE, "rgb", "symmetric")
_FACE = InputSpec(SIDE, SIDE, "gray", "symmetric")


def clip_model() -> Any:
    """TimeDistributed(MobileNetV2), LSTM(128), softmax: (n, 16, 112, 112, 3) -> (n, 20)."""
    keras = import_peer("keras")
    encoder = keras.applications.MobileNetV2(
        input_shape=(SIDE, SIDE, 3), include_top=False, weights=None, pooling="avg"
    )
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((FRAMES, SIDE, SIDE, 3)),
            layers.TimeDistributed(encoder),
            layers.LSTM(128),
            layers.Dense(ACTIONS, activation="softmax"),
        ]
    )


def face_model() -> Any:
    """ResNet50V2 for grayscale faces: (n, 112, 112, 1) -> (n, 7)."""
    return import_peer("keras").applications.ResNet50V2(
        input_shape=(SIDE, SIDE, 1), weights=None, classes=EMOTIONS
    )


def loop_detector() -> tuple[Detector, str]:
    """The Haar cascade of OpenCV and its name; BlazeFace, which is faster, if OpenCV does not include it."""
    try:
        return make_detector("haar"), "haar"
    except ConfigError:
        return make_detector("blazeface"), "blazeface"


class KerasJob:
    """The Keras loop over a repeated video, for use in a child process.

    Args:
        spec: A video file.
        threads: TensorFlow threads.
        clock: Clock for timing.
    """

    def __init__(self, spec: str, threads: int, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._threads = set_threads(threads)
        self._detector, self._detector_name = loop_detector()
        self._clip, self._face = clip_model(), face_model()
        self._video = LoopedVideo(spec, self._clock)
        self._window: deque[Floats] = deque(maxlen=FRAMES)

    def loop(self, frames: int) -> dict[str, Any]:
        """Process frames including decoding; the very first one fills the window and is not timed.

        Returns:
            "frames" and "seconds".
        """
        if not self._window:
            self._window.extend([preprocess_images([self._read()], _CLIP)[0]] * FRAMES)
            self._step()
        start_s = self._clock.monotonic()
        for _ in range(frames):
            self._step()
        return {"frames": frames, "seconds": self._clock.monotonic() - start_s}

    def summary(self) -> dict[str, Any]:
        """Detector and number of threads of the loop."""
        return {"detector": self._detector_name, "threads": self._threads}

    def close(self) -> None:
        """Close the video."""
        self._video.close()

    def _step(self) -> None:
        bgr = self._read()
        boxes = [face.box for face in self._detector.detect(bgr)]
        self._window.append(preprocess_images([bgr], _CLIP)[0])
        self._clip.predict(np.stack(self._window)[None], verbose=0)
        for crop in _crops(bgr, boxes):
            self._face.predict(preprocess_images([crop], _FACE), verbose=0)

    def _read(self) -> Image:
        frame = self._video.read()
        assert frame is not None, "a looped video has no end"
        return frame.bgr


def _crops(bgr: Image, boxes: Sequence[Box]) -> list[Image]:
    cuts = (crop_region(bgr, (box.x, box.y, box.width, box.height))[2] for box in boxes)
    return [np.asarray(cv2.cvtColor(cut, cv2.COLOR_BGR2GRAY), np.uint8) for cut in cuts if cut.size]
