"""Emotions: faces of a frame in one batch, each track's probabilities averaged over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.faces.align import cut
from edgeharfer.runtime.faces.tracks import Track
from edgeharfer.runtime.manifest import CropSpec, Manifest
from edgeharfer.runtime.package import Package
from edgeharfer.runtime.preprocess import prepare
from edgeharfer.runtime.smoothing import Decision, Smoother, softmax
from edgeharfer.runtime.tuning import open_graph, settle
from edgeharfer.runtime.types import Emotion, Face, Floats, Image

TIME_CONSTANT_S = 0.35
BATCHES = (1, 2, 4, 8)
"""Batches are padded to one of these, so that ONNX Runtime plans memory for four shapes and no more."""
PRIORS = ("package", "data", "balanced", "uniform")


class EmotionModel:
    """The graph of an emotion package: faces of a frame to probabilities."""

    def __init__(
        self,
        package: Package,
        *,
        provider: str = "cpu",
        precision: str = "auto",
        threads: int | None = 1,
        fallback: bool = False,
        prior: str = "package",
        at_once: bool = False,
    ) -> None:
        self.manifest = package.manifest
        how = settle(package, provider, precision, threads)
        self.precision = how.precision
        self.session = open_graph(package, "model", how, fallback, shapes=self._shapes, at_once=at_once)
        self._weights = prior_weights(self.manifest, prior)

    @property
    def crop(self) -> CropSpec:
        """How the model wants its faces cut."""
        crop = self.manifest.crop
        assert crop is not None, "an emotion manifest has a crop"
        return crop

    @property
    def cuts_portraits(self) -> bool:
        """Whether the pictures of a data set are cut like live faces; else they are taken whole.

        A model that was trained on whole pictures knows faces framed as there, and those it gets.
        """
        return self.manifest.options.get("portraits") == "cut"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a cut face."""
        return self.manifest.input.width, self.manifest.input.height

    def classify(self, crops: Sequence[Image]) -> Floats:
        """Cut faces, uint8 of any size -> probabilities (n, classes)."""
        batch = prepare(crops, self.manifest.input)
        parts = [self._run(batch[i : i + BATCHES[-1]]) for i in range(0, len(batch), BATCHES[-1])]
        return np.concatenate(parts) if parts else np.empty((0, len(self.manifest.labels)), np.float32)

    def cut(self, bgr: Image, faces: Sequence[Face]) -> list[Image]:
        """The faces as the model wants them."""
        return [cut(bgr, face, self.crop, self.size) for face in faces]

    def warm_up(self) -> None:
        """Run every batch size once, so that the first frames are not slower than the rest."""
        self.session.warm_up(self._shapes)

    def close(self) -> None:
        """End what goes on beside the graph."""
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
        output = self.session.run1(padded)[:n]
        probs = output if self.manifest.output == "probs" else softmax(output, self.manifest.temperature)
        return reweigh(probs, self._weights)


def prior_weights(manifest: Manifest, prior: str) -> Floats | None:
    """What to multiply the classes' probabilities with to answer under another prior; None: as trained.

    Bayes: p'(class | face) is proportional to p(class | face) * prior'(class) / prior(class), with the
    class shares of the training data as the prior (Saerens et al. 2002). "data" wants those shares,
    "balanced" the more even ones that the package carries, "uniform" all classes alike. "package" is what
    the package was made for: "balanced" where it carries such shares, else "data"; and a package without
    them is balanced by "uniform".
    """
    if prior not in PRIORS:
        raise ConfigError(f"unknown prior {prior!r}: choose from {', '.join(PRIORS)}")
    trained = manifest.prior.get("data")
    wanted = manifest.prior.get("package") if prior != "uniform" else None
    if prior == "data" or (prior == "package" and wanted is None):
        return None
    if trained is None:
        raise ConfigError(
            f"{manifest.name} does not record the class shares of its training data: use --prior data"
        )
    target = np.full(len(trained), 1 / len(trained)) if wanted is None else np.asarray(wanted)
    return ratio(target, np.asarray(trained))


def ratio(wanted: NDArray[np.float64], trained: NDArray[np.float64]) -> Floats:
    """Weights from one set of class shares to another; a class that was never taught stays near zero."""
    return (wanted / np.maximum(trained, 1e-6)).astype(np.float32)


def reweigh(probs: Floats, weights: Floats | None) -> Floats:
    """Probabilities (n, classes) times weights (classes,), each row summing to 1 again."""
    if weights is None:
        return probs
    weighted = probs * weights
    result: Floats = weighted / weighted.sum(axis=1, keepdims=True)
    return result


class EmotionRecognizer:
    """How each tracked face looks, frame by frame."""

    def __init__(self, model: EmotionModel, *, threshold: float | None = None) -> None:
        self._model = model
        self._threshold = model.manifest.threshold if threshold is None else threshold
        self._by_track: dict[int, tuple[Smoother, Decision]] = {}
        self._felt: dict[int, Emotion] = {}

    def reset(self) -> None:
        """Forget every face."""
        self._by_track.clear()
        self._felt.clear()

    def update(self, probs: Floats, tracks: Sequence[Track], in_view: Sequence[int], now_s: float) -> None:
        """Take in fresh probabilities (n, classes) of some tracks, a row each.

        in_view: numbers of all tracks that may be seen again; what is known of others is forgotten.
        """
        for number in self._by_track.keys() - set(in_view):
            del self._by_track[number], self._felt[number]
        for track, row in zip(tracks, probs, strict=True):
            self._felt[track.number] = self._emotion(track.number, row, now_s)

    def of(self, number: int) -> Emotion | None:
        """How the track of this number looked last; None before it was read for the first time."""
        return self._felt.get(number)

    def _emotion(self, number: int, probs: Floats, now_s: float) -> Emotion:
        if number not in self._by_track:
            decision = Decision(self._model.manifest.labels, self._threshold)
            self._by_track[number] = Smoother(TIME_CONSTANT_S), decision
        smoother, decision = self._by_track[number]
        mean = smoother.update(probs, now_s)
        label, score = decision.choose(mean)
        return Emotion(label, score, dict(zip(self._model.manifest.labels, mean.tolist(), strict=True)))
