"""A frozen backbone as a function from pictures to features, on the fastest engine that is installed."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import numpy as np

from edgeharfer.runtime.errors import MissingExtra
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.installation import install_command
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.store import Encoder


def make_encoder(backbone: keras.Model, threads: int, report: Callable[[str], None]) -> Encoder:
    """The backbone in ONNX Runtime where Keras can export it, which is two to four times as fast as Keras.

    Its features are those of the exported package, and within 1e-4 of Keras's. It is exported when the first
    pictures come: a run whose features are all on disk needs no engine.
    """
    engine = cache(lambda: _make_engine(backbone, threads, report))
    return Encoder(lambda batch: engine()(batch), _digest(backbone))


def _make_engine(
    backbone: keras.Model, threads: int, report: Callable[[str], None]
) -> Callable[[Floats], Floats]:
    try:
        session = make_session(_as_onnx(backbone), "cpu", threads, name=backbone.name)
    except (ImportError, MissingExtra):
        report(f"encoding with Keras; with the export extra it would be faster: {install_command('export')}")
        return lambda batch: np.asarray(backbone.predict_on_batch(batch), np.float32)
    return session.run1


def _as_onnx(backbone: keras.Model) -> bytes:
    backbone(np.zeros((1, *backbone.input_shape[1:]), np.float32))  # Keras exports only what has been called.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of the converter's own imports.
        path = Path(folder, "encoder.onnx")
        backbone.export(path, format="onnx", verbose=False)
        return path.read_bytes()


def _digest(backbone: keras.Model) -> str:
    """Of the shape and the weights; both engines give the same features."""
    digest = hashlib.sha256(repr(backbone.input_shape).encode())
    for array in backbone.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
