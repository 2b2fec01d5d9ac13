"""FER-2013 as arrays: read, cleaned of copies, each face also cut the way the runtime cuts it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate import ferplus
from edgeharfer.evaluate.dataset import TEST_SPLITS, TRAIN_SPLITS, Dataset, LabelledFile, canonical
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.faces.align import FER_CROP
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.portrait import crop_portrait, find_face
from edgeharfer.runtime.inference.preprocess import convert_color, resize
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.types import Floats, Image
from edgeharfer.training.copies import NEAR_COPY, likest, same_pixels, thumbnails
from edgeharfer.training.emotion.kaggle import FER7, SIDE, SPLITS, read_rows

__all__ = [
    "FER7",
    "SIDE",
    "Color",
    "ExcludedImage",
    "Faces",
    "align",
    "check_votes",
    "read_faces",
    "read_splits",
    "train_and_test",
    "without_copies",
]

Color = Literal["gray", "rgb"]
"""As a manifest has it. Pictures in colour stand in OpenCV's order, BGR, until a model takes them."""

UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class ExcludedImage:
    """A picture that is not used: why, and which other one it is a copy of, if that is the reason."""

    name: str
    why: str
    of: str = ""


@dataclass
class Faces:
    """Faces of one split.

    names: (n,). pictures, aligned: uint8 (n, side, side), or (n, side, side, 3) BGR, as in the data set and
    as the runtime cuts them (equal where no face was found). labels: int (n,), index into FER7.
    left_out: pictures that were dropped, with the reasons. split: its name.
    """

    names: list[str]
    pictures: Image
    labels: NDArray[np.int64]
    aligned: Image
    left_out: list[ExcludedImage] = field(default_factory=list)
    split: str = ""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def dropped(self) -> Counter[str]:
        """How many were left out, by reason."""
        return Counter(one.why for one in self.left_out)

    @property
    def unreadable(self) -> list[str]:
        """What is damaged: files by name, rows of a csv by line and fault."""
        return [one.name for one in self.left_out if one.why == UNREADABLE]

    def take(
        self, index: Sequence[int] | NDArray[np.int64], why: str = "", of: Mapping[int, str] | None = None
    ) -> Faces:
        """The chosen ones. With `why` the others count as left out, as copies of what `of` names by index."""
        index = np.asarray(index, np.int64)
        gone = np.setdiff1d(np.arange(len(self)), index).tolist() if why else []
        left_out = [ExcludedImage(self.names[i], why, (of or {}).get(i, "")) for i in gone]
        names = [self.names[i] for i in index]
        arrays = self.pictures[index], self.labels[index], self.aligned[index]
        return Faces(names, *arrays, [*self.left_out, *left_out], self.split)


def read_faces(
    path: Path,
    side: int = SIDE,
    color: Color = "gray",
    *,
    held_out: str | None = None,
    votes: Path | None = None,
) -> tuple[Faces, Faces]:
    """Training and evaluation pictures of a folder, a zip or the Kaggle csv; see `read_splits`."""
    return train_and_test(read_splits(path, side, color, votes=votes), path, held_out)


def read_splits(
    path: Path, side: int = SIDE, color: Color = "gray", *, votes: Path | None = None
) -> dict[str, Faces]:
    """All splits by name, those of the Kaggle csv as train, val and test; what is damaged is listed.

    side: of the pictures kept, pixels. votes: the FER+ table that names the rows of a csv; see `kaggle`.
    Raises SourceError where there is nothing to read.
    """
    if path.suffix.lower() == ".csv":
        return _read_csv(path, side, color, votes)
    data = Dataset(path)
    return {split: _read_split(data, split, side, color) for split in data.splits}


def train_and_test(
    splits: Mapping[str, Faces], path: Path, held_out: str | None = None
) -> tuple[Faces, Faces]:
    """The split to learn from and the one to be scored on, which must show all classes.

    held_out: the name of the latter; without it val (PublicTest) of a csv, otherwise test before val.
    Raises SourceError for a missing split or class.
    """
    usual = ("val", "test") if path.suffix.lower() == ".csv" else TEST_SPLITS
    test = _whole_split(splits, (held_out,) if held_out else usual, path)
    return _whole_split(splits, TRAIN_SPLITS, path), test


def _whole_split(splits: Mapping[str, Faces], names: Sequence[str], path: Path) -> Faces:
    by_name = {split.lower(): faces for split, faces in splits.items()}
    faces = next((by_name[name.lower()] for name in names if name.lower() in by_name), None)
    if faces is None:
        raise SourceError(f"{path}: wanted a split {' or '.join(names)}/<class>/<file>; there is "
                          f"{', '.join(map(repr, splits))}")  # fmt: skip
    if missing := [label for i, label in enumerate(FER7) if i not in faces.labels]:
        raise SourceError(f"{path} {faces.split}: no picture of class {', '.join(missing)}")
    return faces


def _read_split(data: Dataset, split: str, side: int, color: Color) -> Faces:
    samples, left_out = [], []
    for sample in data.split(split):
        if canonical(sample.label) not in FER7:
            left_out.append(ExcludedImage(sample.name, f"class {sample.label}"))
        elif (picture := _read_picture(data, sample)) is None:
            left_out.append(ExcludedImage(sample.name, UNREADABLE))
        else:
            label = FER7.index(canonical(sample.label))
            samples.append((sample.file, _fit(picture, side, color), label))
    return _faces(samples, left_out, split, side, color)


def _read_picture(data: Dataset, sample: LabelledFile) -> Image | None:
    try:
        return decode_image(data.read(sample), sample.name)
    except SourceError:
        return None


def _read_csv(path: Path, side: int, color: Color, votes: Path | None) -> dict[str, Faces]:
    rows, bad = read_rows(path, votes)
    samples: dict[str, list[tuple[str, Image, int]]] = defaultdict(list)
    left_out: dict[str, list[ExcludedImage]] = defaultdict(list)
    for row in rows:
        samples[row.split].append((row.name, _fit(row.picture, side, color), row.label))
    for fault in bad:
        left_out[fault.split].append(ExcludedImage(f"line {fault.line}: {fault.why}", UNREADABLE))
    return {
        split: _faces(samples[split], left_out[split], split, side, color)
        for split in SPLITS.values()
        if split in samples or split in left_out
    }


def _fit(picture: Image, side: int, color: Color) -> Image:
    """A BGR or grey picture in the colours and size that are kept."""
    if color == "gray" and picture.ndim == 3:
        picture = convert_color(picture, cv2.COLOR_BGR2GRAY)
    elif color == "rgb" and picture.ndim == 2:
        picture = convert_color(picture, cv2.COLOR_GRAY2BGR)
    return resize(picture, side, side)


def _faces(
    samples: Sequence[tuple[str, Image, int]],
    left_out: list[ExcludedImage],
    split: str,
    side: int,
    color: Color,
) -> Faces:
    """Names, pictures and labels as arrays, also where there are none."""
    shape = (side, side) if color == "gray" else (side, side, 3)
    pictures = np.array([picture for _, picture, _ in samples], np.uint8).reshape(len(samples), *shape)
    labels = np.array([label for _, _, label in samples], np.int64)
    return Faces([name for name, _, _ in samples], pictures, labels, pictures, left_out, split)


def without_copies(train: Faces, *held_out: Faces) -> Faces:
    """The training set without blanks, without what also stands in a held-out split, and each copy once.

    Copies of one picture under different labels tell nothing and all go. Near copies (the same picture
    with other contrast or compression) are looked for in the held-out splits only.
    """
    kept = train.take([i for i in range(len(train)) if train.pictures[i].std() > 0], "blank")
    for others in held_out:
        kept = _without_those_in(kept, others)
    return _each_once(_without_conflicts(kept))


def _without_those_in(faces: Faces, others: Faces) -> Faces:
    if not len(others):
        return faces
    index, alike = likest(thumbnails(faces.pictures), thumbnails(others.pictures))
    of = {i: others.names[j] for i, j in enumerate(index)}
    return faces.take(np.flatnonzero(alike < NEAR_COPY), "also in the evaluation set", of)


def _without_conflicts(faces: Faces) -> Faces:
    agreeing: list[int] = []
    of: dict[int, str] = {}
    for group in same_pixels(faces.pictures):
        if len(set(faces.labels[group].tolist())) == 1:
            agreeing += group
        for i in group:
            of[i] = next((faces.names[j] for j in group if faces.labels[j] != faces.labels[i]), "")
    return faces.take(sorted(agreeing), "copies with conflicting labels", of)


def _each_once(faces: Faces) -> Faces:
    groups = same_pixels(faces.pictures)
    of = {i: faces.names[group[0]] for group in groups for i in group}
    return faces.take(sorted(group[0] for group in groups), "second copies", of)


def check_votes(faces: Faces, votes: Mapping[str, Floats]) -> float | None:
    """Share of the pictures whose FER+ majority is their own label; None where too few have one to tell.

    Raises SourceError for votes that belong to other pictures of the same names.
    """
    return ferplus.check_agreement(
        (ferplus.majority(votes[name]), FER7[label])
        for name, label in zip(faces.names, faces.labels, strict=True)
        if name in votes
    )


def align(faces: Faces, detector: Detector, progress: Callable[[Iterable[int]], Iterable[int]] = iter) -> int:
    """Fill `faces.aligned` with the runtime's own crops; returns in how many a face was found."""
    cuts, found = [], 0
    size = (faces.pictures.shape[2], faces.pictures.shape[1])
    for i in progress(range(len(faces))):
        face = find_face(faces.pictures[i], detector)
        found += face is not None
        cuts.append(crop_portrait(faces.pictures[i], face, FER_CROP, size))
    faces.aligned = np.stack(cuts)
    return found
