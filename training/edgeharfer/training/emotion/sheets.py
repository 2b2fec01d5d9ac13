"""Image grids for visual inspection: augmented faces and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.inference.preprocess import match_color, resize
from edgeharfer.runtime.types import Floats
from edgeharfer.training.emotion.augment import augment, mix
from edgeharfer.training.emotion.faces import Faces
from edgeharfer.training.emotion.kaggle import FER7
from edgeharfer.training.emotion.recipe import EmotionRecipe
from edgeharfer.training.plots import plot_grid, plot_sheet

VARIANTS = 7
MISTAKES = 40
COLUMNS = 8


def write_augmentation_sheet(faces: Faces, spec: InputSpec, recipe: EmotionRecipe, path: Path) -> None:
    """Write one row per class: the network's input, then augmented copies, the last three also mixed."""
    rng = np.random.default_rng(recipe.seed)
    originals = [faces.aligned[np.flatnonzero(faces.labels == label)[0]] for label in range(len(FER7))]
    prepared = np.stack(
        [match_color(resize(picture, spec.width, spec.height), spec) for picture in originals]
    )
    columns = [prepared.astype(np.float32)]
    for copy in range(VARIANTS):
        column = np.stack([augment(picture, recipe.augmentation, rng) for picture in prepared])
        if copy >= VARIANTS - 3:
            mix(column, {}, recipe.augmentation, rng)
        columns.append(column)
    rows = [[np.clip(column[i], 0, 255).astype(np.uint8) for column in columns] for i in range(len(FER7))]
    plot_sheet(rows, [[label, *[""] * VARIANTS] for label in FER7], path)


def write_mistakes_sheet(
    faces: Faces, probs: Floats, truth: NDArray[np.int64], labels: Sequence[str], path: Path
) -> None:
    """Write the wrong predictions with the highest confidence, captioned "truth > prediction probability".

    Args:
        faces: The evaluated faces.
        probs: Probabilities, (n, classes).
        truth: True labels (n,), -1 for images to ignore.
        labels: Class names.
        path: Image file to write.
    """
    wrong = np.flatnonzero((truth >= 0) & (probs.argmax(axis=1) != truth))
    worst = wrong[np.argsort(-probs[wrong].max(axis=1))][:MISTAKES]
    captions = [f"{labels[truth[i]]} > {labels[int(probs[i].argmax())]} {probs[i].max():.2f}" for i in worst]
    plot_grid([faces.aligned[i] for i in worst], captions, COLUMNS, path)
