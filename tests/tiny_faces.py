"""A tiny FER-2013 to train on: waves whose length tells the class, and a detector that finds no face."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.types import Face

if TYPE_CHECKING:
    from edgeharfer.training.emotion.faces import Faces

FER7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


class NoFaces(Detector):
    """A detector that finds nothing, so that the pictures are taken whole."""

    provider = "none"

    def detect(self, bgr: np.ndarray, region: Any = None, *, close_up: bool = False) -> list[Face]:
        return []

    def warm_up(self) -> None:
        pass


def write_waves(folder: Path, train: int = 20, val: int = 5) -> Path:
    """Pictures that a small network learns at once, so many a class."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    for split, count in (("train", train), ("val", val)):
        for i, label in enumerate(FER7):
            (folder / split / label).mkdir(parents=True)
            for copy in range(count):
                angle = rng.uniform(0, np.pi)
                wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 0.12 * 1.45**i + rng.uniform(0, 6))
                picture = np.clip(128 + 90 * wave + rng.normal(0, 15, wave.shape), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / split / label / f"fer{i}{copy:06d}{split}.png"), picture)
    return folder


def read_faces(path: Path, votes: Path | None = None) -> tuple[Faces, Faces]:
    """The training and the evaluation split of a data set."""
    # Imported here, since tests of the runtime alone use the other parts of this module.
    from edgeharfer.training.emotion.faces import read_splits, train_and_test

    return train_and_test(read_splits(path, votes), path)
