"""Models that read single pictures: faces cut from a frame, or whole frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeharfer.runtime.faces.align import cut
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import CropSpec
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.preprocess import prepare
from edgeharfer.runtime.inference.tuning import open_graph, resolve_backend
from edgeharfer.runtime.tasks import check_manifest
from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Face, Floats, Image

BATCHES = (1, 2, 4, 8)
"""Batches are padded to one of these, so that ONNX Runtime plans memory for four shapes and no more."""


class PictureModel:
    """The graph of a package: pictures to probabilities, or to values."""

    def __init__(self, package: Package, backend: Backend = CPU) -> None:
        self.manifest = package.manifest
        check_manifest(package.manifest, str(package.path))
        backend = resolve_backend(package, backend)
        self.precision = backend.precision
        self.session = open_graph(package, "model", backend, shapes=self._shapes)

    @property
    def provider(self) -> str:
        """Where it runs, in ONNX Runtime's words."""
        return self.session.provider

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
        batch = prepare(pictures, self.manifest.input)
        parts = [self._run(batch[i : i + BATCHES[-1]]) for i in range(0, len(batch), BATCHES[-1])]
        return np.concatenate(parts) if parts else np.empty((0, self.manifest.outputs), np.float32)

    def cut(self, bgr: Image, faces: Sequence[Face]) -> list[Image]:
        """The faces as the model wants them."""
        return [cut(bgr, face, self.crop, self.size) for face in faces]

    def warm_up(self) -> None:
        """Run every batch size once, so that the first frames are not slower than the rest."""
        self.session.warm_up(self._shapes)

    def close(self) -> None:
        """Release the graph."""
        self.session.close()

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
        output: Floats = self.session.run1(padded)[:n]
        return softmax(output, self.manifest.temperature) if self.manifest.output == "logits" else output
