"""MediaPipe's face mesh, which finds the points of a face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgeharfer.export.tflite_file import read_tflite, tflite_to_onnx
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.types import Floats, Image

POINTS = 468
"""Number of points of the mesh."""
SIDE = 192
"""Side of the network's input in pixels."""
MARGIN = 1.45
"""Side of that input, as a multiple of the side of a face as FER-2013 frames it."""


class FaceMesh:
    """The network `face_landmark.tflite` of the mediapipe 0.10.21 wheel (Apache-2.0).

    Args:
        path: The file.

    Raises:
        ConfigError: It is not that network.
    """

    def __init__(self, path: Path) -> None:
        try:
            model = tflite_to_onnx(read_tflite(path), str(path))
            self._session = make_session(Graph.scan(model.SerializeToString(), str(path)))
        except ModelError as error:
            raise ConfigError(f"--mesh {error}") from error
        sizes = {int(np.prod([n for n in shape if isinstance(n, int)])): name
                 for name, shape in self._session.outputs.items()}  # fmt: skip
        if self._session.input_shape != (1, SIDE, SIDE, 3) or set(sizes) != {3 * POINTS, 1}:
            raise ConfigError(f"--mesh {path}: not the network face_landmark.tflite of MediaPipe")
        self._points, self._presence = sizes[3 * POINTS], sizes[1]

    def find(self, face: Image) -> tuple[Floats, float]:
        """Find the points of a face.

        Args:
            face: Grey, uint8 (side, side), framed as in FER-2013.

        Returns:
            Pixel coordinates (x, y), float32 (468, 2), and the probability that it is a face.
        """
        scale = SIDE / (MARGIN * len(face))
        shift = (SIDE - scale * (len(face) - 1)) / 2
        matrix = np.array([[scale, 0, shift], [0, scale, shift]])
        enlarged = cv2.warpAffine(face, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
        pixels = np.repeat(enlarged[None, :, :, None], 3, axis=3).astype(np.float32) / 255
        found = self._session.run({self._session.input_name: pixels})
        points = found[self._points].reshape(POINTS, 3)[:, :2]
        presence = 1 / (1 + np.exp(-found[self._presence].item()))
        return np.asarray((points - shift) / scale, np.float32), float(presence)
