"""Models of single pictures: faces cropped from a frame, or whole frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.faces.align import crop_face
from edgeharfer.runtime.inference.backend import AUTO, CPU, Backend
from edgeharfer.runtime.inference.manifest import CropSpec
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.preprocess import preprocess_images, preprocess_picture
from edgeharfer.runtime.inference.providers import PROVIDERS
from edgeharfer.runtime.inference.tuning import graph_backend
from edgeharfer.runtime.picture import Picture
from edgeharfer.runtime.tasks.packaged import Inference, TaskModel
from edgeharfer.runtime.types import Face, Floats, Image

BATCHES = (1, 2, 4, 8)
"""Allowed batch sizes. Batches are padded, so that ONNX Runtime plans memory for only four shapes."""


class PictureModel(TaskModel):
    """The graph of a package that reads faces or frames: pictures to probabilities or values.

    Attributes:
        stages: Names of the two timed stages, cropping and inference; without names they are not timed.
        batches: Batch sizes of the graph, ascending.
        session: The ONNX Runtime session.

    Args:
        package: A loaded package.
        backend: Where and how the graph runs.
        clock: Source of time; the system's by default.

    Raises:
        ModelError: See `TaskModel`.
        ProviderError: See `TaskModel`.
    """

    stages: tuple[str, ...] = ()
    batches: tuple[int, ...] = BATCHES

    def __init__(self, package: Package, backend: Backend = CPU, *, clock: Clock | None = None) -> None:
        super().__init__(package, backend)
        self._clock = clock or SystemClock()
        self.row_size = self.manifest.outputs
        provider = graph_backend(package, "model", self.backend).provider
        if provider != AUTO and PROVIDERS[provider].single:
            self.batches = (1,)
        self.session = self._open(package, "model", self._shapes)
        if self.session.input_shape[0] == 1:
            self.batches = (1,)

    @property
    def crop(self) -> CropSpec:
        """How faces are cropped for the model."""
        crop = self.manifest.crop
        assert crop is not None, "a package that reads faces has a crop"
        return crop

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the model's input in pixels."""
        return self.manifest.input.width, self.manifest.input.height

    def classify(self, pictures: Sequence[Image]) -> Floats:
        """Run the graph on pictures of any size, uint8; return probabilities or values, (n, outputs)."""
        return self._classify(preprocess_images(pictures, self.manifest.input))

    def _classify(self, batch: Floats) -> Floats:
        most = self.batches[-1]
        parts = [self._run(batch[i : i + most]) for i in range(0, len(batch), most)]
        return np.concatenate(parts) if parts else np.empty((0, self.manifest.outputs), np.float32)

    def classify_picture(self, picture: Picture) -> Floats:
        """Run the graph on one picture, from its small form; return probabilities or values, (outputs,)."""
        outputs: Floats = self._classify(preprocess_picture(picture, self.manifest.input))[0]
        return outputs

    def crop_faces(self, bgr: Image, faces: Sequence[Face]) -> list[Image]:
        """Crop and align faces to the input size of the model."""
        return [crop_face(bgr, face, self.crop, self.size) for face in faces]

    def infer(self, picture: Picture, faces: Sequence[Face]) -> Inference:
        """Return probabilities or values, (faces, outputs), or (outputs,) for a model of whole frames."""
        if self.manifest.kind == "frame":
            return Inference(self.classify_picture(picture))
        if not faces:
            return Inference(self.classify([]))
        start = self._clock.monotonic()
        crops = self.crop_faces(picture.bgr, faces)
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
        return [(n, *spec.shape) for n in self.batches]

    def _run(self, batch: Floats) -> Floats:
        n = len(batch)
        size = next(size for size in self.batches if size >= n)
        padded = (
            np.concatenate([batch, np.zeros((size - n, *batch.shape[1:]), np.float32)]) if size > n else batch
        )
        return self.probs(self.session.run1(padded)[:n])
