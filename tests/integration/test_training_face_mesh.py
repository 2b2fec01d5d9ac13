"""The face mesh: a network with its shapes, and where its points lie in the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeharfer.export import backend
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.training.emotion.face_mesh import MARGIN, POINTS, SIDE, FaceMesh

keras: Any = backend.load("keras")
tf: Any = backend.load("tensorflow")


def write_mesh(path: Path, points: int = POINTS) -> Path:
    """A network whose points lie on the diagonal of its input; the picture's mean is the presence."""
    layers = keras.layers
    given = keras.Input((SIDE, SIDE, 3), batch_size=1)
    mean = layers.GlobalAveragePooling2D()(given)
    diagonal = np.repeat(np.linspace(0, SIDE - 1, points), 3)
    places = layers.Dense(3 * points, kernel_initializer="zeros")
    presence = layers.Dense(1, kernel_initializer=keras.initializers.Constant(6))
    model = keras.Model(given, [layers.Reshape((1, 1, 3 * points))(places(mean)), presence(mean)])
    places.bias.assign(diagonal)
    presence.bias.assign([-6])
    with backend.quiet():
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


def test_points_are_pixels_of_the_picture(tmp_path: Path) -> None:
    mesh = FaceMesh(write_mesh(tmp_path / "face_landmark.tflite"))
    points, presence = mesh.find(np.full((48, 48), 255, np.uint8))
    assert points.shape == (POINTS, 2)
    middle = points[[POINTS // 2 - 1, POINTS // 2]].mean(axis=0)
    np.testing.assert_allclose(middle, 23.5, atol=0.6)
    np.testing.assert_allclose(points[-1] - points[0], 48 * MARGIN * (SIDE - 1) / SIDE, rtol=1e-3)
    # The picture fills 1 / 1.45 of each side of the input, and what surrounds it is black.
    mean = 3 / MARGIN**2
    assert presence == pytest.approx(1 / (1 + np.exp(6 - 6 * mean)), abs=0.08)
    assert mesh.find(np.zeros((48, 48), np.uint8))[1] < 0.01


def test_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not the network face_landmark\.tflite"):
        FaceMesh(write_mesh(tmp_path / "other.tflite", points=POINTS - 1))
