"""Accuracy of graphs on evaluation data, and the error of single layers in INT8."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgeharfer.calib.data import BATCH, EvaluationData, batches
from edgeharfer.calib.graphs import StaticQuantizer
from edgeharfer.calib.guard import AccuracyFigures, accuracy_figures
from edgeharfer.calib.recipes import Recipe
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.tasks.emotion import prior_weights, reweight
from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Floats, Image

Models = Mapping[str, Graph]
"""Role -> graph."""


class Scorer:
    """Scores graphs of one package on one data set, and caches the features of encoders."""

    def __init__(self, manifest: Manifest, data: EvaluationData) -> None:
        self._manifest = manifest
        self._data = data
        self._features: dict[str, Floats] = {}

    def figures(self, models: Models) -> AccuracyFigures:
        """Return the accuracy of these graphs."""
        data = self._data
        return accuracy_figures(self.probs(models), data.truth, self._manifest.labels, data.owners)

    def probs(self, models: Models) -> Floats:
        """Return the probabilities of each picture or window, float32 (n, classes)."""
        if self._data.windows is None:
            output = run_pictures(models["model"], self._data.pictures, self._manifest)
            probs = as_probs(output, self._manifest)
            return reweight(probs, prior_weights(self._manifest, "package"))
        head = make_session(models["head"])
        features = self._encoded(models["encoder"])
        rows = [head.run1(features[rows][None]) for rows in self._data.windows]
        return as_probs(np.concatenate(rows), self._manifest)

    def _encoded(self, encoder: Graph) -> Floats:
        key = encoder.sha256
        if key not in self._features:
            # Keeps the original and the current candidate; a file of features would be slower than both.
            while len(self._features) > 1:
                del self._features[list(self._features)[-1]]
            self._features[key] = run_pictures(encoder, self._data.pictures, self._manifest)
        return self._features[key]


def run_pictures(graph: Graph, pictures: Image, manifest: Manifest) -> Floats:
    """Run a graph on uint8 pictures in the model's size; one row of output for each."""
    session = make_session(graph)
    found = batches(pictures, manifest)
    total = -(-len(pictures) // BATCH)
    return np.concatenate([session.run1(batch) for batch in with_progress(found, "running the graph", total)])


def as_probs(output: Floats, manifest: Manifest) -> Floats:
    """Convert scores of a graph to probabilities."""
    return output if manifest.output == "probs" else softmax(output, manifest.temperature)


def layer_errors(
    quantizer: StaticQuantizer, recipe: Recipe, run: Callable[[Graph], Floats]
) -> list[tuple[str, float]]:
    """Measure the error that each layer causes when it alone is quantized.

    Args:
        run: Returns the output of a graph on some data.

    Returns:
        Layers with their `output_error`, the largest first.
    """
    wanted = run(quantizer.original)
    found = [
        (layer, output_error(run(quantizer.quantized(recipe, only=[layer])), wanted))
        for layer in with_progress(quantizer.layers, "measuring the error of each layer")
    ]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def output_error(given: Floats, wanted: Floats) -> float:
    """Mean squared difference of two outputs, divided by the mean square of the wanted one."""
    power = float(np.mean(np.square(wanted, dtype=np.float64))) or 1.0
    error = float(np.mean(np.square(given.astype(np.float64) - wanted))) / power
    return error if np.isfinite(error) else float("inf")
