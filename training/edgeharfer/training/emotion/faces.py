"""FER-2013 as arrays: read, cleaned of copies, each face also cut the way the runtime cuts it."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.dataset import TRAIN_SPLITS, Dataset, canonical
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.faces.align import FER_CROP
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.portrait import cut_portrait, find_face
from edgeharfer.runtime.preprocess import resize
from edgeharfer.runtime.types import Floats, Image

FER7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER-2013's classes, in the order of its csv."""

SIDE = 48
NEAR_COPY = 0.995
"""Correlation of two 16x16 thumbnails from which two pictures count as one."""


@dataclass
class Faces:
    """Grey faces of one split.

    names: (n,). pictures, aligned: uint8 (n, 48, 48), as in the data set and as the runtime cuts them
    (equal where no face was found). labels: int (n,), index into FER7.
    """

    names: list[str]
    pictures: Image
    labels: NDArray[np.int64]
    aligned: Image
    dropped: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index: Sequence[int] | NDArray[np.int64], why: str = "") -> Faces:
        """The chosen ones; the rest is counted as dropped under `why`."""
        index = np.asarray(index, np.int64)
        dropped = self.dropped + Counter({why: len(self) - len(index)} if why else {})
        names = [self.names[i] for i in index]
        return Faces(names, self.pictures[index], self.labels[index], self.aligned[index], dropped)


def read_faces(path: Path) -> tuple[Faces, Faces]:
    """Training and evaluation pictures from a folder, a zip or the Kaggle csv."""
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    data = Dataset(path)
    train = next((split for split in data.splits if split.lower() in TRAIN_SPLITS), None)
    if train is None:
        raise SourceError(f"{path}: no training split; wanted {' or '.join(TRAIN_SPLITS)}/<class>/<file>")
    return _read_split(data, train), _read_split(data, data.test_split())


def _read_split(data: Dataset, split: str) -> Faces:
    names, pictures, labels, dropped = [], [], [], Counter[str]()
    for sample in data.split(split):
        picture = cv2.imdecode(np.frombuffer(data.read(sample), np.uint8), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            dropped["unreadable"] += 1
        elif canonical(sample.label) not in FER7:
            dropped[f"class {sample.label}"] += 1
        else:
            names.append(sample.file)
            pictures.append(resize(np.asarray(picture, np.uint8), SIDE, SIDE))
            labels.append(FER7.index(canonical(sample.label)))
    return _faces(names, pictures, labels, dropped, f"{data.path} {split}")


def _read_csv(path: Path) -> tuple[Faces, Faces]:
    """Kaggle's fer2013.csv: emotion 0..6, 2304 pixel values, Usage Training / PublicTest / PrivateTest."""
    rows: dict[str, list[tuple[str, Image, int]]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for i, row in enumerate(csv.DictReader(file)):
            try:
                pixels = np.array(row["pixels"].split(), np.uint8).reshape(SIDE, SIDE)
                rows[row["Usage"]].append((f"fer{i:07d}.png", pixels, int(row["emotion"])))
            except (KeyError, ValueError, AttributeError) as error:
                raise SourceError(f"{path}: line {i + 2} is not emotion,pixels,Usage: {error}") from error
    parts = []
    for usage in ("Training", "PublicTest"):
        names, pictures, labels = ([row[column] for row in rows[usage]] for column in range(3))
        parts.append(_faces(names, pictures, labels, Counter(), f"{path} {usage}"))  # type: ignore[arg-type]
    return parts[0], parts[1]


def _faces(
    names: list[str], pictures: list[Image], labels: list[int], dropped: Counter[str], where: str
) -> Faces:
    missing = [label for i, label in enumerate(FER7) if i not in set(labels)]
    if missing:
        raise SourceError(f"{where}: no picture of class {', '.join(missing)}")
    stack = np.stack(pictures)
    return Faces(names, stack, np.array(labels, np.int64), stack, dropped)


def without_copies(train: Faces, held_out: Faces) -> Faces:
    """The training set without blanks, without what also stands in the held-out set, and each copy once.

    Copies of one picture under different labels tell nothing and all go. Near copies (the same picture
    with other contrast or compression) are found by their thumbnails.
    """
    kept = train.take([i for i in range(len(train)) if train.pictures[i].std() > 0], "blank")
    kept = kept.take(np.flatnonzero(~_stands_in(kept, held_out)), "also in the evaluation set")
    groups: dict[str, list[int]] = defaultdict(list)
    for i, picture in enumerate(kept.pictures):
        groups[_digest(picture)].append(i)
    agreeing = [group for group in groups.values() if len({int(kept.labels[i]) for i in group}) == 1]
    kept = kept.take(sorted(i for group in agreeing for i in group), "copies with conflicting labels")
    once: dict[str, int] = {}
    for i, picture in enumerate(kept.pictures):
        once.setdefault(_digest(picture), i)
    return kept.take(sorted(once.values()), "second copies")


def _digest(picture: Image) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


def _stands_in(faces: Faces, others: Faces) -> NDArray[np.bool_]:
    ours, theirs = thumbnails(faces.pictures), thumbnails(others.pictures)
    best = np.concatenate([(ours[i : i + 2048] @ theirs.T).max(axis=1) for i in range(0, len(ours), 2048)])
    return np.asarray(best >= NEAR_COPY)


def thumbnails(pictures: Image) -> Floats:
    """Unit vectors (n, 256) whose dot product is the correlation of two pictures' 16x16 thumbnails."""
    small = np.stack([cv2.resize(picture, (16, 16), interpolation=cv2.INTER_AREA) for picture in pictures])
    flat = small.reshape(len(small), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    unit: Floats = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return unit


def align(faces: Faces, detector: Detector, progress: Callable[[Iterable[int]], Iterable[int]] = iter) -> int:
    """Fill `faces.aligned` with the runtime's own crops; returns in how many a face was found."""
    cuts, found = [], 0
    for i in progress(range(len(faces))):
        face = find_face(faces.pictures[i], detector)
        found += face is not None
        cuts.append(cut_portrait(faces.pictures[i], face, FER_CROP, (SIDE, SIDE)))
    faces.aligned = np.stack(cuts)
    return found
