"""Sheets of faces for people to look at: what augmentation makes of them, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.inference.preprocess import match_color, resize
from edgeharfer.runtime.types import Floats
from edgeharfer.training.emotion.augment import augment, mix
from edgeharfer.training.emotion.faces import FER7, Faces
from edgeharfer.training.emotion.recipe import EmotionRecipe
from edgeharfer.training.plots import plot_sheet

COPIES = 7
MISTAKES = 40
COLUMNS = 8


def augmentation_sheet(faces: Faces, spec: InputSpec, recipe: EmotionRecipe, path: Path) -> None:
    """One face of each class as the network gets it, then changed copies, the last three also mixed."""
    rng = np.random.default_rng(recipe.seed)
    originals = [faces.aligned[np.flatnonzero(faces.labels == label)[0]] for label in range(len(FER7))]
    prepared = np.stack(
        [match_color(resize(picture, spec.width, spec.height), spec) for picture in originals]
    )
    columns = [prepared.astype(np.float32)]
    for copy in range(COPIES):
        column = np.stack([augment(picture, recipe.augmentation, rng) for picture in prepared])
        if copy >= COPIES - 3:
            mix(column, {}, recipe.augmentation, rng)
        columns.append(column)
    rows = [[np.clip(column[i], 0, 255).astype(np.uint8) for column in columns] for i in range(len(FER7))]
    plot_sheet(rows, [[label, *[""] * COPIES] for label in FER7], path)


def mistakes_sheet(
    faces: Faces, probs: Floats, truth: NDArray[np.int64], labels: Sequence[str], path: Path
) -> None:
    """The mistakes that the model was surest of: "truth > answer, its probability".

    probs: (n, classes), truth: (n,) with -1 for pictures that do not count.
    """
    wrong = np.flatnonzero((truth >= 0) & (probs.argmax(axis=1) != truth))
    worst = wrong[np.argsort(-probs[wrong].max(axis=1))][:MISTAKES]
    captions = [f"{labels[truth[i]]} > {labels[int(probs[i].argmax())]} {probs[i].max():.2f}" for i in worst]
    starts = range(0, max(1, len(worst)), COLUMNS)
    plot_sheet(
        [[faces.aligned[i] for i in worst[start : start + COLUMNS]] for start in starts],
        [captions[start : start + COLUMNS] for start in starts],
        path,
    )
