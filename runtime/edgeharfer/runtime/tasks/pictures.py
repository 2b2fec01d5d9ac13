"""Models that read single pictures: faces cut from a frame, or whole frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.faces.align import crop_face
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import CropSpec
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.tasks.packaged import Inference, TaskModel
from edgeharfer.runtime.types import Face, Floats, Image

BATCHES = (1, 2, 4, 8)
"""Batches are padded to one of these, so that ONNX Runtime plans memory for four shapes and no more."""


class PictureModel(TaskModel):
    """The graph of a package: pictures to probabilities, or to values.

    Attributes:
        stages: Names for the time in which faces are cut and the time of the graph; none gives no times.
    """

    stages: tuple[str, ...] = ()

    def __init__(self, package: Package, backend: Backend = CPU, *, clock: Clock | None = None) -> None:
        super().__init__(package, backend)
        self._clock = clock or SystemClock()
        self.row_size = self.manifest.outputs
        self.session = self._open(package, "model", self._shapes)

    @property
    def crop(self) -> CropSpec:
        """How the model wants its faces cut."""
        crop = self.manifest.crop
        assert crop is not None, "a package that reads faces has a crop"
        return crop

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a picture."""
        return self.manifest.input.width, self.manifest.input.height

    def classify(self, pictures: Sequence[Image]) -> Floats:
        """Pictures, uint8 of any size -> probabilities or values (n, outputs)."""
        batch = preprocess_images(pictures, self.manifest.input)
        parts = [self._run(batch[i : i + BATCHES[-1]]) for i in range(0, len(batch), BATCHES[-1])]
        return np.concatenate(parts) if parts else np.empty((0, self.manifest.outputs), np.float32)

    def crop_faces(self, bgr: Image, faces: Sequence[Face]) -> list[Image]:
        """The faces as the model wants them."""
        return [crop_face(bgr, face, self.crop, self.size) for face in faces]

    def infer(self, bgr: Image, faces: Sequence[Face]) -> Inference:
        """Probabilities or values (faces, outputs); for a model of whole frames (outputs,)."""
        if self.manifest.kind == "frame":
            return Inference(self.classify([bgr])[0])
        if not faces:
            return Inference(self.classify([]))
        start = self._clock.monotonic()
        crops = self.crop_faces(bgr, faces)
        aligned = self._clock.monotonic()
        outputs = self.classify(crops)
        times = (aligned - start) * 1e3, (self._clock.monotonic() - aligned) * 1e3
        return Inference(outputs, dict(zip(self.stages, times, strict=False)))

    def warm_up(self) -> None:
        """Run every batch size once."""
        self.session.warm_up(self._shapes)

    @property
    def _shapes(self) -> list[tuple[int, ...]]:
        spec = self.manifest.input
        return [(n, spec.height, spec.width, spec.channels) for n in BATCHES]

    def _run(self, batch: Floats) -> Floats:
        n = len(batch)
        size = next(size for size in BATCHES if size >= n)
        padded = (
            np.concatenate([batch, np.zeros((size - n, *batch.shape[1:]), np.float32)]) if size > n else batch
        )
        return self.probs(self.session.run1(padded)[:n])
