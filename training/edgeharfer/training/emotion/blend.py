"""Faces made of two, for the teachers to label.

For the faces that they were trained on, teachers partly repeat the labels. For faces between these they
answer with what they have learned in general (function matching; Beyer et al. 2022, "Knowledge
distillation: A good teacher is patient and consistent"). The mixtures are those of mixup (Zhang et al.
2018) and, along a soft edge, of CutMix (Yun et al. 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.inference.preprocess import standardize
from edgeharfer.runtime.types import Floats, Image
from edgeharfer.training.emotion.augment import FaceAugmentation, warp
from edgeharfer.training.emotion.faces import NO_LABEL, Faces
from edgeharfer.training.emotion.kaggle import SIDE

AVERAGED, JOINED = 0.5, 0.3
"""Shares of faces that are averages of two, and of those with the upper part of one and the lower part of
another; the others are single faces."""
WEIGHTS = (0.25, 0.75)
"""Range of the weight of the first face in an average."""
EDGES = (18 / 48, 32 / 48)
"""Range of the height at which two faces are joined, between eyes and mouth, as a fraction of the side."""
SOFTNESS = (0.7 / 48, 2 / 48)
"""Range of the width of that edge, as a fraction of the side."""
MOVED = FaceAugmentation(flip_probability=0, rotation_deg=9, zoom=0.1, shift=2.5 / 48)
"""How far the result is rotated, scaled and shifted."""
MEAN, DEVIATION = 126, 52
"""Brightness and contrast of the result, of 255."""


def blend_faces(
    faces: Faces,
    number: int,
    aligned_share: float,
    rng: np.random.Generator,
    chances: NDArray[np.float64] | None = None,
) -> Faces:
    """Make faces of two others.

    Args:
        faces: Faces to draw from.
        number: Number of faces to make.
        aligned_share: Share of faces that are drawn as cropped at run time, not as in the data set.
        rng: Random generator.
        chances: Chance of each face to be drawn; None draws all alike.

    Returns:
        Faces with the label NO_LABEL.
    """
    drawn = rng.choice(len(faces), (number, 2), p=chances)
    pictures = np.empty((number, SIDE, SIDE), np.uint8)
    for at, pair in enumerate(drawn):
        first, second = (_draw(faces, index, aligned_share, rng) for index in pair)
        kind = rng.random()
        if kind < AVERAGED:
            weight = rng.uniform(*WEIGHTS)
            mixed = weight * first + (1 - weight) * second
        elif kind < AVERAGED + JOINED:
            upper = _upper_part(rng)
            mixed = upper * first + (1 - upper) * second
        else:
            mixed = first
        picture = np.clip(MEAN + DEVIATION * _standardised(mixed), 0, 255).astype(np.uint8)
        pictures[at] = warp(picture, MOVED, rng)
    names = [f"blend {i}" for i in range(number)]
    return Faces(names, pictures, np.full(number, NO_LABEL, np.int64), pictures)


def _draw(faces: Faces, index: int, aligned_share: float, rng: np.random.Generator) -> Floats:
    """Return a face, standardised, and in half of the draws mirrored."""
    face = (faces.aligned if rng.random() < aligned_share else faces.pictures)[index]
    standardised = _standardised(face)
    return standardised[:, ::-1] if rng.random() < 0.5 else standardised


def _standardised(face: Image | Floats) -> Floats:
    result = np.array(face, np.float32)[..., None]
    standardize(result)
    return result[..., 0]


def _upper_part(rng: np.random.Generator) -> Floats:
    """Return the weights of the upper face, (side, 1)."""
    edge, width = rng.uniform(*EDGES) * SIDE, rng.uniform(*SOFTNESS) * SIDE
    return np.asarray(1 / (1 + np.exp((np.arange(SIDE) - edge) / width)), np.float32)[:, None]
